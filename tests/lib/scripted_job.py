"""A job's output, or a watch, behind connections that a test cuts, all in memory: for virtual
time."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio
from google.protobuf.message import Message

from penstock.client import Client, Endpoint
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError

ENDPOINT = Endpoint("nowhere", 1, Path("ca"), Path("certificate"), Path("key"))
JOB = pb.Job(handle="7", command="ls", started_ns=5)

# What happens next on a connection: a message, an error, silence for ever, or the end.
Step = pb.StreamOutputResponse | pb.WatchResponse | RpcError | type[trio.Event] | None


def begin(at: int = 0, **changed: Any) -> pb.StreamOutputResponse:
    """The first message."""
    job = pb.Job.FromString(JOB.SerializeToString())
    for name, value in changed.items():
        setattr(job, name, value)
    return pb.StreamOutputResponse(job=job, offset=at, next_offset=at)


def piece(at: int, data: bytes, stream: int = 1) -> pb.StreamOutputResponse:
    """A chunk."""
    end = at + len(data)
    return pb.StreamOutputResponse(data=data, stream=stream, offset=at, next_offset=end)  # type: ignore[arg-type]


def hole(start: int, end: int, reason: str = "quota") -> pb.StreamOutputResponse:
    """A gap."""
    gap = pb.Gap(from_offset=start, to_offset=end, reason=reason)
    return pb.StreamOutputResponse(gap=gap, offset=start, next_offset=end)


def beat(at: int) -> pb.StreamOutputResponse:
    """A heartbeat."""
    return pb.StreamOutputResponse(heartbeat=True, offset=at, next_offset=at)


def record(
    output: bytes, gaps: Sequence[tuple[int, int]] = (), **changed: Any
) -> pb.StreamOutputResponse:
    """The end of a job that wrote ``output``, of which ``gaps`` were not kept."""
    digest, at = hashlib.sha256(), 0
    for start, end in [*gaps, (len(output), len(output))]:
        digest.update(output[at:start])
        at = end
    fields: dict[str, Any] = {
        "output_sha256": digest.hexdigest(),
        "output_bytes": len(output),
        "sha256_to": len(output),
        "gaps": [pb.Gap(from_offset=start, to_offset=end) for start, end in gaps],
        "exit_code": 0,
    }
    finished = pb.EndRecord(reason="exited", **(fields | changed))
    return pb.StreamOutputResponse(finished=finished, offset=len(output), next_offset=len(output))


class ScriptedCall:
    """As ClientCall: its steps, one each."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)

    async def __anext__(self) -> pb.StreamOutputResponse | pb.WatchResponse:
        await trio.lowlevel.checkpoint()
        step = self._steps.pop(0) if self._steps else None
        if step is trio.Event:
            await trio.sleep_forever()
        if isinstance(step, RpcError):
            raise step
        if step is None:
            raise StopAsyncIteration
        assert isinstance(step, pb.StreamOutputResponse | pb.WatchResponse)
        return step


@dataclass
class Scripted:
    """Connections to a job. ``answer`` gives the steps of the n-th stream for its request."""

    answer: Callable[[int, Any], Sequence[Step]]
    refuse: Callable[[int], Exception | None] = lambda number: None
    """The n-th connection (from 0): what making it raises."""
    requests: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When connections were asked for."""
    open: int = 0

    @asynccontextmanager
    async def __call__(
        self, endpoint: Endpoint, *, connect_timeout_s: float = 10.0
    ) -> AsyncIterator[Client]:
        self.times.append(trio.current_time())
        if error := self.refuse(len(self.times) - 1):
            raise error
        self.open += 1
        try:
            yield self.client()
        finally:
            self.open -= 1

    def client(self) -> Client:
        return Client(self, None)  # type: ignore[arg-type]  # its channel is this object

    @asynccontextmanager
    async def server_stream(
        self, service: str, method: str, request: Message, response_type: Any
    ) -> AsyncIterator[ScriptedCall]:
        self.requests.append(request)
        self.open += 1
        try:
            yield ScriptedCall(self.answer(len(self.requests) - 1, request))
        finally:
            self.open -= 1


def cut_at_random(
    random: Random, output: bytes, gaps: Sequence[tuple[int, int]], cuts: int
) -> Callable[[int, pb.StreamOutputRequest], list[Step]]:
    """A job that has ended, whose first ``cuts`` streams break after a random number of random
    chunks, some of them before the first."""

    def answer(number: int, request: pb.StreamOutputRequest) -> list[Step]:
        at = request.offset
        steps: list[Step] = [begin(at)]
        while at < len(output):
            missing = [gap for gap in gaps if gap[0] <= at < gap[1]]
            if missing:
                steps.append(hole(at, missing[0][1]))
                at = missing[0][1]
                continue
            stop = min([gap[0] for gap in gaps if gap[0] > at] + [len(output)])
            size = random.choice([1, 2, 7, 100, 500])
            data = output[at : min(at + size, stop)]
            steps.append(piece(at, data, random.choice([1, 2])))
            at += len(data)
            if random.random() < 0.1:
                steps.append(beat(at))
        steps.append(record(output, gaps))
        if number < cuts:
            steps = [*steps[: random.randrange(min(len(steps), 12))], ConnectionLost("cut")]
        return steps

    return answer
