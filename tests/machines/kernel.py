"""A supervisor and its kernel in memory: processes, groups, signals, pipes; outlives servers.

Requests are heard in the order they were sent, each after a delay, also those of a server that
has died meanwhile, as over a real socket.
"""

import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from penstock.jobs.backends.base import (
    HeldJob,
    InputPipes,
    JobPipes,
    JobSpec,
    OnReplaced,
    StartedJob,
    StartRefused,
    Verdict,
)
from penstock.jobs.backends.reloads import Reloads
from penstock.jobs.job_errors import SupervisorSilent
from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.ipc.from_supervisor import Changed, Left, ReplacedFile
from penstock.supervisor.ipc.silence import ANSWER_S
from penstock.supervisor.ipc.started import HeldLimits, Started

from .group import Group
from .process import Process, SimDisk
from .programs import GRACE_S, Behaviour

# Of so many starts one finds that its program was replaced.
_EACH = 16


class Request:
    """What a server has asked; ``done`` once it is answered."""

    def __init__(self, act: Callable[[], Any], supervisor: int) -> None:
        self.act = act
        self.supervisor = supervisor
        self.done = False
        self.result: Any = None
        self.answered = trio.lowlevel.ParkingLot()


class Kernel:
    """``groups`` by job id, also those that have ended; pids are used again soon."""

    PIDS = 4

    def __init__(
        self,
        disk: SimDisk,
        behaviours: tuple[Behaviour, ...],
        delay_s: float,
        say: Callable[[str, str], None],
    ) -> None:
        self.disk = disk
        self.groups: dict[str, Group] = {}
        self.broken: list[str] = []
        """Rules that were broken, for the invariants."""
        self.lines: Counter[tuple[str, str]] = Counter()
        """What the audit log says of jobs: their ids and the events."""
        self.gone = False
        """The supervisor has died."""
        self.say = say
        self.delay_s = delay_s
        self.nursery: trio.Nursery
        """Of its processes, and of what it does later; whoever runs it sets it."""
        self.make_group: Callable[[Kernel, str, str, JobSpec, Behaviour], Group] = Group
        """What a job is here."""
        self._behaviours = behaviours
        self.is_silent = False
        """Requests are not answered for so long that nobody waits for them."""
        self.unanswered: set[trio.CancelScope] = set()
        """Of those who wait for its answers."""
        self.before_answer: Callable[[], None] = lambda: None
        """What it has to say before it answers anything more."""
        self.refusal: Callable[[str, JobSpec, str | None], StartRefused | None]
        self.refusal = lambda owner, spec, generation: None
        """Why a START by this generation is not granted."""
        self.still: list[tuple[float, float]] = []
        """From when to when the supervisor stands still."""
        self._still_until = -1.0
        self._next_pid = 100
        self._supervisor = 0
        self._send, self._requests = trio.open_memory_channel[Request](1000)

    async def run(self) -> None:
        """Answers, one after another, until cancelled."""
        async for request in self._requests:
            if self.delay_s:
                await trio.sleep(self.delay_s)
            await trio.sleep_until(self._still_until)
            self.before_answer()
            gone = self.gone
            self.gone = gone or request.supervisor != self._supervisor
            request.result = request.act()
            self.gone = gone
            request.done = True
            request.answered.unpark_all()

    def ask(self, act: Callable[[], Any]) -> Request:
        request = Request(act, self._supervisor)
        self._send.send_nowait(request)
        return request

    def wake(self) -> None:
        """Whoever waits for anything looks again: a process has died."""
        for group in self.groups.values():
            group.changed.unpark_all()

    def alive(self, job_id: str) -> int:
        """How many processes the job has, as far as anybody can know."""
        group = self.groups.get(job_id)
        return 0 if group is None or group.lost else len(group.members)

    def new_pid(self) -> int:
        used = {each.pid for group in self.groups.values() for each in group.members}
        count = max(self.PIDS, len(used) + 1)
        while True:
            self._next_pid = 100 + (self._next_pid + 1 - 100) % count
            if self._next_pid not in used:
                return self._next_pid

    # What is asked.

    def start(
        self, job_id: str, spec: JobSpec, owner: str, audited: bool, generation: str | None
    ) -> Group | StartRefused | list[ReplacedFile]:
        if self.gone:
            return StartRefused("lost", "the supervisor is gone")
        if refused := self.refusal(owner, spec, generation):
            return refused
        # A package update, now and then: it is written down before anything of it runs. Which start
        # finds it is the same in each run of a seed.
        if self._next_pid % _EACH == 0:
            if not audited:
                return [ReplacedFile("/bin/x", "before", "now")]
            if not self.lines[job_id, "program.replaced"]:
                self.broken.append(f"job {job_id} runs a replaced program that is in no audit log")
        if job_id in self.groups:
            self.broken.append(f"job {job_id} was started twice")
        if not self.lines[job_id, "job.starting"]:
            self.broken.append(f"job {job_id} is started without a line in the audit log")
        behaviour = self._behaviours[int(spec.arguments[0])]
        group = self.make_group(self, job_id, owner, spec, behaviour)
        self.groups[job_id] = group
        group.begin()
        group.started = Started(
            pid=group.members[0].pid,
            start_ticks=1,
            started_ns=time.time_ns(),  # the world's, and never 0, which says that it is not known
            argv=(f"/bin/{spec.command}", *spec.arguments),
            class_name="free",
            limits=ResourceLimits(),
            held=HeldLimits(()),
            grace_s=GRACE_S,
            timeout_s=behaviour.timeout_s or None,
            control=Control(stop_tree=spec.command == "tree", stdin=True),
            uid=self.uid_of(owner),
        )
        return group

    def uid_of(self, owner: str) -> int:
        """Each client's own, however its jobs come to a server."""
        return 1000 + sum(owner.encode())

    def with_descriptors(self, group: Group) -> StartedJob:
        """For whoever is alive to get them."""
        assert group.started is not None
        share = self.disk.share
        given = None
        if group.input_pipes is not None:
            job, own = group.input_pipes
            given = InputPipes(share(job, write=True), share(own), share(own, write=True))
        pipes = JobPipes(share(group.outputs[0]), share(group.outputs[1]), given)
        return StartedJob(group.started, pipes)

    def held(self) -> list[Group]:
        if self.gone:
            return []
        return [group for group in self.groups.values() if not group.released]

    def signal(self, job_id: str, number: int, tree: bool, kill_after_s: float | None) -> int:
        group = self._group(job_id, f"signal {number}")
        if group is None:
            return 0
        if kill_after_s is not None:
            group.kill_after(kill_after_s)
        if number == signal.SIGTERM:
            group.heard()
            group.terms.append(trio.current_time())
        count = group.signal(number, tree=tree)
        if kill_after_s is not None:
            group.let_run()
        return count

    def kill_pid(self, pid: int, number: int) -> int:
        """As kill(2): whoever has that pid now; how many that was."""
        for group in self.groups.values():
            for member in group.members:
                if member.pid == pid:
                    group.signal_member(member, number)
                    return 1
        return 0

    def kill_wanted(self, job_id: str) -> None:
        """A server asks for it now; it is heard later."""
        group = self.groups.get(job_id)
        if group is not None:
            group.kill_asked_at = min(group.kill_asked_at, trio.current_time())

    def kill(self, job_id: str) -> int:
        group = self._group(job_id, "KILL")
        return 0 if group is None else group.kill()

    def kill_asked(self, job_id: str) -> int:
        """The same, by a request, so after all that was asked before."""
        group = self.groups.get(job_id)
        if group is not None and not group.let_run_to_end:
            group.killed_unheard |= group.paused or any(each.halted for each in group.members)
        return self.kill(job_id)

    def set_paused(self, job_id: str, paused: bool) -> str:
        group = self._group(job_id, "pause")
        if group is None:
            return "the supervisor is gone" if self.gone else ""
        if not paused:
            group.heard()
        return group.set_paused(paused)

    def inspect(self, job_id: str) -> list[Left]:
        group = self._group(job_id, "inspect")
        members = [] if group is None else group.members
        return [Left(each.pid, "sim", "D", "sim_wait") for each in members]

    def close_input(self, job_id: str) -> None:
        group = self._group(job_id, "the end of its input")
        if group is not None:
            group.close_input()

    def release(self, job_id: str) -> None:
        group = self.groups.get(job_id)
        if group is not None and not group.released:
            if group.members:
                self.say("kernel", f"job {job_id[-4:]} is released alive, and killed")
            group.release()

    def _group(self, job_id: str, what: str) -> Group | None:
        group = self.groups.get(job_id)
        if group is None or self.gone:
            return None
        if group.released:
            self.broken.append(f"{what} for job {job_id[-4:]}, which was released")
            return None
        return group

    def fill_storage(self, number: int) -> None:
        """A job that runs has more on the disk than its class allows: which, by ``number``."""
        running = [group for group in self.groups.values() if not group.exit_told]
        if running and not self.gone:
            running[number % len(running)].storage_full()

    def supervisor_dies(self) -> None:
        """Its jobs die with it, at once; what it held is gone. ``revive`` starts another."""
        self.gone = True
        for group in self.groups.values():
            group.lose()

    def stand_still(self, seconds: float) -> None:
        """The supervisor does nothing for so long (SIGSTOP), and then goes on where it was."""
        if trio.current_time() >= self._still_until:
            self._still_until = trio.current_time() + seconds
            self.still.append((trio.current_time(), self._still_until))
            self.nursery.start_soon(self._stand_still)

    async def _stand_still(self) -> None:
        with trio.move_on_at(self._still_until):
            await trio.sleep(ANSWER_S)
            self.is_silent = True
            for scope in self.unanswered:
                scope.cancel()
            await trio.sleep_forever()
        self.is_silent = False

    def revive(self) -> None:
        if self.gone:
            self.gone = False
            self._supervisor += 1


