"""Fields counted in the wire form: what is refused, and that nothing else is."""

import itertools

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int64Value
from hypothesis import given
from hypothesis import strategies as st

from penstock.proto import command_pb2 as pb
from penstock.rpc import reflection, wire_fields
from penstock.rpc.call_errors import Refused, StatusCode
from penstock.rpc.limits import MessageLimits
from penstock.rpc.wire_fields import FieldCounter
from penstock.server.methods import METHODS

FEW = MessageLimits(
    message_bytes=1 << 20,
    fields=5,
    elements=(
        (("argv", "arguments"), 3),
        (("argv", "arguments.name", "arguments.value"), 4),
        (("env",), 2),
        (("env.key", "env.value"), 4),
    ),
)
START = FieldCounter(pb.StartRequest.DESCRIPTOR, FEW)


def refused(data: bytes, counter: FieldCounter = START) -> Refused | None:
    try:
        counter.check(data)
    except Refused as error:
        return error
    return None


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (pb.StartRequest(argv=["", "a", "b"]), None),
        (pb.StartRequest(argv=["", "", "", ""]), "3 elements of argv and arguments"),
        (pb.StartRequest(arguments=[pb.Argument()] * 3), None),
        (pb.StartRequest(arguments=[pb.Argument()] * 4), "3 elements of argv and arguments"),
        (pb.StartRequest(argv=["", ""], arguments=[pb.Argument()] * 2), "argv and arguments"),
        (pb.StartRequest(arguments=[pb.Argument(name="a", value="b")] * 2), None),
        (
            pb.StartRequest(arguments=[pb.Argument(name="a", value="b")] * 3),
            "4 elements of argv and arguments.name and arguments.value",
        ),
        (pb.StartRequest(env={"A": "", "B": ""}), None),
        (pb.StartRequest(env={"A": "", "B": "", "C": ""}), "2 elements of env"),
        (pb.StartRequest(command="x" * 10_000, request_id="y", timeout_s=1, stdin=True), None),
    ],
    ids=str,
)
def test_elements_of_a_start(message: pb.StartRequest, what: str | None) -> None:
    """As many as may be pass, one more is named."""
    error = refused(message.SerializeToString())
    if what is None:
        assert error is None, error
    else:
        assert error is not None
        assert what in error.message
        assert (error.kind, error.code) == ("message_fields", StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x00" * 6,  # the same field again and again: the last one counts
        b"\xfa\x01\x00" * 6,  # an unknown field
        b"\xf8\x01\x00" * 6,
        b"\xf9\x01" + bytes(8) + b"\xfd\x01" + bytes(4) + b"\x0a\x00" * 4,
        b"\xfb\x01\xfc\x01" * 3,  # groups, which nobody uses
        b"\x18\x00" * 6,  # argv with the type of a number: an unknown field
        b"\x12\x02\x1a\x00" * 3 + b"\x0a\x00" * 3,  # unknown ones inside of known ones
        b"\x12\x0c" + b"\x1a\x00" * 6,
        b"\x2a\x0c" + b"\x0a\x00" * 6,  # a map's entry with six keys
    ],
    ids=range(9),
)
def test_every_kind_of_field_counts(data: bytes) -> None:
    """Repeated, unknown, nested, of every wire type; protobuf itself would take them all."""
    pb.StartRequest.FromString(data)
    error = refused(data)
    assert error is not None
    assert error.kind == "message_fields"


