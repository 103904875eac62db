"""What comes while a line is typed, shown above it: whole lines, some at a time.

Each output of a line that runs beside has a bound of its own. Beyond that its verb waits, and with
it the server's stream, so one that prints faster than the terminal shows holds up neither the
keyboard nor another output.
"""

import codecs
import io
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TextIO

import trio

from ..descriptors import OUT, ForgivingStream, OutputFailed, Place
from ..terminal import harmless

BATCH_BYTES = 64 * 1024
"""So much is shown at once, so that a key is answered within what a terminal needs for it."""
WAITING_BYTES = 256 * 1024
"""So much of one output waits to be shown; a write beyond it waits itself."""
_LEAST_PAUSE_S = 0.01
_LONGEST_LINE = 4096


class AbovePrompt:
    """Shows lines by ``show``, in the order of each output, in turns between them.

    ``show`` puts whole lines above what is typed, and raises OutputFailed.
    """

    def __init__(
        self, show: Callable[[bytes], Awaitable[None]], columns: Callable[[], int]
    ) -> None:
        self.columns = columns
        self._show = show
        self._waiting: deque[BesideOutput] = deque()
        self._wake = trio.Event()
        self._free = trio.Event()
        self._free.set()
        self._notices = BesideOutput(self, lambda: "")

    def notice(self, text: str) -> None:
        """Shows a message of the shell's own. Never waits."""
        self._notices.send(f"{text}\n".encode())

    def output(self, front: Callable[[], str]) -> "BesideOutput":
        """An output whose lines begin with what ``front`` returns as they are made."""
        return BesideOutput(self, front)

    def hold(self) -> None:
        """Shows nothing until ``release``, because the terminal is given to a verb as a whole."""
        self._free = trio.Event()

    def release(self) -> None:
        """Shows what has come meanwhile, and what comes."""
        self._free.set()

    def has_lines(self, output: "BesideOutput") -> None:
        """Of an output: lines of it wait, and none did before."""
        self._waiting.append(output)
        self._wake.set()

    async def run(self) -> None:
        """Shows lines as they come. Never returns. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        while True:
            await self._wake.wait()
            await self._free.wait()
            await self._show_some()
            # So that keys which came meanwhile are answered first.
            await trio.sleep(_LEAST_PAUSE_S)

    async def show_rest(self) -> None:
        """Shows all that waits. Raises OutputFailed.

        No checkpoint where nothing waits.

        Cancellation: minimum cleanup.
        """
        while self._waiting:
            await self._show_some()

    async def _show_some(self) -> None:
        taken: list[bytes] = []
        of: list[tuple[BesideOutput, int]] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            output = self._waiting.popleft()
            data = output.take(BATCH_BYTES - size)
            taken.append(data)
            of.append((output, len(data)))
            size += len(data)
            if output.waiting:
                self._waiting.append(output)
        if not self._waiting:
            self._wake = trio.Event()
        failure = None
        try:
            await self._show(b"".join(taken))
        except OutputFailed as error:
            failure = error
        for output, count in of:
            output.shown(count, failure)
        if failure is not None:
            raise failure


class BesideOutput:
    """What a verb that runs beside writes to, as ``invocation.HostedOutput`` has it: text that is
    cut into lines, each made harmless, with a front."""

    fd = OUT.fd
    terminal = False
    lines = 24

    def __init__(self, above: AbovePrompt, front: Callable[[], str]) -> None:
        self.name = "the shell's terminal"
        self.failure: OutputFailed | None = None
        self.place = Place()
        self.text: TextIO = _LineText(
            ForgivingStream(self),  # type: ignore[arg-type]  # as python -u does it
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            write_through=True,
        )
        self._above = above
        self._front = front
        self._line = ""
        # A character's bytes may come in two pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._showing_bytes = 0
        self._less = trio.Event()

    @property
    def columns(self) -> int:
        """The terminal's width."""
        return self._above.columns()

    @property
    def waiting(self) -> int:
        """How many bytes of lines wait to be taken."""
        return self._ready_bytes

    def send(self, data: bytes) -> None:
        """Keeps it to be shown, each line once it has ended. Raises OutputFailed."""
        if self.failure is not None:
            raise self.failure
        if trio.lowlevel.in_trio_run():
            self._keep(data)
        else:
            trio.from_thread.run_sync(self._keep, data)

    def _keep(self, data: bytes) -> None:
        *whole, self._line = (self._line + self._decoder.decode(data)).split("\n")
        for line in whole:
            self._add(line)
        while len(self._line) > _LONGEST_LINE:
            self._add(self._line[:_LONGEST_LINE])
            self._line = self._line[_LONGEST_LINE:]

    async def write(self, data: bytes) -> None:
        """As ``send``, once less than WAITING_BYTES wait. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        while self._ready_bytes + self._showing_bytes >= WAITING_BYTES:
            await self._less.wait()
        self.send(data)

    async def flush(self) -> None:
        """Returns once all whole lines are shown. Never fails.

        No checkpoint where nothing waits.

        Cancellation: minimum cleanup.
        """
        while self._ready_bytes + self._showing_bytes and self.failure is None:
            await self._less.wait()

    def end_line(self) -> None:
        """Nothing more is sent: a line that has no end is one."""
        self._line += self._decoder.decode(b"", final=True)
        if self._line:
            self._add(self._line)
            self._line = ""

    def take(self, most: int) -> bytes:
        """Whole lines, at least one, and at most so many bytes if there are several."""
        taken: list[bytes] = []
        size = 0
        while self._ready and (not taken or size + len(self._ready[0]) <= most):
            taken.append(self._ready.popleft())
            size += len(taken[-1])
        self._ready_bytes -= size
        self._showing_bytes += size
        return b"".join(taken)

    def shown(self, count: int, failure: OutputFailed | None) -> None:
        """So many bytes that were taken are shown, or could not be."""
        self._showing_bytes -= count
        self.failure = self.failure or failure
        self._less.set()
        self._less = trio.Event()

    def _add(self, line: str) -> None:
        # What was drawn over is not seen on a terminal either.
        drawn = line.rstrip("\r").rpartition("\r")[2]
        data = f"{self._front()}{harmless(drawn)}\n".encode(errors="backslashreplace")
        if not self._ready:
            self._above.has_lines(self)
        self._ready.append(data)
        self._ready_bytes += len(data)


class _LineText(io.TextIOWrapper):
    # Otherwise asyncclick, which remembers each stream that it has written help to, would keep it.
    __hash__ = None  # type: ignore[assignment]
