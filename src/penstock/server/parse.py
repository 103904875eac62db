"""What a request's fields must look like, before anything is decided about it (pure).

The form of a command line is in policy/decision.py instead, because the supervisor checks it, too.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..jobs.backends.base import JobSpec
from ..jobs.job_filter import UNFINISHED, JobFilter
from ..jobs.job_spec import MAX_LABELS, mistake_in_names
from ..jobs.output.cursor import BOTH
from ..jobs.output.segment_index import StreamNumber
from ..jobs.states import JobState
from ..policy.signal_names import parse_signal
from ..proto import command_pb2 as pb
from .convert import STATES, STREAMS
from .error_status import bad_field, not_found

_HANDLE: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?", re.ASCII)
_TOKEN: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_MAX_REQUEST_ID_BYTES: Final = 128
_MAX_REASON_BYTES: Final = 1024
_MAX_GRACE_S: Final = 86_400.0  # a day: beyond it the number is a mistake, not a wish
_LEAST_HEARTBEAT_S: Final = 0.1
ARGUMENTS_A_SLICE: Final = 1000
MAX_INPUT_BYTES: Final = 64 * 1024  # a job's pipe: what a sender can hold up
_MAX_INPUT_OFFSET: Final = 2**63 - 1
_MAX_SENDER_BYTES: Final = 64
_MAX_HANDLES: Final = 100
_ANY_JOB: Final = JobFilter(states=frozenset(JobState))
# STARTING and ENDING are in no record, so that there is no change to them.
_CHANGES_TO: Final = frozenset({pb.JOB_STATE_RUNNING, pb.JOB_STATE_STOPPING, pb.JOB_STATE_FINISHED})


@dataclass(frozen=True, slots=True)
class Wish:
    """Options of a StreamOutput request: bytes instead of text, seconds between heartbeats."""

    raw: bool = False
    heartbeat_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class WatchWish:
    """Options of a Watch request. ``after`` None: from now on. Empty ones leave nothing out."""

    after: int | None = None
    heartbeat_s: float = float("inf")
    states: frozenset[pb.JobState] = frozenset()
    handles: frozenset[str] = frozenset()
    jobs: JobFilter = _ANY_JOB
    """Whatever state they are in now: ``states`` are those that they came into."""


def argument_slices(request: pb.StartRequest) -> Iterator[list[str]]:
    """The arguments without argv[0], in pieces of a bounded cost; at least one.

    In pieces, because protobuf makes an object of each message that is looked at, a microsecond or
    so each, and a request may have thousands of `arguments`.
    """
    if request.argv:
        yield list(request.argv)
        return
    count = len(request.arguments)
    for begin in range(0, max(1, count), ARGUMENTS_A_SLICE):
        yield [
            part
            for argument in request.arguments[begin : begin + ARGUMENTS_A_SLICE]
            for part in (argument.name, argument.value)
            if part
        ]


def spec_of(request: pb.StartRequest, arguments: tuple[str, ...] | None = None) -> JobSpec:
    """The start that the client asks for; decision.may_start decides whether it is granted.

    ``arguments``: all of ``argument_slices``, if the caller has gone through it. Raises RpcError
    (INVALID_ARGUMENT) for mistakes that need no policy to be found.
    """
    if request.argv and request.arguments:
        raise bad_field("argv", "argv and arguments exclude each other; send one of them")
    if len(request.request_id.encode()) > _MAX_REQUEST_ID_BYTES:
        raise bad_field("request_id", f"request_id is over {_MAX_REQUEST_ID_BYTES} bytes")
    labels = dict(request.labels)
    mistake = mistake_in_names(request.name, labels)
    if mistake is not None:
        raise bad_field(*mistake)
    if arguments is None:
        arguments = tuple(part for some in argument_slices(request) for part in some)
    return JobSpec(
        command=request.command,
        arguments=arguments,
        env=dict(request.env),
        timeout_s=request.timeout_s or None,
        stdin=request.stdin,
        name=request.name,
        labels=labels,
    )


def handle_of(pid: str) -> str:
    """The handle in a request's pid field. Raises RpcError.

    Text that can be no handle at all is answered like a job that is not there, so that the caller
    learns nothing else either way.
    """
    if not pid:
        raise bad_field("pid", "pid is empty; it is what start printed")
    if not _HANDLE.fullmatch(pid):
        raise not_found(pid[:64])
    return pid


def grace_of(request: pb.StopRequest) -> float | None:
    """Seconds, or None for the command's own. Raises RpcError (INVALID_ARGUMENT)."""
    if len(request.reason.encode()) > _MAX_REASON_BYTES:
        raise bad_field("reason", f"reason is over {_MAX_REASON_BYTES} bytes")
    if not request.HasField("grace_s"):
        return None
    return _seconds("grace_s", request.grace_s, _MAX_GRACE_S)


def stop_signal_of(request: pb.StopRequest) -> int | None:
    """The first signal, or None for the command's own. Raises RpcError (INVALID_ARGUMENT)."""
    return _signal(request.signal) if request.signal else None


def signal_of(request: pb.SignalRequest) -> int:
    """The signal's number. Raises RpcError (INVALID_ARGUMENT)."""
    if not request.signal:
        raise bad_field("signal", "signal is empty; it is a name or a number, such as TERM or 15")
    return _signal(request.signal)


def _signal(text: str) -> int:
    try:
        return parse_signal(text)
    except ValueError as error:
        remedy = "write a name or a number from 1 to 64, such as TERM or 15"
        raise bad_field("signal", f"{error}; {remedy}") from None


