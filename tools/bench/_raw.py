"""A reader that costs as little as can be, the same for every server: raw HTTP/2 over TLS.

It asks once, opens windows that are never used up, and counts what comes.
"""

import re
import socket
import ssl
import time
from pathlib import Path

import hpack

from penstock.proto import command_pb2 as pb

_WINDOW = 2**31 - 1
_FRAME = 64 * 1024
_DATA, _HEADERS, _END_STREAM = 0, 1, 1
_STAMP = re.compile(rb"t=(\d+);")


def client_context(directory: Path) -> ssl.SSLContext:
    """alice's."""
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "alice.crt", directory / "alice.key")
    context.set_alpn_protocols(["h2"])
    return context


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


class RawReader:
    """One connection; ``open`` begins a stream of a job's output on it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        settings = b"\0\4" + _WINDOW.to_bytes(4, "big") + b"\0\5" + _FRAME.to_bytes(4, "big")
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(4, 0, 0, settings)
            + _frame(8, 0, 0, (_WINDOW - 65_535).to_bytes(4, "big"))
            + _frame(4, 1, 0, b"")
        )
        self._encoder = hpack.Encoder()
        self._next_id = 1

    def start(self, command: str, *arguments: str) -> str:
        """Starts a job; its handle. Nothing else may be open on the connection."""
        request = pb.StartRequest(command=command, argv=arguments)
        self._ask("Start", request.SerializeToString())
        rest, message = b"", b""
        while True:
            rest += self.socket.recv(65_536)
            while len(rest) >= 9 + int.from_bytes(rest[:3], "big"):
                size, kind, flags = int.from_bytes(rest[:3], "big"), rest[3], rest[4]
                if kind == _DATA:
                    message += rest[9 : 9 + size]
                rest = rest[9 + size :]
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    return str(pb.StartResponse.FromString(message[5:]).pid)

    def open(self, handle: str) -> None:
        """StreamOutput, raw, from the first byte."""
        self._ask("StreamOutput", pb.StreamOutputRequest(pid=handle, raw=True).SerializeToString())

    def _ask(self, method: str, request: bytes) -> None:
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", f"/teleport.CommandService/{method}"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        block = self._encoder.encode(headers, huffman=False)
        message = b"\0" + len(request).to_bytes(4, "big") + request
        stream, self._next_id = self._next_id, self._next_id + 2
        self.socket.sendall(_frame(1, 4, stream, block) + _frame(0, 1, stream, message))

    def count(self, expected: int) -> int:
        """Reads until so many bytes have come, of whatever."""
        buffer = bytearray(256 * 1024)
        view = memoryview(buffer)
        got = 0
        while got < expected:
            size = self.socket.recv_into(view)
            if not size:
                break
            got += size
        return got

    def latencies(self, most: int) -> list[float]:
        """Of lines ``t=<monotonic ns>;``: seconds from their writing to their receipt."""
        found: list[float] = []
        rest = b""
        while len(found) < most:
            data = self.socket.recv(65_536)
            if not data:
                break
            now = time.monotonic_ns()
            rest += data
            for stamp in _STAMP.findall(rest):
                found.append((now - int(stamp)) / 1e9)
            rest = rest[rest.rfind(b";") + 1 :]
        return found

    def read_some(self, seconds: float) -> None:
        """Takes what comes within that time."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return

    def close(self) -> None:
        self.socket.close()
