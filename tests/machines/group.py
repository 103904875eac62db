"""One job in the simulated kernel: its processes, their signals, its pipes, its end."""

import signal
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from fake_pipes import FakePipe

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.supervisor.ipc.started import Started

from .process import JobPipe
from .programs import GRACE_S, Act, Behaviour

if TYPE_CHECKING:
    from .kernel import Kernel

_PATTERN: Final = bytes(at * 7 % 251 for at in range(251)) * 600
_ENDING: Final = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, 9))
# What a stop does not send.
QUIET_SIGNALS: Final = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGCONT))
# held._SERVER_IS_LATE_S: from the end of a stop's grace to the supervisor's own KILL.
SERVER_IS_LATE_S: Final = 1.0
# An uninterruptible sleep is three times as long as others: longer than anybody's patience.
_ASLEEP: Final = 3


class Member:
    """A process of a job."""

    def __init__(self, pid: int, *, deaf: bool = False) -> None:
        self.pid = pid
        self.deaf = deaf
        self.scope = trio.CancelScope()
        self.signaled: int | None = None
        self.halted = False
        """It hears nothing but KILL and CONT."""
        self.pending: list[int] = []

    def die(self, number: int) -> None:
        if self.signaled is None:
            self.signaled = number
            self.scope.cancel()