def check_input(request: pb.SendInputRequest, first_pid: str) -> None:
    """Checks one message of a call whose first one named ``first_pid``. Raises RpcError
    (INVALID_ARGUMENT)."""
    if request.pid not in ("", first_pid):
        raise bad_field("pid", "a call sends the input of one job: the one that it named first")
    if len(request.data) > MAX_INPUT_BYTES:
        raise bad_field(
            "data", f"data is {len(request.data)} bytes; at most {MAX_INPUT_BYTES} are possible"
        )
    if len(request.sender.encode()) > _MAX_SENDER_BYTES:
        raise bad_field("sender", f"sender is over {_MAX_SENDER_BYTES} bytes")
    if request.goes_on and not request.sender:
        raise bad_field("goes_on", "goes_on needs a sender: the name that the earlier call gave")
    if request.offset + len(request.data) > _MAX_INPUT_OFFSET:
        raise bad_field("offset", f"offset is {request.offset}, which no input reaches")


def wish_of(request: pb.StreamOutputRequest) -> Wish:
    """The request's options, checked. Raises RpcError (INVALID_ARGUMENT)."""
    begins = ["offset"] if request.offset else []
    begins += ["tail_lines"] if request.HasField("tail_lines") else []
    begins += ["since_ns"] if request.since_ns else []
    if len(begins) > 1:
        raise bad_field(begins[1], f"{' and '.join(begins)} exclude each other; send one of them")
    if request.since_ns < 0:
        raise bad_field("since_ns", "since_ns is before 1970; it is UTC nanoseconds since then")
    return Wish(raw=request.raw, heartbeat_s=_heartbeat(request.heartbeat_s))


def watch_wish_of(request: pb.WatchRequest) -> WatchWish:
    """The request's options, checked. Raises RpcError (INVALID_ARGUMENT, or NOT_FOUND for text that
    can be no handle)."""
    if len(request.handles) > _MAX_HANDLES:
        raise bad_field(
            "handles", f"handles names {len(request.handles)} jobs; at most {_MAX_HANDLES}"
        )
    _check_labels(request)
    odd = [state for state in request.states if state not in _CHANGES_TO]
    if odd:
        raise bad_field(
            "states", f"there is no change to state {odd[0]}; ask for running, stopping or finished"
        )
    return WatchWish(
        after=request.after if request.HasField("after") else None,
        heartbeat_s=_heartbeat(request.heartbeat_s),
        states=frozenset(request.states),
        handles=frozenset(handle_of(handle) for handle in request.handles),
        jobs=JobFilter(
            states=_ANY_JOB.states,
            command=request.command,
            name=request.name,
            labels=dict(request.labels),
            label_keys=frozenset(request.label_keys),
            prefix=request.prefix,
        ),
    )


def streams_of(request: pb.StreamOutputRequest) -> frozenset[StreamNumber]:
    """The streams that the client asks for; none named: all. Raises RpcError
    (INVALID_ARGUMENT)."""
    if not request.streams:
        return BOTH
    numbers = {message: number for number, message in STREAMS.items()}
    unknown = [stream for stream in request.streams if stream not in numbers]
    if unknown:
        raise bad_field("streams", f"there is no stream {unknown[0]}; 1 is stdout, 2 is stderr")
    return frozenset(numbers[stream] for stream in request.streams)


def filter_of(request: pb.ListRequest) -> JobFilter:
    """Which jobs the client wants to see. Raises RpcError (INVALID_ARGUMENT).

    A text that no job can have finds none: it is a search for what a user has typed.
    """
    _check_labels(request)
    if request.since_ns < 0:
        raise bad_field("since_ns", "since_ns is before 1970; it is UTC nanoseconds since then")
    states = {message: state for state, message in STATES.items()}
    unknown = [state for state in request.states if state not in states]
    if unknown:
        raise bad_field("states", f"there is no state {unknown[0]}; they are 1 to {len(states)}")
    everything = frozenset(JobState) if request.all else UNFINISHED
    return JobFilter(
        states=frozenset(states[state] for state in request.states) or everything,
        command=request.command,
        name=request.name,
        labels=dict(request.labels),
        label_keys=frozenset(request.label_keys),
        since_ns=request.since_ns,
        prefix=request.prefix,
    )


def _check_labels(request: pb.ListRequest | pb.WatchRequest) -> None:
    if len(request.labels) + len(request.label_keys) > MAX_LABELS:
        raise bad_field("labels", f"at most {MAX_LABELS} of labels and label_keys may be")


def page_begin_of(request: pb.ListRequest) -> int | None:
    """The sequence number that a page's jobs are below. Raises RpcError (INVALID_ARGUMENT).

    A number instead of a job, because the page's last job may be gone by the next request.
    """
    token = request.page_token
    if not token:
        return None
    if not _TOKEN.fullmatch(token):
        raise bad_field("page_token", "page_token is not from an answer to this request")
    return int(token)


def _heartbeat(heartbeat_s: float) -> float:
    """Seconds between heartbeats; infinity for 0."""
    _seconds("heartbeat_s", heartbeat_s, _MAX_GRACE_S)
    if heartbeat_s and heartbeat_s < _LEAST_HEARTBEAT_S:
        raise bad_field(
            "heartbeat_s", f"heartbeat_s is {heartbeat_s:g}; the least is {_LEAST_HEARTBEAT_S:g}"
        )
    return heartbeat_s or math.inf


def check_who(request: pb.WhoAmIRequest) -> None:
    """Raises RpcError (INVALID_ARGUMENT) for a WhoAmI whose wishes exclude each other."""
    if request.command and request.no_commands:
        raise bad_field("no_commands", "command and no_commands exclude each other; send one")


def _seconds(field: str, value: float, most: float) -> float:
    if not math.isfinite(value) or not 0 <= value <= most:
        raise bad_field(field, f"{field} is {value}; it must be between 0 and {most:g} seconds")
    return value
