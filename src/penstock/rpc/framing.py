"""gRPC's length-prefixed messages out of a stream of bytes (pure)."""

from typing import Final

from .errors import RpcError, StatusCode

PREFIX_BYTES: Final = 5


def prefix(length: int) -> bytes:
    """What goes before an uncompressed message of ``length`` bytes."""
    return b"\0" + length.to_bytes(4, "big")


class Deframer:
    """Cuts messages out of DATA as it arrives.

    A message's length is judged when its five-byte prefix is complete, before anything
    of it is kept. ``pending_bytes`` are held of the message that is not complete.
    """

    def __init__(self, max_message_bytes: int, encoding: str = "identity") -> None:
        """``encoding`` is the peer's grpc-encoding; only ``identity`` can be read."""
        self._max = max_message_bytes
        self._encoding = encoding
        self._buffer = bytearray()
        self._need: int | None = None

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes. Raises RpcError; it cannot be used after that."""
        if not self._buffer and self._need is None and len(data) >= PREFIX_BYTES:
            # The usual case, one message in one frame, costs a single slice.
            length = self._length(data)
            if len(data) == PREFIX_BYTES + length:
                return [data[PREFIX_BYTES:]]
        buffer = self._buffer
        buffer += data
        messages = []
        position = 0
        while True:
            if self._need is None:
                if len(buffer) - position < PREFIX_BYTES:
                    break
                self._need = self._length(buffer[position : position + PREFIX_BYTES])
                position += PREFIX_BYTES
            if len(buffer) - position < self._need:
                break
            messages.append(bytes(memoryview(buffer)[position : position + self._need]))
            position += self._need
            self._need = None
        if position:
            del buffer[:position]
        return messages

    @property
    def truncated(self) -> bool:
        """Whether the stream may not end here."""
        return self._need is not None or bool(self._buffer)

    def _length(self, head: bytes | bytearray) -> int:
        if head[0] == 1 and self._encoding != "identity":
            raise RpcError(
                StatusCode.UNIMPLEMENTED, "compressed messages are not supported; use identity"
            )
        if head[0] != 0:
            # gRPC over HTTP/2: the flag without an encoding is INTERNAL.
            raise RpcError(StatusCode.INTERNAL, "a message's compressed flag is invalid")
        length = int.from_bytes(head[1:PREFIX_BYTES], "big")
        if length > self._max:
            raise RpcError(
                StatusCode.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes is larger than the {self._max} allowed",
            )
        return length
