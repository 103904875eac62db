"""A start whose rules were replaced under way: decided anew, asked for again, and one job."""

from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend

from penstock.jobs.backends.base import JobSpec, StartRefused
from penstock.jobs.job import Job
from penstock.jobs.job_errors import JobError, NotGranted, Unavailable
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.states import JobState

SLEEP = JobSpec("sleep")


class Rules:
    """What a server does: decides by what is in force, and remembers what it was asked."""

    def __init__(self, answer: StartRefused | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, JobSpec]] = []

    async def decide(self, owner: str, spec: JobSpec) -> StartRefused | None:
        await trio.lowlevel.checkpoint()
        self.asked.append((owner, spec))
        return self.answer


async def started(manager: Manager, found: list[Job | JobError]) -> None:
    try:
        found.append(await manager.start("alice", SLEEP, request_id="r"))
    except JobError as error:
        found.append(error)


async def test_a_start_that_met_another_policy_is_asked_for_again(tmp_path: Path) -> None:
    """C73: once this side has switched, too; two callers with one request id get one job, whose
    record names the policy that it was started by."""
    backend, rules = FakeBackend(), Rules()
    backend.supervisors_generation = "next"
    found: list[Job | JobError] = []
    async with open_manager(backend, str(tmp_path)) as manager:
        manager.starts.decide_again = rules.decide
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(started, manager, found)
            await trio.testing.wait_all_tasks_blocked()
            assert (backend.asked_by, backend.jobs, rules.asked) == (["hash"], {}, [])
            backend.switch("next")
        assert backend.asked_by == ["hash", "next"]
        assert rules.asked == [("alice", SLEEP)]
        first, second = found
        assert isinstance(first, Job)
        assert first is second
        assert (first.state, first.policy_hash) == (JobState.RUNNING, "next")
    async with open_manager(FakeBackend(), str(tmp_path)) as manager:
        assert manager.get(first.handle).policy_hash == "next"


async def test_what_the_new_policy_does_not_grant_is_not_asked_for_again(tmp_path: Path) -> None:
    """C73: the caller hears what it says, and the request id is free."""
    backend, rules = FakeBackend(), Rules(StartRefused("denied", "the verb is gone"))
    backend.supervisors_generation = "next"
    async with open_manager(backend, str(tmp_path)) as manager:
        manager.starts.decide_again = rules.decide
        found: list[Job | JobError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(started, manager, found)
            await trio.testing.wait_all_tasks_blocked()
            backend.switch("next")
        (error,) = found
        assert isinstance(error, NotGranted)
        assert str(error) == "the verb is gone"
        assert backend.asked_by == ["hash"]
        assert manager.list(include_finished=True) == []
        rules.answer = None
        await started(manager, found)
        assert isinstance(found[-1], Job)


@pytest.mark.mock_clock
async def test_a_switch_that_does_not_come_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """C73: 10 s, then UNAVAILABLE; nothing is left of the job."""
    backend = FakeBackend()
    backend.supervisors_generation = "next"
    async with open_manager(backend, str(tmp_path)) as manager:
        found: list[Job | JobError] = []
        began = trio.current_time()
        await started(manager, found)
        assert trio.current_time() - began == pytest.approx(10)
        assert isinstance(found[0], Unavailable)
        assert manager.list(include_finished=True) == []


async def test_a_policy_that_is_replaced_again_and_again(tmp_path: Path) -> None:
    """C73: a few times, then UNAVAILABLE, which asks the caller to repeat it."""
    backend, rules = FakeBackend(), Rules()
    backend.supervisors_generation = "never here"
    async with open_manager(backend, str(tmp_path)) as manager:
        manager.starts.decide_again = rules.decide
        found: list[Job | JobError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(started, manager, found)
            for number in range(5):
                await trio.testing.wait_all_tasks_blocked()
                backend.generation = str(number)
                backend.switched.unpark_all()
        assert isinstance(found[0], Unavailable)
        assert "again and again" in str(found[0])
        assert backend.asked_by == ["hash", "0", "1", "2", "3"]
