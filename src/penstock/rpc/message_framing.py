"""Cuts gRPC's length-prefixed messages out of a stream of bytes (pure)."""

from typing import Final

from .call_errors import Refused, StatusCode

PREFIX_BYTES: Final = 5


def prefix(length: int) -> bytes:
    """The five bytes that go before an uncompressed message of ``length`` bytes."""
    return b"\0" + length.to_bytes(4, "big")


class Deframer:
    """Holds DATA as it arrives; a message is cut out of it when it is taken.

    Not earlier, because 16 KiB of DATA may hold 3,000 messages. So the task that takes a message
    does that work, not the connection's reader. The length of the message in front is checked when
    its five-byte prefix is complete, before anything more of it is kept.
    """

    def __init__(self, max_message_bytes: int, encoding: str = "identity") -> None:
        self._max = max_message_bytes
        self.encoding = encoding
        """The peer's grpc-encoding; only ``identity`` can be read."""
        self._data: bytes | bytearray = b""
        self._begin = 0
        """Where the message in front has its prefix; what is before it is taken."""
        self._size = 0
        """Bytes of the message in front, with its prefix; 0 while not known."""

    @property
    def pending_bytes(self) -> int:
        """Bytes held of all messages, complete or not."""
        return len(self._data) - self._begin

    @property
    def ready(self) -> bool:
        """Whether the message in front is complete."""
        return 0 < self._size <= len(self._data) - self._begin

    def feed(self, data: bytes) -> None:
        """Adds DATA. Raises Refused for the message in front; only ``clear`` may follow then."""
        if self._begin == len(self._data):
            self._data = data  # the usual case, one message in one frame, costs no copy here
            self._begin = 0
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(memoryview(self._data)[self._begin :])
                self._begin = 0
            elif self._begin > len(self._data) // 2:
                del self._data[: self._begin]
                self._begin = 0
            self._data += data
        if not self._size:
            self._look()

    def take(self) -> bytes:
        """The message in front, which must be ``ready``; then ``next_message`` is to be called."""
        begin = self._begin + PREFIX_BYTES
        self._begin += self._size
        self._size = 0
        if isinstance(self._data, bytes):
            return self._data[begin : self._begin]
        with memoryview(self._data) as view:
            return bytes(view[begin : self._begin])

    def next_message(self) -> None:
        """Checks the prefix of the message that is in front now. Raises as ``feed``."""
        if self._begin == len(self._data):
            self.clear()
        else:
            self._look()

    def clear(self) -> None:
        """Drops all bytes, so that a failed stream holds no memory."""
        self._data = b""
        self._begin = self._size = 0

    def _look(self) -> None:
        if len(self._data) - self._begin >= PREFIX_BYTES:
            self._size = PREFIX_BYTES + self._length()

    def _length(self) -> int:
        data, begin = self._data, self._begin
        flag = data[begin]
        if flag == 1 and self.encoding != "identity":
            raise Refused(
                "compressed",
                StatusCode.UNIMPLEMENTED,
                "compressed messages are not supported; use identity",
            )
        if flag != 0:
            # gRPC over HTTP/2: the flag without an encoding is INTERNAL.
            raise Refused(
                "compressed_flag", StatusCode.INTERNAL, "a message's compressed flag is invalid"
            )
        length = int.from_bytes(data[begin + 1 : begin + PREFIX_BYTES], "big")
        if length > self._max:
            raise Refused(
                "message_bytes",
                StatusCode.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes is larger than the {self._max} allowed",
            )
        return length
