"""One job by itself: what it is made of, what it says of itself, and what it raises, to the letter.

The fake backend is asked directly; who drives a job over its life is tests/jobs/test_manager.py.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend, FakeJob
from fake_disk import STDOUT_PIPE, FakeDisk

from penstock.jobs import usage
from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job import UNKILLABLE_S, Job
from penstock.jobs.job_errors import NotGranted, OffsetPastEnd, Precondition, Unavailable
from penstock.jobs.job_rows import JobRecord, read_row, spec_text
from penstock.jobs.output.cursor import BOTH, Chunk
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.states import JobState
from penstock.jobs.stop_notes import StopAsked
from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import Enforcement, ResourceLimits
from penstock.supervisor.ipc.from_supervisor import Left
from penstock.supervisor.ipc.started import NOT_STARTED, HeldLimits

SPEC = JobSpec("sleep", ("60",))
BOUND = OutputBound(1 << 20, "wait")
END = EndRecord(
    "exited",
    77,
    exit_code=3,
    cpu_total_s=1.5,
    memory_peak_bytes=11,
    read_bytes=12,
    write_bytes=13,
    oom_kills=14,
    output_bytes=40,
    sha256_from=15,
)


def log_of(data: bytes = b"") -> OutputLog:
    """A log with these bytes, over a disk of its own."""
    disk = FakeDisk()
    log = OutputLog.create("/state/jobs/one", disk=disk)
    if data:
        disk.pipes[STDOUT_PIPE] += data
        assert log.move(STDOUT_PIPE, 1) == len(data)
    return log


def job_with(log: OutputLog | Callable[[], OutputLog]) -> Job:
    return Job("id", 7, "alice", SPEC, "policy", log, BOUND)


def running(backend: FakeBackend) -> Job:
    """A job that runs in the backend, without a manager: nobody else changes it."""
    job = job_with(log_of())
    backend.jobs["id"] = FakeJob("id", "alice", 1001, [])
    job.backend, job.handle, job.state = backend, "9", JobState.RUNNING
    job.begun.set()
    return job


def told(caught: "pytest.ExceptionInfo[Precondition]") -> tuple[str, str]:
    return caught.value.reason, str(caught.value)


async def test_a_job_that_has_not_begun_has_nothing_yet() -> None:
    """Whatever is asked of it: nobody gets a value that is left over or made up."""
    log = log_of()
    job = job_with(log)
    assert (job.id, job.sequence, job.owner, job.spec) == ("id", 7, "alice", SPEC)
    assert (job.policy_hash, job.bound, job.log) == ("policy", BOUND, log)
    started = job.started
    assert (job.handle, started.pid, started.argv, started.class_name) == ("", 0, (), "")
    assert (started.limits, started.client_limits) == (ResourceLimits(), ResourceLimits())
    assert (started.held, job.survivors) == (HeldLimits((), ()), ())
    assert (started.started_ns, job.ended_at, job.state) == (0, 0.0, JobState.STARTING)
    nobody = (job.end, job.sampler, job.final_usage, job.start_error, job.input, job.backend)
    assert nobody == (None,) * 6
    assert (job.stop_asked, job.on_stop, started.control) == (None, None, Control())
    assert job.pause_asked is False
    assert started.timeout_s is None, "no limit, until the command's is known"
    assert not any(event.is_set() for event in (job.begun, job.finished, job.unkillable))
    assert job.usage() == usage.Usage()
    assert job.paused is False
    log.finish()


STARTED: dict[str, Any] = {
    "pid": 1001,
    "start_ticks": 1,
    "started_ns": 55,
    "argv": ["/bin/sleep", "60"],
    "class_name": "small",
    "timeout_s": 2.5,
    "limits": asdict(ResourceLimits(processes=3)),
    "enforcement": [asdict(Enforcement("processes", "enforced", "3"))],
    "client_limits": asdict(ResourceLimits(processes=9)),
    "client_enforcement": [asdict(Enforcement("memory", "unavailable", "", "none"))],
}


def record(**changes: Any) -> JobRecord:
    fields: dict[str, Any] = {
        "id": "id",
        "sequence": 7,
        "owner": "alice",
        "spec": SPEC,
        "policy": "policy",
        "state": "running",
        "handle": "9",
        "started": STARTED,
        "stop": None,
        "end": None,
        **changes,
    }
    started, end = fields["started"], fields["end"]
    texts = {
        "spec": spec_text(fields["spec"]),
        "started": None if started is None else json.dumps(started),
        "end": None if end is None else end.to_json(),
    }
    return read_row(tuple({**fields, **texts}.values()))


def test_a_recorded_job_is_as_it_was() -> None:
    """Every field that the store has; it has not ended, and has not begun here."""
    log = log_of()
    job = Job.from_record(record(), log, BOUND)
    assert (job.id, job.sequence, job.owner, job.spec) == ("id", 7, "alice", SPEC)
    assert (job.policy_hash, job.bound, job.log) == ("policy", BOUND, log)
    started = job.started
    assert (job.handle, started.pid, started.started_ns) == ("9", 1001, 55)
    assert (started.argv, started.class_name) == (("/bin/sleep", "60"), "small")
    assert started.timeout_s == 2.5
    assert (started.limits, started.client_limits) == (
        ResourceLimits(processes=3),
        ResourceLimits(processes=9),
    )
    assert started.held == HeldLimits(
        (Enforcement("processes", "enforced", "3"),),
        (Enforcement("memory", "unavailable", "", "none"),),
    )
    assert (job.end, job.state, job.begun.is_set()) == (None, JobState.STARTING, False)
    log.finish()


def test_a_record_of_an_earlier_version_has_no_clients_limits() -> None:
    """They were not written then; nor was a handle, if the server died before it gave one."""
    later = ("client_limits", "client_enforcement", "timeout_s")
    started = {key: value for key, value in STARTED.items() if key not in later}
    log = log_of()
    job = Job.from_record(record(started=started, handle=None), log, BOUND)
    found = job.started
    assert (found.client_limits, found.held.client_enforcement, found.timeout_s) == (
        ResourceLimits(),
        (),
        None,
    )
    assert (job.handle, found.pid) == ("", 1001)
    log.finish()


def test_a_job_that_never_started_has_its_end_alone() -> None:
    """What it used is what the end record says, and nothing else is known."""
    log = log_of()
    job = Job.from_record(record(started=None, handle="9", end=END), log, BOUND)
    assert (job.handle, job.started) == ("", NOT_STARTED)
    assert (job.end, job.state) == (END, JobState.FINISHED)
    assert job.begun.is_set()
    assert job.finished.is_set()
    sample = job.usage()
    assert (sample.cpu_total_s, sample.memory_peak_bytes, sample.oom_kills) == (1.5, 11, 14)
    assert (sample.read_bytes, sample.write_bytes, sample.sample_ns) == (12, 13, 77)
    log.finish()


@pytest.mark.parametrize("ended", [True, False])
def test_an_ended_job_says_what_was_accepted_of_its_input(ended: bool) -> None:
    """Who was cut off asks how far it got; one that was started without input has none."""
    log = log_of()
    end = replace(END, input_bytes=30, input_ended=ended)
    without = Job.from_record(record(end=end), log, BOUND)
    assert without.input is None
    job = Job.from_record(record(spec=JobSpec("cat", stdin=True), end=end), log, BOUND)
    assert job.input is not None
    assert (job.input.accepted, job.input.ended) == (30, ended)
    if not ended:  # else there is nothing left to refuse
        with pytest.raises(Precondition) as caught:
            job.input.claim()
        assert told(caught) == ("STDIN_CLOSED", "job 9 has ended")
    log.finish()


def test_a_log_is_loaded_once_and_not_before_it_is_wanted() -> None:
    """A thousand finished jobs in a list open no file; lengths come from their records."""
    loads = 0

    def load() -> OutputLog:
        nonlocal loads
        loads += 1
        return log_of(b"x" * 40)

    job = job_with(load)
    job.set_ended(END)
    assert (job.output_length, job.output_first) == (40, 15)
    loaded = [job.log_if_loaded]
    assert (loaded, loads) == ([None], 0)
    log = job.log
    assert (job.log, loads) == (log, 1)
    loaded = [job.log_if_loaded]
    assert loaded == [log]
    assert (job.output_length, job.output_first) == (40, 0)
    log.finish()


def test_a_running_job_s_output_is_as_far_as_its_log() -> None:
    """There is no record yet that could say it."""
    log = log_of(b"x" * 10)
    job = job_with(log)
    assert (job.output_length, job.output_first) == (10, 0)
    assert log.drop_oldest()
    assert (job.output_length, job.output_first) == (10, 10)
    log.finish()
    later = log_of(b"y" * 5)
    waiting = job_with(lambda: later)
    assert waiting.output_first == 0, "nothing but its log knows"
    later.finish()


def test_usage_is_a_sample_while_it_runs_and_the_record_after_that() -> None:
    """The group is gone by then: a sample would be of nothing."""

    class Sampler(usage.Sampler):
        def __init__(self) -> None:
            """Reads no files."""

        def sample(self) -> usage.Usage:
            return usage.Usage(processes=5)

    log = log_of()
    job = job_with(log)
    job.sampler = Sampler()
    assert job.usage() == usage.Usage(processes=5)
    job.set_ended(END)
    assert job.usage().memory_peak_bytes == 11
    log.finish()


async def test_readers_begin_where_they_are_told_and_follow() -> None:
    """From the first byte unless another is named; to the end unless they are not to follow."""
    log = log_of(b"0123456789")
    job = job_with(log)
    with job.read_output(4, follow=False) as reader:
        assert [piece.data async for piece in reader if isinstance(piece, Chunk)] == [b"456789"]
    read: list[bytes] = []

    async def follow() -> None:
        with job.read_output() as reader:
            read.extend([piece.data async for piece in reader if isinstance(piece, Chunk)])
            read.append(b"end")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert (read, log.statistics()["readers"]) == ([], 1)
        log.ended = True
        log.notify()
    assert read == [b"0123456789", b"end"]
    with job.read_output(0, False, {2}) as reader:
        assert [piece async for piece in reader] == []
    with job.read_output(0, False, BOTH) as reader:
        assert len([piece async for piece in reader]) == 1
    with pytest.raises(OffsetPastEnd):
        job.read_output(11)
    log.finish()


def test_a_log_that_cannot_be_looked_at_now_is_no_loss() -> None:
    """The caller may come again: it is the server that is short of something."""
    job = job_with(lambda: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(Unavailable) as caught:
        job.read_output()
    assert str(caught.value) == "the server has no free descriptors; try again"
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("graces", "own_s", "expected"),
    [
        ([None], 5.0, 5.0),
        ([3.0], 5.0, 3.0),
        ([8.0], 5.0, 8.0),
        ([8.0, 2.0], 5.0, 2.0),
        ([8.0, 2.0, 4.0], 5.0, 2.0),
        ([None, 2.0], 5.0, 2.0),
        ([None, 8.0], 5.0, 5.0),
        ([0.0, 8.0], 5.0, 0.0),
    ],
)
async def test_of_several_graces_the_shortest_counts(
    graces: list[float | None], own_s: float, expected: float
) -> None:
    """The command's own where somebody named none; the first to ask is who asked."""
    before = trio.current_time()
    asked = StopAsked("alice", "enough", graces[0], 2)
    assert before <= asked.began <= trio.current_time()
    for grace_s in graces[1:]:
        assert grace_s is not None
        asked.add(grace_s)
    assert asked.grace_s(own_s) == expected
    assert (asked.by, asked.reason, asked.signal) == ("alice", "enough", 2)
    assert asked.recorded is False


