"""A held job's messages, over processes that only say what they are told to say."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from patience import patient

from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import (
    LIMIT_NAMES,
    NO_LIMITS,
    Enforcement,
    LimitClass,
    LimitName,
    Need,
    ResourceLimits,
    Rlimit,
)
from penstock.policy.policy_file import Command
from penstock.supervisor.cgroups import LimitChange, LimitCheck
from penstock.supervisor.ipc.from_supervisor import MOST_CHANGES
from penstock.supervisor.ipc.message_base import Message
from penstock.supervisor.ipc.message_record import write_record
from penstock.supervisor.job import supervised_job
from penstock.supervisor.job.cgroup_processes import Events
from penstock.supervisor.job.effective_start import EffectiveStart
from penstock.supervisor.job.spawn import Plan
from penstock.supervisor.job.supervised_job import SupervisedJob
from penstock.supervisor.kernel.clone3 import NOWHERE, CgroupEntrance
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.storage.workdirs import Workdir

PLAN = Plan(-1, [b"x"], {}, "/", None, NOWHERE, -1, -1, -1)


class Scripted:
    """Processes whose events the test calls; ``busy`` closes fail first."""

    def __init__(self, busy: int = 0) -> None:
        self.entries: list[Enforcement] = []
        self.client_entries: list[Enforcement] = []
        self.usage_files: dict[str, str] = {}
        self.limit_check: LimitCheck | None = None
        self.events: Events | None = None
        self.kills = 0
        self.signals: list[tuple[int, bool]] = []
        self.busy = busy
        self.freezes = [False]
        self.can_freeze = True
        self.let_runs = 0

    def start(self, plan: Plan, events: Events) -> None:
        self.events = events

    def entrance(self) -> CgroupEntrance:
        return NOWHERE

    def kill_fd(self) -> int | None:
        return None

    def signal(self, number: int, tree: bool = False) -> int:
        self.signals.append((number, tree))
        return 1

    def freeze(self, frozen: bool) -> None:
        self.freezes.append(frozen)

    def frozen(self) -> bool:
        return self.freezes[-1] and self.can_freeze

    def let_run(self) -> list[str]:
        self.let_runs += 1
        return []

    def kill(self) -> int:
        self.kills += 1
        return 1

    def pids(self) -> list[int]:
        return []

    def place(self) -> tuple[str, int]:
        return "", 0

    def close(self) -> bool:
        self.busy -= 1
        return self.busy < 0


def class_of(storage_bytes: int | None, rlimits: dict[str, Rlimit]) -> LimitClass:
    limits = ResourceLimits(storage_bytes=storage_bytes)
    needs: dict[LimitName, Need] = dict.fromkeys(LIMIT_NAMES, "best_effort")
    return LimitClass("free", limits, needs, rlimits=rlimits)


class Held:
    def __init__(
        self,
        busy: int = 0,
        control: Control | None = None,
        limit_class: LimitClass | None = None,
    ) -> None:
        self.loop = Loop()
        self.processes = Scripted(busy)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.forgotten: list[str] = []
        limit_class = limit_class or class_of(None, {})
        command = Command("x", "/x", "free", control=control or Control())
        effective = EffectiveStart(command, ["/x"], None, limit_class, NO_LIMITS)
        told = self.forgotten.append
        self.job = SupervisedJob(self.loop, "1" * 32, "", effective, self.processes, told)
        self.job.send = self.send

    def send(self, message: Message, descriptors: Sequence[int] = (), /) -> None:
        self.sent.append((message.kind, write_record(message)))

    def start(self) -> Events:
        self.job.start(PLAN, {}, None)
        assert self.processes.events is not None
        return self.processes.events

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


def test_it_is_held_until_release() -> None:
    """After the last process there is RELEASE, and only then it is forgotten."""
    it = Held()
    events = it.start()
    events.started(os.getpid())
    events.exited(0, {})
    events.emptied(0, {})
    assert it.kinds == ["STARTED", "EXITED", "EMPTIED"]
    assert it.forgotten == []
    it.job.release()
    it.job.release()
    assert it.forgotten == [it.job.id]


def test_its_directories_go_when_it_is_empty_not_when_it_is_released(tmp_path: Path) -> None:
    """Without a server nobody releases it, and the disk may be full of what it has written."""
    directory = tmp_path / "job"
    (directory / "below").mkdir(parents=True)
    (directory / "below" / "file").touch()
    it = Held()
    it.job.start(PLAN, {}, Workdir(it.loop, str(directory)))
    events = it.processes.events
    assert events is not None
    events.started(os.getpid())
    events.exited(0, {})
    assert directory.exists()
    events.emptied(0, {})
    run_until(it.loop, lambda: not directory.exists())
    assert it.forgotten == []
    it.job.release()
    run_until(it.loop, lambda: bool(it.forgotten))  # at once, if who removed it is reaped already
    assert it.forgotten == [it.job.id]


def test_released_while_its_directories_go_it_is_forgotten_after_that(tmp_path: Path) -> None:
    """Who is told that nothing is left finds nothing."""
    directory = tmp_path / "job"
    (directory / "below").mkdir(parents=True)
    (directory / "file").touch()
    it = Held()
    it.job.start(PLAN, {}, Workdir(it.loop, str(directory)))
    events = it.processes.events
    assert events is not None
    events.started(os.getpid())
    events.exited(0, {})
    events.emptied(0, {})
    it.job.release()
    assert it.forgotten == []
    run_until(it.loop, lambda: bool(it.forgotten))
    assert (directory.exists(), it.forgotten) == (False, [it.job.id])


def run_until(loop: Loop, happened: Callable[[], bool]) -> None:
    """Or until it should have long ago."""
    deadline = time.monotonic() + patient(5)

    def look() -> None:
        if happened() or time.monotonic() >= deadline:
            loop.stop()
        else:
            loop.after(0.02, look)

    loop.after(0.0, look)
    loop.run()


@pytest.mark.parametrize(
    ("storage_bytes", "fsize", "full"),
    [(2000, None, True), (2000, 3000, True), (2000, 1000, False), (None, 1000, False)],
)
def test_a_file_that_is_too_long_for_its_rlimit_fills_no_storage(
    storage_bytes: int | None, fsize: int | None, full: bool
) -> None:
    """SIGXFSZ says that some limit of a file's length was met; the lower one was."""
    rlimits = {} if fsize is None else {"fsize": Rlimit(fsize, fsize)}
    it = Held(limit_class=class_of(storage_bytes, rlimits))
    events = it.start()
    events.started(os.getpid())
    events.exited(signal.SIGXFSZ, {})
    assert it.sent[-1][1]["storage_full"] == full
    it.job.release()
    events.emptied(0, {})


