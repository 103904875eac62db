"""The server process: ``python -m penstock.server --config FILE``, a child of the supervisor.

It runs without privilege: the supervisor has started it as its user, and does for it
everything that needs more. The nurseries are those of
docs/cancellation.md: S0 here, S1 in rpc.Server, S4 in the Manager, side by side, so
that no connection can end a job.
"""

import argparse
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from ..jobs.backends.local import LocalBackend, connect_local
from ..jobs.job_errors import JobError
from ..jobs.manager import Manager, open_manager
from ..jobs.reporting import LINES
from ..jobs.retention_settings import keeping
from ..policy.configuration import ConfigError, parse_config
from ..policy.toml_tables import MAX_FILE_BYTES
from ..rpc.grpc_server import Server
from ..rpc.lag import Lag
from ..supervisor.ipc.protocol import FILES_REFUSED
from ..supervisor.kernel.bounded_read import read_file
from ..supervisor.logs.log_lines import LineStream
from ..supervisor.socket_passing import PassingError, received_sockets
from .admission import Admission
from .audit import AuditError, AuditLog
from .authn import Identity
from .endings import drain_on_signal, end_with_supervisor
from .files_in_place import keep_files_in_place
from .generation import InForce
from .hangups import Hangups
from .methods import MESSAGE_LIMITS
from .preparation import GenerationError, first_generation
from .refusal_budget import RefusalBudget
from .repeat_budget import RepeatBudget
from .service import CommandService
from .switching import Switching, host_of
from .transport_settings import transport_limits

log = logging.getLogger("penstock.server")

_TELL_S: Final = 5.0
_THREADS_TURN_S: Final = 0.0005


class ServerStartError(Exception):
    """The server cannot start; the text says what to do."""


class FilesRefused(ServerStartError):
    """It cannot, because of mistakes in the files, which another server would find as well."""


async def run(run_dir: str, sockets: Sequence[socket.socket], config_path: str) -> None:
    """Serves on listening ``sockets`` until SIGTERM or SIGINT, or until the supervisor is gone.
    Closes them at the first signal; a connection not accepted by then is not lost if another
    process has the sockets, too.

    Configuration and policy are those that the supervisor of ``run_dir`` has in force;
    ``config_path`` is for the places of mistakes, and is read under a supervisor of an earlier
    version alone.
    What changes later comes by a reload (switching.py).

    A first signal drains: no new calls, running calls get ``drain_s`` seconds. A second
    one ends at once. After SIGUSR2 in place of SIGTERM jobs are not stopped: the next server
    takes them over. SIGHUP opens the audit file anew. Jobs are stopped as configured after the last
    call has ended. Raises ServerStartError. Cancelled: it ends at once, and leaves the jobs to the
    next server, because no operator has asked for their end.

    Cancellation: minimum cleanup; C11, C12, C13b, C14, C31, C48, C52, C61.
    """
    # Before the supervisor knows us, because it forwards signals from then on.
    with (
        trio.open_signal_receiver(signal.SIGHUP) as hangups,
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2) as endings,
    ):
        async with connect_local(os.path.join(run_dir, "supervisor.sock")) as backend:
            try:
                first = first_generation(backend, config_path)
            except GenerationError as error:
                raise FilesRefused(str(error)) from error
            if first.credentials.untimely is not None:
                why = first.credentials.untimely
                log.error("NO CLIENT CAN CONNECT: [tls] certificate: %s", why)
            backend.give_up_after(first.config.supervisor_silence_s)
            signals = _Signals(hangups, endings)
            await _live(InForce(first), sockets, backend, signals, config_path)


async def _live(
    in_force: InForce,
    sockets: Sequence[socket.socket],
    backend: LocalBackend,
    signals: "_Signals",
    config_path: str,
) -> None:
    """With the jobs of the state directory, until the server ends."""
    config = in_force.current.config
    audit = AuditLog(config.audit_log)

    def record(event: str, fields: Mapping[str, object]) -> None:
        audit.write(event, **fields)

    def tell_suppressed(identity: str, count: int) -> None:
        with contextlib.suppress(AuditError):
            audit.write("refusals.suppressed", client=identity, count=count)

    def tell_repeated(client: str, verb: str, about: Mapping[str, object], count: int) -> None:
        audit.write("decisions.repeated", client=client, verb=verb, **about, count=count)

    refusals = RefusalBudget(trio.current_time, tell_suppressed)
    repeats = RepeatBudget(trio.current_time, tell_repeated)
    try:
        async with open_manager(
            backend, config.state_dir, audit=record, keeping=keeping(in_force.current.policy)
        ) as manager:
            try:
                record("server.started", {"pid": os.getpid(), "uid": os.getuid()})
                gate = Admission(in_force, audit, refusals)
                trail = _AuditTrail(audit, refusals, repeats)
                await _serve(in_force, sockets, backend, manager, trail, gate, signals, config_path)
                # A full audit disk must not keep the jobs' end from being asked for.
                with contextlib.suppress(AuditError):
                    record("server.stopping", {"pid": os.getpid()})
            except BaseException:
                manager.leave()  # no operator has ended the jobs: the next server has them
                raise
    finally:
        refusals.close()
        if lost := repeats.close():
            log.error(
                "audit log %s: %s repeated reads could not be recorded", config.audit_log, lost
            )
        audit.close()


