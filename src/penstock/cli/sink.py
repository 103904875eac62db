"""Writes the messages of a job's output: as lines, exact bytes, or JSON."""

from typing import Final, Literal, Protocol

from ..proto import command_pb2 as pb
from ..text import job_text
from .descriptors import Place
from .invocation import Target, current
from .printing import LinePrinter, json_line
from .standard import complain, encoded
from .terminal import harmless
from .terminal_printer import TerminalPrinter
from .writing import drain, write

STDOUT: Final = pb.STREAM_STDOUT
STDERR: Final = pb.STREAM_STDERR


class _Form(Protocol):
    """A way to print chunks: Lines or Apart."""

    async def chunk(self, stream: int, time_ns: int, data: bytes) -> int:
        """Writes a chunk; returns how many bytes at the stream's end are held back."""

    async def finish(self, time_ns: int) -> None:
        """Writes what was held back of characters that are still cut at the stream's end."""


class _Printer(Protocol):
    """Makes text of chunks: a LinePrinter or a TerminalPrinter."""

    def feed(self, stream: int, time_ns: int, data: bytes) -> str: ...

    def held_bytes(self, stream: int) -> int: ...

    def flush(self, time_ns: int) -> str: ...


def _printer(target: Target, *, timestamps: bool) -> _Printer:
    if not target.terminal:
        return LinePrinter(timestamps=timestamps)

    return TerminalPrinter(
        timestamps=timestamps, place=target.place, columns=lambda: target.columns
    )


class Lines:
    """Both streams on standard output, in the order of their bytes, as ``stream`` shows them.

    They cannot be told apart there, and on standard error the order would be lost.
    """

    def __init__(self, *, timestamps: bool) -> None:
        self._out = current().out
        self._printer = _printer(self._out, timestamps=timestamps)

    async def chunk(self, stream: int, time_ns: int, data: bytes) -> int:
        """Writes the chunk as lines, as LinePrinter does.

        Cancellation: minimum cleanup.
        """
        await write(self._out, encoded(self._printer.feed(stream, time_ns, data)))
        return self._printer.held_bytes(stream)

    async def finish(self, time_ns: int) -> None:
        """Writes replacements for characters that never became whole. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        await write(self._out, encoded(self._printer.flush(time_ns)))


class Apart:
    """The job's standard output and error each on our own.

    Exact bytes, except that a descriptor which is a terminal gets harmless text. Each is checked
    by itself, because one may be a file while the other is the terminal.
    """

    def __init__(self, *, raw: bool) -> None:
        self._targets: dict[int, tuple[Target, _Printer | None]] = {}
        # One for both if both are one terminal, because they share its line.
        printers: dict[Place, _Printer] = {}
        for stream, target in ((STDOUT, current().out), (STDERR, current().err)):
            printer = None
            if target.terminal and not raw:
                if target.place not in printers:
                    printers[target.place] = _printer(target, timestamps=False)
                printer = printers[target.place]
            self._targets[stream] = (target, printer)

    async def chunk(self, stream: int, time_ns: int, data: bytes) -> int:
        """Writes to the descriptor of its stream; an unknown stream goes to standard output.

        Cancellation: minimum cleanup.
        """
        target, printer = self._targets.get(stream, self._targets[STDOUT])
        if printer is None:
            await write(target, data)
            return 0
        await write(target, encoded(printer.feed(stream, time_ns, data)))
        return printer.held_bytes(stream)

    async def finish(self, time_ns: int) -> None:
        """Writes replacements for characters that never became whole. Raises OutputFailed.

        No checkpoint where nothing was held back.

        Cancellation: minimum cleanup.
        """
        for target, printer in self._targets.values():
            if printer is not None:
                await write(target, encoded(printer.flush(time_ns)))


class Sink:
    """Takes a stream's messages, in order: the job once, which has the first offset (``first``).
    ``next`` is the offset to resume from.

    That is never past what was written out, so that no byte is missed after a resume; one may come
    twice if a write was cut short. ``end`` is the end record, once it has come.
    """

    def __init__(
        self,
        form: _Form | None,
        *,
        offset: int = 0,
        narrate: Literal["all", "ends", "odd", "nothing"] = "nothing",
    ) -> None:
        """``form`` None: a JSON object a line. ``narrate``: report also that the job has started
        and how it ended; "ends": only that; "odd": only an end that its exit status does not
        show."""
        self.next = self.first = offset
        self.begun = False
        """The job has come."""
        self.end: pb.EndRecord | None = None
        self.missing = 0
        """Bytes of what was asked for that were in gaps, for whatever reason."""
        self._form = form
        self._narrate = narrate
        self._time_ns = 0
        # By stream, the offset of its first byte that is held back.
        self._held: dict[int, int] = {}

    async def take(self, message: pb.StreamOutputResponse) -> None:
        """Writes one message. Raises OutputFailed. Cancelled: an unknown part of it is written, and
        it does not count as written.

        No checkpoint for a message of which nothing is written.

        Cancellation: minimum cleanup.
        """
        if message.HasField("job"):
            self.begun = True
            self.next = self.first = message.offset
        if self._form is None:
            await write(current().out, f"{json_line(message)}\n".encode())
            self._count(message.offset + len(message.data) if message.data else self.next)
        elif message.HasField("job"):
            await self._began(message.job)
        elif message.data:
            await self._chunk(self._form, message)
        if message.HasField("gap"):
            self.missing += message.gap.to_offset - message.gap.from_offset
            if self._form is not None:
                self._gap(message.gap)
                await drain()
            self._count(message.gap.to_offset)
        if message.HasField("finished"):
            self.end = message.finished
            await self.finish()
            if self._form is not None:
                self._ended(message.finished)

    async def finish(self) -> None:
        """Writes what was held back of cut characters. May be called again. Raises as ``take``.

        No checkpoint where nothing was held back.

        Cancellation: minimum cleanup.
        """
        if self._form is not None:
            await self._form.finish(self._time_ns)
            self._held.clear()

    async def _chunk(self, form: _Form, message: pb.StreamOutputResponse) -> None:
        self._time_ns = message.time_ns
        held = await form.chunk(message.stream, message.time_ns, message.data)
        end = message.offset + len(message.data)
        if held == 0:
            self._held.pop(message.stream, None)
        elif held <= len(message.data) or message.stream not in self._held:
            self._held[message.stream] = end - held
        self._count(min([end, *self._held.values()]))

    def _count(self, offset: int) -> None:
        self.next = max(self.next, offset)

    async def _began(self, job: pb.Job) -> None:
        if self._narrate == "all" and self.next == 0 and self._form is not None:
            data = f"{job.command} started\n".encode()
            await self._form.chunk(STDOUT, job.started_ns, data)

    def _gap(self, gap: pb.Gap) -> None:

        complain(f"[{harmless(job_text.gap_text(gap))}]")

    def _ended(self, end: pb.EndRecord) -> None:

        if self._narrate == "nothing" or (self._narrate == "odd" and job_text.is_plain(end)):
            return
        for line in (f"The job {job_text.end_text(end)}", *job_text.end_notes(end)):
            complain(harmless(line))
