"""The audit log: one JSON line per decision and per change of a job's state.

Lines are written with one write(2) on a descriptor opened for appending, before what
they tell of is answered, so a crash of the server loses none. docs/operations.md lists
the events and their fields.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any


class AuditError(Exception):
    """A line could not be written; what it would have recorded must not happen."""


class AuditLog:
    """An open audit log. Not for several processes at once."""

    def __init__(self, path: str) -> None:
        """Opens or creates the file, mode 0600. Raises AuditError."""
        self._path = path
        try:
            self._fd = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise AuditError(f"audit log {path}: {error.strerror}") from error

    def write(self, event: str, **fields: Any) -> None:
        """Appends one line. Never blocks on anything but the disk. Raises AuditError.

        A short write (a full disk) is completed with a line end, so that the next line
        still begins on its own; the cut line is not valid JSON and is seen as damage.
        """
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        # Plain ASCII: no byte of a client's text can end a line or look like another one.
        line = json.dumps({"time": time, "event": event, **fields}, separators=(",", ":")) + "\n"
        data = line.encode("ascii")
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                os.write(self._fd, b"\n")
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise AuditError(f"audit log {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file; writing afterwards raises AuditError."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
