"""A pseudo-terminal of a size, on which a test types and reads what is shown."""

import fcntl
import os
import re
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from fake_service import Cli

_SEQUENCE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


@dataclass
class TypedTerminal:
    """``theirs`` is the descriptor for a process, which ``copy`` hands out; ``output`` collects."""

    ours: int
    theirs: int
    output: Cli

    def copy(self) -> int:
        return os.dup(self.theirs)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.theirs)

    @property
    def raw(self) -> str:
        return self.output.out.decode(errors="replace")

    def lines(self) -> list[str]:
        """The newest whole screen, without what moves the cursor and colours."""
        screens = self.raw.split("\x1b[H")
        whole = [each for each in screens if each.endswith("\x1b[J")]
        shown = _SEQUENCE.sub("", whole[-1]) if whole else ""
        return [line.rstrip() for line in shown.split("\r\n")]

    async def wait_for(self, text: str) -> list[str]:
        """Until the newest screen has this; its lines."""
        while text not in "\n".join(found := self.lines()):
            await self.output.grown.wait()
        return found

    async def wait_raw(self, text: str) -> None:
        """Until this was written, ever."""
        while text not in self.raw:
            await self.output.grown.wait()


@asynccontextmanager
async def typed_terminal(columns: int, lines: int) -> AsyncIterator[TypedTerminal]:
    ours, theirs = os.openpty()
    output = Cli(None)  # type: ignore[arg-type]  # its collecting alone
    found = TypedTerminal(ours, theirs, output)
    found.resize(columns, lines)
    async with trio.open_nursery() as nursery:
        output.open_streams += 1
        nursery.start_soon(output.collect, trio.lowlevel.FdStream(os.dup(ours)), output.out)
        try:
            yield found
        finally:
            os.close(theirs)
            os.close(ours)
            nursery.cancel_scope.cancel()
