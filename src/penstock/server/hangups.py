"""SIGHUP in the server: the audit file is opened anew.

A supervisor of an earlier version sends the signal alone, and offers no files (switching.py). It
stays while penstock is upgraded under running jobs, for months perhaps, so under such a one SIGHUP
reads the certificates again, as it did then.
"""

import logging
import secrets
from collections.abc import AsyncIterator
from functools import partial

from .audit import AuditError, AuditLog
from .generation import InForce
from .preparation import GenerationError, with_credentials
from .switching import Switching
from .tls_files import tls_changes

log = logging.getLogger("penstock.server")


class Hangups:
    """What each SIGHUP brings about. ``certificates``: that nothing else will have them read."""

    def __init__(
        self, audit: AuditLog, in_force: InForce, switching: Switching, *, certificates: bool
    ) -> None:
        self._audit = audit
        self._in_force = in_force
        self._switching = switching
        self._certificates = certificates

    async def heed(self, hangups: AsyncIterator[int]) -> None:
        """On each signal opens the audit file anew; reads all files of ``[tls]`` or none where it
        is to read certificates, by the paths that are in force.

        Runs until cancelled. A bad file does not end it: the old files stay in use instead.

        Cancellation: minimum cleanup; C16, C33.
        """
        async for _ in hangups:
            try:
                self._audit.reopen()
            except AuditError as error:
                log.error("not reopened, the old file stays: %s", error)
            if not self._certificates:
                continue
            try:
                await self._reload()
            except Exception as error:
                # Logged only, because a server that ended here would take every job with it.
                error_id = secrets.token_hex(8)
                log.error("not reloaded: internal error %s", error_id, exc_info=error)
                self._record(loaded=False, message=f"internal error {error_id}")

    async def _reload(self) -> None:
        current = self._in_force.current
        read = partial(with_credentials, current.config, current.policy, current.hash, [])
        try:
            ready = await self._switching.preparation.prepare(read)
        except GenerationError as error:
            for line in error.mistakes:
                log.error("not reloaded, the old certificates stay: %s", line)
            self._record(loaded=False, message=str(error))
            return
        for warning in ready.warnings:
            log.warning("%s", warning)
        files = ready.generation.credentials.files
        changes = tls_changes(self._in_force.current.credentials.files, files)
        ended = self._switching.put_in_force(ready).totals()["connections_ended"]
        log.info(
            "certificates read again; %s connections ended, of clients that may not connect now",
            ended,
        )
        self._record(loaded=True, changes=changes, tried=ready.tried, connections_ended=ended)

    def _record(self, **fields: object) -> None:
        try:
            self._audit.write("tls.reload", **fields)
        except AuditError as error:
            log.error("tls.reload is not recorded: %s", error)
