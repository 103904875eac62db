"""The steps of a job, each by itself: what is known of the job after it.

Who takes them, and when, is tests/jobs/test_manager.py; what a job answers is test_job.py.
"""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from fake_disk import FakeDisk

from penstock.jobs import usage
from penstock.jobs.backends.base import JobSpec
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job_errors import Unavailable
from penstock.jobs.job_progress import JobProgress
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.states import JobState
from penstock.supervisor.ipc.started import NOT_STARTED

END = EndRecord("exited", 77, exit_code=3, cpu_total_s=1.5)


def new() -> JobProgress:
    log = OutputLog.create("/state/jobs/one", disk=FakeDisk())
    return JobProgress("id", 7, "alice", JobSpec("sleep"), "policy", log, OutputBound(1, "wait"))


async def test_a_job_that_has_started_is_sampled_since_then(tmp_path: Path) -> None:
    """Rates begin with its start, from the files that the supervisor has named."""
    counters = tmp_path / "cpu.stat"
    counters.write_text("usage_usec 1500000\n")
    job = new()
    assert job.usage() == usage.Usage()
    began = time.time_ns() - 10**10
    job.has_started(replace(NOT_STARTED, started_ns=began, usage_files={"cpu.stat": str(counters)}))
    sample = job.usage()
    assert sample.cpu_total_s == 1.5
    seconds = (sample.sample_ns - began) / 1e9
    assert sample.cpu_percent == pytest.approx(150.0 / seconds)
    job.log.finish()


async def test_what_is_known_of_a_failed_start_stays_known() -> None:
    """A second failure, of what follows the first, brings no end record and takes none away."""
    job, refused, bug = new(), Unavailable("refused"), Unavailable("a mistake of ours")
    job.could_not_start(refused, END)
    assert (job.start_error, job.end, job.log.ended) == (refused, END, True)
    job.could_not_start(bug)
    assert (job.start_error, job.end) == (bug, END)
    assert job.begun.is_set()
    assert job.finished.is_set()


async def test_an_end_has_its_time_and_the_counters_of_that_moment() -> None:
    job = new()
    job.state = JobState.ENDING
    before = trio.current_time()
    job.has_ended(END, {"cpu_total_s": 2.5, "read_bytes": 9})
    assert (job.end, job.state, job.log.ended) == (END, JobState.FINISHED, True)
    assert before <= job.ended_at <= trio.current_time()
    assert job.usage() == usage.Usage(cpu_total_s=2.5, read_bytes=9, sample_ns=77)


async def test_a_job_whose_end_is_known_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where showing the end has failed: the record is durable, so no caller is sent away."""
    job = new()
    job.state = JobState.ENDING

    def broken(self: OutputLog) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(OutputLog, "finish", broken)
        with pytest.raises(RuntimeError):
            job.has_ended(END, {})
        job.is_given_up()
    assert (job.end, job.start_error, job.finished.is_set()) == (END, None, False)
    job.is_over()
    assert job.finished.is_set()
    job.log.finish()


async def test_no_question_about_limits_is_asked_before_the_first() -> None:
    job = new()
    assert job.limit_requests is None
    job.log.finish()


async def test_who_waits_for_a_start_as_the_server_ends_is_sent_to_the_next() -> None:
    job = new()
    job.is_given_up()
    assert str(job.start_error) == "the server has ended; ask the next one"
    assert (job.begun.is_set(), job.finished.is_set(), job.log.ended) == (True, True, True)


async def test_an_end_of_an_earlier_life_is_before_now() -> None:
    job = new()
    job.set_ended(replace(END, throttled_s=0.5))
    assert job.usage() == usage.Usage(cpu_total_s=1.5, throttled_s=0.5, sample_ns=77)
    job.ended_ago(30.0)
    assert 30.0 <= trio.current_time() - job.ended_at < 90.0
    job.log.finish()
