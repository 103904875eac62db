"""What a client is told of each failure of the job library."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from penstock.jobs import job_errors
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.error_status import from_job_error

CASES: list[tuple[job_errors.JobError, StatusCode, str]] = [
    (job_errors.JobNotFound("7"), StatusCode.NOT_FOUND, "JOB_NOT_FOUND"),
    (job_errors.OffsetPastEnd(9, 5), StatusCode.OUT_OF_RANGE, "OFFSET_PAST_END"),
    (job_errors.InputGap("gap", 5), StatusCode.OUT_OF_RANGE, "INPUT_GAP"),
    (job_errors.InputTakenOver("taken"), StatusCode.ABORTED, "INPUT_TAKEN_OVER"),
    (job_errors.InvalidRequest("argv", "bad"), StatusCode.INVALID_ARGUMENT, "BAD_FIELD"),
    (job_errors.NotGranted("no"), StatusCode.PERMISSION_DENIED, "NOT_GRANTED"),
    (job_errors.RequestConflict("reused"), StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    (job_errors.NameInUse("web", "7"), StatusCode.ALREADY_EXISTS, "NAME_IN_USE"),
    (job_errors.Precondition("WHY", "later"), StatusCode.FAILED_PRECONDITION, "WHY"),
    (job_errors.Exhausted("full"), StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED"),
    (job_errors.Unavailable("gone"), StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    (job_errors.NotRecorded("full"), StatusCode.UNAVAILABLE, "NOT_RECORDED"),
    (job_errors.SupervisorSilent("still"), StatusCode.UNAVAILABLE, "SUPERVISOR_SILENT"),
]


def info_of(error: RpcError) -> ErrorInfo:
    (info,) = [each for each in error.details if isinstance(each, ErrorInfo)]
    return info


@pytest.mark.parametrize(("error", "code", "reason"), CASES, ids=lambda value: str(value)[:20])
def test_each_failure_has_its_status_and_its_word(
    error: job_errors.JobError, code: StatusCode, reason: str
) -> None:
    """The text is the library's; whoever may try again at once is told after how long."""
    told = from_job_error(error)
    assert (told.code, told.message) == (code, str(error))
    assert info_of(told).reason == reason
    passes = code in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE)
    assert any(isinstance(each, RetryInfo) for each in told.details) == passes


def test_what_a_program_needs_to_go_on_is_in_the_details() -> None:
    """Where the input goes on; which job has the name; whatever else a precondition is about."""
    gap = info_of(from_job_error(job_errors.InputGap("gap", 5)))
    assert dict(gap.metadata) == {"accepted": "5"}
    why = info_of(from_job_error(job_errors.Precondition("WHY", "later", handle="7")))
    assert dict(why.metadata) == {"handle": "7"}
    for handle, about in (("7", {"name": "web", "handle": "7"}), ("", {"name": "web"})):
        named = info_of(from_job_error(job_errors.NameInUse("web", handle)))
        assert dict(named.metadata) == about


def test_no_failure_is_without_a_status() -> None:
    """A class that is added to the library is added here, or it would be an INTERNAL."""
    classes = {*job_errors.JobError.__subclasses__(), *job_errors.Unavailable.__subclasses__()}
    assert {type(error) for error, _, _ in CASES} == classes
    with pytest.raises(job_errors.JobError):
        from_job_error(job_errors.JobError("of no class"))
