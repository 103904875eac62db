"""Text of streams that are cut anywhere: as of the whole bytes, each stream by itself."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.text.stream_decoder import REPLACEMENT, TextDecoder

# Characters of each length, and bytes that are in none.
PIECES = st.sampled_from(["a", "\u00e9", "\u20ac", "\U0001f600"]).map(str.encode) | st.binary()


def cut(data: bytes) -> st.SearchStrategy[bytes]:
    """A beginning of it, or all."""
    return st.integers(0, len(data)).map(lambda end: data[:end])


@given(chunks=st.lists(st.tuples(st.integers(1, 2), PIECES.flatmap(cut))))
def test_it_is_the_text_of_each_streams_bytes(chunks: list[tuple[int, bytes]]) -> None:
    """However they were cut, with the other stream's in between; only a cut end is due later."""
    decoder = TextDecoder[int]()
    texts = {1: "", 2: ""}
    whole = {1: b"", 2: b""}
    for stream, data in chunks:
        texts[stream] += decoder.feed(stream, data)
        whole[stream] += data
        given_up = whole[stream][: len(whole[stream]) - decoder.held_bytes(stream)]
        assert texts[stream] == given_up.decode(errors="replace")
        assert decoder.held_bytes(stream) <= 3
    held = [stream for stream in (1, 2) if decoder.held_bytes(stream)]
    broken = decoder.break_off()
    assert sorted(broken) == held
    for stream in broken:
        texts[stream] += REPLACEMENT
    assert texts == {stream: data.decode(errors="replace") for stream, data in whole.items()}
    assert decoder.break_off() == []


def test_a_reader_that_begins_inside_of_a_character() -> None:
    """What was before belongs to it."""
    decoder = TextDecoder({2: "\u20ac".encode()[:2]})
    assert decoder.feed(1, b"x") == "x"
    assert decoder.feed(2, "\u20ac".encode()[2:]) == "\u20ac"
    assert decoder.break_off() == []
