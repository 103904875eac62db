"""A reload, on the server's side: prepared aside, then put in force in one step.

Theory of operation. The supervisor decides; this is what it asks for (see docs/protocol.md):

    idle ── PREPARE ──▶ preparing ── PREPARED without mistakes ──▶ ready ── SWITCH ──▶ idle
    preparing, ready ── ABANDON, or the next PREPARE ──▶ idle, or preparing
    preparing ── PREPARED with mistakes ──▶ idle

*preparing* is a task of its own (``run``), with threads for what may block. *ready* is a value that
nothing uses. The switch has no checkpoint: the messages of the supervisor are delivered in their
order, and SWITCH is carried out in its delivery, so whatever comes after it, such as the refusal of
a START by the old policy, meets the new one. In the same step the rights that are gone are ended
(lost_rights.py). What decides behind a checkpoint asks ``InForce`` again.

If this process dies between SWITCH and its line of audit, the next one has both: WELCOME brings it
the new generation, and says that no server has answered the SWITCH yet.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import trio

from ..jobs.backends.local import LocalBackend
from ..jobs.backends.reloads import OfferedGeneration
from ..jobs.manager import Manager
from ..jobs.retention_settings import keeping
from ..rpc.grpc_server import Server
from ..supervisor.ipc.protocol import ProtocolError
from ..supervisor.ipc.reload_messages import Abandon, Switch
from .audit import AuditError, AuditLog
from .generation import InForce
from .lost_rights import LostRights, end_lost_rights, stop_jobs_of_the_gone
from .preparation import GenerationError, Preparation, PreparedGeneration, read_generation
from .service import CommandService
from .service_info import HostInfo
from .tls_files import tls_changes

log = logging.getLogger("penstock.server")

# What is said of one, and of several.
_SAID: Final = {
    "connections_ended": (
        "connection of a revoked client has ended",
        "connections of revoked clients have ended",
    ),
    "unaccepted": (
        "connection has ended, whose certificate is not accepted any more",
        "connections have ended, whose certificates are not accepted any more",
    ),
    "calls_ended": (
        "call has ended, whose client has lost the right to it",
        "calls have ended, whose clients have lost the right to them",
    ),
    "jobs_stopped": (
        "job is being stopped, whose owner has lost its rights",
        "jobs are being stopped, whose owners have lost their rights",
    ),
}


def host_of(backend: LocalBackend) -> HostInfo:
    """What ServerInfo reports, as the supervisor says it now."""
    return HostInfo(
        mode=backend.mode,
        kind=backend.kind,
        limits=tuple(backend.limits),
        warnings=tuple(backend.warnings),
        userless=backend.userless,
    )


class Switching:
    """The reloads of one server. Nothing but its callbacks puts a generation in force."""

    def __init__(
        self,
        in_force: InForce,
        server: Server,
        service: CommandService,
        manager: Manager,
        backend: LocalBackend,
        audit: AuditLog,
        config_path: str,
    ) -> None:
        self.preparation = Preparation(in_force, server)
        self._in_force = in_force
        self._server = server
        self._service = service
        self._manager = manager
        self._backend = backend
        self._audit = audit
        self._config_path = config_path
        self._offered: OfferedGeneration | None = None
        """Of a reload that is under way."""
        self._ready: PreparedGeneration | None = None
        self._came = trio.Event()
        self._preparing: trio.CancelScope | None = None
        backend.reloads.on_prepare = self._offer
        backend.reloads.on_switch = self._switch
        backend.reloads.on_abandon = self._abandon

    def begin(self) -> None:
        """As the server begins, and has taken over what runs: the rights that the policy does not
        give any more end with it, whatever became of the server before. No checkpoint."""
        asked = self._backend.reloads.welcome.reload
        lost = LostRights(jobs=stop_jobs_of_the_gone(self._manager, self._in_force.current.policy))
        if asked:
            about = {"before": asked.get("before", ""), "asked_by": asked.get("asked_by", "")}
            self._record("reload", **about, after=self._in_force.current.hash, **lost.totals())
        self._record_lost(lost)

    async def run(self) -> None:
        """Prepares what the supervisor offers, one after the other, until cancelled.

        Cancellation: minimum cleanup; C33, C74, C75.
        """
        while True:
            await self._came.wait()
            self._came = trio.Event()
            offered = self._offered
            if offered is None:  # abandoned before this task has come to run
                continue
            # Scope S0.preparing.
            with trio.CancelScope() as self._preparing:
                await self._prepare(offered)
            self._preparing = None

    async def _prepare(self, offered: OfferedGeneration) -> None:
        about = offered.about
        settings: Mapping[str, object] = json.loads(about.settings)
        read = partial(
            read_generation,
            *(offered.configuration, offered.policy, settings, about.generation),
            self._config_path,
        )
        mistakes, warnings = list[str](), tuple[str, ...]()
        ready = None
        try:
            ready = await self.preparation.prepare(read)
            warnings = ready.warnings
        except GenerationError as error:
            mistakes = error.mistakes
        except Exception as error:
            # Said only, because a server that ended here would be no better off with its next life.
            error_id = secrets.token_hex(8)
            log.error("not reloaded: internal error %s", error_id, exc_info=error)
            mistakes = [f"internal error {error_id}, which the server's log explains"]
        if self._offered is offered:
            self._ready = ready
            self._backend.reloads.prepared(about.number, mistakes, warnings)

    def _offer(self, offered: OfferedGeneration) -> None:
        self._forget()
        self._offered = offered
        self._came.set()

    def _forget(self) -> None:
        self._offered = self._ready = None
        if self._preparing is not None:
            # Cancels S0.preparing.
            self._preparing.cancel()

    def _abandon(self, abandon: Abandon) -> None:
        offered = self._offered
        if offered is not None and offered.about.number == abandon.number:
            self._forget()
        for mistake in abandon.mistakes:
            log.error("not reloaded, everything stays as it was: %s", mistake)
        if abandon.mistakes:  # otherwise they are tried again, as they may fit in a moment
            mistakes = list(abandon.mistakes)
            self._record("reload.refused", asked_by=abandon.asked_by, mistakes=mistakes)

    def _switch(self, offered: OfferedGeneration, message: Switch) -> Sequence[str]:
        ready = self._ready
        if ready is None or self._offered is not offered:
            raise ProtocolError(f"SWITCH to {message.number}, for which this server is not ready")
        self._forget()
        before, files = self._in_force.current.hash, ready.generation.credentials.files
        changes = tls_changes(self._in_force.current.credentials.files, files)
        lost = self.put_in_force(ready)
        self._service.use_host(host_of(self._backend))
        self._record(
            "reload",
            before=before,
            after=ready.generation.hash,
            asked_by=offered.about.asked_by,
            changes=[*message.changes, *changes],
            tried=ready.tried,
            **lost.totals(),
        )
        self._record_lost(lost)
        counts = {
            **lost.totals(),
            "connections_ended": lost.connections.total() - lost.unaccepted,
            "unaccepted": lost.unaccepted,
        }
        ended = [f"{count} {_SAID[name][count > 1]}" for name, count in counts.items() if count]
        log.info("reloaded for %s: %s", offered.about.asked_by, "; ".join(ended) or "nothing ended")
        return [*changes, *ended]

    def put_in_force(self, ready: PreparedGeneration) -> LostRights:
        """Replaces what is in force, and ends what it does not grant any more. No checkpoint."""
        now = self._in_force.current = ready.generation
        self._server.use_ssl_context(now.credentials.context)
        self._manager.use(keeping(now.policy))
        retrial = ready.retrial.refusal_of if ready.retrial is not None else None
        return end_lost_rights(self._server, self._manager, now, retrial)

    def _record_lost(self, lost: LostRights) -> None:
        for fields in lost.by_client():
            self._record("client.revoked", **fields)

    def _record(self, event: str, **fields: object) -> None:
        try:
            self._audit.write(event, **fields)
        except AuditError as error:  # what has happened stands without its line
            log.error("%s is not recorded: %s", event, error)
