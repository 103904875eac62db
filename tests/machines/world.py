"""The whole system in one run of Trio and virtual time: clients, network, server, kernel, disk.

Everything of penstock is real. What is simulated is below its seams (Disk, Backend, Transport),
and what a process has from its host: threads run inline, ids and the time come from the run.
"""

import itertools
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final

import trio
from generations import in_force

from penstock.jobs.job_errors import Unavailable
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.retention_settings import RetentionSettings, keeping
from penstock.policy.policy_file import Policy, parse_policy
from penstock.rpc.grpc_server import Peer, Server
from penstock.server.admission import Admission
from penstock.server.audit import AuditError
from penstock.server.authn import Identity
from penstock.server.error_status import unauthenticated
from penstock.server.methods import MESSAGE_LIMITS
from penstock.server.refusal_budget import RefusalBudget
from penstock.server.repeat_budget import RepeatBudget
from penstock.server.service import CommandService
from penstock.server.service_info import HostInfo
from penstock.server.switching import Switching

from .kernel import Kernel, SimBackend
from .network import Network
from .process import Faults, Process, ProcessDisk, SimDisk, current
from .programs import COMMANDS, OWNERS, Program
from .reads import Reads
from .switches import Switches, policy_text
from .timeline import Timeline

DRAIN_S: Final = 5.0
_RESTART_S: Final = 0.5
_TELL_S: Final = 5.0  # server._TELL_S
# To which a datetime is rounded.
_MICROSECOND_S: Final = 1e-6
# At the start; then the supervisor starts another.
_MAY_FAIL: Final = (Unavailable, OSError, AuditError)


@lru_cache
def policy() -> Policy:
    """With which every world begins."""
    return parse_policy(policy_text().encode())


class PlantedBug(Exception):
    """A handler has a bug, as a fault."""