class Group:
    """The cgroup of a job. ``moved`` is what has left its pipes, in that order."""

    def __init__(
        self, kernel: "Kernel", job_id: str, owner: str, spec: JobSpec, behaviour: Behaviour
    ) -> None:
        self.id = job_id
        self.owner = owner
        self.spec = spec
        self.behaviour = behaviour
        self.started: Started | None = None
        self.members: list[Member] = []
        self.exit_told = False
        self.exit_told_at = float("inf")
        self.verdict: Verdict | None = None
        self.released = False
        self.lost = False
        """The supervisor has died: who is asleep dies later, and nobody waits for it."""
        self.paused = False
        self.let_run_to_end = False
        """A stop's first signal came, and with it whatever made it stand still was undone."""
        self.killed_unheard = False
        """It was killed as it stood still, and had not been let run before."""
        self.asked: Counter[str | int] = Counter()
        """What the kernel was asked for: signals by number, ``pause``, ``resume``."""
        self.changed = trio.lowlevel.ParkingLot()
        self.moved = bytearray()
        self.owners = bytearray()
        self._moves: list[tuple[int, float]] = []
        self.discarded_last = 0
        """Of the end of ``moved``, bytes that were not kept and perhaps not counted."""
        self.written = {1: 0, 2: 0}
        self.outputs = [self._output(number) for number in (1, 2)]
        self.stdin: FakePipe | None = None
        self.input_pipes: tuple[FakePipe, FakePipe] | None = None
        self.read = bytearray()
        self.read_end = False
        self.hungry_since: float | None = None
        """Since when its main process waits for input, or did when it died."""
        self.main_ended_at = float("inf")
        self.kill_asked_at = float("inf")
        """When a server wanted its KILL for the first time."""
        self.told_at = -float("inf")
        """When a server was last answered that it was told to end, before it was killed."""
        if spec.stdin:
            self.stdin = FakePipe(4096)
            self.input_pipes = self.stdin, FakePipe(4096)
        self._kernel = kernel
        self._killed = 0
        self._timed_out = False
        self._escalated = False
        self._storage_full = False
        self._late: trio.CancelScope | None = None
        self.killed_at = float("inf")
        """When its KILL came for the first time, whoever has sent it."""
        self.terms: list[float] = []
        """When the supervisor was asked for TERM, by stops and others."""
        self.emptied_at = float("inf")
        self.filled_at: float | None = None
        """When it had more on the disk than its class allows."""
        self._waiting_signals: list[tuple[int, bool]] = []
        self._main: Member | None = None
        self._code: int | None = None

    def _output(self, number: int) -> JobPipe:
        pipe = JobPipe()

        def note(data: bytes, discarded: bool) -> None:
            self._moves.append((len(self.moved), trio.current_time()))
            self.moved += data
            self.owners += bytes([number]) * len(data)
            self.discarded_last = self.discarded_last + len(data) if discarded else 0

        pipe.note = note
        return pipe

    def moved_at(self, offset: int) -> float:
        """When that byte left its pipe."""
        place = bisect_right(self._moves, (offset, float("inf"))) - 1
        return self._moves[place][1] if place >= 0 else -float("inf")

    # Its life.

    def begin(self) -> None:
        self._main = self._member(self._live, deaf=False)
        if self.behaviour.timeout_s:
            self._kernel.nursery.start_soon(self._deadline)

    def _member(self, live: Callable[[Member], object], *, deaf: bool) -> Member:
        member = Member(self._kernel.new_pid(), deaf=deaf)
        self.members.append(member)
        self._kernel.nursery.start_soon(self._run, member, live, name=f"job process {member.pid}")
        return member

    async def _run(self, member: Member, live: Callable[..., object]) -> None:
        with member.scope:
            await live(member)  # type: ignore[misc]  # it is async
        self.members.remove(member)
        if member is self._main:
            await self._main_ended(member)
        elif self._main is None:
            self._emptied()

    async def _live(self, member: Member) -> None:
        for act in self.behaviour.acts:
            await self._gate()
            await self._act(member, act)
        await self._gate()

    async def _gate(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.paused:
            await self.changed.park()

    async def _act(self, member: Member, act: Act) -> None:
        match act.what:
            case "write":
                await self._write(member, act.size, act.stream)
            case "sleep":
                await trio.sleep(act.seconds)
            case "asleep":
                with trio.CancelScope(shield=True):
                    await trio.sleep(act.seconds * _ASLEEP)
            case "deaf":
                member.deaf = True
            case "halt":
                member.halted = True
                while member.halted:
                    await self.changed.park()
            case "daemon":

                async def idle(_: Member) -> None:
                    await trio.sleep(act.seconds)
                    await self._gate()

                self._member(idle, deaf=act.deaf)
            case "read":
                await self._read()
            case "shut":
                self._shut()

    async def _write(self, member: Member, size: int, stream: int) -> None:
        pipe = self.outputs[stream - 1]
        begin = (self.written[stream] * 3 + stream) % 251
        rest = _PATTERN[begin : begin + size]
        while rest:
            while not pipe.can_be_written:
                await pipe.changed.park()
            await self._gate()
            try:
                count = pipe.feed(rest)
            except BlockingIOError:
                continue
            except BrokenPipeError:
                member.die(signal.SIGPIPE)
                return
            self.written[stream] += count
            rest = rest[count:]

    async def _read(self) -> None:
        pipe = self.stdin
        while pipe is not None:
            while not pipe.can_be_read:
                self.hungry_since = self.hungry_since or trio.current_time()
                await pipe.changed.park()
            self.hungry_since = None
            await self._gate()
            data = pipe.take(1000)
            if not data:
                self.read_end = True
                return
            self.read += data

    def _shut(self) -> None:
        if self.stdin is not None:
            self.stdin.close(write=False)
            self.stdin = None

    async def _deadline(self) -> None:
        await trio.sleep(self.behaviour.timeout_s)
        if self._main is not None:
            self._timed_out = True
            self.signal(signal.SIGTERM)
            self.let_run()
            await trio.sleep(GRACE_S)
            self._escalated = bool(self.kill()) and self.verdict is None

    # What is done to it.

    def signal(self, number: int, *, tree: bool = False) -> int:
        if self._main is None and not (tree and self.members):
            return 0
        self.asked[number] += 1
        if self.paused:
            self._waiting_signals.append((number, tree))
        else:
            self._deliver(number, tree)
        return len(self.members) if tree else 1

    def heard(self) -> None:
        """A server's first signal of a stop is answered, or what lets a job go to heed it."""
        if self.kill_asked_at == float("inf"):
            self.told_at = trio.current_time()

    def kill_after(self, grace_s: float) -> None:
        """As supervised_job.py: it is being stopped, and whoever says so sends KILL himself when
        the grace is over, unless he stands still or is gone. The last one to say so counts."""
        if self._late is not None:
            self._late.cancel()
        if not self.exit_told:
            self._late = trio.CancelScope(deadline=trio.current_time() + grace_s + SERVER_IS_LATE_S)
            self._kernel.nursery.start_soon(self._kill_late, self._late)

    async def _kill_late(self, late: trio.CancelScope) -> None:
        with late:
            await trio.sleep_forever()
        due = trio.current_time() >= late.deadline
        if due and not self.exit_told and not self._kernel.gone:
            self._escalated = True
            self.kill()

    def storage_full(self) -> None:
        """As supervisor/job/supervised_job.py: no grace."""
        if not self.exit_told and not self._timed_out:
            self._storage_full = True
            self.filled_at = trio.current_time()
            self.kill()

    def signal_member(self, member: Member, number: int) -> None:
        """As kill(2) does it."""
        self.asked[number] += 1
        self._reach(member, number)

    def _deliver(self, number: int, tree: bool) -> None:
        for member in list(self.members) if tree else [self._main]:
            if member is not None:
                self._reach(member, number)

    def _reach(self, member: Member, number: int) -> None:
        if number == signal.SIGCONT:
            self._continue(member)
        elif member.halted and number != signal.SIGKILL:
            member.pending.append(number)
        elif number in _ENDING and not (member.deaf and number == signal.SIGTERM):
            member.die(number)

    def _continue(self, member: Member) -> None:
        if member.halted:
            member.halted = False
            pending, member.pending = member.pending, []
            for number in pending:
                self._reach(member, number)
            self.changed.unpark_all()

    def let_run(self) -> None:
        """It is to hear a signal of its end, whatever makes it stand still."""
        self.let_run_to_end = True
        for member in list(self.members):
            self._continue(member)
        if self.paused:
            self.run_on()

    def kill(self) -> int:
        count = len(self.members)
        self._killed += count
        self.killed_at = min(self.killed_at, trio.current_time())
        for member in list(self.members):
            member.die(9)
        return count

    def set_paused(self, paused: bool) -> str:
        if not self.members:
            return "it has ended"
        self.asked["pause" if paused else "resume"] += 1
        self.paused = paused
        if not paused:
            self.run_on()
        return ""

    def run_on(self) -> None:
        self.paused = False
        for number, tree in self._waiting_signals:
            self._deliver(number, tree)
        self._waiting_signals.clear()
        self.changed.unpark_all()

    def close_input(self) -> None:
        """The supervisor's own copies."""
        if self.input_pipes is not None:
            self.input_pipes[0].close(write=True)
            self.input_pipes = None

    def release(self) -> None:
        self.released = True
        self.kill()
        self.close_input()
        for pipe in self.outputs:
            pipe.close(write=False)

    def lose(self) -> None:
        """The supervisor is gone: nobody knows how it ended, but it has."""
        self.lost = True
        if self.verdict is None:
            self.verdict = Verdict("lost", detail="the supervisor is gone")
            self.exit_told = True
        self.kill()
        if not self.released:
            self.released = True
            self.close_input()
            for pipe in self.outputs:
                pipe.close(write=False)
        self.changed.unpark_all()

    # Its end.

    async def _main_ended(self, member: Member) -> None:
        self._main = None
        self.main_ended_at = trio.current_time()
        self._code = member.signaled
        self._shut()
        self._kernel.say("kernel", f"main process of {self.id[-4:]} has ended")
        if not self.members:
            for pipe in self.outputs:
                pipe.close(write=True)
        if self._kernel.delay_s:
            await trio.sleep(self._kernel.delay_s)
        self.exit_told = True
        self.exit_told_at = trio.current_time()
        self.changed.unpark_all()
        if self._kernel.delay_s:
            await trio.sleep(self._kernel.delay_s)
        self.kill()
        self._emptied()

    def _emptied(self) -> None:
        if self.members or not self.exit_told:
            return
        for pipe in self.outputs:
            if pipe.writers:
                pipe.close(write=True)
        if self.verdict is None:
            kind, code = ("exited", self.behaviour.code)
            if self._code is not None:
                kind, code = "signaled", self._code
            self.verdict = Verdict(
                "exited" if kind == "exited" else "signaled",
                code,
                timed_out=self._timed_out,
                escalated=self._escalated,
                processes_killed=self._killed,
                storage_full=self._storage_full,
            )
        self.emptied_at = min(self.emptied_at, trio.current_time())
        self._kernel.say("kernel", f"job {self.id[-4:]} is empty")
        self.changed.unpark_all()
