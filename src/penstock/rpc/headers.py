"""Header blocks: HPACK without a dynamic table on our side, bounded on the peer's (pure)."""

from functools import lru_cache
from typing import Final

from hpack import Decoder, Encoder
from hpack.exceptions import OversizedHeaderListError

from .events import Headers
from .faults import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault, StreamFault

# Dynamic table size update to 0 (RFC 7541 6.3), once at the start of our first block: after
# it a block depends on nothing that went before, so equal headers are equal bytes.
NO_TABLE: Final = b"\x20"
_CACHED: Final = 256


def _stateless() -> Encoder:
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.encode([(b"x", b"x")])  # takes the size update that NO_TABLE stands for
    return encoder


_ENCODER: Final = _stateless()


@lru_cache(_CACHED)
def _encode(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return bytes(_ENCODER.encode(headers))


def encode(headers: Headers) -> bytes:
    """A header block for any stream of any connection that has sent NO_TABLE.

    Responses have mostly the same few fields: remembering them costs bytes on the wire
    and saves most of the time that headers take.
    """
    return _encode(tuple(headers))


class HeaderDecoder:
    """One direction of a connection. Every block must be decoded, wanted or not."""

    def __init__(self, header_bytes: int) -> None:
        """``header_bytes`` is the largest list, by RFC 9113's count (6.5.2)."""
        self._decoder = Decoder(max_header_list_size=header_bytes)

    def decode(self, block: bytes) -> Headers:
        """Raises ConnectionFault; the connection cannot go on."""
        try:
            return self._decoder.decode(block, raw=True)  # type: ignore[no-any-return]
        except OversizedHeaderListError:
            raise ConnectionFault(
                "the header list is too large", ENHANCE_YOUR_CALM, "header bytes"
            ) from None
        except Exception as error:  # hpack 3 lets IndexError and others through
            raise ConnectionFault(
                f"a header block cannot be decoded: {type(error).__name__}",
                COMPRESSION_ERROR,
                "hpack",
            ) from error


def is_interim(fields: Headers) -> bool:
    """Whether a response's head is a 1xx one, with another to follow."""
    return any(name == b":status" and value[:1] == b"1" for name, value in fields)


def content_length(fields: Headers, stream_id: int) -> int | None:
    """RFC 9110 8.6. Raises StreamFault for what is no length, or several."""
    found = {value for name, value in fields if name == b"content-length"}
    if not found:
        return None
    value = found.pop()
    if found or not value.isdigit() or len(value) > 15:
        raise StreamFault(stream_id, "content-length is not a number")
    return int(value)