@dataclass(frozen=True, slots=True)
class _Signals:
    """The signals that the supervisor forwards, caught before it can send any."""

    hangups: AsyncIterator[int]
    endings: AsyncIterator[int]


@dataclass(frozen=True, slots=True)
class _AuditTrail:
    """Where decisions are recorded, and the budgets that bound their lines."""

    audit: AuditLog
    refusals: RefusalBudget
    repeats: RepeatBudget

    async def tell_regularly(self) -> None:
        """Reports counted decisions even if no further call comes, until cancelled.

        Cancellation: minimum cleanup.
        """
        while True:
            await trio.sleep(_TELL_S)
            self.refusals.end_old()
            self.repeats.end_old()


async def _serve(
    in_force: InForce,
    sockets: Sequence[socket.socket],
    backend: LocalBackend,
    manager: Manager,
    trail: _AuditTrail,
    gate: Admission,
    signals: _Signals,
    config_path: str,
) -> None:
    def lag() -> Lag:
        return server.statistics().lag

    service = CommandService(
        manager,
        in_force,
        trail.audit,
        host_of(backend),
        trio.current_time,
        trail.refusals,
        trail.repeats,
        lag,
    )

    def on_internal_error(error_id: str, error: BaseException) -> None:
        log.error("internal error %s", error_id, exc_info=error)

    def client_of(identity: Identity) -> str:
        return identity.client_id

    server = Server(
        [service.service],
        in_force.current.credentials.context,
        limits=transport_limits(in_force.current.config),
        identify=gate.identity_of,
        client_of=client_of,
        admit=service.admit,
        message_limits=MESSAGE_LIMITS,
        on_internal_error=on_internal_error,
        on_certificate_refused=gate.refused_in_handshake,
        reflection=in_force.current.config.reflection,
    )
    manager.starts.decide_again = service.starts.still_granted
    switching = Switching(in_force, server, service, manager, backend, trail.audit, config_path)
    switching.begin()
    hangups = Hangups(
        *(trail.audit, in_force, switching),
        certificates=not backend.reloads.welcome.generation,
    )
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in sockets]
    # Scope S0.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            drain_on_signal,
            server,
            manager,
            in_force,
            nursery.cancel_scope,
            signals.endings,
        )
        nursery.start_soon(end_with_supervisor, backend, nursery.cancel_scope)
        nursery.start_soon(hangups.heed, signals.hangups)
        nursery.start_soon(switching.run)
        nursery.start_soon(gate.end_expired, server)
        nursery.start_soon(keep_files_in_place, in_force.current.config.state_dir, manager)
        nursery.start_soon(trail.tell_regularly)
        where = ", ".join("{} port {}".format(*each.getsockname()[:2]) for each in sockets)
        log.info("listening on %s, jobs: %s", where, backend.kind)
        backend.serving()
        await server.serve(listeners)
        # Cancels S0.
        nursery.cancel_scope.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 after a drain, FILES_REFUSED if the server cannot use the files, 1 if it could
    not start for another reason."""
    parser = argparse.ArgumentParser(prog="penstock.server", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="the file that penstockd was given")
    parser.add_argument("--run-dir", help="where the supervisor listens; if left out: as in FILE")
    options = parser.parse_args(arguments)
    # Python's own messages as well, because no line of a log may hold up the event loop.
    sys.stderr = LineStream(LINES.write)
    logging.basicConfig(
        level=logging.INFO, format="penstock: %(levelname)s %(message)s", stream=sys.stderr
    )
    status = 0
    # A reload parses in a thread, and with Python's default the event loop would wait 5 ms for its
    # turn beside that one after each wait for the network.
    sys.setswitchinterval(_THREADS_TURN_S)
    # Because imported objects live as long as the process, and each collection that looked through
    # them would hold up every call for some 25 ms.
    gc.freeze()
    try:
        # Not read if that is possible, because what is in force is not what it says by now.
        run_dir = options.run_dir
        if run_dir is None:
            run_dir = parse_config(read_file(options.config, MAX_FILE_BYTES)).run_dir
        sockets = received_sockets(os.environ)
        if not sockets:
            raise ServerStartError(
                "no socket to listen on was handed over; start penstockd instead"
            )
        trio.run(run, run_dir, sockets, options.config)
    except* (ConfigError, PassingError, ServerStartError, AuditError, JobError, OSError) as group:
        status = 1
        for error in _leaves(group):
            if isinstance(error, FilesRefused):
                status = FILES_REFUSED
            for line in str(error).splitlines():
                log.error("%s", line)
    return status


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors that nurseries have wrapped in groups, flattened."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
