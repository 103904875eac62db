"""A client that can break every rule: frames by hand over TLS, stock h2 to read the answers."""

import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import trio
from hpack import Encoder

GRPC_HEADERS = (
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/toy.Toy/Echo"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream_id: int, body: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(body))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream_id)
        + body
    )


def message(data: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + struct.pack(">I", len(data)) + data


def with_headers(*changes: tuple[str, str | None]) -> list[tuple[str, str]]:
    """gRPC's request headers with some replaced, added, or (None) left out."""
    fields: dict[str, str | None] = dict(GRPC_HEADERS)
    fields.update(changes)
    return [(name, value) for name, value in fields.items() if value is not None]


class RawClient:
    """``h2`` reads; ``send`` writes any bytes, ``request`` correct frames."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.events: list[Any] = []
        self._stream = stream
        self.encoder = Encoder()

    async def start(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self._stream.send_all(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def request(
        self, headers: Sequence[tuple[str, str]] = GRPC_HEADERS, data: bytes | None = None
    ) -> int:
        """Begins a stream; with ``data`` it is complete. Returns its id."""
        stream_id: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers)
        if data is not None:
            self.h2.send_data(stream_id, data, end_stream=True)
        await self.flush()
        return stream_id

    async def wait_for(self, kind: type, stream_id: int | None = None) -> Any:
        """The next event of this kind (and stream). Raises EOFError when the server closes."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream_id in (
                    None,
                    getattr(event, "stream_id", None),
                ):
                    self.events.remove(event)
                    return event
            data = await self._stream.receive_some(65_536)
            if not data:
                raise EOFError
            self.events += self.h2.receive_data(data)
            await self.flush()

    async def wait_closed(self) -> None:
        """Until the server closes, writing nothing."""
        with contextlib.suppress(trio.BrokenResourceError):
            while await self._stream.receive_some(65_536):
                pass

    async def answer(self, stream_id: int) -> dict[str, str]:
        """All of the response's header fields and trailers."""
        await self.wait_for(h2.events.StreamEnded, stream_id)
        fields: dict[str, str] = {}
        for event in self.events:
            if getattr(event, "stream_id", None) == stream_id and hasattr(event, "headers"):
                fields.update(event.headers)
        return fields

    async def go_away_code(self) -> int:
        """The error code with which the server ends the connection."""
        event = await self.wait_for(h2.events.ConnectionTerminated)
        return int(event.error_code)


@asynccontextmanager
async def raw_client(
    port: int, context: ssl.SSLContext, *, start: bool = True
) -> AsyncIterator[RawClient]:
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
        client = RawClient(stream)
        if start:
            await client.start()
        yield client
    finally:
        await trio.aclose_forcefully(stream)
