"""Why a job ended, in words: what happened to it comes before how its main process took it."""

from dataclasses import replace

import pytest

from penstock.jobs import job_errors
from penstock.jobs.backends.base import StartRefused, Verdict
from penstock.jobs.end_record import BY_POLICY
from penstock.jobs.verdict import Ending, reason, start_error
from penstock.supervisor.ipc import protocol

PLAIN = Ending(
    stopped_by=None,
    stop_reason="",
    escalated=False,
    output_error=None,
    output_full=False,
    digest_error=None,
    input_bytes=0,
    input_ended=False,
)
DISK = OSError(28, "No space left on device")
OOM = {"oom_kills": 1}


@pytest.mark.parametrize(
    ("verdict", "ending", "expected"),
    [
        (Verdict("exited", 3), PLAIN, "exited"),
        (Verdict("signaled", 15), PLAIN, "signaled"),
        (Verdict("signaled", 15), replace(PLAIN, stopped_by="alice"), "stopped"),
        (Verdict("signaled", 15), replace(PLAIN, stopped_by=BY_POLICY), "revoked"),
        (Verdict("lost"), replace(PLAIN, stopped_by=BY_POLICY), "lost"),
        (Verdict("signaled", 9, timed_out=True), replace(PLAIN, stopped_by="alice"), "timed_out"),
        (Verdict("signaled", 9, timed_out=True), replace(PLAIN, output_full=True), "output_full"),
        (Verdict("signaled", 9, storage_full=True), PLAIN, "storage_full"),
        (Verdict("signaled", 9, storage_full=True, counters=OOM), PLAIN, "storage_full"),
        (
            Verdict("signaled", 9, storage_full=True),
            replace(PLAIN, stopped_by="alice"),
            "storage_full",
        ),
        (
            Verdict("exited", 0),
            replace(PLAIN, output_full=True, output_error=DISK),
            "output_failed",
        ),
        (Verdict("lost"), replace(PLAIN, output_error=DISK, stopped_by="alice"), "lost"),
        (Verdict("signaled", 9, counters=OOM), PLAIN, "out_of_memory"),
        (Verdict("exited", 137, counters=OOM), PLAIN, "out_of_memory"),
        (Verdict("exited", 1, counters=OOM), PLAIN, "exited"),
        (Verdict("signaled", 9), PLAIN, "signaled"),
        (Verdict("signaled", 9, counters=OOM), replace(PLAIN, stopped_by="alice"), "stopped"),
    ],
)
def test_the_reason_is_what_happened_to_the_job(
    verdict: Verdict, ending: Ending, expected: str
) -> None:
    """An OOM kill that the main process survived or took otherwise is no reason of its end."""
    assert reason(verdict, ending) == expected


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (protocol.DENIED, job_errors.NotGranted),
        (protocol.INVALID, job_errors.InvalidRequest),
        (protocol.EXHAUSTED, job_errors.Exhausted),
        (protocol.STALE_POLICY, job_errors.Unavailable),
        ("lost", job_errors.Unavailable),
        (protocol.EXECUTABLE, job_errors.Precondition),
        (protocol.UNENFORCED, job_errors.Precondition),
        ("exec", job_errors.Precondition),
    ],
)
def test_a_refused_start_says_whose_fault_it_is(
    fault: str, kind: type[job_errors.JobError]
) -> None:
    """The caller's, the quota's, a moment's, or the state of this machine; with the text."""
    error = start_error(StartRefused(fault, "the text"))
    assert type(error) is kind
    assert str(error) == "the text"


def test_preconditions_have_a_word_for_programs() -> None:
    """One that is not named is a start that failed."""
    faults = (protocol.EXECUTABLE, protocol.UNENFORCED, "exec")
    told = [start_error(StartRefused(fault, "")) for fault in faults]
    reasons = [error.reason for error in told if isinstance(error, job_errors.Precondition)]
    assert reasons == ["EXECUTABLE", "LIMIT_NOT_ENFORCED", "START_FAILED"]
