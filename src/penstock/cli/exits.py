"""Exit codes, and how an error becomes one line on standard error and a code."""

from typing import Final

from ..client.identity import IdentityError
from ..client.verify import OutputBroken
from ..pki.certificate_errors import CertificateError, NameRefused
from ..pki.key_mode import KeyModeError
from ..proto import command_pb2 as pb
from ..rpc.call_errors import ConnectionLost, RpcError, StatusCode
from .arguments import OUR_FAILURE
from .descriptors import OutputFailed
from .ending_signals import SIGNAL_BASE
from .error_report import report_line
from .failures import Exit, Failed
from .flags import SettingsError
from .terminal import harmless

# Pass-through verbs: as a shell reports its commands, so that scripts need not tell them apart.
# OUR_FAILURE is in arguments.py, because a mistake in an argument is one, too.
TIMED_OUT: Final = 124
NOT_EXECUTABLE: Final = 126
COMMAND_NOT_FOUND: Final = 127

_CODES: Final = {
    StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    StatusCode.UNAVAILABLE: Exit.UNREACHABLE,
    StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    StatusCode.PERMISSION_DENIED: Exit.DENIED,
    StatusCode.UNAUTHENTICATED: Exit.DENIED,
    StatusCode.ALREADY_EXISTS: Exit.CONFLICT,
    StatusCode.FAILED_PRECONDITION: Exit.CONFLICT,
    StatusCode.OUT_OF_RANGE: Exit.CONFLICT,
    StatusCode.ABORTED: Exit.CONFLICT,
    StatusCode.RESOURCE_EXHAUSTED: Exit.EXHAUSTED,
    StatusCode.DEADLINE_EXCEEDED: Exit.DEADLINE,
}

EXPECTED: Final = (
    RpcError,
    CertificateError,
    KeyModeError,
    IdentityError,
    SettingsError,
    OutputBroken,
    OutputFailed,
    OSError,
)
_OF_OURS: Final = (OSError, KeyModeError, IdentityError, NameRefused, SettingsError)


def exit_code(error: BaseException) -> int:
    """The exit status of an error of a control verb."""
    if isinstance(error, Failed):
        return error.code
    if isinstance(error, ConnectionLost):
        return Exit.UNREACHABLE
    if isinstance(error, RpcError):
        return _CODES.get(error.code, Exit.FAILURE)
    return Exit.USAGE if isinstance(error, _OF_OURS) else Exit.FAILURE


def may_go_on(error: BaseException) -> bool:
    """Whether a stream that has ended with this can be asked for again: not by a client that has
    lost the right to it."""
    return not (isinstance(error, RpcError) and error.code is StatusCode.PERMISSION_DENIED)


def message(error: BaseException) -> str:
    """One line for people; a server's text cannot touch the terminal."""
    if isinstance(error, RpcError):
        text = error.message or error.code.name
    elif isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    # Notes that callers on the way have added by add_note.
    text = "; ".join([text, *getattr(error, "__notes__", ())])
    return " ".join(harmless(text).split())


def start_code(error: BaseException) -> int:
    """The exit status of ``run`` when its job could not be started."""
    if isinstance(error, RpcError):
        if error.code in (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED):
            return NOT_EXECUTABLE
        if error.code is StatusCode.NOT_FOUND:
            return COMMAND_NOT_FOUND
    return OUR_FAILURE


def complete_code(code: int, missing_bytes: int, failure: int, *, allow_gaps: bool) -> int:
    """The job's ``code``, or ``failure`` if so many bytes of the output are missing, which it
    reports on standard error. ``allow_gaps``: the user accepts missing bytes."""
    if not missing_bytes or allow_gaps:
        return code
    bytes_are = "1 byte is" if missing_bytes == 1 else f"{missing_bytes} bytes are"
    report_line(
        f"Error: {bytes_are} missing in the output; with --allow-gaps that is no failure, and "
        f"the exit status is {code}\nExit {failure}",
        failure,
        code="DATA_LOSS",
        reason="OUTPUT_INCOMPLETE",
    )
    return int(failure)


def job_code(end: pb.EndRecord) -> int:
    """The exit status that passes a job's end through."""
    if end.reason == "timed_out":
        return TIMED_OUT
    if end.reason in ("lost", "output_failed", "failed_to_start"):
        return OUR_FAILURE
    if end.HasField("signal"):
        return SIGNAL_BASE + end.signal
    # Absent is not 0, because an end that this version does not know is no success.
    return end.exit_code if end.HasField("exit_code") else OUR_FAILURE
