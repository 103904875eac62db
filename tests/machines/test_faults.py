"""Faults that are themselves cancellations: that the simulation notices where one does nothing."""

import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import trio

from machines.kernel import SimBackend
from machines.programs import Act, Actor, Behaviour, Fault, Op, Program
from machines.run import run
from machines.timeline import Broken
from penstock.jobs import end_recorder, manager
from penstock.jobs import verdict as ending_module
from penstock.jobs.lifecycle import JobRunner
from penstock.rpc.grpc_server import Server
from penstock.server.admission import Admission
from penstock.server.repeat_budget import RepeatBudget

_DEAF = Behaviour((Act("deaf"), Act("sleep", seconds=5.0), Act("sleep", seconds=5.0)))


def _waits(*faults: Fault) -> Program:
    return Program((Actor("alice", (Op("start"), Op("wait"))),), (_DEAF,), faults)


def test_a_revoked_client_is_ended_and_its_job_runs_on() -> None:
    """C16: also no way back in while it is revoked."""
    program = _waits(Fault("revoke", at=1.0, seconds=2.0))
    result = run(program)
    told = [(who, what) for _, who, what in result.timeline.lines]
    assert ("alice.0", "wait: UNAUTHENTICATED: the certificate was revoked") in told
    assert "C16" in result.covered
    at = told.index(("world", "faults end"))
    assert ("audit", "job.finished") in told[at:]  # nothing else has ended it


def test_a_revocation_that_ends_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C16, planted."""
    monkeypatch.setattr(Server, "revoke", lambda self, revoked: 0)
    with pytest.raises(Broken, match="run on, whose certificate is good no more"):
        run(_waits(Fault("revoke", at=1.0, seconds=2.0)))


def test_a_client_that_expires_is_ended_and_its_job_runs_on() -> None:
    """C16b: as C16, in the moment in which its certificate ends; with a new one it may come."""
    ops = (Op("start"), Op("wait"), Op("status", after=3.0))
    program = Program((Actor("alice", ops),), (_DEAF,), (Fault("expire", at=1.0, seconds=2.0),))
    result = run(program)
    told = [(who, what) for _, who, what in result.timeline.lines]
    at = {what: at for at, who, what in result.timeline.lines if who == "alice.0"}
    assert at["wait: UNAUTHENTICATED: the certificate has expired"] == pytest.approx(1.0)
    assert "status: done" in at
    assert "C16b" in result.covered
    assert ("audit", "tls.expired") in told
    assert ("audit", "job.finished") in told[told.index(("world", "faults end")) :]


_READS_LATE = Behaviour((Act("sleep", seconds=4.0), Act("read")), stdin=True)


@pytest.mark.parametrize("fault", ["expire", "revoke"])
@pytest.mark.parametrize(
    ("what", "job", "ops", "kernel"),
    [
        # Each answer of the kernel takes half a second, so the start is under way until 1.5 s.
        ("start", _DEAF, (Op("start", request_id="r1"), Op("start", 0, 3.0, request_id="r1")), 0.5),
        ("stop", _DEAF, (Op("start"), Op("stop", seconds=2.0), Op("stop", after=3.0)), 0.0),
        # More than both pipes hold, which the job reads later.
        (
            *("input", _READS_LATE),
            (Op("start"), Op("input", number=200), Op("input", after=3.0, number=200), Op("wait")),
            0.0,
        ),
    ],
)
def test_a_certificate_that_ends_undoes_nothing(
    fault: str, what: str, job: Behaviour, ops: tuple[Op, ...], kernel: float
) -> None:
    """C4, C6, C19, C42: its client is cut off in the middle; with a new one it finds the same job,
    the stop that was under way, and its input where it was accepted."""
    end = Fault(fault, at=1.25, seconds=2.0)
    result = run(Program((Actor("alice", ops),), (job,), (end,), kernel=kernel))
    lines = result.timeline.lines
    told = [(at, line) for at, who, line in lines if who == "alice.0"]
    (refused_at,) = [at for at, line in told if line.startswith(f"{what}: UNAUTHENTICATED")]
    assert refused_at == pytest.approx(1.25)
    assert told[-1][1] == f"{ops[-1].what}: done"
    events = [(at, line) for at, who, line in lines if who == "audit" and line.startswith("job.")]
    assert [line for _, line in events] == ["job.starting", "job.running", "job.finished"]
    if what == "start":
        assert events[1][0] == pytest.approx(1.5), "it went on without its caller"
    elif what == "stop":
        assert events[2][0] == pytest.approx(0.5 + 2.0), "it was its own grace that ended it"


def test_the_next_certificate_may_end_too() -> None:
    """C16b: the first is not forgotten for it."""
    ops = (Op("start"), Op("wait"), Op("status"))
    again = (Fault("expire", at=1.0, seconds=1.0), Fault("expire", at=3.0, seconds=1.0))
    # The second actor comes while the first certificate has ended, the third while the next holds.
    late = (Actor("alice", (Op("status", after=1.5),)), Actor("alice", (Op("wait", after=2.5),)))
    program = Program((Actor("alice", ops), *late), (_DEAF,), again)
    lines = run(program).timeline.lines
    assert [at for at, _, what in lines if what == "tls.expired"] == pytest.approx([1.0, 3.0])


def test_an_end_of_a_certificate_that_ends_nothing_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C16b, planted."""

    async def end_expired(self: Admission, server: Server) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Admission, "end_expired", end_expired)
    with pytest.raises(Broken, match="run on, whose certificate is good no more"):
        run(_waits(Fault("expire", at=1.0, seconds=2.0)))


