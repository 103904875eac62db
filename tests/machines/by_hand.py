"""The whole system, one step at a time: what a rule does is done, and everybody comes to rest.

The world, its invariants and its clients are those of programs; here jobs do what they are told
when they are told, clients keep one connection each, and readers read as much as they are told.
"""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio
from google.protobuf.message import Message

from penstock.client import Client, Endpoint
from penstock.client.follow import Follower, Part
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError
from penstock.rpc.channel import Channel, open_channel_on

from .clients import PATIENCE_S, Player
from .faults import cause
from .group import Group, Member
from .host import new_state_dir, simulated
from .invariants import Invariants
from .process import Process
from .programs import COMMANDS, Act, Actor, Behaviour, Fault, Op, Program
from .run import come_to_an_end
from .schedule import Schedule, scheduled, tasks_alive
from .stepping import Stepping
from .timeline import Timeline
from .world import World

_AGAIN_S: Final = 0.5
_NOWHERE: Final = Path()
_SIM: Final = Endpoint("sim", 1, _NOWHERE, _NOWHERE, _NOWHERE)


class Obedient(Group):
    """A job whose main process waits for orders, and does one after another."""

    def __init__(self, *what: Any) -> None:
        super().__init__(*what)
        self._orders: deque[Act | int] = deque()

    def order(self, what: Act | int) -> None:
        """An act, or a number: exit with it."""
        self._orders.append(what)
        self.changed.unpark_all()

    async def _live(self, member: Member) -> None:
        while True:
            while not self._orders:
                await self.changed.park()
            await self._gate()
            what = self._orders.popleft()
            if isinstance(what, int):
                self.behaviour = dataclasses.replace(self.behaviour, code=what)
                return
            await self._act(member, what)


class Job:
    """What a start was asked for; ``handle`` is empty until it is answered."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.handle = ""


class Hand(Player):
    """Does one operation of one client, on that client's connection."""

    def __init__(self, machine: "Machine", owner: str, job: Job | None, op: Op) -> None:
        super().__init__(machine.world, machine.invariants, Actor(owner), owner)
        self._machine = machine
        self._job = job
        self._op = op
        self.scope = trio.CancelScope()
        """Of the whole operation: what it is left by."""

    async def run(self) -> None:
        """Until it is answered, or left. Never raises."""
        with self.scope:
            channel = await self._machine.channel(self._owner)
            if channel is not None:
                await self._do(self._op, channel)

    def _handle(self, op: Op) -> str | None:
        return self._job.handle or None if self._job is not None else None

    async def _start(self, op: Op, unary: Callable[..., Awaitable[Any]]) -> None:
        async def noted(method: str, request: Message, kind: type[Any]) -> Any:
            answer = await unary(method, request, kind)
            assert self._job is not None
            self._job.handle = answer.job.handle
            return answer

        await super()._start(op, noted)


class Reader(Hand):
    """Follows a job's output, as many messages as it is told to read."""

    def __init__(
        self, machine: "Machine", owner: str, job: Job, streams: tuple[pb.Stream, ...]
    ) -> None:
        super().__init__(machine, owner, job, Op("stream"))
        self._streams = streams
        self._wanted = 0
        self._changed = trio.lowlevel.ParkingLot()

    def want(self, count: int) -> None:
        """So many more."""
        self._wanted += count
        self._changed.unpark_all()

    async def _stream(self, op: Op, handle: str) -> None:
        part = Part(streams=self._streams)

        def connecting(
            endpoint: Endpoint, *, connect_timeout_s: float = 10.0
        ) -> contextlib.AbstractAsyncContextManager[Client]:
            return self._new_connection(connect_timeout_s)

        try:
            await Follower(_SIM, handle, part, connecting=connecting).deliver(self._take)
        except RpcError:
            raise
        except Exception as error:  # OutputBroken
            self._world.fail(f"{self._name}: the stream of job {handle}: {error!r}")

    async def _take(self, message: pb.StreamOutputResponse) -> None:
        assert self._job is not None
        while not self._wanted:
            await self._changed.park()
        self._wanted -= 1
        if message.HasField("job"):
            self._check.job_told(self._owner, message.job)
        elif message.HasField("finished"):
            self._check.end_told(self._job.handle, message.finished)
        elif message.data:
            self._check.chunk(self._job.handle, message)


