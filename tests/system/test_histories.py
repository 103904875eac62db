"""The simulation's programs on a real server that is killed meanwhile; histories are judged."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest
from machines.judging import judge, records
from machines.programs import Fault, Program, Seeded, make_program
from machines.real import CLIENTS, COMMANDS, play
from running import RunningServer, policy_text, running_server

# Removed jobs have no record to be judged by.
_LEFT_OUT = ("remove",)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def _program(choose: Seeded) -> Program:
    """One of the simulation's; of its faults, kills are left."""
    program = make_program(choose, faults=False)
    actors = []
    for actor in program.actors:
        # The first is a start; without its answer there is nothing to do the rest to.
        first = dataclasses.replace(actor.ops[0], within=None)
        rest = (op for op in actor.ops[1:] if op.what not in _LEFT_OUT)
        actors.append(dataclasses.replace(actor, ops=(first, *rest)))
    return dataclasses.replace(program, actors=tuple(actors))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("batches", "programs", "kills"),
    [(1, 20, 3), pytest.param(20, 20, 4, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
async def test_what_clients_of_a_killed_server_were_told_is_consistent(
    server: RunningServer, batches: int, programs: int, kills: int
) -> None:
    done: Counter[str] = Counter()
    for batch in range(batches):
        choose = Seeded(f"real:{batch}")
        names = {f"b{batch}p{number}": _program(choose) for number in range(programs)}
        faults = [
            Fault("crash" if number == 0 else choose.pick(("crash", "leave")), at=5.0)
            for number in range(kills)
        ]
        history = await play(server, names, faults)
        found = records(server.directory / "state" / "penstock.db")
        wrong = judge(history, found)
        assert not wrong, "\n".join([*wrong, repr(names), *map(repr, history.told)])
        done += history.done
    print(f"{batches * programs} programs, {len(found)} jobs: {done}")
    # By the last questions alone, if any start was answered.
    assert {"started", "stopped", "job", "read"} <= {told.what for told in history.told}
