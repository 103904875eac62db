"""Bytes over one TLS connection, on a non-blocking socket that Trio waits for.

OpenSSL reads from memory here, not from the descriptor: one call of it does as much as it
finds, and what it finds is the peer's to choose. So it is given a few KiB of a handshake, or
a few records, at a time. docs/rpc.md has the figures.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final

import trio

from ..limits import Limits
from ..token_bucket import TokenBucket
from .contexts import ALPN, sent_chain
from .record_counter import RecordCounter
from .tcp_socket import peer_has_closed, tune
from .transport_interface import TransportLost, WriteStalled

_RECORD_BYTES: Final = 16_384  # TLS's largest record, and the most that one read returns
_RECEIVE_BYTES: Final = _RECORD_BYTES + 256  # with what TLS adds to it
_HANDSHAKE_STEP_BYTES: Final = 4_096
_WRITE_BYTES: Final = 4 * _RECORD_BYTES
_FLUSH_BYTES: Final = 4 * 63 * 1024  # four chunks of output in one write
# A server has many clients that may all send as fast as they can; a client has one server.
_READS_PER_CHECKPOINT: Final = {True: 2, False: 8}


class TlsTransport:
    """One task may receive while another sends. After any exception only ``close`` is left."""

    def __init__(
        self,
        raw: socket.socket,
        context: ssl.SSLContext,
        limits: Limits,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        writing: trio.Lock | None = None,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes ``raw`` over, closed on failure. Raises TransportLost.

        ``writing``: whose turn it is to write much, over all connections of a server.
        ``on_answer`` is called when the handshake has something to answer.
        """
        self._on_answer = on_answer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            raw.setblocking(False)
            tune(raw)
            self._tls = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_side,
                server_hostname=server_hostname,
            )
        except (OSError, ValueError) as error:
            raw.close()
            raise TransportLost(str(error)) from error
        self._sock = raw
        self._writing = writing or trio.Lock()
        self._since_turn = _FLUSH_BYTES - _WRITE_BYTES
        """Bytes encrypted; at the beginning as if some were."""
        self._handshake_bytes = limits.handshake_bytes
        self._silent = TokenBucket("TLS records without data", limits.silent_records)
        self._counter = RecordCounter()
        self._received = b""
        """Of which ``_position`` bytes were given to TLS."""
        self._position = 0
        self._drained = True
        self._ready = 0
        """At most so many complete records are in ``_incoming``."""
        self._reads = 0
        self._reads_per_checkpoint = _READS_PER_CHECKPOINT[server_side]
        self._unsent = memoryview(b"")
        """Ciphertext; it must go before anything newer."""

    async def handshake(self, turns: trio.Lock) -> None:
        """Raises TransportLost; cancelled: close it.

        A step with signatures takes a millisecond or two that nobody else can have. Fifty
        in one turn of the scheduler would be felt; ``turns`` spreads them.

        Cancellation: minimum cleanup; C2.
        """
        received = 0
        done = False
        while not done:
            try:
                async with turns:
                    self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except (OSError, ValueError) as error:
                self.flush_nowait()  # the alert
                raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
            if self._outgoing.pending:
                self._on_answer()
            await self._flush()
            if not done:
                await self._receive(_HANDSHAKE_STEP_BYTES)
                received += len(self._received)
                if not self._received:
                    raise TransportLost("the peer has closed during the handshake")
                if received > self._handshake_bytes:
                    raise TransportLost("the handshake is too large", kind="handshake_bytes")
                while self._position < len(self._received):
                    self._feed()
        if not self._incoming.pending:
            self._ready = 0  # else the first data is here too, and the count is a little high
        if self._tls.selected_alpn_protocol() != ALPN:
            # Without the extension TLS agrees; RFC 9113 3.2 does not.
            raise TransportLost("the peer does not speak HTTP/2 (ALPN h2)", during_tls=True)

    def peer_certificate(self) -> bytes:
        """DER of the leaf; empty if there is none."""
        return self._tls.getpeercert(binary_form=True) or b""

    def peer_issuers(self) -> tuple[bytes, ...]:
        """DER of what a client has sent besides its leaf, in its order."""
        return sent_chain(self._tls)[1:]

    async def receive(self) -> bytes:
        """What has arrived, at most one record; ``b""`` when the peer has closed.

        Raises TransportLost. Cancelled: nothing is lost.

        A call that must wait is a checkpoint. Where a record is there each second call of a server
        is, each eighth of a client, and others are no checkpoint.

        Cancellation: atomic; C2.
        """
        self._reads += 1
        if self._reads >= self._reads_per_checkpoint:
            self._reads = 0
            await trio.lowlevel.checkpoint()
        while True:
            if self._ready:
                try:
                    data = self._tls.read(_RECORD_BYTES)
                    self._ready -= 1
                    return data
                except ssl.SSLWantReadError:
                    self._count_silent()
                    await trio.lowlevel.checkpoint()
                except (OSError, ValueError) as error:
                    self.flush_nowait()  # the alert
                    raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
            if self._position == len(self._received):
                await self._receive(_RECEIVE_BYTES)
                if not self._received:
                    return b""
            self._feed()

    async def _receive(self, most: int) -> None:
        """The next ciphertext into ``_received``, which must be used up; empty at its end."""
        while True:
            if self._drained:
                self._reads = 0
                await trio.lowlevel.wait_readable(self._sock)
            try:
                self._received = self._sock.recv(most)
            except BlockingIOError:
                self._drained = True
            except (OSError, ValueError) as error:
                raise TransportLost(_text(error)) from error
            else:
                self._position = 0
                # Waiting at once spares a receive that fails, mostly.
                self._drained = len(self._received) < most
                return

    def _feed(self) -> None:
        """One step of what was received to TLS."""
        begin, data = self._position, self._received
        self._position, records = self._counter.take(data, begin)
        self._ready += records
        if begin or self._position < len(data):
            self._incoming.write(memoryview(data)[begin : self._position])
        else:
            self._incoming.write(data)

    def _count_silent(self) -> None:
        """TLS has read all that it was given, and some of it was nothing for us."""
        for _ in range(self._ready):
            if not self._silent.try_take():
                raise TransportLost(f"too many: {self._silent.kind}", kind="tls_records")
        self._ready = 0
        self.flush_nowait()  # a KeyUpdate may ask for another

    async def send(self, parts: Iterable[bytes | bytearray | memoryview], stall_s: float) -> None:
        """All of ``parts``. Raises TransportLost, WriteStalled. Cancelled: some of it is sent.

        No checkpoint where the socket takes it all at once.

        Cancellation: minimum cleanup; C2.
        """
        for part in parts:
            view = memoryview(part)
            for position in range(0, len(view), _WRITE_BYTES):
                if self._since_turn >= _FLUSH_BYTES:
                    await self._flush(stall_s)
                    # Never held while it waits for the peer.
                    async with self._writing:
                        self._since_turn = 0
                piece = view[position : position + _WRITE_BYTES]
                try:
                    self._tls.write(piece)
                except (OSError, ValueError) as error:
                    raise TransportLost(_text(error), during_tls=_is_tls(error)) from error
                self._since_turn += len(piece)
        await self._flush(stall_s)

    def send_nowait(self, data: bytes | bytearray) -> None:
        """As much as fits, without waiting and without complaint: for last words."""
        with contextlib.suppress(OSError, ValueError):
            if data:
                self._tls.write(data)
            self.flush_nowait()

    def flush_nowait(self) -> None:
        """What TLS has to say, as far as it goes without waiting."""
        with contextlib.suppress(TransportLost):
            self._write()

    async def _flush(self, stall_s: float | None = None) -> None:
        """Everything that TLS has to say. Raises as ``send``."""
        while not self._write():
            # Scope S2.flush.
            with trio.move_on_after(stall_s if stall_s is not None else float("inf")) as scope:
                await trio.lowlevel.wait_writable(self._sock)
            if scope.cancelled_caught:
                raise WriteStalled(f"nothing could be written for {stall_s:g} s")

    def _write(self) -> bool:
        """As much as the socket takes; whether that was all. Raises TransportLost."""
        try:
            while True:
                if not self._unsent:
                    if not self._outgoing.pending:
                        return True
                    self._unsent = memoryview(self._outgoing.read())
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return False
        except (OSError, ValueError) as error:
            raise TransportLost(_text(error)) from error

    async def linger(self) -> None:
        """Ends our half, then reads until the peer has ended its own.

        Closing a socket with unread bytes makes the kernel send a reset, which takes our
        last frames with it. The caller sets the time.

        No checkpoint if the socket is broken already.

        Cancellation: minimum cleanup.
        """
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                if not self._sock.recv(65_536):
                    return
        except (OSError, ValueError):
            return

    def peer_has_closed(self) -> bool:
        """Whether nothing more will come than what has arrived, which may not be read yet."""
        return peer_has_closed(self._sock)

    def close(self) -> None:
        """Frees the descriptor; who waits for it gets trio.ClosedResourceError. Idempotent."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


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