def test_a_second_signal_ends_the_drain() -> None:
    """C12: the drain would wait for the call."""
    result = run(_waits(Fault("twice", at=1.0, seconds=0.1)))
    lines = {what: at for at, _, what in reversed(result.timeline.lines)}
    assert lines["a second signal"] == 1.1
    assert lines["is gone"] == pytest.approx(1.1 + manager.SHUTDOWN_GRACE_S)


def test_a_second_signal_that_waits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C12, planted."""
    monkeypatch.setattr(manager, "SHUTDOWN_GRACE_S", 30.0)
    long = Behaviour((Act("deaf"), *[Act("sleep", seconds=5.0)] * 8))
    program = Program(
        (Actor("alice", (Op("start"), Op("wait"))),), (long,), (Fault("twice", at=1.0),)
    )
    with pytest.raises(Broken, match="after a second signal"):
        run(program)


def test_a_bug_in_a_handler_costs_its_call_alone() -> None:
    """C15."""
    ops = (Op("start"), Op("list", after=2.0), Op("list"))
    result = run(Program((Actor("alice", ops),), (_DEAF,), (Fault("bug", at=1.0, number=1),)))
    told = [what for _, who, what in result.timeline.lines if who == "alice.0"]
    assert [what[:14] for what in told if what.startswith("list: ")] == [
        "list: INTERNAL",
        "list: done",
    ]


def test_a_supervisor_that_stands_still_holds_up_nobody() -> None:
    """C26: start, signal and stop are answered within 10 s, and KILL comes after the grace."""
    ops = (
        *(Op("start"), Op("signal", after=1.5, number=2), Op("stop", seconds=2.0)),
        *(Op("start", request_id="r1"), Op("start", after=25.0, request_id="r1")),
    )
    still = Fault("still", at=1.0, seconds=10.0)
    result = run(Program((Actor("alice", ops),), (_DEAF,), (still,)))
    told = [(at, what) for at, who, what in result.timeline.lines if who == "alice.0"]
    silent = [at for at, what in told if "UNAVAILABLE" in what]
    assert len(silent) == 3
    assert silent[0] == pytest.approx(10.0)  # it stood still half a second before it was asked
    assert told[-1][1] == "start: done"
    assert "C26" in result.covered


def test_a_supervisor_that_is_waited_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C26, planted: a caller that waits until it goes on."""

    async def waits(self: SimBackend, wait: Callable[[], Awaitable[object]]) -> bool:
        await wait()
        return True

    monkeypatch.setattr(SimBackend, "answered", waits)
    ops = (Op("start"), Op("signal", after=1.5, number=2))
    still = Fault("still", at=1.0, seconds=30.0)
    with pytest.raises(Broken, match="was not answered for"):
        run(Program((Actor("alice", ops),), (_DEAF,), (still,)))


def _told(program: Program) -> list[tuple[float, str]]:
    """What alice has been told, and when."""
    return [(at, what) for at, who, what in run(program).timeline.lines if who == "alice.0"]


# Its end falls into the fault, and is recorded afterwards.
_UNRECORDED = Program(
    (Actor("alice", (Op("start"), Op("wait"), Op("stop"), Op("status", after=20.0))),),
    (Behaviour((Act("sleep", seconds=2.0),)),),
    (Fault("unrecorded", at=1.0, seconds=5.0),),
)


