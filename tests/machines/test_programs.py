"""Any program in any schedule: all that invariants.py says holds."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from machines.programs import Act, Actor, Behaviour, Fault, Op, Program, programs, schedules
from machines.run import run, run_many
from machines.schedule import Schedule
from machines.timeline import Broken
from penstock.policy.policy_file import ClientPolicy
from penstock.server.rate_limits import Quotas, QuotaUse
from penstock.server.service_whoami import WhoAmICalls


@pytest.mark.parametrize(
    "examples", [25, pytest.param(100, marks=(pytest.mark.slow, pytest.mark.timeout(300)))]
)
def test_any_program_in_any_schedule(examples: int) -> None:
    """Hypothesis shrinks what fails; FIFO in the result means that it is no race."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(program=programs(), schedule=schedules())
    def holds(program: Program, schedule: Schedule) -> None:
        run(program, schedule)

    holds()


def test_the_programs_of_a_seed() -> None:
    """The long form in small; ``tools/test --all`` runs more of them."""
    tally = run_many(1, programs=80)
    assert tally.broken is None, tally.broken.text()
    assert tally.programs == 80
    rows = {f"C{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 16, 17, 20, 21)}
    assert rows <= set(tally.covered), rows - set(tally.covered)
    assert set(tally.schedules) == {"fifo", "shuffle", "hold", "lag"}


@pytest.mark.parametrize("how", ["cancel", "deadline", "cut"])
def test_who_asks_what_it_may_do_is_told_through_crashes(how: str) -> None:
    """Its own, all of it in pages, and what runs; C43: who leaves in the middle leaves nothing."""
    ops = (Op("whoami"), Op("start"), Op("whoami", after=0.1), Op("whoami", within=0.02, how=how))
    actors = (Actor("alice", (*ops, Op("whoami", after=2.0))), Actor("bob", ops[::-1]))
    faults = (Fault("crash", at=0.15), Fault("audit", at=0.05), Fault("crash", at=1.0))
    job = Behaviour((Act("sleep", seconds=5.0),))
    result = run(Program(actors, (job,), faults, latency=0.005))
    told = [(who, what) for _, who, what in result.timeline.lines]
    assert told.count(("alice.0", "whoami: done")) >= 2
    assert result.lives == 3
    assert "C43" in result.covered or how != "cancel"


def test_a_whoami_that_leaves_something_out_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a command nor a job that runs can be missing."""
    names, used = WhoAmICalls._names, Quotas.used

    def fewer(*args: Any) -> list[str]:
        return names(*args)[:-1]

    def none_runs(quotas: Quotas, client: ClientPolicy, running: int) -> tuple[QuotaUse, ...]:
        return used(quotas, client, 0)

    job = Behaviour((Act("sleep", seconds=5.0),))
    program = Program((Actor("alice", (Op("start"), Op("whoami"))),), (job,))
    with monkeypatch.context() as planted:
        planted.setattr(WhoAmICalls, "_names", fewer)
        with pytest.raises(Broken, match="alone"):
            run(program)
    with monkeypatch.context() as planted:
        planted.setattr(Quotas, "used", none_runs)
        with pytest.raises(Broken, match="it has 0 jobs that run"):
            run(program)
    run(program)


def test_a_day_of_a_job() -> None:
    """What a program looks like: a job that writes, is followed through a crash, and is stopped."""
    job = Behaviour((Act("write", 20_000), Act("sleep", seconds=5.0), Act("write", 7, stream=2)))
    actors = (
        Actor("alice", (Op("start"), Op("stream"), Op("stop"), Op("status"))),
        Actor("bob", (Op("start", after=1.0), Op("peek"), Op("list", flag=True))),
    )
    result = run(Program(actors, (job,), (Fault("crash", at=2.0),)))
    told = [(who, what) for _, who, what in result.timeline.lines]
    assert ("server", "life 1 begins") in told
    assert ("alice.0", "stream: done") in told
    assert ("alice.0", "stop: done") in told
    assert result.lives == 2
