"""What else goes wrong around a penstockd: its log is not taken, its processes stand still."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Final

from patience import patient
from running import RunningServer, running_server
from this_run import new_directory

# The bound of the server's silence in these runs: long enough for a busy machine, and a run has
# many of them.
SILENCE_S: Final = 6.0
_MOODS: Final = ("reads", "full", "reads", "gone")


class LogReader:
    """Reads the log that penstockd writes into a pipe with a name; ``next_mood``: or does not, or
    has closed its end. Nobody but it takes the log."""

    def __init__(self) -> None:
        self._directory = new_directory("log")
        self.path = str(self._directory / "log")
        os.mkfifo(self.path)
        self.lines: list[str] = []
        self._begun = b""
        self._mood = 0
        self._fd = -1
        self._ended = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read)
        self._open()
        self._thread.start()

    @property
    def mood(self) -> str:
        return _MOODS[self._mood % len(_MOODS)]

    def next_mood(self) -> str:
        """From now on; what it is."""
        with self._lock:
            self._mood += 1
            if self.mood == "gone":
                os.close(self._fd)
                self._fd = -1
            elif self._fd < 0:
                self._open()
            if self.mood == "full":
                self._fill()
            return self.mood

    def close(self) -> None:
        """Reads what is there, and ends."""
        with self._lock:
            self._ended = True
        self._thread.join(patient(10))
        if self._fd >= 0:
            os.close(self._fd)
        os.unlink(self.path)
        self._directory.rmdir()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def _fill(self) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(fd, b"." * 4095 + b"\n")
        os.close(fd)

    def _read(self) -> None:
        while True:
            with self._lock:
                if self.mood == "reads":
                    self._take()
                if self._ended:
                    return
            select.select([], [], [], 0.02)  # its moods are no events

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._fd, 65536):
                *lines, self._begun = (self._begun + data).split(b"\n")
                self.lines += [line.decode(errors="replace") + "\n" for line in lines]


@contextlib.contextmanager
def disturbed_server(policy: str) -> Iterator[tuple[RunningServer, LogReader]]:
    """As running_server, with a log whose reader has moods, and a server that may not be silent for
    long. ``log_lines`` of the server are what the reader has read."""
    reader = LogReader()
    prefix = ["/bin/sh", "-c", f'exec "$@" 2>{reader.path}', "sh"]
    try:
        with running_server(policy, prefix=prefix, server_silence_s=SILENCE_S) as server:
            server.log_lines = reader.lines
            yield server, reader
    finally:
        reader.close()


def stand_still(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