def test_an_end_that_cannot_be_recorded_is_said() -> None:
    """C23: to whoever waits, after a while; whoever asks then is told at once."""
    told = _told(_UNRECORDED)
    silent = [at for at, what in told if "UNAVAILABLE" in what]
    assert len(silent) == 2
    assert silent == pytest.approx([12.0, 12.0], abs=1.5)
    assert told[-1][1] == "status: done"


def test_an_end_that_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C23, planted."""
    monkeypatch.setattr(end_recorder, "RECORD_PATIENCE_S", 60.0)
    with pytest.raises(Broken, match="that the end cannot be recorded"):
        run(_UNRECORDED)


# Nobody is there when its grace is over but the supervisor.
_AWAY = Program(
    (Actor("alice", (Op("start"), Op("stop", after=1.0, flag=True), Op("list", after=10.0))),),
    (Behaviour((Act("deaf"), *[Act("sleep", seconds=5.0)] * 6)),),
    (Fault("away", at=2.0, seconds=5.0),),
)


def test_a_stop_is_ended_by_the_supervisor_where_no_server_is() -> None:
    """C13, C24: KILL a second after the grace."""
    result = run(_AWAY)
    ended = [at for at, _, what in result.timeline.lines if what.startswith("main process of")]
    assert ended == pytest.approx([1.0 + 2.0 + 1.0], abs=0.6)


def test_a_stop_that_waits_for_the_next_server_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C24, planted: the supervisor was not told of the grace."""
    true = SimBackend.signal

    async def signal(self: SimBackend, job_id: str, number: int, **about: Any) -> int:
        return await true(self, job_id, number, **about | {"kill_after_s": None})

    monkeypatch.setattr(SimBackend, "signal", signal)
    with pytest.raises(Broken, match="without a server: the supervisor heard of its stop"):
        run(_AWAY)


_FILLED = _waits(Fault("storage", at=1.0))


def test_a_job_that_fills_the_disk_ends_by_that() -> None:
    """C17b: at once, deaf or not, and its end says so."""
    result = run(_FILLED)
    ended = [at for at, _, what in result.timeline.lines if what.startswith("main process of")]
    assert ended == pytest.approx([1.0])
    assert "C17b" in result.covered


def test_an_end_by_a_full_disk_that_says_something_else_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C17b, planted."""
    true = ending_module.reason
    monkeypatch.setattr(
        ending_module,
        "reason",
        lambda verdict, ending: true(replace(verdict, storage_full=False), ending),
    )
    with pytest.raises(Broken, match="its end is signaled, and should be storage_full"):
        run(_FILLED)


_READS = Program(
    (Actor("alice", (Op("start"), *[Op("status")] * 4, Op("wait", within=2.0), Op("list"))),),
    (_DEAF,),
)


def _uncounted(self: RepeatBudget, client: str, verb: str, about: Mapping[str, Any]) -> bool:
    first = (client, verb) not in self._counts
    self._counts.setdefault((client, verb), {})
    return first


@pytest.mark.parametrize("plant", ["uncounted", "each a line"])
def test_reads_are_all_told_of_in_few_lines(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is the same the audit log has one line and then a count: none is missing, and none is
    a line more. Either bug, planted, is noticed."""
    run(_READS)
    take: Any = _uncounted if plant == "uncounted" else lambda *_: True
    monkeypatch.setattr(RepeatBudget, "take", take)
    monkeypatch.setattr(RepeatBudget, "_end", lambda self, before: None)
    monkeypatch.setattr(RepeatBudget, "close", lambda self: 0)
    says = "times by status, and 1 are told" if plant == "uncounted" else "has two lines within"
    with pytest.raises(Broken, match=says):
        run(_READS)


def test_blocks_ahead_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system gives a log any: when its job has ended they are the disk's again. A
    job that keeps them, planted, is noticed."""
    writes = Behaviour((Act("write", size=100), Act("sleep", seconds=1.0)))
    ops = [(Op("start"), Op("wait", after=0.1 * number)) for number in range(20)]
    programs = [Program((Actor("alice", each),), (writes,)) for each in ops]
    # Half of all programs have such a file system (world.py).
    program = next(each for each in programs if zlib.crc32(repr(each).encode()) % 2)
    run(program)

    async def free_reserve(self: JobRunner) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(JobRunner, "free_reserve", free_reserve)
    with pytest.raises(Broken, match="have blocks ahead still"):
        run(program)
