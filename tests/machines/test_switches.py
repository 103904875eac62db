"""Files are changed in the middle of everything; and what is wrong with that is noticed.

What must hold is said in switches.py: bytes, owners and ends as ever, no START by rules that only
one side has, no call and no job beyond the right to it.
"""

from collections import Counter
from typing import Any

import pytest

from machines.programs import Act, Actor, Behaviour, Fault, Op, Program
from machines.run import run
from machines.timeline import Broken
from penstock.jobs import start_attempts
from penstock.jobs.backends.reloads import Reloads
from penstock.jobs.manager import Manager
from penstock.rpc.grpc_server import Server
from penstock.server import lost_rights
from penstock.server.service_start import StartCalls

_WRITES = Behaviour((Act("write", 20_000), Act("sleep", seconds=5.0), Act("write", 7, stream=2)))
_ALICE, _BOB, _BOBS_VERBS = 0, 1, 3
_STOPS = 2.0


def changing(
    number: int, seconds: float = 0.0, *more: Fault, every: float = 0.15, **how: Any
) -> Program:
    """Both follow a job, and bob starts others all the time."""
    actors = (
        Actor("alice", (Op("start"), Op("stream"), Op("status"))),
        Actor("bob", (Op("start"), Op("stream"), Op("list"))),
        Actor("bob", (Op("start"), Op("watch", number=1))),
        Actor("bob", tuple(Op("start", after=every) for _ in range(25))),
    )
    fault = Fault("reload", at=1.0, seconds=seconds, number=number)
    return Program(actors, (_WRITES,), (fault, *more), **how)


def told(program: Program) -> list[tuple[str, str]]:
    return [(who, what) for _, who, what in run(program).timeline.lines]


def test_who_is_out_loses_calls_and_jobs_and_comes_in_again() -> None:
    """C74: at the moment of the switch; the other one notices nothing."""
    lines = told(changing(_BOB, _STOPS))
    denied = "PERMISSION_DENIED: bob is no client of this server"
    for call in ("stream", "watch"):
        assert any(what == f"{call}: {denied}" for _, what in lines)
    assert ("bob.3", "start: UNAUTHENTICATED: bob is no client of this server") in lines
    assert ("alice.0", "stream: done") in lines
    counts = Counter(what for who, what in lines if who == "audit")
    assert (counts["reload"], counts["client.revoked"]) == (2, 1)
    assert ("bob.3", "start: done") in lines[lines.index(("audit", "reload")) :]


def test_who_has_lost_verbs_keeps_the_others() -> None:
    """C74: it starts and lists as before."""
    lines = told(changing(_BOBS_VERBS))
    assert any(what.startswith("stream: PERMISSION_DENIED: the verb") for _, what in lines)
    assert ("bob.1", "list: done") in lines
    assert not any(what.startswith("start: PERMISSION") for _, what in lines)


@pytest.mark.parametrize("kernel", [0.005, 0.1])
def test_a_start_between_the_two_switches_is_decided_anew(kernel: float) -> None:
    """C73: the supervisor has the new files already, the server not yet."""
    result = run(changing(_ALICE, 0.0, every=0.1, kernel=kernel))
    assert {"C73", "C74"} <= result.covered
    lines = [(who, what) for _, who, what in result.timeline.lines]
    assert lines.count(("bob.3", "start: done")) == 25


@pytest.mark.parametrize("at", [0.95, 1.05, 1.15, 1.3])
def test_a_server_that_dies_in_the_middle_changes_nothing(at: float) -> None:
    """C75: before PREPARE, while it prepares, between the switches, or after."""
    result = run(changing(_BOB, _STOPS, Fault("crash", at=at), kernel=0.1))
    assert result.lives == 2
    assert "C74" in result.covered


def never(*_: Any) -> Any:
    return 0


@pytest.mark.parametrize(
    ("place", "name", "planted", "says"),
    [
        (Server, "withdraw", never, "runs on without the right"),
        (lost_rights, "stop_jobs_of_the_gone", lambda *_: Counter(), "who is gone, runs on"),
        (Manager, "use", None, ""),
    ],
    ids=["calls", "jobs", "nothing"],
)
def test_rights_that_are_not_ended_are_noticed(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, planted: Any, says: str
) -> None:
    """C74, planted; and nothing is noticed where nothing is."""
    if planted is None:
        run(changing(_BOB, _STOPS))
        return
    monkeypatch.setattr(place, name, planted)
    with pytest.raises(Broken, match=says):
        run(changing(_BOB, _STOPS))


def test_a_start_by_the_rules_of_another_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C73, planted: what was refused as stale is asked for again without being decided."""

    async def granted(self: StartCalls, owner: str, spec: Any) -> None:
        await start_attempts.leave_it_to_the_supervisor(owner, spec)

    monkeypatch.setattr(StartCalls, "still_granted", granted)
    with pytest.raises(Broken, match="a START of bob's that its own policy denies"):
        run(changing(_BOB, _STOPS, kernel=0.1))


def test_a_generation_that_is_not_the_decisions_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C73, planted: START says what is in force as it is sent, whatever has decided it."""
    taken = Reloads.deliver

    def switched_only_by_name(self: Reloads, message: Any, fds: list[int]) -> None:
        self.on_switch = lambda offered, switch: ()
        taken(self, message, fds)

    monkeypatch.setattr(Reloads, "deliver", switched_only_by_name)
    with pytest.raises(Broken, match=r"its own policy denies|runs on"):
        run(changing(_BOB, _STOPS))
