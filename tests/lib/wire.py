"""Either end of an HTTP/2 connection by hand: frames written with hyperframe and hpack, and
read without any rule of HTTP/2 that could get in the way."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from pki import shared_pki
from raw import GRPC_HEADERS, PREFACE, message
from toy import Running, serving

from penstock.rpc.channel import Channel, open_channel

HELLO = message(BytesValue(value=b"hello").SerializeToString())
RESPONSE = ((":status", "200"), ("content-type", "application/grpc"))
OK = (("grpc-status", "0"),)
NO_ERROR, PROTOCOL, INTERNAL, FLOW, CLOSED, SIZE, REFUSED, CANCEL = 0, 1, 2, 3, 5, 6, 7, 8
COMPRESSION, CALM = 9, 11


class Wire:
    """``send`` writes frames or bytes as they are; ``expect`` reads until one fits."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = b""
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.seen: list[Frame] = []
        self._passed: list[Frame] = []

    async def send(self, *frames: Frame | bytes) -> None:
        """In one write. A server that has closed already is not an error here."""
        data = b"".join(
            frame if isinstance(frame, bytes) else frame.serialize() for frame in frames
        )
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            return

    async def next(self) -> Frame | None:
        """The next frame; None when the peer has closed."""
        while True:
            if len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(self._buffer[:9])
                if len(self._buffer) >= 9 + length:
                    frame.parse_body(memoryview(self._buffer)[9 : 9 + length])
                    self._buffer = self._buffer[9 + length :]
                    if isinstance(frame, HeadersFrame):
                        frame.fields = dict(self.decoder.decode(frame.data))
                    self.seen.append(frame)
                    return frame
            try:
                data = await self._stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._buffer += data

    async def expect(self, kind: type, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first frame of this kind that fits and was not expected yet; reads on for it.

        Fails when the peer closes before.
        """
        for passed in self._passed:
            if isinstance(passed, kind) and fits(passed):
                self._passed.remove(passed)
                return passed
        while (frame := await self.next()) is not None:
            if isinstance(frame, kind) and fits(frame):
                return frame
            self._passed.append(frame)
        raise AssertionError(f"no {kind.__name__}; seen: {self.seen}")

    async def goaway(self, code: int) -> None:
        """The connection is ended with this error, and closed."""
        frame = await self.expect(GoAwayFrame)
        assert frame.error_code == code, frame
        while await self.next() is not None:
            pass

    async def rst(self, stream_id: int, code: int) -> None:
        """This stream alone is ended with this error."""
        frame = await self.expect(RstStreamFrame, lambda each: each.stream_id == stream_id)
        assert frame.error_code == code, frame

    async def lives(self) -> None:
        """A PING comes back, and no GOAWAY before it."""
        await self.send(PingFrame(0, b"still on"))
        while True:
            frame = await self.next()
            assert frame is not None, self.seen
            assert not isinstance(frame, GoAwayFrame), frame
            if isinstance(frame, PingFrame) and frame.opaque_data == b"still on":
                return

    async def status(self, stream_id: int) -> str:
        """grpc-status of a call's end."""
        frame = await self.expect(
            HeadersFrame, lambda each: each.stream_id == stream_id and "END_STREAM" in each.flags
        )
        return str(frame.fields["grpc-status"])

    def headers(
        self,
        stream_id: int,
        fields: Sequence[tuple[str, str]] = GRPC_HEADERS,
        flags: Sequence[str] = ("END_HEADERS",),
    ) -> HeadersFrame:
        return HeadersFrame(stream_id, self.encoder.encode(fields), flags=flags)

    def call(self, stream_id: int, path: str = "/toy.Toy/Echo") -> bytes:
        """A whole unary call."""
        fields = [(name, path if name == ":path" else value) for name, value in GRPC_HEADERS]
        return bytes(self.headers(stream_id, fields).serialize() + data(stream_id, HELLO, end=True))


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    flags = ("END_STREAM",) if end else ()
    return bytes(DataFrame(stream_id, payload, flags=flags).serialize())


def settings(**values: int) -> SettingsFrame:
    """By hyperframe's names of the settings."""
    return SettingsFrame(0, {getattr(SettingsFrame, name): value for name, value in values.items()})


def window(stream_id: int, increment: int) -> WindowUpdateFrame:
    return WindowUpdateFrame(stream_id, increment)


@asynccontextmanager
async def to_server(*, greet: bool = True, **limits: Any) -> AsyncIterator[Wire]:
    """We are a client of the toy server; with ``greet`` both have said SETTINGS."""
    async with serving(shared_pki(), **limits) as running, connected(running, greet=greet) as wire:
        yield wire


@asynccontextmanager
async def connected(
    running: Running,
    *,
    who: str = "alice",
    greet: bool = True,
    receive_buffer_bytes: int | None = None,
    send_buffer_bytes: int | None = None,
) -> AsyncIterator[Wire]:
    """One more client of a server that runs already."""
    raw = trio.socket.socket()
    if receive_buffer_bytes is not None:
        raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer_bytes)
    if send_buffer_bytes is not None:
        raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, send_buffer_bytes)
    await raw.connect(("127.0.0.1", running.port))
    tcp = trio.SocketStream(raw)
    stream = trio.SSLStream(
        tcp,
        shared_pki().client_context(who),
        server_hostname="localhost",
        https_compatible=True,
    )
    try:
        await stream.do_handshake()
        wire = Wire(stream)
        if greet:
            await wire.send(PREFACE, SettingsFrame(0))
            await wire.expect(SettingsFrame, lambda frame: "ACK" in frame.flags)
        yield wire
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def to_client(**options: Any) -> AsyncIterator[tuple[Wire, Channel]]:
    """We are the server of a real channel; both have said SETTINGS."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    wires: list[Wire] = []

    async def serve() -> None:
        tcp = await listener.accept()
        context: ssl.SSLContext = shared_pki().server_context()
        stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        try:
            await stream.do_handshake()
            await stream.receive_some(len(PREFACE))
            wires.append(Wire(stream))
            await wires[0].send(SettingsFrame(0))
            await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(stream)

    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve)  # noqa: ASYNC113 - it waits for the channel that comes next
        context = shared_pki().client_context()
        async with open_channel(
            "127.0.0.1", port, context, server_hostname="localhost", **options
        ) as channel:
            yield wires[0], channel
        nursery.cancel_scope.cancel()