def test_released_early_it_is_killed_and_forgotten_when_empty() -> None:
    """Nobody is left running without a holder."""
    it = Held()
    events = it.start()
    events.started(os.getpid())
    it.job.release()
    assert (it.processes.kills, it.forgotten) == (1, [])
    events.exited(9, {})
    events.emptied(1, {})
    assert it.forgotten == [it.job.id]


def test_released_while_it_starts_it_is_killed_when_it_runs() -> None:
    """A KILL before the exec could have come before the child entered its group."""
    it = Held()
    events = it.start()
    it.job.release()
    events.started(os.getpid())
    assert it.processes.kills == 2


def test_a_refusal_comes_when_nothing_is_left() -> None:
    """A group that stays busy for a moment delays it."""
    it = Held(busy=2)
    it.start().failed("exec", 2)
    assert (it.kinds, it.forgotten) == ([], [])
    it.loop.after(0.1, it.loop.stop)
    it.loop.run()
    assert it.forgotten == [it.job.id]
    assert it.kinds == ["REFUSED"]
    assert (it.sent[0][1]["stage"], it.sent[0][1]["fault"]) == ("exec", "executable")


def test_an_exec_that_hangs_is_refused_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told at the bound, once; what still happens stays silent."""
    monkeypatch.setattr(supervised_job, "START_TIMEOUT_S", 0.01)
    it = Held()
    events = it.start()
    it.loop.after(0.03, it.loop.stop)
    it.loop.run()
    assert it.kinds == ["REFUSED"]
    assert it.processes.kills == 1
    events.started(os.getpid())
    events.exited(9, {})
    events.emptied(1, {})
    assert it.kinds == ["REFUSED"]
    assert it.forgotten == [it.job.id]


def test_it_is_asked_to_end_as_its_command_says() -> None:
    """Its own signal, to the tree; paused, it could not heed it, so it runs on, and says so."""
    it = Held(control=Control(stop_signal=2, stop_tree=True))
    it.start().started(os.getpid())
    it.job.pause(True)
    assert it.processes.freezes[-1]
    it.job.ask_end()
    assert it.processes.signals == [(2, True)]
    assert not it.processes.freezes[-1]
    assert it.kinds == ["STARTED", "PAUSED", "RESUMED"]
    it.job.ask_end()
    assert it.kinds[3:] == []
    assert it.processes.let_runs == 2, "it may stand still for other reasons"


def test_a_stop_is_ended_though_nobody_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """C24: its server may stand still, or be dead: KILL a moment after the grace."""
    monkeypatch.setattr(supervised_job, "_SERVER_IS_LATE_S", 0.01)
    it = Held()
    events = it.start()
    events.started(os.getpid())
    it.job.kill_after(1000.0)
    it.job.kill_after(0.01)  # the last one counts
    it.loop.after(0.1, it.loop.stop)
    it.loop.run()
    assert it.processes.kills == 1
    events.exited(9, {})
    assert it.sent[-1][1]["escalated"]
    events.emptied(1, {})
    it.job.release()


def test_a_stop_that_is_heeded_ends_in_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that comes when all is over."""
    monkeypatch.setattr(supervised_job, "_SERVER_IS_LATE_S", 0.01)
    it = Held()
    events = it.start()
    events.started(os.getpid())
    it.job.kill_after(0.01)
    events.exited(0, {})
    it.job.kill_after(0.01)
    it.loop.after(0.1, it.loop.stop)
    it.loop.run()
    assert it.processes.kills == 0
    assert not it.sent[-1][1]["escalated"]
    events.emptied(0, {})
    it.job.release()


def test_changed_limits_are_told_to_the_server_that_comes() -> None:
    """What nobody heard is not lost, and told once; it does not come before the job itself."""
    it = Held()
    it.start().started(os.getpid())
    change = LimitChange("job", "cpu", "cpu.max", "max 100000", "5000 100000", put_back=True)
    it.job.limits_changed([change])
    assert it.kinds == ["STARTED", "CHANGED"]
    (told,) = it.sent[-1][1]["changes"]
    assert (told["found"], told["put_back"]) == ("max 100000", True)
    it.job.disconnect()
    for _ in range(100):
        it.job.limits_changed([change])
    assert len(it.sent) == 2
    it.job.hand_over(it.send)
    assert it.kinds[2:] == ["HELD", "CHANGED"]
    assert len(it.sent[-1][1]["changes"]) == MOST_CHANGES
    it.job.disconnect()
    it.job.hand_over(it.send)
    assert it.kinds[4:] == ["HELD"]
