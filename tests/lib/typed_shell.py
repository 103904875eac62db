"""A shell on a pseudo-terminal, in which a test types ``penstock``."""

import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio
from agents import AgentPlace
from fake_service import Cli, FakeServer
from patience import patient

PROMPT: Final = "READY> "
BASH: Final = ("bash", "--noprofile", "--norc", "--noediting", "-i")


@dataclass
class Shell:
    """One on a pseudo-terminal, with the front end as ``penstock``."""

    ours: int
    theirs: int
    output: Cli

    @property
    def shown(self) -> str:
        return self.output.out.decode(errors="replace").replace("\r", "")

    async def type(self, text: str) -> None:
        """Keys, as they are pressed."""
        await trio.to_thread.run_sync(os.write, self.ours, text.encode())

    async def line(self, text: str) -> str:
        """A line, and what is shown until the next prompt."""
        begin = len(self.shown)
        await self.type(f"{text}\r")
        return await self.until(PROMPT, begin + len(text))

    async def until(self, text: str, begin: int = 0) -> str:
        """What is shown behind ``begin`` once this is."""
        with trio.fail_after(patient(20)):
            while text not in self.shown[begin:]:
                assert self.output.open_streams, f"the shell has ended: {self.shown!r}"
                await self.output.grown.wait()
        return self.shown[begin:]

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


@asynccontextmanager
async def shell(
    place: AgentPlace,
    server: FakeServer,
    more: Mapping[str, str] | None = None,
    program: Sequence[str] = BASH,
) -> AsyncIterator[Shell]:
    ours, theirs = os.openpty()
    environment = server.environment() | place.environment("") | dict(more or {})
    environment |= {
        "PATH": f"{place.program.parent}:{os.environ['PATH']}",
        "PS1": PROMPT,
        "TERM": "dumb",
    }
    process = await trio.lowlevel.open_process(
        ["setsid", "--ctty", *program],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    output = Cli(process)
    async with trio.open_nursery() as nursery:
        output.open_streams += 1
        nursery.start_soon(output.collect, trio.lowlevel.FdStream(os.dup(ours)), output.out)
        found = Shell(ours, theirs, output)
        found.resize(80)
        try:
            await found.until(PROMPT)
            yield found
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
            for fd in {found.ours, found.theirs} - {-1}:
                os.close(fd)
            nursery.cancel_scope.cancel()
