"""Clients: actors that do a program's operations by the real client, and check every answer."""

import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import trio
from google.protobuf.message import Message

from penstock.client import Client, Endpoint, JobWatcher
from penstock.client.follow import Follower, Part
from penstock.client.resumption import HEARTBEAT_S
from penstock.jobs.job import RECORD_PATIENCE_S
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode
from penstock.rpc.channel import Channel, open_channel_on

from .granting import check_who
from .invariants import Invariants
from .naming import labels_of
from .peeking import peek
from .programs import Actor, Op
from .reading import Reading, disturbed_at
from .watching import Watching
from .world import World

# Nobody waits longer than this for anything, whatever jobs do.
PATIENCE_S: Final = 120.0
_AGAIN_S: Final = 0.5
_SERVICE: Final = "teleport.CommandService"
# What needs an answer of the supervisor, and how soon callers have one, whatever it does.
_ASKING: Final = frozenset(("start", "stop", "signal", "pause", "resume"))
_ANSWERED_S: Final = 10.0
# A record is tried each second, and its failure is seen then; output is drained before.
_RECORD_SLACK_S: Final = 2.5
EXPECTED: Final = frozenset(
    (
        StatusCode.FAILED_PRECONDITION, StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED, StatusCode.OUT_OF_RANGE, StatusCode.ABORTED,
        StatusCode.ALREADY_EXISTS, StatusCode.CANCELLED,
    )
)  # fmt: skip
# What a call about another client's job may be answered by, beside NOT_FOUND: nothing that tells
# anything of it.
HIDDEN: Final = frozenset(
    (
        StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
    )
)  # fmt: skip
_ROWS: Final = {"stop": ("C6",), "start": ("C4",), "stream": ("C1", "C21"), "signal": ("C18",),
                "pause": ("C18",), "resume": ("C18",), "input": ("C19",), "status": ("C43",),
                "list": ("C43",), "wait": ("C43",), "remove": ("C43",),
                "whoami": ("C43",), "watch": ("C63",)}  # fmt: skip
_OF_NO_JOB: Final = frozenset(("start", "list", "peek", "whoami", "watch"))
_SIGNALS: Final = ("HUP", "INT", "TERM", "USR1", "CONT")


class Enough(Exception):
    """A reader has seen what it wanted."""