def test_a_packed_field_counts_by_its_bytes() -> None:
    """Its elements have no tags of their own."""
    counter = FieldCounter(pb.StreamOutputRequest.DESCRIPTOR, MessageLimits(1 << 20, 6))
    fits = pb.StreamOutputRequest(pid="1", streams=[pb.STREAM_STDOUT] * 5)
    more = pb.StreamOutputRequest(pid="1", streams=[pb.STREAM_STDOUT] * 6)
    assert refused(fits.SerializeToString(), counter) is None
    assert refused(more.SerializeToString(), counter) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x02x",
        b"\x80",
        b"\x80\x80\x80\x80\x80\x00",
        b"\x0e\x00",
        b"\x0f",
        b"\x09\x00",
        b"\x38" + b"\x80" * 10 + b"\x00",
        b"\x12\x03\x0a\x04x",
        b"\x12\x02\x0a",
        b"\x0a\xff\xff\xff\xff\xff\x01",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Not counted as far as it can be read: another reading might find more."""
    error = refused(data)
    assert error is not None
    assert (error.kind, error.code) == ("unparsable", StatusCode.INVALID_ARGUMENT)


@given(st.binary(max_size=60))
def test_what_passes_has_no_more_fields_than_may_be(data: bytes) -> None:
    """Whatever protobuf makes of any bytes: it never finds more than were counted."""
    if refused(data) is not None:
        return
    try:
        message = pb.StartRequest.FromString(data)
    except Exception:  # of bytes that are no text, and groups that do not end
        return
    assert len(message.argv) + len(message.arguments) <= 3
    assert len(message.env) <= 2


WHOLE = pb.StartRequest(
    command="ls", argv=["a", "", "b" * 200], env={"A": "b", "C": ""}, arguments=[pb.Argument()] * 3
).SerializeToString()
UNKNOWN = b"\xfb\x01\x1a\x01x\xfb\x01\xfc\x01\xfc\x01"  # groups, one in the other, around an argv


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from([b"\x1a\x01x", b"\x0a\x02ls", b"\x12\x06\x0a\x01a\x12\x01b", UNKNOWN]),
            max_size=20,
        ).map(b"".join),
        st.just(WHOLE),
    ),
    st.integers(min_value=1, max_value=4),
)
def test_slices_are_the_whole(data: bytes, fields_a_slice: int) -> None:
    """Parsed one after another they are the message, and fail where it does; each is bounded."""
    counter = FieldCounter(pb.StartRequest.DESCRIPTOR, MessageLimits(1 << 20, 100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_fields, "_FIELDS_A_SLICE", fields_a_slice)
        try:
            ends = list(counter.ends(data))
        except Refused:
            return
    assert ends == sorted(ends)
    assert ends[-1] == len(data)

    def merged(parts: list[bytes]) -> pb.StartRequest | None:
        message = pb.StartRequest()
        try:
            for part in parts:
                message.MergeFromString(part)
        except DecodeError:
            return None
        return message

    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *ends])]
    assert merged(pieces) == merged([data])


def test_a_slice_has_an_end_also_inside_of_a_field() -> None:
    """One field of ten thousand others is counted over several turns, and parsed in one."""
    counter = METHODS["Start"].message
    assert counter is not None
    inside = b"\x12" + b"\xa0\x9c\x01" + b"\x0a\x00" * 10_000
    limits = counter._replace(elements=((("arguments.name",), 10_000),))
    ends = list(FieldCounter(pb.StartRequest.DESCRIPTOR, limits).ends(b"\x0a\x00" + inside))
    assert ends == [2] * 10 + [len(inside) + 2]


@given(
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=200), max_size=2),
    st.text(max_size=300),
    st.floats(allow_nan=False),
)
def test_what_protobuf_writes_passes(
    argv: list[str], env: dict[str, str], command: str, timeout_s: float
) -> None:
    """Lengths of more than one byte, maps and numbers included."""
    request = pb.StartRequest(argv=argv, env=env, command=command, timeout_s=timeout_s)
    assert refused(request.SerializeToString()) is None
    assert refused(Int64Value(value=-1).SerializeToString()) is None


def test_counting_ends_with_the_first_that_is_too_many() -> None:
    """What comes behind it is not even looked at: here it is no message."""
    error = refused(b"\x1a\x00" * 4 + b"\x0f")
    assert error is not None
    assert error.kind == "message_fields"


def test_a_limit_must_name_a_field() -> None:
    """A typing error would be no limit at all."""
    for path in ("arg", "arguments.text", "timeout_s"):
        limits = MessageLimits(100, 10, (((path,), 1),))
        with pytest.raises(ValueError, match=path):
            FieldCounter(pb.StartRequest.DESCRIPTOR, limits)


def test_messages_inside_of_their_own_type() -> None:
    """Descriptors may be recursive; their fields are counted all the same."""
    from google.protobuf import struct_pb2

    counter = FieldCounter(struct_pb2.Value.DESCRIPTOR, MessageLimits(100, 8))
    nested = struct_pb2.Value(null_value=0)  # type: ignore[arg-type]  # its only value
    for _ in range(3):
        nested = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[nested]))
    assert refused(nested.SerializeToString(), counter) is None
    for _ in range(3):
        nested = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[nested]))
    assert refused(nested.SerializeToString(), counter) is not None
    FieldCounter(reflection.Request.DESCRIPTOR, MessageLimits(100, 8))


def test_the_methods_of_the_service_are_all_in_the_table() -> None:
    """A new one has its verb and its size said there."""
    service = pb.DESCRIPTOR.services_by_name["CommandService"]
    assert set(METHODS) == {method.name for method in service.methods}
