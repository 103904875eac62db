"""Header blocks: HPACK without a dynamic table to send, with a bounded one to receive (pure)."""

import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from hpack import Decoder, Encoder
from hpack.exceptions import OversizedHeaderListError
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)
from hpack.table import HeaderTable

from .events import Headers
from .protocol_errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault, StreamFault

# Dynamic table size update to 0 (RFC 7541 6.3), sent once, at the start of the first block. After
# it a block depends on no earlier block, so that equal headers are equal bytes and can be cached.
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


# RFC 7541 4.2: two changes of the table's size, a smaller one and the final one, are all that
# can be needed. 7.4 leaves the length of integers to us: ten bytes hold 64 bits.
_MOST_UPDATES: Final = 2
_INTEGER_BYTES: Final = 10
# In every longer integer, and in few honest blocks.
_LONG_INTEGER: Final = re.compile(rb"[\x80-\xff]{%d}" % (_INTEGER_BYTES - 1))
_LEAST_FIELD_BYTES: Final = 32  # RFC 9113 6.5.2 counts that much for an empty field


# A list that is too large belongs to one call, but the table to all of them. So such a block is
# still read, for the table alone, up to these bounds. Huffman's code costs most: 0.5 us a byte.
_FIELDS_PASSED_OVER: Final = 2048
_HUFFMAN_PASSED_OVER: Final = 49_152
# The block is read in steps of so many units of work, some 2 ms, so that other tasks run between
# them. A byte of Huffman's code is one unit; a field is as many as take the same time.
_STEP: Final = 8192
_WORK_OF_A_FIELD: Final = 16
_LONGEST_CODE_BITS: Final = 30  # RFC 7541, appendix B


class _Table(HeaderTable):  # type: ignore[misc]  # hpack has no types
    """Copies what it keeps, because hpack's views would keep a whole block for two bytes."""

    dynamic_entries: deque[tuple[bytes, bytes]]

    def add(self, name: bytes, value: bytes) -> None:
        super().add(bytes(name), bytes(value))

    def clear(self) -> None:
        """What adding an entry larger than the table does (RFC 7541 4.4)."""
        self.dynamic_entries.clear()
        self._current_size = 0

    def state(self) -> tuple[deque[tuple[bytes, bytes]], int, int]:
        return self.dynamic_entries.copy(), self._current_size, self._maxsize

    def go_back(self, state: tuple[deque[tuple[bytes, bytes]], int, int]) -> None:
        self.dynamic_entries, self._current_size, self._maxsize = state


