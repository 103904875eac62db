"""The simulation's programs on a real server that is killed meanwhile; histories are judged."""

from collections import Counter
from collections.abc import Iterator

import pytest
from machines.batches import play_batch, seeded_batch
from machines.real import CLIENTS, COMMANDS
from running import RunningServer, policy_text, running_server


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


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
    for number in range(batches):
        batch = seeded_batch(str(number), f"b{number}", programs, kills)
        outcome = await play_batch(server, batch)
        assert not outcome.wrong, outcome.text()
        done += outcome.done
    print(f"{batches * programs} programs, {outcome.jobs} jobs: {done}")
    # By the last questions alone, if any start was answered.
    assert {"started", "stopped", "job", "read"} <= {told.what for told in outcome.history.told}
