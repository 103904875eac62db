"""Which clients may connect, and which may stay: by what is in force, and by the time."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import trio

from ..rpc.call_errors import Reason
from ..rpc.grpc_server import Peer, Server
from .audit import AuditError, AuditLog
from .authn import AuthenticationError, Identity, identify, serial_in
from .error_status import unauthenticated
from .generation import InForce
from .refusal_budget import RefusalBudget

log = logging.getLogger("penstock.server")

# Short, because an operator can set the wall clock while we sleep, and a connection must be closed
# within a second of its certificate's end.
_LOOK_AGAIN_S: Final = 0.5
# Lines of audit of refused handshakes: few, because peers without any certificate of the CA cause
# them, at any rate. The rest is counted.
_HANDSHAKES_A_MINUTE: Final = 60
_ALL_HANDSHAKES: Final = "(handshakes)"


def wall_clock() -> datetime:
    """Now, in UTC; for certificates alone, because every other time here is monotonic."""
    return datetime.now(UTC)


class Admission:
    """Identifies the peer of each new connection; ends connections whose certificate is no longer
    good."""

    def __init__(
        self,
        in_force: InForce,
        audit: AuditLog,
        refusals: RefusalBudget,
        now: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._in_force = in_force
        self._audit = audit
        self._refusals = refusals
        self._now = now
        # By certificate: when it ends. Ended ones are removed, so that there are never more than
        # the CA's certificates of one lifetime.
        self._ends: dict[bytes, datetime] = {}
        self._first_end = trio.Event()

    def identity_of(self, peer: Peer) -> Identity:
        """The client of a verified certificate. Raises RpcError (UNAUTHENTICATED), after writing a
        line of audit."""
        now = self._in_force.current
        identity = None
        try:
            identity = identify(
                peer.certificate, legacy_certificates=now.config.legacy_certificates
            )
            if now.revokes_certificate(peer.certificate, identity):
                # By the policy; or its handshake began before the list was read.
                raise AuthenticationError("the certificate was revoked")
            if now.revokes_client(identity):
                text = f"client {identity.client_id} was revoked, by its id"
                raise AuthenticationError(text)
        except AuthenticationError as error:
            self._refuse(peer, str(error), identity)
            raise unauthenticated(str(error)) from error
        except Exception as error:  # a bug; the transport answers INTERNAL with an opaque id
            self._refuse(peer, f"internal error: {type(error).__name__}", identity)
            raise
        self._ends[peer.certificate] = identity.not_after
        self._first_end.set()
        return identity

    def refused_in_handshake(self, address: str, reason: str, text: str) -> None:
        """Writes a line of audit of a certificate that TLS has refused, whose name nobody knows
        then: OpenSSL shows no server the certificate that it has not accepted."""
        if self._refusals.take(_ALL_HANDSHAKES, _HANDSHAKES_A_MINUTE) is None:
            self._record("certificate.refused", address=address, reason=reason, message=text[:512])

    async def end_expired(self, server: Server) -> None:
        """Closes connections within a second of their certificate's end, until cancelled.

        Cancellation: minimum cleanup; C16b, C42.
        """
        while True:
            while not self._ends:
                self._first_end = trio.Event()
                await self._first_end.wait()
            wait_s = (min(self._ends.values()) - self._now()).total_seconds()
            if wait_s > 0:
                await trio.sleep(min(wait_s, _LOOK_AGAIN_S))
                continue
            # X509_cmp_time(3): a certificate's last second is already too late.
            ended = {der for der, end in self._ends.items() if end <= self._now()}
            for der in ended:
                del self._ends[der]
            count = server.revoke(partial(_is_revoked, ended.__contains__), Reason.EXPIRED)
            if count:
                log.info("%s connections of expired certificates ended", count)
                self._record("tls.expired", connections_ended=count)
            await trio.lowlevel.checkpoint()

    def _refuse(self, peer: Peer, message: str, identity: Identity | None) -> None:
        # Counted by certificate, because a client's name is not always known here.
        key = f"certificate {hashlib.sha256(peer.certificate).hexdigest()}"
        if self._refusals.take(key) is None:
            about = {"address": peer.address, "message": message[:512]}
            if identity is not None:
                about["client"] = identity.client_id
            self._record("unauthenticated", **about, serial=serial_in(peer.certificate))

    def _record(self, event: str, **fields: object) -> None:
        with contextlib.suppress(AuditError):  # the refusal stands without its line
            self._audit.write(event, **fields)


def _is_revoked(covers: Callable[[bytes], bool], peer: Peer, _: object) -> bool:
    return covers(peer.certificate)
