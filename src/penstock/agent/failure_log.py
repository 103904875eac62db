"""What went wrong in an agent: a file beside its socket, and none as long as nothing has."""

import os
import time
import traceback
from pathlib import Path
from typing import Final

_MOST_BYTES: Final = 64 * 1024


class FailureLog:
    """Bounded: what does not fit begins it anew. Never fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        """Adds a line or more."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        data = f"{stamp} {text.rstrip()}\n".encode(errors="backslashreplace")[:_MOST_BYTES]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        flags |= os.O_NONBLOCK  # of a pipe in its place, which no process reads
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError:
            return
        try:
            if os.fstat(fd).st_size + len(data) > _MOST_BYTES:
                os.ftruncate(fd, 0)
            os.write(fd, data)
        except OSError:
            pass  # a full disk is reported by others
        finally:
            os.close(fd)

    def write_traceback(self, error: BaseException) -> None:
        """Adds where a bug of ours was."""
        self.write("".join(traceback.format_exception(error)))