async def test_a_start_that_failed_is_told_to_who_waits() -> None:
    """And nothing to who waits for one that runs, but not before it does."""
    log = log_of()
    job = job_with(log)
    begun = False

    async def wait() -> None:
        nonlocal begun
        await job.wait_begun()
        begun = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not begun
        job.begun.set()
    assert begun
    job.start_error = NotGranted("no")
    with pytest.raises(NotGranted, match="no"):
        await job.wait_begun()
    log.finish()


async def test_a_job_that_was_given_up_has_no_record_to_wait_for() -> None:
    """The manager was closed first; who waits is told, and not held for ever."""
    log = log_of()
    job = job_with(log)
    job.handle = "9"
    job.finished.set()
    with pytest.raises(Unavailable) as caught:
        await job.wait_finished()
    assert str(caught.value) == "the server has ended before job 9 did"
    job.set_ended(END)
    assert await job.wait_finished() is END
    log.finish()


async def test_signals_are_counted_and_nobody_is_no_success() -> None:
    """To the main process unless all are meant; before a takeover is done they wait for it."""
    backend = FakeBackend()
    job = running(backend)
    job.begun = trio.Event()
    counts: list[int] = []

    async def send() -> None:
        counts.append(await job.signal(10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert counts == []
        job.begun.set()
    assert (counts, await job.signal(1, tree=True)) == ([1], 3)
    assert (backend.jobs["id"].signals, backend.jobs["id"].trees) == ([10, 1], [False, True])
    backend.jobs["id"].end(Verdict("exited", 0))
    for there in (backend, None):
        job.backend = there
        with pytest.raises(Precondition) as caught:
            await job.signal(10)
        assert told(caught) == ("NOT_RUNNING", "job 9 has ended")
    job.log.finish()


async def test_pause_is_for_what_runs_and_says_why_not() -> None:
    """In words that name the job, what was wanted, and what is in the way."""
    backend = FakeBackend()
    job = running(backend)
    await job.set_paused(False)
    assert (job.pause_asked, job.paused) == (False, False)
    await job.set_paused(True)
    assert (job.pause_asked, job.paused) == (True, True)
    await job.set_paused(False)
    assert (job.pause_asked, job.paused) == (True, False), "some of it may stand still"
    backend.cannot_pause = "one of them sleeps"
    for paused, what in [(True, "paused"), (False, "resumed")]:
        with pytest.raises(Precondition) as caught:
            await job.set_paused(paused)
        assert told(caught) == ("NOT_PAUSED", f"job 9 is not {what}: one of them sleeps")
    for state, there, why in [
        (JobState.STOPPING, backend, "is being stopped"),
        (JobState.ENDING, backend, "has ended"),
        (JobState.RUNNING, None, "has ended"),
    ]:
        job.state, job.backend = state, there
        with pytest.raises(Precondition) as caught:
            await job.set_paused(True)
        assert told(caught) == ("NOT_RUNNING", f"job 9 {why}")
    assert job.paused is False, "without a backend there is nobody to stand still"
    job.log.finish()


async def test_pause_waits_for_a_job_that_is_being_taken_over() -> None:
    """What it finds then is what counts."""
    backend = FakeBackend()
    job = running(backend)
    job.begun = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.set_paused, True)
        await trio.testing.wait_all_tasks_blocked()
        assert not backend.jobs["id"].paused
        job.begun.set()
    assert backend.jobs["id"].paused
    job.log.finish()


async def test_the_first_to_ask_is_who_stopped_it_and_the_next_only_hurries() -> None:
    """Each of them is passed on at once; what is asked of a finished job is nothing."""
    backend = FakeBackend()
    job = running(backend)
    heard: list[float] = []
    job.on_stop = lambda: heard.append(asked_of(job).grace_s(5.0))
    job.ask_stop(by="alice", reason="enough", grace_s=4.0, number=2)
    asked = asked_of(job)
    assert (asked.by, asked.reason, asked.signal) == ("alice", "enough", 2)
    job.ask_stop(by="bob", reason="late", grace_s=1.0, number=3)
    job.ask_stop(by="bob")
    assert asked_of(job) is asked
    assert (asked.by, asked.reason, asked.signal, heard) == ("alice", "enough", 2, [4.0, 1.0, 1.0])
    job.set_ended(END)
    job.ask_stop(by="carol", grace_s=0.0)
    assert heard == [4.0, 1.0, 1.0]
    job.log.finish()


def asked_of(job: Job) -> StopAsked:
    assert job.stop_asked is not None
    return job.stop_asked


async def test_a_stop_without_words_has_none() -> None:
    """No reason, the command's own grace and signal."""
    job = running(FakeBackend())
    job.ask_stop(by="alice")
    asked = asked_of(job)
    assert (asked.reason, asked.signal, asked.grace_s(5.0)) == ("", None, 5.0)
    job.log.finish()


async def test_who_ends_by_itself_was_not_stopped() -> None:
    """Its main process has ended and the rest is on its way: nobody is told, nothing noted."""
    job = running(FakeBackend())
    job.state = JobState.ENDING
    heard: list[str] = []
    job.on_stop = lambda: heard.append("stop")
    job.ask_stop(by="alice")
    assert (job.stop_asked, heard) == (None, [])
    job.log.finish()


async def test_a_stop_that_may_be_forgotten_is_said_once_it_is_under_way() -> None:
    """Recorded, it outlives this server; before it runs, there is nothing yet to be recorded."""
    job = running(FakeBackend())
    job.ask_stop(by="alice")
    job.state = JobState.STOPPING
    with pytest.raises(Unavailable) as caught:
        job.ask_stop(by="alice")
    assert str(caught.value) == (
        "the stop of job 9 is under way, but cannot be recorded now; the server's log says why"
    )
    asked_of(job).recorded = True
    job.ask_stop(by="alice")
    job.log.finish()


async def test_a_stop_hands_on_all_that_was_asked_and_returns_the_record() -> None:
    """Also if it cannot be recorded: it is waited for, so nobody has to be told."""
    job = running(FakeBackend())
    job.state = JobState.STOPPING
    answers: list[tuple[EndRecord, bool]] = []

    async def stop() -> None:
        answers.append(await job.stop(by="alice", reason="enough", grace_s=4.0, number=2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await trio.testing.wait_all_tasks_blocked()
        asked = asked_of(job)
        assert (asked.by, asked.reason, asked.signal) == ("alice", "enough", 2)
        assert asked.grace_s(5.0) == 4.0
        assert answers == []
        job.set_ended(END)
    assert answers == [(END, False)]
    assert await job.stop(by="bob") == (END, True)
    job.log.finish()


async def test_a_stop_without_words_is_the_command_s_own() -> None:
    """As ask_stop has it; a finished job's answer is a checkpoint, too."""
    job = running(FakeBackend())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: job.stop(by="alice"))
        await trio.testing.wait_all_tasks_blocked()
        asked = asked_of(job)
        assert (asked.reason, asked.signal, asked.grace_s(5.0)) == ("", None, 5.0)
        job.set_ended(END)
    with trio.testing.assert_checkpoints():
        await job.stop(by="alice")
    job.log.finish()


@pytest.mark.parametrize("known", [True, False])
async def test_who_survives_kill_is_said_to_the_letter(known: bool) -> None:
    """The caller is let go with names, or without where nobody could look."""
    job = running(FakeBackend())
    if known:
        job.survivors = [Left(7, "dd", "D", "nfs"), Left(8, "sh", "D", "")]
    named = ", ".join(str(each) for each in job.survivors) or "unknown ones"
    job.unkillable.set()
    with pytest.raises(Precondition) as caught:
        await job.stop(by="alice")
    assert told(caught) == (
        "UNKILLABLE",
        "processes of job 9 have survived KILL for 10 s, and the job ends when they wake: " + named,
    )
    assert caught.value.about == {"processes": named}
    assert UNKILLABLE_S == 10.0
    job.log.finish()


async def test_a_job_that_was_given_up_answers_its_stop() -> None:
    """Its task was ended first: there is no end record, and none to wait for."""
    job = running(FakeBackend())
    job.finished.set()
    with pytest.raises(Unavailable, match="the server has ended before"):
        await job.stop(by="alice")
    job.log.finish()


async def test_a_stop_under_way_is_answered_as_its_job_is_given_up() -> None:
    """Not with UNKILLABLE: what became of the processes is not known."""
    job = running(FakeBackend())

    async def stop() -> None:
        with pytest.raises(Unavailable, match="the server has ended before"):
            await job.stop(by="alice")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await trio.testing.wait_all_tasks_blocked()
        job.finished.set()
    job.log.finish()


def test_a_removed_log_shows_in_the_first_byte() -> None:
    """What a record says is old where the log knows better."""
    log = log_of(b"x" * 40)
    job = job_with(log)
    job.set_ended(END)
    log.remove()
    assert (job.output_length, job.output_first) == (40, 40)
    assert log.gaps() == (Gap(0, 40, "retention"),)
    log.finish()


@pytest.mark.parametrize("text", ["12", b"12"])
def test_one_text_is_not_taken_for_a_list_of_arguments(text: str | bytes) -> None:
    """Its characters would each become one, and the policy might grant that."""
    with pytest.raises(TypeError, match=r"arguments is one text; write \(b?'12',\)"):
        JobSpec("count", text)  # type: ignore[arg-type]
    assert JobSpec("count", ("12",)).arguments == ("12",)