class World:
    """One program's. ``wrong`` collects what must not be; ``closing``: faults have ended."""

    def __init__(self, program: Program, timeline: Timeline, state_dir: str) -> None:
        """``state_dir``: a directory of this world alone, for the database."""
        self.program = program
        self.timeline = timeline
        self._state_dir = state_dir
        self.database = f"{state_dir}/penstock.db"
        self.wrong: list[str] = []
        self.covered: set[str] = set()
        """Rows of docs/cancellation.md that something was done about."""
        self.disk = SimDisk()
        # Half of all programs have a file system that gives files blocks ahead.
        self.disk.allocates = zlib.crc32(repr(program).encode()) % 2 == 1
        # And a third a table of changes that holds few.
        self.few_changes = zlib.crc32(repr(program).encode()) % 3 == 1
        self.kernel = Kernel(self.disk, program.jobs, program.kernel, timeline.say)
        shorts = itertools.cycle((1, 9, 100, 16_384, 10, 3000))
        self.network = Network(program.latency, (lambda: next(shorts)) if program.short else None)
        self.faults = Faults()
        self.process = Process(0, self.faults)
        self.manager: Manager | None = None
        self.server: Server | None = None
        self.lives = 0
        self.away_s = 0.0
        """How much longer than usual it takes until there is a next one."""
        self.reads = Reads()
        """What clients have read, and what the audit log says of that."""
        self.closing = False
        self.closed_at = float("inf")
        """When faults have ended."""
        self.over = False
        self.ends: dict[str, str] = {}
        self.revoked: set[str] = set()
        """Whose certificates are, or have ended and are not renewed yet."""
        self.expires: dict[str, list[float]] = {}
        """Whose certificates end, and when; each has the next one then, the last is for ever."""
        for fault in program.faults:
            if fault.what == "expire":
                owner = OWNERS[fault.number % len(OWNERS)]
                self.expires.setdefault(owner, []).append(fault.at)
        self.bugs_told = 0
        """Handlers have had so many that were planted."""
        self._gate: Admission
        self.everything = trio.CancelScope()
        """What the server of this life does: S0."""
        # Few programs have more than three of them: each begins with another.
        self.peeks = itertools.count(zlib.crc32(repr(program).encode()))
        """Of calls about other clients' jobs: which is the next."""
        self._ending: tuple[trio.Event, list[str]] = (trio.Event(), [])
        self._up = trio.Event()
        self.switches = Switches(self)
        self.kernel.before_answer = self.switches.before_answer
        self.kernel.refusal = self.switches.refusal
        self._number = itertools.count(1)

    def say(self, who: str, what: str) -> None:
        self.timeline.say(who, what)

    def fail(self, what: str) -> None:
        """An invariant does not hold; the program goes on, to show what else."""
        self.say("BROKEN", what)
        self.wrong.append(what)

    async def wait_up(self) -> None:
        """Returns when a server serves."""
        while self.manager is None:
            await self._up.wait()

    # The server's lives.

    async def serve(self) -> None:
        """One life after another, until ``over``."""
        async with trio.open_nursery() as lives:
            while not self.over:
                process = Process(self.lives, self.faults)
                self.process = process
                self.lives += 1
                process.on_death.append(self._server_died)
                for fault in self.program.faults:
                    due = fault.step is not None and fault.number % 3 == process.number
                    if due and not self.closing:
                        process.crash_at = fault.step
                lives.start_soon(self._life, process, name=f"server {process.number}")
                await process.dead.wait()
                away_s, self.away_s = self.away_s, 0.0
                await trio.sleep(_RESTART_S + away_s)
                self.kernel.revive()

    def _server_died(self) -> None:
        self.say("server", "is gone")
        self.manager = self.server = None
        if self._up.is_set():  # else somebody waits for it already
            self._up = trio.Event()
        self.disk.die()

    async def _life(self, process: Process) -> None:
        current.set(process)
        self.say("server", f"life {process.number} begins")
        try:
            with process.scope:
                await self._run_server(process)
        except BaseException as error:  # noqa: ASYNC103  # see the checkpoint below
            # What a dead process's tasks raise is nobody's business, beside Cancelled it is
            # to be let go; that comes again at the checkpoint below.
            kinds = [each for each in leaves(error) if not isinstance(each, trio.Cancelled)]
            if any(isinstance(each, KeyboardInterrupt) for each in kinds):
                raise
            if process.alive and kinds:
                if not all(isinstance(each, _MAY_FAIL) for each in kinds):
                    self.fail(f"the server has ended: {kinds}")
                # It ends without closing what it was given, as the kernel does that.
                self.say("server", f"has failed: {kinds}")
                process.die()
        if process.alive:
            left = self.disk.open_files + sum(fd > 2000 for fd in self.disk.pipes)
            if left:
                self.fail(f"{left} descriptors are left at an orderly end")
        process.die()
        await trio.lowlevel.checkpoint()

    async def _run_server(self, process: Process) -> None:
        backend = SimBackend(self.kernel, process, self.switches.reloads(process))
        held = self.switches.in_force()

        def audit(event: str, fields: Mapping[str, Any]) -> None:
            self._audit(process, event)
            self.kernel.lines[fields.get("job", ""), event] += 1
            if event == "job.running" and fields["uid"] != self.kernel.uid_of(fields["owner"]):
                self.fail(f"job {fields['job']} runs as {fields['uid']}, not its client's user")

        disk: Any = ProcessDisk(self.disk, process)
        async with open_manager(
            backend, self._state_dir, audit=audit, keeping=self.keeping(), disk=disk
        ) as manager:
            self._taken_over(manager)
            host = HostInfo("user", "sim", (), ())
            refusals = RefusalBudget(trio.current_time, lambda who, count: None, per_minute=1000)
            repeats = RepeatBudget(trio.current_time, partial(self._tell_repeated, process))
            audit_log: Any = _AuditLog(partial(self._audit_call, process))
            service = CommandService(
                manager, held, audit_log, host, trio.current_time, refusals, repeats
            )
            no_tls: Any = None
            server = Server(
                [service.service],
                no_tls,
                identify=self._identify,
                client_of=lambda identity: identity.client_id,
                admit=service.admit,
                message_limits=MESSAGE_LIMITS,
                on_internal_error=self._internal_error,
            )
            self._gate = self._gate_of(process, refusals)
            manager.starts.decide_again = service.starts.still_granted
            audited: Any = _AuditLog(lambda event, fields: self._audit(process, event))
            sim: Any = backend
            switching = Switching(held, server, service, manager, sim, audited, "/c")
            async with trio.open_nursery() as everything:
                if self.expires:
                    everything.start_soon(self._gate.end_expired, server)
                self.network.listen(process, everything, server.serve_transport)
                everything.start_soon(self._tell_regularly, repeats)
                self.manager, self.server = manager, server
                switching.begin()
                everything.start_soon(switching.run)
                self.switches.begun(process)
                self.switches.serving(backend.reloads, process)
                ending, how = self._ending = trio.Event(), list[str]()
                self.everything = everything.cancel_scope
                self._up.set()
                await ending.wait()
                self.network.stop_listening()
                if how[0] == "leave":
                    manager.leave()
                if how[0] != "supervisor":
                    await server.drain(DRAIN_S)
                everything.cancel_scope.cancel()
            repeats.close()

    async def _tell_regularly(self, repeats: RepeatBudget) -> None:
        """As server._AuditTrail does it."""
        while True:
            await trio.sleep(_TELL_S)
            repeats.end_old()

    def _tell_repeated(
        self, process: Process, client: str, verb: str, about: Mapping[str, Any], count: int
    ) -> None:
        self._audit(process, "decisions.repeated")
        self.reads.written(client, verb, count)

    def end_server(self, how: str) -> bool:
        """``shutdown``, ``leave`` (SIGUSR2) or ``supervisor`` (it is gone); if one serves."""
        ending, said = self._ending
        if self.manager is None or ending.is_set():
            return False
        said.append(how)
        ending.set()
        return True

    def _taken_over(self, manager: Manager) -> None:
        """What was discarded in the moment of a crash nobody can count: the only bytes that may
        be missing without a word."""
        for job in manager.list():
            group = self.kernel.groups.get(job.id)
            if group is None:
                continue
            unknown = len(group.moved) - job.log.length
            if unknown and not 0 < unknown <= group.discarded_last:
                self.fail(f"job {job.handle}: {len(group.moved)} bytes, log of {job.log.length}")
            if unknown > 0:
                del group.moved[job.log.length :], group.owners[job.log.length :]
                group.discarded_last = 0

    def keeping(self) -> RetentionSettings:
        made = keeping(policy())
        if not self.program.output:
            return made
        limit = self.program.output
        bounds = {name: OutputBound(limit, policy().commands[name].when_full) for name in COMMANDS}
        return RetentionSettings(lambda spec: bounds[spec.command], None, None, made.retention)

    def _audit(self, process: Process, event: str) -> None:
        process.effect()
        if self.faults.audits:
            self.faults.audits -= 1
            raise AuditError("the audit log is full")
        if event != "decision" and self.faults.lines_of_jobs:
            self.faults.lines_of_jobs -= 1
            raise AuditError("the audit log is full")
        if event != "decision":
            self.say("audit", event)

    def _audit_call(self, process: Process, event: str, fields: Mapping[str, Any]) -> None:
        process.check()
        if fields.get("verb") == "stop" and fields.get("allowed"):
            Process.on_heard(fields["job"])
        if self.faults.bugs:
            self.faults.bugs -= 1
            raise PlantedBug
        self._audit(process, event)
        if fields.get("allowed"):
            client, verb = fields["client"], fields["verb"]
            self.reads.written(client, verb, 1)
            self.reads.line(process.number, client, verb, str(fields.get("handle", "")))

    def _internal_error(self, error_id: str, error: BaseException) -> None:
        if isinstance(error, PlantedBug):
            self.covered.add("C15")
            self.bugs_told += 1
        elif self.process.alive:
            self.fail(f"a handler has a bug: {error!r}")

    def _identify(self, peer: Peer) -> Identity:
        owner = peer.certificate.decode()
        if owner in self.revoked:
            raise unauthenticated("the certificate was revoked")
        not_after = datetime.max.replace(tzinfo=UTC)
        to_come = [at for at in self.expires.get(owner, ()) if trio.current_time() <= at]
        if to_come:
            not_after = datetime.fromtimestamp(min(to_come), UTC)
        # As Gate.identity_of, which would read a certificate.
        self._gate._ends[peer.certificate] = not_after
        self._gate._first_end.set()
        return Identity(owner, "issuer", "1", not_after)

    def is_shut_out(self, owner: str) -> bool:
        """Whether its certificate may be good for nothing by now."""
        first = min(self.expires.get(owner, ()), default=float("inf"))
        return "C16" in self.covered or trio.current_time() >= first - _MICROSECOND_S

    def _gate_of(self, process: Process, refusals: RefusalBudget) -> Admission:
        """Of one life: it ends those whose certificate does."""
        audit_log: Any = _AuditLog(lambda event, fields: self._audit(process, event))
        no_tls: Any = None
        return Admission(
            in_force(policy(), no_tls),
            audit_log,
            refusals,
            lambda: datetime.fromtimestamp(trio.current_time(), UTC),
        )

    def said(self, text: str) -> None:
        """What the server says on its standard error."""
        self.say("stderr", text.replace(self._state_dir, "STATE"))  # another one in each run
        if "is given up" in text and self.process.alive:
            self.fail(text)

    # What happens to it; see protocol_errors.py.

    def stop_faults(self) -> None:
        """From now on everything works."""
        self.say("world", "faults end")
        self.closing = True
        self.closed_at = trio.current_time()
        self.revoked.clear()
        self.disk.works_again()
        self.faults.clear()
        self.process.crash_at = None
        self.network.works_again()


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that nurseries have wrapped."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in leaves(each)]


class _AuditLog:
    def __init__(self, write: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._write = write

    def write(self, event: str, **fields: Any) -> None:
        self._write(event, fields)
