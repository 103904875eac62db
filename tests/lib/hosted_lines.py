"""Command lines in a host: many in this Trio, each with pipes, an environment and signals of its
own, as the command line itself runs them for others."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from fake_service import HANDLE, Done, FakeService, chunk, finished

from penstock.cli.given_signals import GivenSignals
from penstock.cli.handed_input import NoInput
from penstock.cli.handed_output import handed_outputs
from penstock.cli.invocation import Invocation
from penstock.cli.root import invoke
from penstock.proto import command_pb2 as pb


@dataclass
class HostedLine:
    """One under way; what it wrote so far is in ``out`` and ``err``."""

    invocation: Invocation
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    code: int | None = None
    ended: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _grown: trio.Event = field(default_factory=trio.Event)

    async def wait_for(self, text: bytes) -> None:
        """Until it has written this somewhere."""
        while text not in self.out + self.err:
            assert not self.ended.is_set(), f"it ended without {text!r}: {self.out!r}, {self.err!r}"
            await self._grown.wait()

    async def collect(self, fd: int, into: bytearray) -> None:
        async with trio.lowlevel.FdStream(fd) as stream:
            async for data in stream:
                into += data
                self._grown.set()
                self._grown = trio.Event()

    def done(self) -> Done:
        """How it has ended."""
        assert self.code is not None
        return Done(self.code, bytes(self.out), bytes(self.err))

    def end(self) -> None:
        self.ended.set()
        self._grown.set()


@asynccontextmanager
async def hosted_line(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    out: int | None = None,
    err: int | None = None,
    ignored: Sequence[int] = (),
    **options: Any,
) -> AsyncIterator[HostedLine]:
    """Runs beside the block, which waits for its end. ``out`` and ``err``: descriptors instead of
    pipes that are read here; they are taken over."""
    ends = {"out": out, "err": err}
    reads: dict[str, int] = {}
    for name, fd in ends.items():
        if fd is None:
            reads[name], ends[name] = os.pipe()
    first, second = ends["out"], ends["err"]
    assert first is not None
    assert second is not None
    outputs = handed_outputs(first, second)
    options.setdefault("stdin", NoInput())
    invocation = Invocation(
        out=outputs[0],
        err=outputs[1],
        environment=environment,
        signals=GivenSignals(ignored),
        **options,
    )
    line = HostedLine(invocation)

    async def run() -> None:
        try:
            with line.scope:
                line.code = await invoke([*words], invocation)
        finally:
            for output in outputs:
                output.close()
            line.end()

    async with trio.open_nursery() as nursery:
        for name, fd in reads.items():
            nursery.start_soon(line.collect, fd, getattr(line, name))
        nursery.start_soon(run)
        yield line


async def run_hosted(words: Sequence[str], environment: Mapping[str, str], **options: Any) -> Done:
    """One to its end."""
    async with hosted_line(words, environment, **options) as line:
        pass
    return line.done()


@contextlib.contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes nothing more, and nobody reads: its two ends."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, b"x" * 4096)
    os.set_blocking(theirs, True)
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def printing_service() -> FakeService:
    """With a job that has printed something and ended, two in a list, and grants."""
    made = FakeService()
    made.messages = [
        chunk("out \u00fc\n".encode()),
        chunk(b"err\n", stream=2, offset=7),
        finished(),
    ]
    made.end.exit_code = 7
    running, ended = pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED
    made.jobs = [
        pb.Job(handle=HANDLE, command="ls", argv=["/bin/ls", "a b"], state=running),
        pb.Job(handle="7", name="nightly", command="backup", state=ended),
    ]
    job = pb.Job(handle="5", state=running)
    made.statuses = {"5": pb.StatusResponse(status="Job 5 is running.", job=job)}
    made.removals = {"7": None}
    made.who_am_i = pb.WhoAmIResponse(
        client_id="alice",
        certificate=pb.Certificate(serial="2f", fingerprint="5e", not_after_ns=2**63 - 1),
        commands=[pb.GrantedCommand(name="ls", usage=["ls [-l]"])],
        command_count=1,
    )
    return made
