"""The simulated system by rules: whatever is done next, the invariants hold after it."""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from machines.by_hand import Job as Asked
from machines.by_hand import Machine
from machines.kernel import SimBackend
from machines.programs import Act, Fault, Op
from machines.rules import Rules
from machines.schedule import Schedule
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job import Job

_COMMON: Final[dict[str, Any]] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": False,
    # Not explain: what it traces takes ten times as long, and the steps explain enough.
    "phases": [Phase.generate, Phase.shrink],
}
_SHORT: Final = settings(derandomize=True, max_examples=50, stateful_step_count=30, **_COMMON)


@pytest.mark.parametrize(
    "budget",
    [
        _SHORT,
        pytest.param(
            settings(max_examples=800, stateful_step_count=60, **_COMMON),
            # The longest of all: its bound lets it begin first, or one worker ends alone.
            marks=[pytest.mark.slow, pytest.mark.timeout(900)],
        ),
        pytest.param(
            settings(max_examples=3_000, stateful_step_count=60, **_COMMON),
            marks=[pytest.mark.release],
        ),
    ],
    ids=["short", "long", "longest"],
)
def test_whatever_is_done_next_the_invariants_hold(budget: settings) -> None:
    run_state_machine_as_test(Rules, settings=budget)


async def _early_stop(self: Job, **asked: Any) -> tuple[EndRecord, bool]:
    """Answers when the main process has ended, not when the tree is dead."""
    self.ask_stop(**asked)
    if self.end is None and self.backend is not None:
        await self.backend.wait_main_exited(self.id)
    return self.end or EndRecord("stopped", 0), False


@pytest.mark.slow
def test_a_stop_that_answers_early_is_found_and_its_steps_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Job, "stop", _early_stop)
    with pytest.raises(AssertionError, match=r"is stopped, and|without its end record") as caught:
        run_state_machine_as_test(
            Rules, settings=settings(_SHORT, max_examples=500, phases=[Phase.generate])
        )
    steps = "\n".join(caught.value.__notes__)
    assert "jobs_0 = state.boot(" in steps
    assert "state.stop(" in steps
    assert "timeline (virtual seconds)" in str(caught.value)


def test_input_that_cannot_be_noted_is_not_promised() -> None:
    """Steps that the long search has found: the disk fails between the bytes and the note of them,
    and then server and supervisor die. Whoever had sent it must not have been told that it counts.
    """
    machine = Machine(Schedule())
    try:
        job = Asked("alice")
        machine.asks("alice", job, Op("start"))
        machine.passes(1.0)
        machine.cause(Fault("eio", number=1))
        machine.asks("alice", job, Op("input", number=5))
        machine.cause(Fault("crash"))
        machine.cause(Fault("supervisor"))
    finally:
        machine.end()
    assert "input: FAILED_PRECONDITION" in machine.timeline.text()


def test_steps_written_by_hand_are_played_the_same_each_time() -> None:
    """Two machines, one after another, in an order that is drawn: the same time line."""
    first, second = (_played(Schedule("hold", 7)) for _ in range(2))
    assert first == second
    assert "alice      stop: done" in first


def _played(schedule: Schedule) -> str:
    machine = Machine(schedule, latency=0.005, kernel=0.1)
    try:
        jobs = [Asked("alice"), Asked("bob")]
        for job in jobs:
            machine.asks(job.owner, job, Op("start"))
        machine.passes(1.0)
        for job in jobs:
            machine.order(job, Act("write", size=100))
            machine.order(job, Act("daemon", seconds=5.0, deaf=True))
            machine.asks(job.owner, job, Op("stop"))
        machine.passes(5.0)
    finally:
        machine.end()
    return machine.timeline.text()


@pytest.mark.parametrize("says_that_it_is_a_stop", [True, False])
def test_who_stands_still_hears_a_stop_or_it_is_found(
    monkeypatch: pytest.MonkeyPatch, says_that_it_is_a_stop: bool
) -> None:
    """The supervisor lets run whom it knows to be stopped; of another signal it cannot know."""
    true = SimBackend.signal

    async def signal(
        self: SimBackend,
        job_id: str,
        number: int,
        *,
        tree: bool = False,
        kill_after_s: float | None = None,
    ) -> int:
        grace_s = kill_after_s if says_that_it_is_a_stop else None
        return await true(self, job_id, number, tree=tree, kill_after_s=grace_s)

    monkeypatch.setattr(SimBackend, "signal", signal)
    machine = Machine(Schedule())
    job = Asked("alice")
    machine.asks("alice", job, Op("start"))
    machine.passes(1.0)
    machine.order(job, Act("halt"))
    machine.asks("alice", job, Op("stop"))
    machine.passes(10.0)
    if says_that_it_is_a_stop:
        machine.end()
        return
    with pytest.raises(AssertionError, match="stood still, and was killed before it could hear"):
        machine.end()
