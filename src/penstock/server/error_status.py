"""Failures as gRPC statuses: the one place where job errors become what a client sees."""

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from ..jobs import job_errors
from ..rpc.call_errors import RpcError, StatusCode
from ..rpc.status_codec import DOMAIN


def failure(code: StatusCode, reason: str, message: str, **metadata: str) -> RpcError:
    """An error with its ErrorInfo; ``reason`` is a stable upper-case word."""
    return RpcError(code, message, (ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata),))


def bad_field(field: str, message: str) -> RpcError:
    """INVALID_ARGUMENT, with the field's name so that a client can show which one to mend."""
    violation = BadRequest.FieldViolation(field=field, description=message)
    return RpcError(
        StatusCode.INVALID_ARGUMENT,
        message,
        (
            ErrorInfo(reason="BAD_FIELD", domain=DOMAIN, metadata={"field": field}),
            BadRequest(field_violations=[violation]),
        ),
    )


def retryable(code: StatusCode, reason: str, message: str, after_s: float) -> RpcError:
    """An error that goes away by itself: its RetryInfo asks the caller to wait ``after_s``."""
    delay = Duration()
    delay.FromMilliseconds(max(1, int(after_s * 1000)))
    return RpcError(
        code,
        message,
        (ErrorInfo(reason=reason, domain=DOMAIN), RetryInfo(retry_delay=delay)),
    )


def unauthenticated(message: str) -> RpcError:
    """UNAUTHENTICATED: the certificate names no client."""
    return failure(StatusCode.UNAUTHENTICATED, "UNKNOWN_CLIENT", message)


def denied(message: str, rule: str = "") -> RpcError:
    """PERMISSION_DENIED. The message must name only the caller's own rules, so that it
    discloses nothing of other clients. ``rule``: the key of the policy that does not grant it."""
    metadata = {"rule": rule} if rule else {}
    return failure(StatusCode.PERMISSION_DENIED, "NOT_GRANTED", message, **metadata)


def not_found(handle: str) -> RpcError:
    """NOT_FOUND, byte for byte the same for unknown, gone and foreign jobs, so that a caller cannot
    find out others' handles."""
    return failure(StatusCode.NOT_FOUND, "JOB_NOT_FOUND", f"Job {handle} not found")


def from_job_error(error: job_errors.JobError) -> RpcError:
    """The status that a caller gets for a failure that the job library raised."""
    match error:
        case job_errors.JobNotFound():
            return not_found(error.handle)
        case job_errors.OffsetPastEnd():
            return failure(StatusCode.OUT_OF_RANGE, "OFFSET_PAST_END", str(error))
        case job_errors.InputGap():
            accepted = str(error.accepted)
            return failure(StatusCode.OUT_OF_RANGE, "INPUT_GAP", str(error), accepted=accepted)
        case job_errors.InputTakenOver():
            return failure(StatusCode.ABORTED, "INPUT_TAKEN_OVER", str(error))
        case job_errors.InvalidRequest():
            return bad_field(error.field, str(error))
        case job_errors.NotGranted():
            return denied(str(error))
        case job_errors.RequestConflict():
            return failure(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", str(error))
        case job_errors.NameInUse():
            about = {"name": error.name} | ({"handle": error.handle} if error.handle else {})
            return failure(StatusCode.ALREADY_EXISTS, "NAME_IN_USE", str(error), **about)
        case job_errors.Precondition():
            code = StatusCode.FAILED_PRECONDITION
            return failure(code, error.reason, str(error), **error.about)
        case job_errors.Exhausted():
            return retryable(StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED", str(error), 1.0)
        case job_errors.NotRecorded():
            return retryable(StatusCode.UNAVAILABLE, "NOT_RECORDED", str(error), 1.0)
        case job_errors.SupervisorSilent():
            return retryable(StatusCode.UNAVAILABLE, "SUPERVISOR_SILENT", str(error), 2.0)
        case job_errors.Unavailable():
            return retryable(StatusCode.UNAVAILABLE, "UNAVAILABLE", str(error), 1.0)
        case _:
            # Every class of job_errors.py is above; the transport turns this into INTERNAL.
            raise error
