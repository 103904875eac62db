"""``penstock`` without a verb on a pseudo-terminal of its own, into which a test types."""

import fcntl
import os
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing
from fake_service import Cli
from terminal_screen import TerminalScreen

PROMPT: Final = ">"
_TOLD: Final = 4000
_LAST = b"\x07all of it\x07"


@dataclass
class ShellOnTerminal:
    """``theirs`` is kept open, so that the terminal's state can be read afterwards."""

    process: trio.Process
    output: Cli
    ours: int
    theirs: int
    columns: int
    rows: int
    before: list[Any]
    """The terminal's attributes as the shell began."""
    showing: trio.CancelScope
    """Ends what collects its output."""
    complete: bool = False
    """It has ended, and all that it wrote is here."""

    @property
    def raw(self) -> str:
        return self.output.out.decode(errors="replace")

    @property
    def screen(self) -> TerminalScreen:
        screen = TerminalScreen(self.columns, self.rows)
        screen.feed(self.raw)
        return screen

    @property
    def shown(self) -> str:
        return self.screen.text

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.theirs)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait_for(self, *texts: str) -> str:
        """Until all of these are shown, ever."""
        while True:
            shown = self.shown
            if all(text in shown for text in texts):
                return shown
            await self._more(f"without {texts}")

    async def wait_bar(self, text: str) -> str:
        """Until the line below the prompt has this."""
        while True:
            screen = self.screen
            bar = screen.below[-1] if screen.below else ""
            if screen.cursor_line.startswith(PROMPT) and text in bar:
                return bar
            await self._more(f"without {text} in the bar")

    async def idle(self, typed: str = "") -> TerminalScreen:
        """Until the prompt waits for a line of which this is typed."""
        while True:
            screen = self.screen
            if screen.cursor_line == f"{PROMPT} {typed}".rstrip():
                return screen
            await self._more(f"without a prompt with {typed!r}")

    async def enter(self, line: str) -> None:
        """Types a line at the prompt, once that is there."""
        await self.idle()
        self.type(f"{line}\r")

    async def runs(self, line: str) -> list[str]:
        """Types a line at the prompt; what is shown below it until the next prompt comes."""
        begin = (await self.idle()).row
        self.type(f"{line}\r")
        while True:
            screen = self.screen
            # Only below the line itself, because a prompt that is cleared is drawn anew, too.
            shown, typed = screen.lines[begin : screen.row], f"{PROMPT} {line}".rstrip()
            if typed in shown and screen.cursor_line == PROMPT:
                return shown[shown.index(typed) + 1 :]
            await self._more(f"under way with {line!r}")

    async def cooked(self) -> None:
        """Until the terminal is a verb's, and not the prompt's."""
        while self.attributes() != self.before:
            await self.output.grown.wait()

    async def hang_up(self) -> None:
        """Closes the terminal, as closing its window does."""
        self.showing.cancel()
        await trio.testing.wait_all_tasks_blocked()
        os.close(self.ours)
        self.ours = os.open(os.devnull, os.O_RDWR)  # for what closes it in the end

    async def end(self) -> int:
        """Its exit status, once it has ended and all that it wrote is here."""
        code: int = await self.process.wait()
        if not self.showing.cancel_called and self._write_behind(_LAST):
            while _LAST not in self.output.out and self.output.open_streams:
                await self.output.grown.wait()
            self.output.out[:] = self.output.out.replace(_LAST, b"")
        self.complete = True
        return code

    def _write_behind(self, text: bytes) -> bool:
        """Behind all that the shell wrote, because what it wrote reaches us when the kernel gets to
        it. False if the terminal takes nothing, or is closed."""
        try:
            fd = os.open(f"/proc/self/fd/{self.theirs}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.write(fd, text) == len(text)
        except OSError:
            return False
        finally:
            os.close(fd)

    async def _more(self, state: str) -> None:
        if self.process.returncode is not None and not self.complete:
            await self.end()  # its last words may come after its end
            return
        assert not self.complete, f"it ended {state}: {self.shown}"
        assert self.output.open_streams, f"it ended {state}: {self.shown}"
        await self.output.grown.wait()


@asynccontextmanager
async def penstock_shell(
    environment: Mapping[str, str],
    *arguments: str,
    home: Path | None = None,
    columns: int = 160,
    rows: int = 24,
    program: Sequence[str] = (sys.executable, "-m", "penstock.cli"),
    stderr: int | None = None,
) -> AsyncIterator[ShellOnTerminal]:
    """The shell, which a signal of its terminal reaches, until the block ends. ``home``: where its
    history is; without it keeps none."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (rows, columns))
    before = termios.tcgetattr(theirs)
    variables = {
        "TERM": "xterm-256color",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **({"HOME": str(home)} if home else {"PENSTOCK_HISTORY": "off", "HOME": "/nonexistent"}),
        **environment,
    }
    process = await trio.lowlevel.open_process(
        ["setsid", "--ctty", *program, *arguments],
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if stderr is None else stderr,
    )
    output = Cli(process)
    showing = trio.CancelScope()
    shell = ShellOnTerminal(process, output, ours, theirs, columns, rows, before, showing)
    async with trio.open_nursery() as nursery:
        output.open_streams += 1
        nursery.start_soon(_collect, shell, os.dup(ours))
        nursery.start_soon(_note_end, process, output)
        try:
            yield shell
        except BaseException:
            print(f"the shell shows:\n{shell.shown[-_TOLD:]}\nand wrote:\n{shell.raw[-_TOLD:]!r}")
            raise
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            for fd in (shell.ours, shell.theirs):
                with suppress(OSError):
                    os.close(fd)
            nursery.cancel_scope.cancel()


async def _collect(shell: ShellOnTerminal, terminal: int) -> None:
    # Each read then begins with a byte that is 0, or tells of a change (ioctl_tty(2)), such as the
    # prompt's taking or giving back of ^S.
    fcntl.ioctl(terminal, termios.TIOCPKT, struct.pack("i", 1))
    with shell.showing:
        async with _Packets(trio.lowlevel.FdStream(terminal), shell.output) as stream:
            await shell.output.collect(stream, shell.output.out)


class _Packets(trio.abc.ReceiveStream):
    """Data without its first byte. A change wakes who waits for something to be written."""

    def __init__(self, terminal: trio.lowlevel.FdStream, output: Cli) -> None:
        self._terminal = terminal
        self._output = output

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while len(data := await self._terminal.receive_some(max_bytes)) == 1:
            self._output.grown.set()
            self._output.grown = trio.Event()
        return bytes(data[1:])

    async def aclose(self) -> None:
        await self._terminal.aclose()


async def _note_end(process: trio.Process, output: Cli) -> None:
    """So that what waits for text which does not come any more sees that it has ended."""
    await process.wait()
    output.grown.set()
