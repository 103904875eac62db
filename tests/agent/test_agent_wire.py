"""Messages of front end and agent: what is sent comes, in whatever pieces, and nothing else."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from penstock.agent import wire
from penstock.agent.attending import MOST_EARLY, MOST_EARLY_BYTES, Asked
from penstock.agent.front_end_input import FrontEndInput
from penstock.agent.front_end_link import FrontEndGone, FrontEndLink

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


@pytest.mark.parametrize(
    ("count", "size", "fits"),
    [
        (MOST_EARLY, 1, True),
        (MOST_EARLY + 1, 1, False),
        (1, MOST_EARLY_BYTES, True),
        (1, MOST_EARLY_BYTES + 1, False),
    ],
)
async def test_what_comes_before_its_word_has_a_bound(count: int, size: int, fits: bool) -> None:
    """All of it is kept, and a front end that says more is none of ours: it is dropped."""
    asked = Asked(wire.Request(b"", [b"status", b"1"], b"", {}))
    assert asked.line is not None
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = FrontEndLink(ours)
    early = [(wire.SIGNAL, b"\1" * size)] * count
    with theirs:
        theirs.sendall(b"".join(wire.message(*each) for each in early) + wire.message(wire.GO))
        if fits:
            assert await asked.accept(asked.line, link) == early
        else:
            with pytest.raises(FrontEndGone, match="too much before GO"):
                await asked.accept(asked.line, link)
        link.close()


async def test_input_that_was_not_asked_for_is_no_front_ends_of_ours() -> None:
    """It could fill the agent's memory; and what a check has left says nothing to a reader."""
    sent: list[tuple[int, bytes]] = []
    given = FrontEndInput(-1, lambda kind, body: sent.append((kind, body)))
    with pytest.raises(FrontEndGone):
        given.take(b"\0unasked")
    with trio.move_on_after(0):
        await given.check()
    assert sent == []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(given.check)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert sent == [(wire.READ, bytes(4))]
    async with trio.open_nursery() as nursery:
        found: list[bytes] = []

        async def receive() -> None:
            found.append(await given.receive(9))

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        given.take(b"\0")  # of the check that was left
        await trio.testing.wait_all_tasks_blocked()
        assert sent[1:] == [(wire.READ, (9).to_bytes(4, "big"))]
        given.take(b"\0input")
    assert found == [b"input"]