class SimBackend:
    """One server's connection to the supervisor; the protocol Backend."""

    def __init__(self, kernel: Kernel, process: Process, reloads: Reloads) -> None:
        self.reloads = reloads
        self._kernel = kernel
        self._process = process
        self._asked: dict[Request, None] = {}
        self.on_limits_changed: Callable[[Changed], None] = lambda changed: None
        self.on_paused: Callable[[str], None] = lambda job_id: None
        process.on_death.append(self._wake)

    def _wake(self) -> None:
        for request in self._asked:
            request.answered.unpark_all()
        self._kernel.wake()

    async def _ask(self, act: Callable[[], Any]) -> Any:
        self._process.effect()
        request = self._kernel.ask(act)
        self._asked[request] = None
        try:
            while not request.done:
                await request.answered.park()
                self._process.check()
        finally:
            del self._asked[request]
        return request.result

    async def _answer(self, act: Callable[[], Any]) -> Any:
        """As local.py: what is asked is on its way, whether or not it is waited for."""
        answers: list[Any] = []

        async def wait() -> None:
            answers.append(await self._ask(act))

        if self.is_silent():
            self._process.effect()
            self._kernel.ask(act)
        if not await self.answered(wait):
            raise SupervisorSilent("the supervisor does not answer")
        return answers[0]

    @property
    def generation(self) -> str:
        self._process.check()
        return self.reloads.generation

    async def wait_generation_after(self, generation: str) -> None:
        await self.reloads.wait_generation_after(generation)
        self._process.check()

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str | None = None,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        def start(audited: bool) -> Group | StartRefused | list[ReplacedFile]:
            return self._kernel.start(job_id, spec, owner, audited, generation)

        result = await self._ask(lambda: start(False))
        if isinstance(result, list):
            assert on_replaced is not None
            try:
                on_replaced(result)
            except Exception:  # a full disk, or a fault of the program's
                return StartRefused("lost", "the replaced program cannot be written down")
            result = await self._ask(lambda: start(True))
        return result if isinstance(result, StartRefused) else self._kernel.with_descriptors(result)

    async def take_held(self) -> list[HeldJob]:
        held: list[Group] = await self._ask(self._kernel.held)
        found = []
        for each in held:
            begun = self._kernel.with_descriptors(each)
            found.append(HeldJob(each.id, each.owner, begun.started, begun.pipes))
        return found

    async def wait_main_exited(self, job_id: str) -> None:
        await self._until(self._kernel.groups[job_id], "exit_told")

    async def wait(self, job_id: str) -> Verdict:
        group = self._kernel.groups.get(job_id)
        if group is None:
            return Verdict("lost", detail="it never began")
        await self._until(group, "verdict")
        assert group.verdict is not None
        return group.verdict

    async def _until(self, group: Group, what: str) -> None:
        self._process.check()
        if getattr(group, what):
            await trio.lowlevel.checkpoint()
        while not getattr(group, what):
            await group.changed.park()
            self._process.check()

    async def signal(
        self, job_id: str, number: int, *, tree: bool = False, kill_after_s: float | None = None
    ) -> int:
        count: int = await self._answer(
            lambda: self._kernel.signal(job_id, number, tree, kill_after_s)
        )
        return count

    async def set_paused(self, job_id: str, paused: bool) -> str:
        why: str = await self._answer(lambda: self._kernel.set_paused(job_id, paused))
        self.on_paused(job_id)
        return why

    def is_paused(self, job_id: str) -> bool:
        self._process.check()
        group = self._kernel.groups.get(job_id)
        return group is not None and group.paused

    def holds_limits(self) -> bool:
        return False

    async def look_at_limits(self, job_id: str) -> None:
        await trio.lowlevel.checkpoint()

    async def inspect(self, job_id: str) -> list[Left]:
        left: list[Left] = await self._answer(lambda: self._kernel.inspect(job_id))
        return left

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        if not self.is_silent():
            with trio.CancelScope() as scope:
                self._kernel.unanswered.add(scope)
                try:
                    await wait()
                    return True
                finally:
                    self._kernel.unanswered.discard(scope)
            self._process.check()
        await trio.lowlevel.checkpoint()
        return False

    def is_silent(self) -> bool:
        self._process.check()
        return self._kernel.is_silent

    def close_input(self, job_id: str) -> None:
        self._process.effect()
        self._kernel.ask(lambda: self._kernel.close_input(job_id))

    async def kill(self, job_id: str) -> int:
        self._process.check()
        self._kernel.kill_wanted(job_id)
        count: int = 0
        # As local.py: by the descriptor of the group's cgroup.kill if nobody answers.
        with trio.move_on_after(1.0) as bound:
            count = await self._ask(lambda: self._kernel.kill_asked(job_id))
        if bound.cancelled_caught:
            self._process.effect()
            self._kernel.kill(job_id)
        return count

    def release(self, job_id: str) -> None:
        self._process.effect()
        self._kernel.ask(lambda: self._kernel.release(job_id))

    def capabilities(self) -> Mapping[str, Any]:
        self._process.check()
        policy = self.reloads.welcome.policy
        return {"mode": "user", "kind": "sim", "boot_id": "boot", "policy": policy, "limits": []}

    # What a reload says of the host.
    mode, kind = "user", "sim"
    limits: tuple[Any, ...] = ()
    warnings: tuple[str, ...] = ()
    userless: Mapping[str, str] = {}
