"""Which clients may connect, and which may stay: by today's certificates, CA and CRL."""

import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import trio

from ..rpc.call_errors import Reason
from ..rpc.grpc_server import Peer, Server
from .audit import AuditError, AuditLog
from .authn import AuthenticationError, Identity, identify
from .credentials import Credentials, CredentialsError, load_credentials
from .error_status import unauthenticated
from .generation import InForce
from .lockout import TrialResult, try_files
from .refusal_budget import RefusalBudget
from .unread_changes import Unread

log = logging.getLogger("penstock.server")

# Short, because an operator can set the wall clock while we sleep, and a connection must be closed
# within a second of its certificate's end.
_LOOK_AGAIN_S: Final = 0.5
# So many certificates are tried on the event loop, a millisecond or two each. More are tried by a
# thread, because they would hold up every call.
_TRIED_HERE: Final = 8


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
        unread: Unread | None = None,
    ) -> None:
        """``unread`` None: there are no files to compare the running settings with."""
        self._in_force = in_force
        self._audit = audit
        self._refusals = refusals
        self._now = now
        self._unread = unread
        self._trials = trio.CapacityLimiter(1)
        # By certificate: when it ends. Ended ones are removed, so that there are never more than
        # the CA's certificates of one lifetime.
        self._ends: dict[bytes, datetime] = {}
        self._first_end = trio.Event()

    def identity_of(self, peer: Peer) -> Identity:
        """The client of a verified certificate. Raises RpcError (UNAUTHENTICATED), after writing a
        line of audit."""
        now = self._in_force.current
        try:
            identity = identify(
                peer.certificate, legacy_certificates=now.config.legacy_certificates
            )
            if now.credentials.revocations.covers(peer.certificate):
                # Revoked all the same, because its handshake began before the list was read.
                raise AuthenticationError("the certificate was revoked")
            revoked = now.policy.revoked
            if identity.serial in revoked.serials or identity.client_id in revoked.clients:
                raise AuthenticationError("the certificate was revoked, by the policy")
        except AuthenticationError as error:
            self._refuse(peer, str(error))
            raise unauthenticated(str(error)) from error
        except Exception as error:  # a bug; the transport answers INTERNAL with an opaque id
            self._refuse(peer, f"internal error: {type(error).__name__}")
            raise
        self._ends[peer.certificate] = identity.not_after
        self._first_end.set()
        return identity

    async def reload_on_signal(self, server: Server, hangups: AsyncIterator[int]) -> None:
        """On each signal opens the audit file anew, then reads all files of ``[tls]`` or none, by
        the paths that the server was started with; logs what else has changed.

        Runs until cancelled. A bad file does not end it: the old files stay in use instead. They
        stay as well if the new ones would refuse every client that is connected now, unless
        ``allow_lockout`` permits that.

        Cancellation: minimum cleanup; C16, C33.
        """
        async for _ in hangups:
            try:
                self._audit.reopen()
            except AuditError as error:
                log.error("not reopened, the old file stays: %s", error)
            try:
                await self._reload(server)
            except Exception as error:
                # Logged only, because a server that ended here would take every job with it.
                error_id = secrets.token_hex(8)
                log.error("not reloaded: internal error %s", error_id, exc_info=error)
                self._record("tls.reload", loaded=False, message=f"internal error {error_id}")

    async def _reload(self, server: Server) -> None:
        config, unread = self._in_force.current.config, list[str]()
        if self._unread is not None:
            config, unread = self._unread.look()
        for line in unread:
            log.warning("SIGHUP: %s", line)
        more: dict[str, object] = {"not_read": unread} if unread else {}
        try:
            credentials = load_credentials(self._in_force.current.config)
            if credentials.untimely is not None:
                raise CredentialsError(f"[tls] certificate: {credentials.untimely}")
            verdict = await self._tried(credentials, server)
            # Clients that connected during the trial were not tried. No checkpoint from here on,
            # so that no more of them come before the new files are in use.
            if verdict.lockout and not config.allow_lockout:
                raise CredentialsError(
                    f"{verdict.lockout}; if that is meant, write allow_lockout = true into the "
                    "configuration, and SIGHUP again"
                )
        except CredentialsError as error:
            for line in str(error).splitlines():
                log.error("not reloaded, the old certificates stay: %s", line)
            self._record("tls.reload", loaded=False, message=str(error), **more)
            return
        if verdict.lockout:
            log.warning("allow_lockout: %s", verdict.lockout)
        if not verdict.asked:
            log.info("nobody is connected, so whether these files admit anybody was not tried")
        self._in_force.current = replace(self._in_force.current, credentials=credentials)
        server.use_ssl_context(credentials.context)
        ended = server.revoke(partial(_is_revoked, credentials.revocations.covers))
        log.info("certificates read again; %s connections of revoked clients ended", ended)
        more |= {"tried": verdict.asked, "connections_ended": ended}
        self._record("tls.reload", loaded=True, **more)

    async def _tried(self, new: Credentials, server: Server) -> TrialResult:
        """What these files would do to the clients connected now. A checkpoint only if these are
        many."""
        peers = server.connected()
        old = self._in_force.current.credentials.context
        trial = partial(try_files, old, new.context, peers, new.revocations.covers)
        if len({peer.certificate for peer in peers}) <= _TRIED_HERE:
            return trial()
        return await trio.to_thread.run_sync(
            trial,
            abandon_on_cancel=True,
            limiter=self._trials,
        )

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

    def _refuse(self, peer: Peer, message: str) -> None:
        # Counted by certificate, because the client's name is not known here.
        key = f"certificate {hashlib.sha256(peer.certificate).hexdigest()}"
        if self._refusals.take(key) is None:
            self._record("unauthenticated", address=peer.address, message=message[:512])

    def _record(self, event: str, **fields: object) -> None:
        with contextlib.suppress(AuditError):  # the refusal stands without its line
            self._audit.write(event, **fields)


def _is_revoked(covers: Callable[[bytes], bool], peer: Peer, _: object) -> bool:
    return covers(peer.certificate)
