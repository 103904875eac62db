"""Where TLS records end in a stream of ciphertext, so that they can be counted (pure).

What a record holds is OpenSSL's to know, but its length stands in the clear (RFC 8446 5.1).
One read of OpenSSL goes on by itself through records that carry no data for us
(KeyUpdate, tickets, empty ones), each 10 to 20 microseconds: it must not be given many.
"""

from typing import Final

_HEADER_BYTES: Final = 5
RECORDS_A_STEP: Final = 16


class RecordCounter:
    """Of one direction of a connection, from its first byte on."""

    def __init__(self) -> None:
        self._head = b""
        """The beginning of a header that is not complete."""
        self._rest = 0
        """How much of the record under way is still to come."""

    def take(self, data: bytes, begin: int = 0) -> tuple[int, int]:
        """How much of ``data[begin:]`` makes one step: its end, and the records it completes.

        The next call must begin at that end. A length that TLS does not allow is for OpenSSL
        to refuse.
        """
        if self._head:
            return self._take_rest_of_header(data, begin)
        size = len(data)
        position = begin + self._rest
        if position > size:
            self._rest = position - size
            return size, 0
        # A record that ends here was begun in an earlier step.
        records = 1 if self._rest else 0
        while records < RECORDS_A_STEP and position + _HEADER_BYTES <= size:
            position += _HEADER_BYTES + (data[position + 3] << 8 | data[position + 4])
            records += 1
            if position > size:
                self._rest = position - size
                return size, records - 1
        self._rest = 0
        if records < RECORDS_A_STEP:
            self._head = data[position:]
            position = size
        return position, records

    def _take_rest_of_header(self, data: bytes, begin: int) -> tuple[int, int]:
        missing = _HEADER_BYTES - len(self._head)
        head = self._head + data[begin : begin + missing]
        if len(head) < _HEADER_BYTES:
            self._head = head
            return len(data), 0
        self._head = b""
        self._rest = missing + (head[3] << 8 | head[4])
        return self.take(data, begin)
