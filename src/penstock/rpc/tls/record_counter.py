"""Where TLS records end in a stream of ciphertext, so that they can be counted (pure).

Only OpenSSL can read what a record holds, but its length stands in the clear (RFC 8446 5.1). One
read of OpenSSL works through all records that carry no data (KeyUpdate, tickets, empty ones), 10 to
20 microseconds each. So OpenSSL must not get many at once, because the event loop stands still
meanwhile.
"""

from typing import Final

_HEADER_BYTES: Final = 5
RECORDS_A_STEP: Final = 16


class RecordCounter:
    """Counts the records of one direction of a connection, from its first byte on."""

    def __init__(self) -> None:
        self._head = b""
        """The beginning of a header that is not complete."""
        self._rest = 0
        """How much of the record under way is still to come."""

    def take(self, data: bytes, begin: int = 0) -> tuple[int, int]:
        """One step through ``data[begin:]``: where it ends, and how many records it completes.

        The next call must begin at that end. A length that TLS does not allow is no error here,
        because OpenSSL rejects it.
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