class HeaderDecoder:
    """Decodes one direction of a connection.

    Every block must be decoded, also that of a rejected call, because each one changes the table
    that later blocks refer to.
    """

    def __init__(self, header_bytes: int) -> None:
        """``header_bytes`` is the largest list, by RFC 9113's count (6.5.2)."""
        self._decoder = Decoder(max_header_list_size=header_bytes)
        self._table = self._decoder.header_table = _Table()
        self._most_fields = header_bytes // _LEAST_FIELD_BYTES
        # Also bounded, because hpack counts a field after decoding, and it may be a whole block.
        self._most_bytes = 2 * header_bytes
        self._steps: Iterator[None] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the caller must call ``decode_some`` again, with the same block."""
        return self._steps is not None

    def decode(self, block: bytes) -> Headers | None:
        """As ``decode_some``, to the block's end; may take tens of milliseconds."""
        while True:
            fields = self.decode_some(block)
            if not self.unfinished:
                return fields

    def decode_some(self, block: bytes) -> Headers | None:
        """Works on a block for some milliseconds at most; see ``unfinished``.

        Returns None where the list is too large: the call is lost, but the connection stays
        usable. Raises ConnectionFault where the tables of both ends may differ by now, so that no
        later block could be understood.
        """
        steps, self._steps = self._steps, None
        try:
            if steps is not None:
                self._go_on(steps)
                return None
            if b"\x20" <= block[:1] < b"\x40" or _LONG_INTEGER.search(block) is not None:
                self._check(block)
            if len(block) > self._most_bytes:
                self._go_on(self._pass_over(block))
                return None
            before = self._table.state()
            try:
                return self._decoder.decode(block, raw=True)  # type: ignore[no-any-return]
            except OversizedHeaderListError:
                self._table.go_back(before)
                self._steps = self._pass_over(block)
                return None
        except ConnectionFault:
            raise
        except Exception as error:  # hpack 3 lets IndexError and others through
            raise ConnectionFault(
                f"a header block cannot be decoded: {type(error).__name__}",
                COMPRESSION_ERROR,
                "hpack",
            ) from error

    def _go_on(self, steps: Iterator[None]) -> None:
        for _ in steps:
            self._steps = steps
            return

    def _pass_over(self, block: bytes) -> Iterator[None]:
        """Applies ``block`` to the table, and decodes only the fields that stay in it.

        Raises ConnectionFault, IndexError and what hpack raises.
        """
        table, position, huffman_left = self._table, 0, _HUFFMAN_PASSED_OVER
        fields = work = 0
        while position < len(block):
            if work >= _STEP:
                work = 0
                yield
            first = block[position]
            if first & 0xE0 == 0x20 and not fields:
                size, position = _integer(block, position, 0x1F)
                if size > self._decoder.max_allowed_table_size:
                    raise IndexError("the table is too large")
                table.maxsize = size
                continue
            if first & 0xE0 == 0x20:
                raise IndexError("a table size update after a field")
            fields += 1
            work += _WORK_OF_A_FIELD
            if fields > _FIELDS_PASSED_OVER:
                raise _too_large()
            if first & 0x80:
                index, position = _integer(block, position, 0x7F)
                table.get_by_index(index)
                continue
            kept = first & 0x40
            index, position = _integer(block, position, 0x3F if kept else 0x0F)
            name = table.get_by_index(index)[0] if index else None
            strings = [] if name is None else [name]
            room = table.maxsize - _LEAST_FIELD_BYTES - len(name or b"")
            for _ in range(1 if index else 2):
                coded = block[position] & 0x80
                length, position = _integer(block, position, 0x7F)
                end = position + length
                if end > len(block):
                    raise IndexError("a string is cut")
                if kept and room >= 0:
                    part = memoryview(block)[position:end]
                    text, used = _decoded(part, room) if coded else (_short(part, room), 0)
                    huffman_left -= used
                    work += used
                    if huffman_left < 0:
                        raise _too_large()
                    room = -1 if text is None else room - len(text)
                    strings.append(text or b"")
                position = end
            if kept and room >= 0:
                table.add(*strings)
            elif kept:
                table.clear()

    def _check(self, block: bytes) -> None:
        """Raises for what hpack accepts any number of, 13 to 37 ms for a block of 16 KiB."""
        position = updates = 0
        for _ in range(self._most_fields + _MOST_UPDATES + 1):
            if position >= len(block):
                return
            first = block[position]
            if first & 0x80:
                _, position = _integer(block, position, 0x7F)
            elif first & 0xE0 == 0x20:
                updates += 1
                if updates > _MOST_UPDATES:
                    raise ConnectionFault(
                        "a header block resizes the table too often", COMPRESSION_ERROR, "hpack"
                    )
                _, position = _integer(block, position, 0x1F)
            else:
                index, position = _integer(block, position, 0x3F if first & 0x40 else 0x0F)
                for _ in range(1 if index else 2):
                    length, position = _integer(block, position, 0x7F)
                    position += length


def _too_large() -> ConnectionFault:
    return ConnectionFault("the header list is too large", ENHANCE_YOUR_CALM, "header bytes")


def _short(part: memoryview, room: int) -> bytes | None:
    """The string, or None if it is longer than ``room``."""
    return bytes(part) if len(part) <= room else None


def _decoded(part: memoryview, room: int) -> tuple[bytes | None, int]:
    """A string in Huffman's code, None if it is longer than ``room``; how many bytes were read.

    Raises IndexError for what is no string.
    """
    if len(part) * 8 // _LONGEST_CODE_BITS > room:
        return None, 0
    text, state, flags = bytearray(), 0, HUFFMAN_COMPLETE
    for number, byte in enumerate(part):
        for nibble in (byte >> 4, byte & 0x0F):
            state, flags, symbol = HUFFMAN_TABLE[(state << 4) + nibble]
            if flags & HUFFMAN_FAIL:
                raise IndexError("invalid Huffman code")
            if flags & HUFFMAN_EMIT_SYMBOL:
                text.append(symbol)
        if len(text) > room:
            return None, number + 1
    if not flags & HUFFMAN_COMPLETE:
        raise IndexError("incomplete Huffman code")
    return bytes(text), len(part)


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """RFC 7541 5.1: the value and where it ends. Raises ConnectionFault, IndexError."""
    value = block[position] & mask
    begin, position = position, position + 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        if position - begin > _INTEGER_BYTES:
            raise ConnectionFault(
                "a header block's integer is too long", COMPRESSION_ERROR, "hpack"
            )
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


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
