"""What waits to be written: small pieces are joined, large ones stay as they are (pure)."""

from typing import Final

# Below this a copy is cheaper, because each piece becomes a TLS record of its own.
_LARGE_BYTES: Final = 4096


class Outbox:
    """The bytes that wait for the transport, in order. ``len`` is their number."""

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray | memoryview] = []
        self._last = bytearray()
        self._bytes = 0

    def __len__(self) -> int:
        return self._bytes

    def __iadd__(self, data: bytes) -> "Outbox":
        self._last += data
        self._bytes += len(data)
        return self

    def add(self, data: bytes | memoryview) -> None:
        """``data`` must not change: a large piece is kept, not copied."""
        size = len(data)
        if size < _LARGE_BYTES:
            self._last += data
        else:
            if self._last:
                self._parts.append(self._last)
                self._last = bytearray()
            self._parts.append(data)
        self._bytes += size

    def take(self) -> list[bytes | bytearray | memoryview]:
        """All pieces, in order. The outbox is empty then."""
        parts = self._parts
        if self._last:
            parts.append(self._last)
            self._last = bytearray()
        self._parts = []
        self._bytes = 0
        return parts
