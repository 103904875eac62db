"""Messages of front end and agent: what is sent comes, in whatever pieces, and nothing else."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agent import wire

KINDS = (
    *(wire.START, wire.GO, wire.SIGNAL, wire.DATA, wire.HOLD, wire.RESUME, wire.ANSWER),
    *(wire.CONTROL, wire.DECLINED, wire.ACCEPTED, wire.TAKEN, wire.READ, wire.HELD, wire.ASK),
    *(wire.EXIT, wire.REPORT),
)
WORDS = st.lists(st.binary(max_size=40).filter(lambda word: b"\0" not in word), max_size=8)
NAMES = st.binary(min_size=1, max_size=9).filter(lambda name: b"=" not in name)


def test_no_two_kinds_are_one() -> None:
    assert len(set(KINDS)) == len(KINDS)


@given(
    st.binary(max_size=30),
    WORDS,
    st.binary(max_size=9),
    st.dictionaries(NAMES, st.binary(max_size=40), max_size=9),
)
def test_a_request_comes_as_it_was_sent(
    identity: bytes, words: list[bytes], ignored: bytes, environment: dict[bytes, bytes]
) -> None:
    """Empty words and values, too."""
    request = wire.Request(identity, words, ignored, environment)
    body = wire.encoded_request(request)
    assert wire.decoded_request(body) == request
    assert wire.identity_of(body) == identity


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[begin:end] for begin, end in pairwise(places))


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=50)), max_size=8),
    st.lists(st.integers(0, 999), max_size=12),
)
def test_messages_come_whole_in_whatever_pieces(
    sent: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    """Each once, in order, as soon as its last byte is there."""
    data = b"".join(wire.message(kind, body) for kind, body in sent)
    reader = wire.WireReader()
    assert [each for piece in pieces(data, cuts) for each in reader.feed(piece)] == sent


@given(st.binary(max_size=200))
def test_what_is_no_request_is_a_wire_error(body: bytes) -> None:
    """Nothing else is raised, and what is taken is a request that can be sent again."""
    try:
        request = wire.decoded_request(body)
    except wire.WireError:
        return
    again = wire.decoded_request(wire.encoded_request(request))
    assert (again.words, again.ignored) == (request.words, request.ignored)


def test_a_request_that_is_cut_is_refused() -> None:
    body = wire.encoded_request(wire.Request(b"us", [b"status", b"1"], b"\1", {b"A": b"b"}))
    whole = set()
    for length in range(len(body)):
        try:
            whole.add(len(wire.decoded_request(body[:length]).environment or {}))
        except wire.WireError:
            continue
    assert whole == {0}  # between two fields: without the last one


def test_a_message_without_end_is_refused_at_its_head() -> None:
    head = bytes((wire.START,)) + (wire.MOST_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(wire.WireError):
        list(wire.WireReader().feed(head))
