"""Who may connect and who may stay: today's certificates, and what became of earlier ones."""

import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import trio

from ..policy.configuration import Config
from ..rpc.call_errors import Reason
from ..rpc.grpc_server import Peer, Server
from .audit import AuditError, AuditLog
from .authn import AuthenticationError, Identity, identify
from .credentials import Credentials, CredentialsError, load_credentials
from .error_status import unauthenticated
from .lockout import TrialResult, try_files
from .refusal_budget import RefusalBudget
from .unread_changes import Unread

log = logging.getLogger("penstock.server")

# The wall clock can be set while we sleep, and whoever has expired must be gone within a second.
_LOOK_AGAIN_S: Final = 0.5
# So many certificates are tried on the event loop, a millisecond or two each; more by a thread.
_TRIED_HERE: Final = 8


def wall_clock() -> datetime:
    """Certificates alone go by it."""
    return datetime.now(UTC)


class Admission:
    """Asked at every connection; ends those whose certificate is no longer good."""

    def __init__(
        self,
        config: Config,
        credentials: Credentials,
        audit: AuditLog,
        refusals: RefusalBudget,
        now: Callable[[], datetime] = wall_clock,
        unread: Unread | None = None,
    ) -> None:
        """``unread`` None: there are no files to compare the settings with."""
        self.credentials = credentials
        self._config = config
        self._audit = audit
        self._refusals = refusals
        self._now = now
        self._unread = unread
        self._trials = trio.CapacityLimiter(1)
        # By certificate: when it ends. Those that have ended leave, so there are never more than
        # the CA's certificates of a lifetime.
        self._ends: dict[bytes, datetime] = {}
        self._first_end = trio.Event()

    def identity_of(self, peer: Peer) -> Identity:
        """Raises RpcError (UNAUTHENTICATED). Whatever it raises leaves a line of audit."""
        try:
            identity = identify(
                peer.certificate, legacy_certificates=self._config.legacy_certificates
            )
            if self.credentials.revocations.covers(peer.certificate):
                # Its handshake began before the list was read.
                raise AuthenticationError("the certificate was revoked")
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
        """On each signal the audit file is opened anew, then all files of ``[tls]`` are read or
        none, by the paths that the server was started with; what else has changed is said.

        Until cancelled. Nothing that is wrong with a file ends it: the old one stays. So it does
        if nobody who is connected would get in with the new ones, unless ``allow_lockout`` says
        that this may be.

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
                # A server that ended here would take every job with it.
                error_id = secrets.token_hex(8)
                log.error("not reloaded: internal error %s", error_id, exc_info=error)
                self._record("tls.reload", loaded=False, message=f"internal error {error_id}")

    async def _reload(self, server: Server) -> None:
        config, unread = self._config, list[str]()
        if self._unread is not None:
            config, unread = self._unread.look()
        for line in unread:
            log.warning("SIGHUP: %s", line)
        more: dict[str, object] = {"not_read": unread} if unread else {}
        try:
            credentials = load_credentials(self._config)
            if credentials.untimely is not None:
                raise CredentialsError(f"[tls] certificate: {credentials.untimely}")
            verdict = await self._tried(credentials, server)
            # Whoever has connected meanwhile was not asked about. No checkpoint from here on.
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
        self.credentials = credentials
        server.use_ssl_context(credentials.context)
        ended = server.revoke(partial(_is_revoked, credentials.revocations.covers))
        log.info("certificates read again; %s connections of revoked clients ended", ended)
        more |= {"tried": verdict.asked, "connections_ended": ended}
        self._record("tls.reload", loaded=True, **more)

    async def _tried(self, new: Credentials, server: Server) -> TrialResult:
        """What these files would do to who is connected. A checkpoint only if these are many."""
        peers = server.connected()
        old = self.credentials.context
        trial = partial(try_files, old, new.context, peers, new.revocations.covers)
        if len({peer.certificate for peer in peers}) <= _TRIED_HERE:
            return trial()
        return await trio.to_thread.run_sync(
            trial,
            abandon_on_cancel=True,
            limiter=self._trials,
        )

    async def end_expired(self, server: Server) -> None:
        """Ends connections within a second of their certificate's end. Until cancelled.

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
        # Nobody's name is known here; the certificate is what the bucket is of.
        key = f"certificate {hashlib.sha256(peer.certificate).hexdigest()}"
        if self._refusals.take(key) is None:
            self._record("unauthenticated", address=peer.address, message=message[:512])

    def _record(self, event: str, **fields: object) -> None:
        with contextlib.suppress(AuditError):  # a refusal stands, written down or not
            self._audit.write(event, **fields)


def _is_revoked(covers: Callable[[bytes], bool], peer: Peer) -> bool:
    return covers(peer.certificate)