class Player:
    """One actor. Never raises: what must not be is told to the world."""

    def __init__(self, world: World, invariants: Invariants, actor: Actor, name: str) -> None:
        self._world = world
        self._check = invariants
        self._owner = actor.owner
        self._ops = actor.ops
        self._name = name

    async def run(self) -> None:
        """All its operations, each bounded."""
        async with contextlib.AsyncExitStack() as stack:
            channel: Channel | None = None
            for op in self._ops:
                await trio.sleep(op.after)
                if channel is None or not channel.usable:
                    await stack.aclose()
                    channel = await self._connected(stack)
                if channel is not None and not await self._do(op, channel):
                    await stack.aclose()  # it is not let in; perhaps later
                    channel = None

    async def _connected(self, stack: contextlib.AsyncExitStack) -> Channel | None:
        for _ in range(int(PATIENCE_S / _AGAIN_S)):
            try:
                transport = await self._world.network.connect(self._owner)
                opened = open_channel_on(transport, "sim", connect_timeout_s=5.0)
                return await stack.enter_async_context(opened)
            except ConnectionLost:
                await trio.sleep(_AGAIN_S)
        self._world.fail(f"{self._name} gets no connection")
        return None

    async def _do(self, op: Op, channel: Channel) -> bool:
        """False: this connection is good for nothing."""
        world, name = self._world, self._name
        handle = self._handle(op)
        if handle is None and op.what not in _OF_NO_JOB:
            return True
        world.say(name, f"{op.what} {handle or ''} {_short(op)}")
        patience = PATIENCE_S
        if op.within is not None and op.how == "cancel":
            patience = op.within
        deadline = op.within if op.how == "deadline" else None
        left = False
        began = trio.current_time()
        try:
            with trio.move_on_after(patience) as scope:
                if op.how == "cut" and op.within is not None:
                    scope.deadline = float("inf")  # it has one of its own
                    left = await self._cut_within(op, channel, handle or "")
                else:
                    await self._call(op, channel, handle or "", deadline)
            if scope.cancelled_caught or left:
                world.say(name, f"{op.what}: has left")
                if patience < PATIENCE_S:
                    world.covered.update(_ROWS.get(op.what, ()))
                else:
                    self._check.hangs(name, op.what, handle or "")
            else:
                world.say(name, f"{op.what}: done")
                world.reads.answered(self._owner, op.what)
        except RpcError as error:
            if error.code is StatusCode.DEADLINE_EXCEEDED:
                world.covered.add("C3")
            world.say(name, f"{op.what}: {error}")
            if "input" in error.message and error.code is StatusCode.FAILED_PRECONDITION:
                world.covered.add("C20")
            if error.code is StatusCode.UNAUTHENTICATED and world.is_shut_out(self._owner):
                return False
            withdrawn = error.code in (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED)
            if withdrawn and world.switches.excuses(self._owner, op.what, began):
                return True
            if error.code is StatusCode.INTERNAL and world.bugs_told:
                world.bugs_told -= 1
                return True
            if op.what == "start" and "has the name" in error.message:
                self._check.naming.refused(self._owner, op.name, began)
            missing = error.code is StatusCode.NOT_FOUND
            excused = op.what == "peek" or handle in self._check.removed
            expected = error.code in (HIDDEN if op.what == "peek" else EXPECTED)
            if not (expected or (missing and excused)):
                world.fail(f"{name}: {op.what} {handle}: {error}")
        except Enough:
            world.say(name, f"{op.what}: has seen enough")
        self._check_answered(op, began)
        if not left:
            self._check_told(op, handle, began)
        return True

    def _check_told(self, op: Op, handle: str | None, began: float) -> None:
        """C23: who waits for the end of a job whose processes are all dead is told after a while
        that it cannot be recorded. Only where nothing else holds that up."""
        world = self._world
        group = world.kernel.groups.get(self._check.job_of.get(handle or "", ""))
        others = {fault.what for fault in world.program.faults} - {"unrecorded", "storage"}
        slow = world.program.latency or world.program.kernel or others
        if op.what not in ("wait", "stop") or op.how == "cut" or group is None or slow:
            return
        now = trio.current_time()
        since = max(began, group.emptied_at)
        for begin, end in world.faults.no_records:
            waited_s = min(now, end) - max(since, begin)
            if waited_s > RECORD_PATIENCE_S + _RECORD_SLACK_S:
                world.fail(
                    f"{self._name}: {op.what} was not told for {waited_s:g} s that the end cannot "
                    "be recorded"
                )

    def _check_answered(self, op: Op, began: float) -> None:
        """C26: who needs the supervisor is answered though it stands still. Only where nothing on
        the way takes its time."""
        program = self._world.program
        slow = program.latency or any(fault.what == "stall" for fault in program.faults)
        # Another actor of this owner may have had all its connections cut.
        slow = slow or self._world.network.fell_silent_at >= began
        now = trio.current_time()
        still = self._world.kernel.still
        took_s = max((min(now, end) - max(began, begin) for begin, end in still), default=0.0)
        if op.what in _ASKING and op.how != "cut" and not slow and took_s > _ANSWERED_S:
            self._world.fail(
                f"{self._name}: {op.what} was not answered for {took_s:g} s, while the supervisor "
                "stood still"
            )

    async def _cut_within(self, op: Op, channel: Channel, handle: str) -> bool:
        assert op.within is not None
        failure: RpcError | Enough | None = None
        async with trio.open_nursery() as nursery:

            async def cut(after_s: float) -> None:
                await trio.sleep(after_s)
                self._world.covered.add("C2")
                self._world.say("network", f"the connection of {self._name} is cut")
                self._world.network.cut(self._owner, silent=op.number % 2 == 1)

            nursery.start_soon(cut, op.within)
            with trio.move_on_after(PATIENCE_S) as patience:
                try:
                    await self._call(op, channel, handle, None)
                except (RpcError, Enough) as error:
                    failure = error  # raised below, as the nursery would wrap it
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return patience.cancelled_caught

    def _handle(self, op: Op) -> str | None:
        owners = [self._owner]
        if op.what == "peek":
            owners = [owner for owner in self._check.handles if owner != self._owner]
        known = [each for owner in owners for each in self._check.handles.get(owner, [])]
        return known[op.job % len(known)] if known else None

    async def _call(self, op: Op, channel: Channel, handle: str, deadline: float | None) -> None:
        async def unary(method: str, request: Message, kind: type[Any]) -> Any:
            return await channel.unary(_SERVICE, method, request, kind, timeout_s=deadline)

        check, owner = self._check, self._owner
        ended = check.ended()
        match op.what:
            case "start":
                await self._start(op, unary)
            case "status":
                answer = await unary("Status", pb.StatusRequest(pid=handle), pb.StatusResponse)
                check.job_told(owner, answer.job, ended)
            case "stop":
                await self._stop(op, unary, handle)
            case "list":
                await self._list(op, unary, handle)
            case "whoami":
                await self._who_am_i(op, unary)
            case "wait":
                answer = await unary("Wait", pb.WaitRequest(pid=handle), pb.WaitResponse)
                check.job_told(owner, answer.job, ended)
                check.stopped(handle)
                self._world.covered.add("C8")
            case "peek":
                what = await peek(next(self._world.peeks), channel, unary, handle or "1")
                self._world.fail(f"{owner} was told by {what} of job {handle}, not its own")
            case "signal":
                name = _SIGNALS[op.number % len(_SIGNALS)]
                number = int(signal.Signals[f"SIG{name}"])
                check.asked.signal_sent(check.job_of[handle], number)
                request = pb.SignalRequest(pid=handle, signal=name, tree=op.flag)
                await unary("Signal", request, pb.SignalResponse)
                check.asked.done(check.job_of[handle], number)
            case "pause":
                answer = await unary("Pause", pb.PauseRequest(pid=handle), pb.PauseResponse)
                check.asked.done(check.job_of[handle], "pause")
                check.job_told(owner, answer.job, ended)
            case "resume":
                answer = await unary("Resume", pb.ResumeRequest(pid=handle), pb.ResumeResponse)
                check.asked.done(check.job_of[handle], "resume")
                check.job_told(owner, answer.job, ended)
            case "remove":
                check.removed.add(handle)
                answer = await unary("Remove", pb.RemoveRequest(pid=handle), pb.RemoveResponse)
                check.job_told(owner, answer.job, ended)
            case "stream":
                await self._stream(op, handle)
            case "watch":
                await self._watch(op)
            case "input":
                await self._input(op, channel, handle)

    async def _who_am_i(self, op: Op, unary: Any) -> None:
        """In pages of two commands; ``flag``: no job of the owner runs any more."""
        request = pb.WhoAmIRequest(page_size=2)
        names = list[str]()
        while True:
            known = list(self._check.handles.get(self._owner, ()))
            answer = await unary("WhoAmI", request, pb.WhoAmIResponse)
            names += [each.name for each in answer.commands]
            check_who(self._check, self._owner, answer, names, known, idle=op.flag)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def _start(self, op: Op, unary: Any) -> None:
        world = self._world
        number = op.job % len(world.program.jobs)
        behaviour = world.program.jobs[number]
        request = pb.StartRequest(
            command=behaviour.command,
            argv=[str(number)],
            request_id=op.request_id,
            stdin=behaviour.stdin,
            name=op.name,
            labels=labels_of(op),
        )
        answer = await unary("Start", request, pb.StartResponse)
        self._check.started(self._owner, op.request_id, answer.job)

    async def _list(self, op: Op, unary: Any, handle: str) -> None:
        """All pages of it."""
        check, owner = self._check, self._owner
        known, ended = list(check.handles.get(owner, ())), check.ended()
        request = check.naming.list_of(op, handle)
        jobs: list[pb.Job] = []
        while True:
            page = await unary("List", request, pb.ListResponse)
            jobs += page.jobs
            for job in page.jobs:
                if job.handle:
                    check.job_told(owner, job, ended)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        check.naming.listed(owner, request, jobs, known, ended)

    async def _stop(self, op: Op, unary: Any, handle: str) -> None:
        request = pb.StopRequest(pid=handle, grace_s=op.seconds, no_wait=op.flag)
        job_id = self._check.job_of[handle]
        self._check.asked.stop_sent(job_id)
        wish = self._check.graces.asking(job_id, op.seconds)
        if job_id not in self._world.ends:
            self._world.covered.add("C5")
        stops = self._check.stops
        if stops[handle] or handle in self._check.stopped_before:
            self._world.covered.add("C7")
        stops[handle] += 1
        try:
            answer = await unary("Stop", request, pb.StopResponse)
        finally:
            stops[handle] -= 1
        wish.answered_at = trio.current_time()
        self._check.job_told(self._owner, answer.job)
        if op.flag:
            self._check.asked.stop_told(job_id, answer.job.state)
        if not op.flag:
            self._check.stopped_before.add(handle)
            self._check.stopped(handle)
            if not answer.job.HasField("end"):
                self._world.fail(f"a stop of job {handle} has answered without its end record")

    async def _stream(self, op: Op, handle: str) -> None:
        """By the bits of ``number``: whether it follows, which streams, how slow it is."""
        streams = ((), (), (pb.STREAM_STDOUT,), (pb.STREAM_STDERR,))[op.number % 4]
        slow_s = _slow_s(op)
        enough = op.number if op.flag else None

        def connecting(
            endpoint: Endpoint, *, connect_timeout_s: float = 10.0
        ) -> contextlib.AbstractAsyncContextManager[Client]:
            return self._new_connection(connect_timeout_s, reading)

        follower = Follower(
            Endpoint("sim", 1, Path(), Path(), Path()),
            handle,
            Part(streams=streams, follow=op.number != 5),
            # With heartbeats a reader looks again by itself, and would hide that it was not woken.
            heartbeat_s=HEARTBEAT_S if op.number % 3 == 2 else 0.0,
            connecting=connecting,
        )
        job_id = self._check.job_of[handle]
        reading = Reading(self._check, job_id, handle, streams=streams, slow_s=slow_s)
        seen = 0

        async def take(message: pb.StreamOutputResponse) -> None:
            nonlocal seen
            seen += 1
            reading.take(message)
            if message.HasField("job"):
                self._check.job_told(self._owner, message.job)
            elif message.HasField("finished"):
                self._check.end_told(handle, message.finished)
            elif message.data:
                self._check.chunk(handle, message)
            if slow_s:
                self._world.covered.add("C10")
                await trio.sleep(slow_s)
            if enough is not None and seen > enough:
                self._world.covered.add("C1")
                raise Enough

        try:
            await follower.deliver(take)
        except (RpcError, Enough):
            raise
        except Exception as error:  # OutputBroken
            self._world.fail(f"{self._name}: the stream of job {handle}: {error!r}")

    async def _watch(self, op: Op) -> None:
        """By ``flag``: from now on, or behind a number that somebody has had; by ``number`` for how
        long, and how slowly."""
        slow_s = (0.0, 0.0, 0.005, 1.0)[op.number % 4]
        changes, owner = self._check.changes, self._owner
        known = [number for each in sorted(changes.numbers) for number in changes.numbers[each]]
        after = known[op.job % len(known)] if op.flag and known else None

        def connecting(
            endpoint: Endpoint, *, connect_timeout_s: float = 10.0
        ) -> contextlib.AbstractAsyncContextManager[Client]:
            return self._new_connection(connect_timeout_s, watching)

        watcher = JobWatcher(
            Endpoint("sim", 1, Path(), Path(), Path()),
            after=after,
            # As of a stream: with heartbeats it looks again by itself.
            heartbeat_s=HEARTBEAT_S if op.number % 3 == 2 else 0.0,
            connecting=connecting,
        )
        watching = Watching(self._check, owner, slow_s=slow_s, after=after)

        async def take(message: pb.WatchResponse) -> None:
            watching.take(message, disturbed_at(self._world))
            if slow_s:
                await trio.sleep(slow_s)

        with trio.move_on_after((0.5, 5.0, 30.0)[op.number % 3]):
            await watcher.deliver(take)
        watching.ends(disturbed_at(self._world))

    @contextlib.asynccontextmanager
    async def _new_connection(
        self, connect_timeout_s: float, reading: Reading | Watching | None = None
    ) -> AsyncIterator[Client]:
        transport = await self._world.network.connect(self._owner)
        opened = open_channel_on(transport, "sim", connect_timeout_s=connect_timeout_s)
        async with opened as made:
            if reading is not None:
                reading.connected_at = trio.current_time()
            yield Client(made, connect_timeout_s)

    async def _input(self, op: Op, channel: Channel, handle: str) -> None:
        feeding, job_id = self._check.feeding, self._check.job_of[handle]
        data = feeding.new_call(op.number * 700)
        async with channel.open_call(_SERVICE, "SendInput", pb.SendInputResponse) as call:
            least = feeding.told(job_id)
            await call.send(pb.SendInputRequest(pid=handle))
            accepted = (await anext(call)).accepted
            feeding.asked(job_id, least, accepted)
            while accepted < len(data):
                last = accepted + 3000 >= len(data)
                piece = feeding.sending(job_id, accepted, data[accepted:][:3000], last=last)
                await call.send(pb.SendInputRequest(offset=accepted, data=piece.data, eof=last))
                answer = await anext(call)
                feeding.accepted(job_id, piece, answer.accepted, ended=answer.eof)
                accepted = answer.accepted
            call.end()


def _slow_s(op: Op) -> float:
    """How long it takes for each message of a stream."""
    return (0.0, 0.0, 0.005, 1.0)[op.number // 2 % 4]


def _short(op: Op) -> str:
    parts = [f"job={op.job}"] if op.what == "start" else []
    parts += [f"{op.how} within {op.within} s"] if op.within is not None else []
    parts += [f"grace {op.seconds} s"] if op.seconds is not None else []
    parts += [op.request_id] if op.request_id else []
    parts += [op.name] if op.name else []
    return " ".join(parts)
