"""Any program in any schedule: all that invariants.py says holds."""

from hypothesis import HealthCheck, given, settings

from machines.programs import Act, Actor, Behaviour, Fault, Op, Program, programs, schedules
from machines.run import run, run_many
from machines.schedule import Schedule


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs(), schedule=schedules())
def test_any_program_in_any_schedule(program: Program, schedule: Schedule) -> None:
    """Hypothesis shrinks what fails; FIFO in the result means that it is no race."""
    run(program, schedule)


def test_the_programs_of_a_seed() -> None:
    """The long form in small; ``tools/test --all`` runs more of them."""
    tally = run_many(1, programs=150)
    assert tally.broken is None, tally.broken.text()
    assert tally.programs == 150
    rows = {f"C{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 16, 17, 20, 21)}
    assert rows <= set(tally.covered), rows - set(tally.covered)
    assert set(tally.schedules) == {"fifo", "shuffle", "hold", "lag"}


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
