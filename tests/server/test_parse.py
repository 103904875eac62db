"""Every field of a request that is out of its bounds is named, before anything is decided."""

from collections.abc import Callable
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest

from penstock.jobs.backends.base import JobSpec
from penstock.policy.decision import MAX_COMMAND_LINE_BYTES, Denial, may_start
from penstock.policy.policy_file import parse_policy
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.access import error_of
from penstock.server.parse import (
    MAX_INPUT_BYTES,
    check_input,
    grace_of,
    handle_of,
    signal_of,
    spec_of,
    stop_signal_of,
)

POLICY = parse_policy(
    b"""
[classes.free]
[commands.x]
path = "/bin/x"
class = "free"
env_allowed = ["A"]
stdin = true
[clients.alice]
commands = ["x"]
"""
)


def checked(request: pb.StartRequest) -> JobSpec:
    """As Start has it: what is of the request alone, and then the decision."""
    spec = spec_of(request)
    decision = may_start(POLICY, "alice", spec)
    if isinstance(decision, Denial):
        raise error_of(decision)
    return spec


def start(**fields: Any) -> Callable[[], object]:
    return lambda: checked(pb.StartRequest(**({"command": "x"} | fields)))


def sent(**fields: Any) -> Callable[[], object]:
    return lambda: check_input(pb.SendInputRequest(**fields), "7")


@pytest.mark.parametrize(
    ("ask", "field", "text"),
    [
        (start(command=""), "command", "is empty"),
        (start(command="a\0"), "command", "NUL"),
        (start(argv=["a\0"]), "argv", "NUL"),
        (start(env={"1A": ""}), "env", "'1A' is not a name"),
        (start(env={"A" * 129: ""}), "env", "is not a name"),
        (start(env={"A": "\0"}), "env", "'A' holds a NUL"),
        (start(argv=["a"], arguments=[pb.Argument(name="b")]), "argv", "exclude each other"),
        (start(argv=["x" * MAX_COMMAND_LINE_BYTES]), "argv", "at most"),
        (start(request_id="é" * 65), "request_id", "over 128 bytes"),
        (start(timeout_s=-1.0), "timeout_s", ""),
        (start(timeout_s=float("nan")), "timeout_s", ""),
        (start(timeout_s=float("inf")), "timeout_s", ""),
        (start(timeout_s=31_536_001.0), "timeout_s", "between 0 and 3.1536e+07 seconds"),
        (lambda: handle_of(""), "pid", "what start printed"),
        (lambda: grace_of(pb.StopRequest(reason="é" * 513)), "reason", "over 1024 bytes"),
        (lambda: grace_of(pb.StopRequest(grace_s=1e6)), "grace_s", ""),
        (lambda: signal_of(pb.SignalRequest()), "signal", "is empty"),
        (lambda: signal_of(pb.SignalRequest(signal="65")), "signal", "1 to 64"),
        (lambda: stop_signal_of(pb.StopRequest(signal="NONSENSE")), "signal", "1 to 64"),
        (sent(pid="8"), "pid", "one job"),
        (sent(data=bytes(MAX_INPUT_BYTES + 1)), "data", "at most"),
        (sent(sender="é" * 33), "sender", "over 64 bytes"),
        (sent(goes_on=True), "goes_on", "needs a sender"),
        (sent(offset=2**63 - 1, data=b"x"), "offset", "no input reaches"),
    ],
)
def test_what_is_out_of_bounds_is_named(ask: Callable[[], object], field: str, text: str) -> None:
    """INVALID_ARGUMENT with the field as a violation, so that a program can point at it."""
    with pytest.raises(RpcError) as caught:
        ask()
    error = caught.value
    assert error.code is StatusCode.INVALID_ARGUMENT
    assert text in error.message
    (violations,) = [each for each in error.details if isinstance(each, BadRequest)]
    assert [each.field for each in violations.field_violations] == [field]


def test_what_is_just_within_its_bounds() -> None:
    """The longest request id, reason, sender and data, and the last offset."""
    assert checked(pb.StartRequest(command="x", request_id="é" * 64)).timeout_s is None
    assert checked(pb.StartRequest(command="x", env={"A": "b"}, stdin=True)).env == {"A": "b"}
    assert grace_of(pb.StopRequest(reason="é" * 512)) is None
    assert grace_of(pb.StopRequest(grace_s=0.0)) == 0.0
    assert stop_signal_of(pb.StopRequest()) is None
    assert signal_of(pb.SignalRequest(signal="64")) == 64
    assert handle_of("7.1") == "7.1"
    whole = pb.SendInputRequest(pid="7", data=bytes(MAX_INPUT_BYTES), sender="é" * 32, goes_on=True)
    check_input(whole, "7")
    check_input(pb.SendInputRequest(offset=2**63 - 2, data=b"x"), "7")


def test_a_handle_that_can_be_none_is_like_a_job_that_is_not_there() -> None:
    with pytest.raises(RpcError, match="Job nonsense not found") as caught:
        handle_of("nonsense")
    assert caught.value.code is StatusCode.NOT_FOUND
