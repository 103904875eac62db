"""Bytes over one TLS connection, on a non-blocking socket that Trio waits for.

OpenSSL reads from memory here, not from the descriptor, because one call of it works through all
input that it finds, and the peer chooses how much that is. So it gets a few KiB of a handshake, or
a few records, at a time. docs/rpc.md has the figures.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final

import trio

from ..limits import Limits
from ..token_bucket import TokenBucket
from .contexts import ALPN, sent_chain
from .failure_text import is_refusal, is_tls, text_of
from .record_counter import RecordCounter
from .tcp_socket import peer_has_closed, tune
from .transport_interface import TransportLost, WriteStalled

_RECORD_BYTES: Final = 16_384  # TLS's largest record, and the most that one read returns
_RECEIVE_BYTES: Final = _RECORD_BYTES + 256  # with what TLS adds to it
_HANDSHAKE_STEP_BYTES: Final = 4_096
_WRITE_BYTES: Final = 4 * _RECORD_BYTES
_FLUSH_BYTES: Final = 4 * 63 * 1024  # four chunks of output in one write
# A server's is lower, because all of its clients may send as fast as they can at once.
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
        refusal: Callable[[bytes], str | None] = lambda certificate: None,
    ) -> None:
        """Takes ``raw`` over, and closes it on failure. Raises TransportLost.

        ``writing`` is held by the connection of a server whose turn it is to write much.
        ``on_answer`` is called when the handshake has something to answer. ``refusal`` is asked
        about the peer's certificate, which TLS has accepted, and says why it is refused all the
        same; a server that a client refuses so has been sent nothing of that client.
        """
        self._on_answer = on_answer
        self._refusal = refusal
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
        """Completes TLS's handshake. Raises TransportLost; cancelled, the caller must ``close``.

        ``turns`` spreads its steps over the scheduler's turns, because signatures take 1 to 2 ms.

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
                sent = sent_chain(self._tls) if is_refusal(error) else ()
                raise TransportLost(
                    text_of(error), during_tls=is_tls(error), certificates=sent
                ) from error
            if done and (why := self._refusal(self.peer_certificate())) is not None:
                # Before the flush, because our own certificate is in what waits there.
                sent = sent_chain(self._tls)
                raise TransportLost(why, during_tls=True, certificates=sent)
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
            self._ready = 0  # otherwise the first data is here too, and the count a little high
        if self._tls.selected_alpn_protocol() != ALPN:
            # Checked here, because TLS accepts a peer without the extension; RFC 9113 3.2 does not.
            raise TransportLost("the peer does not speak HTTP/2 (ALPN h2)", during_tls=True)

    def peer_certificate(self) -> bytes:
        """DER of the peer's own certificate; empty if it sent none."""
        return self._tls.getpeercert(binary_form=True) or b""

    def peer_issuers(self) -> tuple[bytes, ...]:
        """DER of the certificates that a client has sent besides its own, in its order."""
        return sent_chain(self._tls)[1:]

    async def receive(self) -> bytes:
        """Waits for data and returns at most one record of it; ``b""`` when the peer has closed.

        Raises TransportLost. Cancelled: nothing is lost.

        A call that must wait is a checkpoint. Where a record is there, only each second call of a
        server is one, or each eighth of a client; others are no checkpoint.

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
                    raise TransportLost(text_of(error), during_tls=is_tls(error)) from error
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
                raise TransportLost(text_of(error)) from error
            else:
                self._position = 0
                # The next receive waits at once, because one before that would mostly fail.
                self._drained = len(self._received) < most
                return

    def _feed(self) -> None:
        """Passes one step of the received ciphertext to TLS."""
        begin, data = self._position, self._received
        self._position, records = self._counter.take(data, begin)
        self._ready += records
        if begin or self._position < len(data):
            self._incoming.write(memoryview(data)[begin : self._position])
        else:
            self._incoming.write(data)

    def _count_silent(self) -> None:
        """Charges the records without data that TLS has read. Raises when they are too many."""
        for _ in range(self._ready):
            if not self._silent.try_take():
                raise TransportLost(f"too many: {self._silent.kind}", kind="tls_records")
        self._ready = 0
        self.flush_nowait()  # a KeyUpdate may ask for another

    async def send(self, parts: Iterable[bytes | bytearray | memoryview], stall_s: float) -> None:
        """Sends all of ``parts``. Raises TransportLost, or WriteStalled after ``stall_s`` seconds.

        Cancelled, an unknown part was sent, so the caller can only ``close``. No checkpoint where
        the socket takes it all at once.

        Cancellation: minimum cleanup; C2.
        """
        for part in parts:
            view = memoryview(part)
            for position in range(0, len(view), _WRITE_BYTES):
                if self._since_turn >= _FLUSH_BYTES:
                    await self._flush(stall_s)
                    # Never held while waiting for the peer, because all connections share it.
                    async with self._writing:
                        self._since_turn = 0
                piece = view[position : position + _WRITE_BYTES]
                try:
                    self._tls.write(piece)
                except (OSError, ValueError) as error:
                    raise TransportLost(text_of(error), during_tls=is_tls(error)) from error
                self._since_turn += len(piece)
        await self._flush(stall_s)

    def send_nowait(self, data: bytes | bytearray) -> None:
        """Sends as much as the socket takes now and drops the rest. Raises nothing."""
        with contextlib.suppress(OSError, ValueError):
            if data:
                self._tls.write(data)
            self.flush_nowait()

    def flush_nowait(self) -> None:
        """Sends TLS's own pending records, such as an alert, as far as the socket takes them."""
        with contextlib.suppress(TransportLost):
            self._write()

    async def _flush(self, stall_s: float | None = None) -> None:
        """Sends all ciphertext that TLS has pending. Raises as ``send``."""
        while not self._write():
            # Scope S2.flush.
            with trio.move_on_after(stall_s if stall_s is not None else float("inf")) as scope:
                await trio.lowlevel.wait_writable(self._sock)
            if scope.cancelled_caught:
                raise WriteStalled(f"nothing could be written for {stall_s:g} s")

    def _write(self) -> bool:
        """Writes as much as the socket takes; returns whether that was all. TransportLost."""
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
            raise TransportLost(text_of(error)) from error

    async def linger(self) -> None:
        """Ends this side's half, then reads until the peer has ended its own.

        Needed because closing a socket with unread bytes makes the kernel send a reset, by which
        the peer loses the last frames. It has no time limit of its own; the caller sets one.

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
        """Whether the peer has ended its half; what arrived before may still be unread."""
        return peer_has_closed(self._sock)

    def close(self) -> None:
        """Frees the descriptor; a waiting task gets trio.ClosedResourceError. Idempotent."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
