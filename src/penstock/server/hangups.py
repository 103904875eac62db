"""SIGHUP in the server: the audit file is opened anew; and the certificates, where the supervisor
does not ask for a reload itself."""

import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from .audit import AuditError, AuditLog
from .generation import InForce
from .preparation import GenerationError, with_credentials
from .switching import Switching
from .unread_changes import Unread

log = logging.getLogger("penstock.server")


class Hangups:
    """What each SIGHUP brings about."""

    def __init__(
        self, audit: AuditLog, in_force: InForce, switching: Switching, unread: Unread
    ) -> None:
        self._audit = audit
        self._in_force = in_force
        self._switching = switching
        self._unread = unread

    async def heed(self, hangups: AsyncIterator[int]) -> None:
        """On each signal opens the audit file anew, then reads all files of ``[tls]`` or none, by
        the paths that are in force; logs what else has changed.

        Runs until cancelled. A bad file does not end it: the old files stay in use instead.

        Cancellation: minimum cleanup; C16, C33.
        """
        async for _ in hangups:
            try:
                self._audit.reopen()
            except AuditError as error:
                log.error("not reopened, the old file stays: %s", error)
            try:
                await self._reload()
            except Exception as error:
                # Logged only, because a server that ended here would take every job with it.
                error_id = secrets.token_hex(8)
                log.error("not reloaded: internal error %s", error_id, exc_info=error)
                self._record(loaded=False, message=f"internal error {error_id}")

    async def _reload(self) -> None:
        current = self._in_force.current
        fresh, unread = self._unread.look()
        config = replace(current.config, allow_lockout=fresh.allow_lockout)
        for line in unread:
            log.warning("SIGHUP: %s", line)
        more: dict[str, object] = {"not_read": unread} if unread else {}
        read = partial(with_credentials, config, current.policy, current.hash, [])
        try:
            ready = await self._switching.preparation.prepare(read)
        except GenerationError as error:
            for line in error.mistakes:
                log.error("not reloaded, the old certificates stay: %s", line)
            self._record(loaded=False, message=str(error), **more)
            return
        for warning in ready.warnings:
            log.warning("%s", warning)
        if self._in_force.current is not current:  # a reload has read them meanwhile
            return
        ended = self._switching.put_in_force(ready).totals()["connections_ended"]
        log.info("certificates read again; %s connections of revoked clients ended", ended)
        self._record(loaded=True, tried=ready.tried, connections_ended=ended, **more)

    def _record(self, **fields: object) -> None:
        try:
            self._audit.write("tls.reload", **fields)
        except AuditError as error:
            log.error("tls.reload is not recorded: %s", error)
