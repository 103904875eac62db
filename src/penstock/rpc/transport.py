"""Bytes over one TLS connection, on a non-blocking socket that Trio waits for.

An ssl.SSLSocket that is waited on costs about half the CPU of trio.SSLStream for each
small exchange: OpenSSL reads and writes the descriptor itself, without memory BIOs.
"""

import contextlib
import errno
import socket
import ssl
from typing import Final

import trio

from .tls import ALPN

_RECORD_BYTES: Final = 16_384  # TLS's largest record, and the most that one read returns
_WRITE_BYTES: Final = 65_536
_READS_PER_CHECKPOINT: Final = 8


class TransportLost(Exception):
    """The peer is gone, or TLS broke. ``during_tls``: it was TLS that refused."""

    def __init__(self, message: str, *, during_tls: bool = False) -> None:
        super().__init__(message)
        self.during_tls = during_tls


class WriteStalled(Exception):
    """The peer has read nothing for the time allowed."""


class TlsTransport:
    """One task may receive while another sends. After any exception only ``close`` is left."""

    def __init__(
        self,
        raw: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        """Takes ``raw`` over, closed on failure. Raises TransportLost."""
        try:
            raw.setblocking(False)
            _tune(raw)
            self._sock = context.wrap_socket(
                raw,
                server_side=server_side,
                do_handshake_on_connect=False,
                server_hostname=server_hostname,
            )
        except (OSError, ValueError) as error:
            raw.close()
            raise TransportLost(str(error)) from error
        self._drained = True
        self._reads = 0
        self._writable: trio.Event | None = None

    async def handshake(self, turns: trio.Lock) -> None:
        """Raises TransportLost; cancelled: close it.

        A step with signatures takes a millisecond or two that nobody else can have. Fifty
        in one turn of the scheduler would be felt; ``turns`` spreads them.
        """
        while True:
            try:
                async with turns:
                    self._sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._sock)
            except (OSError, ValueError) as error:
                raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
        if self._sock.selected_alpn_protocol() != ALPN:
            # Without the extension TLS agrees; RFC 9113 3.2 does not.
            raise TransportLost("the peer does not speak HTTP/2 (ALPN h2)", during_tls=True)

    def peer_certificate(self) -> bytes:
        """DER of the leaf; empty if there is none."""
        return self._sock.getpeercert(binary_form=True) or b""

    async def receive(self) -> bytes:
        """What has arrived, at most one record; ``b""`` when the peer has closed.

        Raises TransportLost. Cancelled: nothing is lost.
        """
        if self._drained:
            self._reads = 0
            await trio.lowlevel.wait_readable(self._sock)
        else:
            self._reads += 1
            if self._reads % _READS_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()
        while True:
            try:
                data = self._sock.recv(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                self._reads = 0
                await trio.lowlevel.wait_readable(self._sock)
            except ssl.SSLWantWriteError:
                await self._wait_writable()
            except (OSError, ValueError) as error:
                raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
            else:
                # A short record is mostly the last one: waiting at once saves a failing read.
                self._drained = len(data) < _RECORD_BYTES and not self._sock.pending()
                return data

    async def send(self, data: bytes | bytearray, stall_s: float) -> None:
        """All of ``data``. Raises TransportLost, WriteStalled. Cancelled: a part is sent."""
        with memoryview(data) as view:
            position = 0
            while position < len(view):
                try:
                    # After WANT_WRITE OpenSSL needs the same bytes again, which this gives.
                    position += self._sock.send(view[position : position + _WRITE_BYTES])
                    continue
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    pass  # TLS 1.3 never needs to read in order to write
                except (OSError, ValueError) as error:
                    raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
                with trio.move_on_after(stall_s) as scope:
                    await self._wait_writable()
                if scope.cancelled_caught:
                    raise WriteStalled(f"nothing could be written for {stall_s:g} s")

    def send_nowait(self, data: bytes | bytearray) -> None:
        """As much as fits, without waiting and without complaint: for last words."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.send(data)

    async def linger(self) -> None:
        """Ends our half, then reads until the peer has ended its own.

        Closing a socket with unread bytes makes the kernel send a reset, which takes our
        last frames with it. The caller sets the time.
        """
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                if not self._sock.recv(65_536):  # not TLS any more: shutdown has detached it
                    return
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Frees the descriptor; who waits for it gets trio.ClosedResourceError. Idempotent."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _wait_writable(self) -> None:
        # Trio allows one waiter a direction, and a read may need to write too (KeyUpdate).
        if self._writable is not None:
            await self._writable.wait()
            return
        self._writable = trio.Event()
        try:
            await trio.lowlevel.wait_writable(self._sock)
        finally:
            self._writable.set()
            self._writable = None


def _tune(raw: socket.socket) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose machine is gone sends no FIN: the kernel finds out in two minutes.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _is_tls(error: Exception) -> bool:
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def _text(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "failed").lower().replace("_", " ")
        return f"TLS: {reason}"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, "") + ": " + (error.strerror or "")
    return str(error)
