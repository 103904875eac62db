"""The audit log: one JSON line per decision and per change of a job's state.

Each line is one write(2) on a descriptor opened for appending, before the server answers the call
that it records, so that a crash of the server loses none. The file has blocks ahead of its end
(jobs/output/preallocation.py), so that lines can be written for a while on a full disk.
docs/operations.md lists the events and their fields.
"""

import contextlib
import logging
import os
import stat
from datetime import UTC, datetime

from ..jobs.output.disk import RealDisk
from ..jobs.output.preallocation import Reserve
from .audit_lines import line_of

log = logging.getLogger("penstock.server")


class AuditError(Exception):
    """A line could not be written; what it would have recorded must not happen."""


class AuditLog:
    """An open audit log. One process at a time may write it, because the reserved blocks and the
    state of the last line are this object's."""

    def __init__(self, path: str) -> None:
        """Opens or creates the file, mode 0600. Raises AuditError."""
        self._path = path
        self._fd = -1
        # Whether the file's last line has no end: a write was cut, and what comes next must not
        # be glued to it. The cut line is not valid JSON, and is seen as damage.
        self._torn = False
        self._disk = RealDisk()
        self._reserve = Reserve(self._disk)
        self.reopen()

    def reopen(self) -> None:
        """Opens what the path names now, after an operator or logrotate has moved the file away.

        Raises AuditError; then the file that was open stays in use.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = -1
        try:
            fd = os.open(self._path, flags, 0o600)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                os.close(fd)
                raise AuditError(f"audit log {self._path}: is no regular file; name another")
            torn = status.st_size > 0 and os.pread(fd, 1, status.st_size - 1) != b"\n"
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise AuditError(f"audit log {self._path}: {error.strerror}") from error
        if self._fd >= 0 and not os.path.samestat(os.fstat(self._fd), status):
            # The disk gets the reserved blocks back, because this file gets no further line.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size)
        self.close()
        self._fd, self._torn = fd, torn
        self._reserve = Reserve(self._disk)
        self._reserve.refill(fd, status.st_size)

    def write(self, event: str, **fields: object) -> None:
        """Appends one line, of a bounded length. Never blocks on anything but the disk.

        Raises AuditError.

        After a short write (a full disk) the next line begins on its own. A file that was removed
        is made again and the server's log reports it, because lines in an unlinked file would be
        lost.
        """
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        line = line_of({"time": time, "event": event, **fields})
        try:
            status = os.fstat(self._fd)
            if status.st_nlink == 0:
                self.reopen()
                log.warning("audit log %s was removed under the running server", self._path)
                status = os.fstat(self._fd)
            data = (b"\n" if self._torn else b"") + line
            written = os.write(self._fd, data)
            if written > 0:
                self._torn = data[written - 1 : written] != b"\n"
            if written != len(data):
                raise OSError(28, "No space left on device")
            self._reserve.refill(self._fd, status.st_size + written)
        except OSError as error:
            raise AuditError(f"audit log {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file, once or again; writing afterwards raises AuditError."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
