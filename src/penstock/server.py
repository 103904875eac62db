"""The server process: ``python -m penstock.server --config FILE``, a child of the supervisor.

It runs without privilege: the supervisor has started it as its user, and everything
that needs more is asked of the supervisor. The nurseries are those of
docs/cancellation.md: S0 here, S1 in rpc.Server, S4 in the Manager, side by side, so
that no connection can end a job.
"""

import argparse
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .audit import AuditError, AuditLog
from .authn import AuthenticationError, Identity, identify
from .credentials import Credentials, CredentialsError, load_credentials
from .crl import Revocations
from .jobs.errors import JobError
from .jobs.keeping import keeping
from .jobs.local import LocalBackend, connect_local
from .jobs.manager import Manager, open_manager
from .rpc.limit_table import limits_from
from .rpc.limits import SERVER_DEFAULTS, Limits
from .rpc.server import Peer, Server
from .service import CommandService, HostInfo
from .statuses import unauthenticated
from .supervisor.config import Config, ConfigError, parse_config
from .supervisor.policy import parse_policy

log = logging.getLogger("penstock.server")


class StartupError(Exception):
    """The server cannot start; the text says what to do."""


async def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT, or until the supervisor is gone.

    A first signal drains: no new calls, running calls get ``drain_s`` seconds. A second
    one ends at once. SIGHUP reads certificates, key and CRL again; if any of them is bad,
    the old ones stay. Jobs are stopped as configured after the last call has ended.
    Raises StartupError; cancelled: as a second signal.
    """
    try:
        credentials = load_credentials(config)
    except CredentialsError as error:
        raise StartupError(str(error)) from error
    try:
        limits = limits_from(config.transport, SERVER_DEFAULTS)
    except ValueError as error:
        text = str(error).replace("\n", "\n[transport] ")
        raise StartupError(f"[transport] {text}") from error
    audit = AuditLog(config.audit_log)

    def record(event: str, fields: Mapping[str, Any]) -> None:
        audit.write(event, **fields)

    try:
        # Before the supervisor knows us, as it passes SIGHUP on from then on.
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            async with (
                connect_local(os.path.join(config.run_dir, "supervisor.sock")) as backend,
                open_manager(
                    backend,
                    config.state_dir,
                    audit=record,
                    keeping=keeping(parse_policy(backend.policy_bytes)),
                ) as manager,
            ):
                record("server.started", {"pid": os.getpid(), "uid": os.getuid()})
                gate = _Gate(config, credentials, audit)
                await _serve(config, backend, manager, audit, gate, limits, hangups)
                record("server.stopping", {"pid": os.getpid()})
    finally:
        audit.close()


class _Gate:
    """Who may connect: today's certificates, and what became of revoked ones."""

    def __init__(self, config: Config, credentials: Credentials, audit: AuditLog) -> None:
        self.credentials = credentials
        self._config = config
        self._audit = audit

    def identity_of(self, peer: Peer) -> Identity:
        """Raises RpcError (UNAUTHENTICATED)."""
        try:
            if self.credentials.revocations.covers(peer.certificate):
                # Its handshake began before the list was read.
                raise AuthenticationError("the certificate was revoked")
            return identify(peer.certificate, legacy_certificates=self._config.legacy_certificates)
        except AuthenticationError as error:
            self._record("unauthenticated", address=peer.address, message=str(error))
            raise unauthenticated(str(error)) from error

    async def reload_on_signal(self, server: Server, hangups: AsyncIterator[int]) -> None:
        """All of ``[tls]`` or nothing. Until cancelled."""
        async for _ in hangups:
            try:
                self.credentials = load_credentials(self._config)
            except CredentialsError as error:
                for line in str(error).splitlines():
                    log.error("not reloaded, the old certificates stay: %s", line)
                self._record("tls.reload", loaded=False, message=str(error))
                continue
            server.use_ssl_context(self.credentials.context)
            ended = server.revoke(partial(_is_revoked, self.credentials.revocations))
            log.info("certificates read again; %s connections of revoked clients ended", ended)
            self._record("tls.reload", loaded=True, connections_ended=ended)

    def _record(self, event: str, **fields: object) -> None:
        with contextlib.suppress(AuditError):  # a refusal stands, written down or not
            self._audit.write(event, **fields)


def _is_revoked(revocations: Revocations, peer: Peer) -> bool:
    return revocations.covers(peer.certificate)


async def _serve(
    config: Config,
    backend: LocalBackend,
    manager: Manager,
    audit: AuditLog,
    gate: _Gate,
    limits: Limits,
    hangups: AsyncIterator[int],
) -> None:
    policy = parse_policy(backend.policy_bytes)
    host = HostInfo(
        mode=backend.mode,
        kind=backend.kind,
        limits=tuple(backend.limits),
        warnings=tuple(backend.warnings),
    )
    service = CommandService(manager, policy, audit, host, trio.current_time)

    def on_internal_error(error_id: str, error: BaseException) -> None:
        log.error("internal error %s", error_id, exc_info=error)

    def client_of(identity: Identity) -> str:
        return identity.client_id

    server = Server(
        [service.service],
        gate.credentials.context,
        limits=limits,
        identify=gate.identity_of,
        client_of=client_of,
        on_internal_error=on_internal_error,
        reflection=config.reflection,
    )
    listeners = await _listen(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain_on_signal, server, config.drain_s, nursery.cancel_scope)
        nursery.start_soon(_end_with_supervisor, backend, nursery.cancel_scope)
        nursery.start_soon(gate.reload_on_signal, server, hangups)
        address = listeners[0].socket.getsockname()
        log.info("listening on %s port %s, jobs: %s", address[0], address[1], backend.kind)
        await server.serve(listeners)
        nursery.cancel_scope.cancel()


async def _listen(config: Config) -> list[trio.SocketListener]:
    """The configured address alone: never every interface by default."""
    try:
        return await trio.open_tcp_listeners(config.listen_port, host=config.listen_host)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {config.listen_host} port {config.listen_port}: {error.strerror}"
        ) from error


async def _drain_on_signal(server: Server, drain_s: float, everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: draining for at most %g s", signal.Signals(number).name, drain_s)
            break
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_second_signal, signals, everything)
            await server.drain(drain_s)
            everything.cancel()


async def _end_on_second_signal(signals: Any, everything: trio.CancelScope) -> None:
    async for _ in signals:
        log.info("second signal: ending at once")
        everything.cancel()
        return


async def _end_with_supervisor(backend: LocalBackend, everything: trio.CancelScope) -> None:
    await backend.wait_closed()
    log.error("the supervisor is gone; its jobs are recorded as lost")
    everything.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 after a drain, 1 if the server could not start."""
    parser = argparse.ArgumentParser(prog="penstock.server", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="the file that penstockd was given")
    path = parser.parse_args(arguments).config
    logging.basicConfig(
        level=logging.INFO, format="penstock: %(levelname)s %(message)s", stream=sys.stderr
    )
    failed = False
    # What was imported lives as long as the process: looking through it again and again would
    # hold up every call for some 25 ms.
    gc.freeze()
    try:
        config = parse_config(Path(path).read_bytes())
        trio.run(run, config)
    except* (ConfigError, StartupError, AuditError, JobError, OSError) as group:
        failed = True
        for error in _leaves(group):
            log.error("%s", error)
    return 1 if failed else 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors that nurseries have wrapped."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    sys.exit(main())