class Machine:
    """Its server serves from the first step. ``end`` it in any case."""

    def __init__(self, schedule: Schedule, **how: Any) -> None:
        jobs = tuple(Behaviour(command=name, stdin=True) for name in COMMANDS)
        self.timeline = Timeline()
        self._surroundings = contextlib.ExitStack()
        state_dir = self._surroundings.enter_context(new_state_dir())
        self._surroundings.enter_context(scheduled(schedule))
        self.world = World(Program(jobs=jobs, **how), self.timeline, state_dir)
        self.world.kernel.make_group = Obedient
        self.invariants = Invariants(self.world)
        self.readers: list[Reader] = []
        self._channels: dict[str, tuple[Channel, trio.CancelScope]] = {}
        self._connecting: dict[str, trio.Lock] = {}
        self._operations: trio.Nursery
        self._lines: trio.Nursery
        self._failed = False
        self._surroundings.enter_context(simulated(self.world))
        self._stepping = Stepping(self._main)

    # For the rules. Each returns when everybody is at rest.

    def step(self, what: Callable[[], Awaitable[None]]) -> None:
        """Does it, lets everybody come to rest, and looks at the invariants."""
        self._stepping.step(what)
        self.check()

    def happens(self, what: Callable[[], object]) -> None:
        """The same with something that does not wait."""

        async def step() -> None:
            what()

        self.step(step)

    def asks(self, owner: str, job: Job | None, op: Op) -> None:
        """A client begins an operation; it may last over many steps."""
        hand = Hand(self, owner, job, op)
        self.happens(lambda: self._operations.start_soon(hand.run, name=f"{owner} {op.what}"))

    def follows(self, reader: Reader) -> None:
        """A client opens a stream."""
        self.readers.append(reader)
        self.happens(lambda: self._operations.start_soon(reader.run, name="reader"))

    def order(self, job: Job, what: Act | int) -> None:
        """A job's process is told; one that is no more does not hear it."""
        group = self.world.kernel.groups.get(self.invariants.job_of.get(job.handle, ""))
        if isinstance(group, Obedient):
            self.world.say("job", f"{job.handle}: {what!r}")
            self.happens(lambda: group.order(what))

    def cause(self, fault: Fault) -> None:
        """A fault, now."""
        self._note(fault)
        self.happens(lambda: cause(self.world, fault))

    def crash_at(self, effect: int) -> None:
        """The server that lives now dies before its effect of that number."""
        self._note(Fault("crash"))
        self.happens(lambda: setattr(self.world.process, "crash_at", effect))

    def _note(self, fault: Fault) -> None:
        program = self.world.program  # what is excused in the end goes by its faults
        self.world.program = dataclasses.replace(program, faults=(*program.faults, fault))

    def passes(self, seconds: float) -> None:
        """Time. Whatever is due meanwhile happens at its time."""

        async def step() -> None:
            await trio.sleep(seconds)

        self.step(step)

    def check(self) -> None:
        """Raises AssertionError, with the time line, if an invariant does not hold by now."""
        self._check_now()
        if self.wrong:
            self._failed = True
            broken = "\n".join(f"  {each}" for each in self.wrong)
            raise AssertionError(
                f"broken:\n{broken}\ntimeline (virtual seconds):\n{self.timeline.text()}"
            )

    @property
    def wrong(self) -> list[str]:
        """Every breach so far."""
        return list(dict.fromkeys(self.world.wrong + self.world.kernel.broken))

    def _check_now(self) -> None:
        world = self.world
        for job_id in world.ends:
            if alive := world.kernel.alive(job_id):
                world.fail(f"job {job_id[-4:]} has its end record, and {alive} processes live")
        for job in () if world.manager is None else world.manager.list(include_finished=True):
            group = world.kernel.groups.get(job.id)
            log = job.log_if_loaded
            if group is not None and log is not None and log.length > len(group.moved):
                world.fail(f"job {job.handle}: a log of {log.length}, {len(group.moved)} written")

    def end(self) -> None:
        """Faults end, jobs and servers come to their ends; then looks at all that is left.
        Raises AssertionError; not if ``check`` has already."""
        try:
            self._stepping.end()
        finally:
            self._surroundings.close()
        if not self._failed:
            self.check()

    # Inside of the run.

    async def _main(self, stepping: Stepping) -> None:
        world = self.world
        Process.on_handle = staticmethod(self.invariants.handle_given)
        Process.on_stop = staticmethod(self.invariants.asked.recorded)
        Process.on_heard = staticmethod(self.invariants.graces.heard)
        Process.on_request = staticmethod(self.invariants.requested)
        Process.on_begun = staticmethod(self.invariants.naming.begun)
        Process.on_gone = staticmethod(self.invariants.naming.over)
        Process.on_end = staticmethod(self.invariants.end_written)
        Process.on_changes = staticmethod(self.invariants.changes.durable)
        async with trio.open_nursery() as kernel, trio.open_nursery() as server:
            world.kernel.nursery = kernel
            kernel.start_soon(world.kernel.run)
            server.start_soon(world.serve)
            await self._do_steps(stepping)
            await come_to_an_end(world, self.invariants)
            server.cancel_scope.cancel()
            kernel.cancel_scope.cancel()

    async def _do_steps(self, stepping: Stepping) -> None:
        """Until the last; then until clients have no operation and no connection any more."""
        async with trio.open_nursery() as self._lines:
            with trio.CancelScope() as patience:
                async with trio.open_nursery() as self._operations:
                    await stepping.do_steps()
                    self.world.stop_faults()
                    for reader in self.readers:
                        reader.scope.cancel()
                    # A connection, and an answer.
                    patience.deadline = trio.current_time() + 3 * PATIENCE_S
            if patience.cancelled_caught:
                self.world.fail(f"an operation does not come to its end: {tasks_alive()}")
            self._lines.cancel_scope.cancel()

    async def channel(self, owner: str) -> Channel | None:
        """This client's connection, a new one if that is not usable any more."""
        async with self._connecting.setdefault(owner, trio.Lock()):
            channel, held = self._channels.get(owner, (None, None))
            if channel is not None and channel.usable:
                return channel
            if held is not None:
                held.cancel()
            for _ in range(int(PATIENCE_S / _AGAIN_S)):
                with contextlib.suppress(ConnectionLost):
                    return await self._lines.start(self._hold, owner)  # type: ignore[no-any-return]
                await trio.sleep(_AGAIN_S)
        self.world.fail(f"{owner} gets no connection")
        return None

    async def _hold(  # noqa: ASYNC114  # started above, not as a context manager
        self, owner: str, task_status: "trio.TaskStatus[Channel]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            transport = await self.world.network.connect(owner)
            async with open_channel_on(transport, "sim", connect_timeout_s=5.0) as channel:
                self._channels[owner] = channel, scope
                task_status.started(channel)
                await trio.sleep_forever()
