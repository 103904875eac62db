"""The simulation's programs on a real server that is killed meanwhile; histories are judged."""

from collections import Counter
from collections.abc import Iterator

import pytest
from machines.batches import play_batch, seeded_batch
from machines.judging import judge, records
from machines.peeking import KINDS
from machines.programs import Act, Actor, Behaviour, Fault, Op, Program
from machines.real import CLIENTS, COMMANDS, History, RealPlayer, play
from patience import patient
from running import IS_ROOT, RunningServer, policy_text, running_server

from penstock.proto import command_pb2 as pb


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("batches", "programs", "kills"),
    [(1, 10, 2), pytest.param(20, 20, 4, marks=pytest.mark.slow)],
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


async def test_a_client_that_is_taken_for_another_is_noticed_by_each_call(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: bob comes with alice's certificate, so that whatever he asks about her jobs, a job
    a call, is not hidden from him."""
    endpoint = server.endpoint
    monkeypatch.setattr(server, "endpoint", lambda client: endpoint("alice"))
    long = Behaviour((Act("write", size=1), Act("sleep", seconds=100.0)))
    jobs = tuple(Behaviour(long.acts, stdin=at == 8) for at in range(KINDS))
    program = Program(jobs=(*jobs[:3], Behaviour(), *jobs[4:]))  # the fourth is waited for
    history = History()
    starts = tuple(Op("start", job=at) for at in range(KINDS))
    peeks = tuple(Op("peek", job=at) for at in range(KINDS))
    for actor in (Actor("alice", starts), Actor("bob", peeks)):
        await RealPlayer(server, program, actor, actor.owner, history).run()
    told = {wrong.split()[4] for wrong in history.wrong if "was told by" in wrong}
    unary = {"Status", "Stop", "Signal", "Wait", "Resume"} | ({"Pause"} if IS_ROOT else set())
    assert told == unary | {"StreamOutput", "SendInput"}
    # And that a job runs, by Remove, and without root that none can be paused, by Pause.
    assert len(history.wrong) == KINDS, history.wrong


@pytest.mark.parametrize("planted", [False, True], ids=["true", "planted"])
async def test_input_that_a_job_did_not_get_is_noticed_over_a_kill(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, *, planted: bool
) -> None:
    """Planted: a byte on the way is another one. The job reads while the server is killed."""
    if planted:
        true = pb.SendInputRequest
        monkeypatch.setattr(
            pb, "SendInputRequest", lambda **what: true(**what | _other_byte(what.get("data")))
        )
    job = Behaviour((Act("sleep", seconds=5.0), Act("read"), Act("write", size=100)), stdin=True)
    begin = (Op("start", within=patient(20)), Op("input", number=12, within=patient(20)))
    # Each twice, as the kill cuts one of them: once all are done, the job has read to its end.
    again = (Op("input", number=12, within=patient(20)), *(Op("wait", within=patient(20)),) * 2)
    ops = (*begin, *again)
    history = History()
    programs = {"p": Program((Actor("alice", ops),), (job,))}

    def some_was_accepted() -> bool:
        return any(map(history.feeding.told, history.handles.get("alice", [])))

    await play(server, programs, (Fault("crash", at=0.5),), history, after=some_was_accepted)
    wrong = judge(history, records(server.directory / "state" / "penstock.db"))
    assert any("something else than the input" in each for each in wrong) == planted, wrong
    assert bool(wrong) == planted, wrong


def _other_byte(data: bytes | None) -> dict[str, bytes]:
    return {"data": bytes([data[0] ^ 1]) + data[1:]} if data else {}
