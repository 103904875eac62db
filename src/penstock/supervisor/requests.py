"""What the server may ask for: one table, and everything in a request checked again.

The supervisor does not know clients, so it trusts the server's word on who may start a
command, and nothing else: the command line, its environment and the executable are
judged by the policy that this process has read itself.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from . import protocol, workdirs
from .environment import valid_key
from .executables import Executable
from .grammar import Mismatch
from .groups import GroupError, Hierarchy, block_device
from .held import HeldJob, Send
from .keeper import KeptProcesses
from .loop import Loop
from .paths import PathRefused, resolve
from .policy import Command, Policy
from .process import GroupProcesses, Processes
from .protocol import ProtocolError
from .spawn import Plan, make_pipe
from .users import User

_HEX: Final = frozenset("0123456789abcdef")
_MAX_OPAQUE: Final = 4096
BASE_ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Host:
    """What starts are made with; ``users`` is empty in user mode."""

    policy: Policy
    executables: dict[str, Executable]
    users: dict[str, User]
    hierarchy: Hierarchy | None
    work_root: str
    max_jobs: int


class _Refusal(Exception):
    """A START that nothing came of."""

    def __init__(self, fault: str, message: str, stage: str = "check", errno: int = 0) -> None:
        super().__init__(message)
        self.fault, self.stage, self.errno = fault, stage, errno


class Requests:
    """Answers the table's requests; ``jobs`` are all that are held."""

    def __init__(self, loop: Loop, host: Host, on_empty: Callable[[], None]) -> None:
        self.jobs: dict[str, HeldJob] = {}
        self._loop = loop
        self._host = host
        self._on_empty = on_empty
        self._table: Final[dict[str, Callable[[dict[str, Any], Send], None]]] = {
            protocol.START: self._start,
            protocol.SIGNAL: self._signal,
            protocol.KILL: self._kill,
            protocol.RELEASE: self._release,
        }

    def answer(self, message: dict[str, Any], send: Send) -> None:
        """Does what a message asks. Raises ProtocolError if it is malformed."""
        handler = self._table.get(message["type"])
        if handler is None:
            raise ProtocolError(f"{message['type']} is not for now")
        handler(message, send)

    def abandon_all(self) -> None:
        """Kills every job and forgets each when it is gone; calls on_empty at the end."""
        for job in list(self.jobs.values()):
            job.abandon()
        if not self.jobs:
            self._on_empty()

    def _start(self, message: dict[str, Any], send: Send) -> None:
        job_id = _job_id(message)
        if job_id in self.jobs:
            raise ProtocolError(f"job {job_id} is there already")
        opaque = _field(message, "opaque", str)
        if len(opaque) > _MAX_OPAQUE:
            raise ProtocolError("opaque is too long")
        try:
            self._try_start(message, job_id, opaque, send)
        except _Refusal as refusal:
            send(
                protocol.REFUSED,
                id=job_id,
                fault=refusal.fault,
                stage=refusal.stage,
                errno=refusal.errno,
                message=str(refusal),
            )

    def _try_start(self, message: dict[str, Any], job_id: str, opaque: str, send: Send) -> None:
        host = self._host
        command, arguments, env = self._checked(message)
        if len(self.jobs) >= host.max_jobs:
            raise _Refusal(protocol.EXHAUSTED, f"this server holds {host.max_jobs} jobs already")
        executable = host.executables[command.name]
        if not executable.is_current():
            raise _Refusal(
                protocol.EXECUTABLE,
                f"{command.path} is not the file that was checked any more; "
                "have the operator read the policy again",
            )
        timeout_s = _timeout(message, command)
        user = host.users.get(command.name)
        pipes: dict[str, int] = {}
        write_ends: list[int] = []
        job: HeldJob | None = None
        workdir: str | None = None
        try:
            workdir = workdirs.make(host.work_root, job_id, user)
            processes = self._confine(job_id, command, command.workdir or workdir)
            limit_class = host.policy.classes[command.class_name]
            job = HeldJob(
                self._loop, job_id, opaque, command, limit_class, processes, self._forgotten
            )
            self.jobs[job_id] = job
            if unmet := limit_class.unmet(job.enforcement):
                entry = unmet[0]
                why = f" ({entry.detail})" if entry.detail else ""
                raise _Refusal(
                    protocol.UNENFORCED,
                    f"the limit {entry.limit!r} of class {limit_class.name!r} is {entry.state} "
                    f"on this host{why}, and the class requires it",
                )
            for name in ("stdout",) if command.merge_stderr else ("stdout", "stderr"):
                pipes[name], write_end = make_pipe()
                write_ends.append(write_end)
            write_ends.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            plan = Plan(
                executable_fd=executable.fd,
                argv=command.argv(arguments),
                env=BASE_ENV | {"HOME": workdir, "PENSTOCK_JOB": job_id} | command.env | env,
                workdir=command.workdir or workdir,
                user=user,
                enter_fds=processes.enter_fds(),
                stdin_fd=write_ends[-1],
                stdout_fd=write_ends[0],
                stderr_fd=write_ends[-2],
            )
            job.send = send
            job.start(plan, pipes, workdir, timeout_s)
        except (_Refusal, GroupError, OSError) as error:
            for fd in pipes.values():
                os.close(fd)
            if job is not None:
                job.start_failed(workdir)
            elif workdir is not None:
                os.rmdir(workdir)
            if isinstance(error, _Refusal):
                raise
            raise _Refusal(
                protocol.FAILED, f"{command.name} could not be started: {error}", "prepare"
            ) from error
        finally:
            for fd in write_ends:
                os.close(fd)

    def _confine(self, job_id: str, command: Command, workdir: str) -> Processes:
        if self._host.hierarchy is None:
            return KeptProcesses(self._loop)
        limits = self._host.policy.classes[command.class_name].limits
        device = block_device(workdir)
        return GroupProcesses(self._loop, self._host.hierarchy.create(job_id, limits, device))

    def _checked(self, message: dict[str, Any]) -> tuple[Command, list[str], dict[str, str]]:
        """The command, its arguments with paths resolved, and its environment."""
        policy = self._host.policy
        if _field(message, "policy", str) != policy.hash:
            raise _Refusal(protocol.STALE_POLICY, "the policy has just been replaced; try again")
        name = _field(message, "command", str)
        arguments = _texts(_field(message, "arguments", list))
        env = _field(message, "env", dict)
        values = _texts(list(env.values()))
        if any("\0" in text for text in (*arguments, *env, *values)):
            raise _Refusal(protocol.INVALID, "a NUL byte cannot be part of a command line")
        texts = (*arguments, *env, *values)
        total = sum(len(text.encode("utf-8", "replace")) + 1 for text in texts)
        if total > protocol.MAX_COMMAND_LINE_BYTES:
            raise _Refusal(protocol.INVALID, f"a command line of {total} bytes is too long")
        command = policy.commands.get(name)
        if command is None:
            raise _Refusal(protocol.DENIED, f"command {name!r} is not granted")
        for key in env:
            if key not in command.env_allowed or not valid_key(key):
                raise _Refusal(protocol.DENIED, f"environment key {key!r} is not granted")
        match = command.grammar.match(arguments)
        if isinstance(match, Mismatch):
            raise _Refusal(protocol.DENIED, match.message)
        for path in match.paths:
            try:
                arguments[path.position] = resolve(path.root, path.relative)
            except PathRefused as error:
                raise _Refusal(protocol.DENIED, str(error)) from None
        return command, arguments, env

    def _forgotten(self, job_id: str) -> None:
        del self.jobs[job_id]
        if not self.jobs:
            self._on_empty()

    def _signal(self, message: dict[str, Any], send: Send) -> None:
        job_id, number = _job_id(message), _field(message, "signal", int)
        if not 1 <= number <= 64:
            raise ProtocolError(f"{number} is no signal")
        job = self.jobs.get(job_id)
        send(protocol.SIGNALED, id=job_id, count=job.signal(number) if job else 0)

    def _kill(self, message: dict[str, Any], send: Send) -> None:
        job_id = _job_id(message)
        job = self.jobs.get(job_id)
        send(protocol.KILLED, id=job_id, count=job.kill() if job else 0)

    def _release(self, message: dict[str, Any], send: Send) -> None:
        job = self.jobs.get(_job_id(message))
        if job is not None:
            job.release()


def _field(message: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = message.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ProtocolError(f"{message['type']}: {name} is not a {kind.__name__}")
    return value


def _texts(values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ProtocolError("START: arguments and environment are texts")
    return list(values)


def _job_id(message: dict[str, Any]) -> str:
    job_id = _field(message, "id", str)
    if len(job_id) != 32 or not set(job_id) <= _HEX:
        raise ProtocolError(f"{job_id[:64]!r} is not a job id")
    return str(job_id)


def _timeout(message: dict[str, Any], command: Command) -> float | None:
    """The shorter of what the request and the policy say."""
    asked = message.get("timeout_s")
    if asked is not None and (not isinstance(asked, int | float) or not asked > 0):
        raise ProtocolError("START: timeout_s is not a number of seconds above 0")
    bounds = [float(value) for value in (asked, command.timeout_s) if value is not None]
    return min(bounds) if bounds else None
