"""Jobs that write numbered lines while their server is killed again and again, and the check
of what is left: one implementation, for tests/system/test_takeover.py and tools/chaos.
"""

import contextlib
import hashlib
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio
from arrivals import Arrivals
from disturbing import LogReader, go_on, stand_still
from patience import patient
from running import RunningServer, script

from penstock.client import Client, connect
from penstock.client.follow import Follower, OutputBroken
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import ConnectionLost

# Numbered lines of 30 bytes, with a pause now and then; and an exit code of its own. TERM is
# heeded between two lines, with the code, too.
_PRINT: Final = 'i=$((i+1)); printf "%024d %s\\n" $i "abcd"; [ $((i % 80)) = 0 ] && sleep 0.2'
_ARGUMENTS: Final = (
    'arguments = [{ literal = "x" }, { int = { min = 1, max = 999999 } }, '
    "{ int = { min = 0, max = 200 } }]\n"
)
GATES: Final = "gates"
COMMANDS: Final = (
    script(
        "lines",
        f'trap \'exit "$2"\' TERM; i=0; while [ $i -lt $1 ]; do {_PRINT}; done; exit "$2"',
    )
    + _ARGUMENTS
    + script("deaf", f"trap '' TERM; i=0; while [ $i -lt $1 ]; do {_PRINT}; done", grace="500ms")
    + _ARGUMENTS
    # Ends once a file is there: at a moment at which no server is.
    + script(
        "held",
        'i=0; while [ $i -lt 7 ]; do i=$((i+1)); printf "%024d %s\\n" $i "abcd"; done; '
        f'while [ ! -e "@dir/{GATES}/$1" ]; do sleep 0.02; done; exit "$2"',
    )
    + _ARGUMENTS
)
CLIENTS: Final = (
    '[clients.alice]\ncommands = ["lines", "deaf", "held"]\nmax_running = 1000\n'
    "starts_per_minute = 100000\nmax_streams = 1000\n"
)
ENDLESS: Final = 999_999
HELD_LINES: Final = 7
# How a server ends, besides planned restarts, where all is disturbed: two stand still.
_ENDS: Final = ("hung supervisor", "hung server", "kill")
# The last is longer than callers wait for an answer, and shorter than it takes to be given up.
_STILL_S: Final = (0.3, 2.5, 11.0)
_SERVED_S: Final = 30.0
_END_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done. Half of the ``jobs`` end by themselves; the others are stopped, or end while
    no server is there."""

    jobs: int = 50
    lines: int = 15_000
    kills: int = 30
    pause_s: float = 0.1
    """At most so long after the server takes calls it is killed again."""
    readers: int = 0
    restarts: bool = False
    """Every fourth time SIGUSR2, a planned restart, in place of SIGKILL."""
    arrivals_every_s: float = 0.0
    """So often a new client comes, over all of it; 0: none."""
    seed: int = 7
    disturbed: bool = False
    """Others stand still: the supervisor while its server is killed, the server, which the
    supervisor kills then, and who reads the log. The server is disturbing.disturbed_server's."""


@dataclass
class Expected:
    """One job, and how it must end."""

    handle: str
    command: str
    code: int
    lines: int | None
    """None: it is stopped, and what it has written till then counts."""
    gate: Path | None = None


@dataclass
class Report:
    """What was seen; ``wrong`` is empty if all was as it must be."""

    wrong: list[str] = field(default_factory=list)
    jobs: int = 0
    output_bytes: int = 0
    kills: int = 0
    restarts: int = 0
    hung_servers: int = 0
    hung_supervisors: int = 0
    moods: int = 0
    stopped: int = 0
    unheard: int = 0
    readers: int = 0
    clients: int = 0
    longest_s: float = 0.0
    unserved_s: list[float] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        away = self.unserved_s or [0.0]
        return [
            f"the supervisor stood still {self.hung_supervisors} times, the server "
            f"{self.hung_servers} times, the reader of the log went or came {self.moods} times",
            f"{self.jobs} jobs, {self.output_bytes / 1e6:.1f} MB of output, each byte compared",
            f"{self.kills} kills and {self.restarts} planned restarts of the server; nobody served "
            f"for {statistics.median(away):.2f} s (median), {max(away):.2f} s (most)",
            f"{self.stopped} jobs stopped, {self.unheard} that ended while no server was there, "
            f"{self.readers} readers that came to the end",
            f"{self.clients} new clients, none refused; the longest waited {self.longest_s:.2f} s",
        ]


def expected_lines(count: int) -> bytes:
    """What a job has written after so many lines."""
    return b"".join(b"%024d abcd\n" % number for number in range(1, count + 1))


async def until_served(server: RunningServer, before: int) -> None:
    """Returns when a server takes calls that is not process ``before``; TooSlowError if none."""
    with trio.fail_after(patient(_SERVED_S)):
        while True:
            try:
                async with connect(server.endpoint("alice")) as client:
                    await client.server_info()
                    if server.server_pid() != before:
                        return
            except (OSError, ConnectionLost, RpcError, AssertionError):
                pass
            await trio.sleep(0.02)  # there is nothing to wait for before it listens


async def kill_server(server: RunningServer, number: int = signal.SIGKILL) -> None:
    """Returns when the next one takes calls. SIGUSR2 is told to the supervisor, which passes it."""
    before = server.server_pid()
    if number == signal.SIGUSR2:
        server.process.send_signal(number)
    else:
        os.kill(before, number)
    await until_served(server, before)


async def read_all(client: Client, handle: str) -> tuple[bytes, pb.EndRecord]:
    """A finished or running job's output to its end; on one connection, without a gap."""
    data = bytearray()
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
            if message.HasField("gap"):
                raise AssertionError(f"{handle}: a gap: {message.gap}")
            if message.HasField("finished"):
                return bytes(data), message.finished
    raise AssertionError(f"{handle}: no end record")


async def run(
    server: RunningServer,
    plan: Plan,
    say: Callable[[str], None],
    reader: LogReader | None = None,
) -> Report:
    """All of it. Bounded by the plan's kills, _SERVED_S after each, and _END_S."""
    chaos = _Chaos(server, plan, say, reader)
    await chaos.start_jobs()
    async with trio.open_nursery() as nursery:
        for number in range(plan.readers):
            nursery.start_soon(chaos.read, number)
        async with chaos.new_clients():
            await chaos.kill_and_stop()
        with trio.move_on_after(_END_S) as bound:
            await chaos.check()
        if bound.cancelled_caught:
            chaos.wrong(f"not all jobs have ended {_END_S:g} s after the last kill")
            nursery.cancel_scope.cancel()
    return chaos.report


class _Chaos:
    def __init__(
        self,
        server: RunningServer,
        plan: Plan,
        say: Callable[[str], None],
        reader: LogReader | None,
    ) -> None:
        self.report = Report()
        self._reader = reader
        self._turn = 0
        self._server = server
        self._plan = plan
        self._say = say
        self._random = random.Random(plan.seed)
        self._jobs: list[Expected] = []
        self._to_stop: list[Expected] = []
        self._to_let_go: list[Expected] = []
        self._late: list[int] = []
        (server.directory / GATES).mkdir(mode=0o755)

    def wrong(self, text: str) -> None:
        self.report.wrong.append(text)
        self._say(f"WRONG: {text}")

    async def start_jobs(self) -> None:
        """Three of four now; the others while the server is killed."""
        late = min(self._plan.jobs // 4, self._plan.kills)
        self._late = list(range(self._plan.jobs - late, self._plan.jobs))
        for number in range(self._plan.jobs - late):
            await self._start(number)
        self._say(f"{len(self._jobs)} jobs run; {late} more start while the server is killed")

    async def _start(self, number: int) -> None:
        """Of eight, four end by themselves, two are held, one is stopped, one deaf to its stop."""
        code = number % 200
        kind = number % 8
        if kind in (1, 5):
            command, count, lines = "held", number + 1, HELD_LINES
        elif kind in (3, 7):
            command, count, lines = ("lines" if kind == 3 else "deaf"), ENDLESS, None
        else:
            command, count, lines = "lines", self._plan.lines, self._plan.lines
        arguments = ["x", str(count), str(code)]

        async def start(client: Client) -> None:
            # The same request id each time, so it is one job however often it is asked for.
            job = await client.start(command, arguments, request_id=f"chaos {number}")
            gate = self._server.directory / GATES / str(count) if command == "held" else None
            expected = Expected(job.handle, command, code, lines, gate)
            self._jobs.append(expected)
            if gate is not None:
                self._to_let_go.append(expected)
            elif lines is None:
                self._to_stop.append(expected)

        await self._until_answered(f"start {number}", start)

    async def _until_answered(self, what: str, ask: Callable[[Client], Awaitable[None]]) -> None:
        """Asks again until somebody answers, as a client does whose server was killed."""
        with trio.move_on_after(_SERVED_S + 15) as bound:
            while True:
                try:
                    async with connect(self._server.endpoint("alice")) as client:
                        await ask(client)
                        return
                except (OSError, RpcError) as error:
                    if isinstance(error, RpcError) and error.code is not StatusCode.UNAVAILABLE:
                        break
                    await trio.sleep(0.02)  # until a server listens
        self.wrong(f"{what}: not done" if bound.cancelled_caught else f"{what}: refused")

    async def kill_and_stop(self) -> None:
        """Kills in a row; a stop runs into some of them, and a job ends in the gap after others."""
        for number in range(1, self._plan.kills + 1):
            await trio.sleep(self._random.random() * self._plan.pause_s)
            planned = self._plan.restarts and number % 4 == 0
            begin = time.monotonic()
            async with trio.open_nursery() as nursery:
                if self._late:
                    nursery.start_soon(self._start, self._late.pop())
                if self._to_stop and number % 2 == 0:
                    nursery.start_soon(self._stop, self._take(self._to_stop))
                await trio.sleep(self._random.random() * 0.03)  # so far they come
                if not planned and self._to_let_go:
                    nursery.start_soon(self._let_go, self._take(self._to_let_go))
                if planned:
                    await kill_server(self._server, signal.SIGUSR2)
                else:
                    await self._end_server()
                self.report.unserved_s.append(time.monotonic() - begin)
            self.report.kills += not planned
            self.report.restarts += planned
            if number % 5 == 0 or number == self._plan.kills:
                self._say(f"{number} of {self._plan.kills} times; the next server serves")
        for job in self._to_let_go:
            _open(job)
        async with trio.open_nursery() as nursery:
            for job in self._to_stop:
                nursery.start_soon(self._stop, job)

    async def _end_server(self) -> None:
        """Not in order; returns when the next one takes calls."""
        if not self._plan.disturbed:
            await kill_server(self._server)
            return
        how = _ENDS[self._turn % len(_ENDS)]
        self._turn += 1
        before, supervisor = self._server.server_pid(), self._server.process.pid
        if self._reader is not None:
            self._reader.next_mood()
            self.report.moods += 1
        match how:
            case "hung server":
                self.report.hung_servers += 1
                stand_still(before)
            case "hung supervisor":
                self.report.hung_supervisors += 1
                stand_still(supervisor)
                try:
                    await trio.sleep(self._random.choice(_STILL_S))
                    os.kill(before, signal.SIGKILL)
                finally:
                    go_on(supervisor)
            case _:
                os.kill(before, signal.SIGKILL)
        await until_served(self._server, before)

    @contextlib.asynccontextmanager
    async def new_clients(self) -> AsyncIterator[None]:
        """They come as long as the block, and all of them must be served."""
        if not self._plan.arrivals_every_s:
            yield
            return
        arrivals = Arrivals(self._server, self._plan.arrivals_every_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrivals.keep_coming)
            yield
            await arrivals.all_served()
        self.report.clients, self.report.longest_s = arrivals.served, arrivals.longest_s
        for text in arrivals.refused:
            self.wrong(f"a new client was refused: {text}")
        for text in arrivals.failed:
            self.wrong(f"a new client was not served: {text}")

    async def _let_go(self, job: Expected) -> None:
        """Now, when the server is dead or dies, and long before the next one is there."""
        _open(job)
        self.report.unheard += 1
        await trio.lowlevel.checkpoint()

    def _take(self, jobs: list[Expected]) -> Expected:
        return jobs.pop(self._random.randrange(len(jobs)))

    async def _stop(self, job: Expected) -> None:
        async def stop(client: Client) -> None:
            await client.stop(job.handle, reason="chaos")
            self.report.stopped += 1

        await self._until_answered(f"stop of {job.handle}", stop)

    async def read(self, number: int) -> None:
        """Follows a job over every kill; what came is compared with the end record's SHA-256."""
        job = self._jobs[number % len(self._jobs)]
        digest, count = hashlib.sha256(), 0
        follower = Follower(
            self._server.endpoint("alice"),
            job.handle,
            give_up_s=patient(60),
            connect_timeout_s=patient(60),
        )
        try:
            async with follower.messages() as messages:
                async for message in messages:
                    digest.update(message.data)
                    count += len(message.data)
        except (RpcError, OutputBroken) as error:
            self.wrong(f"reader {number} of {job.handle}: {error}")
            return
        end = follower.end
        if end is None or not follower.verdict.verified:
            self.wrong(f"reader {number} of {job.handle}: {follower.verdict.why}")
        elif (end.output_bytes, end.output_sha256) != (count, digest.hexdigest()):
            self.wrong(f"reader {number} of {job.handle}: {count} bytes of another SHA-256")
        else:
            self.report.readers += 1

    async def check(self) -> None:
        """Waits for every job's end, and compares its output byte for byte."""
        self.report.jobs = len(self._jobs)
        if len({job.handle for job in self._jobs}) != len(self._jobs):
            self.wrong("a handle was given twice")
        async with connect(self._server.endpoint("alice")) as client:
            for job in self._jobs:
                try:
                    data, end = await read_all(client, job.handle)
                except (AssertionError, RpcError) as error:
                    self.wrong(f"{job.handle}: {error}")
                    continue
                self.report.output_bytes += len(data)
                for text in _mistakes(job, data, end):
                    self.wrong(f"{job.handle} ({job.command}): {text}")
            known = await client.jobs(include_finished=True)
        found = sorted(job.handle for job in known)
        if found != sorted(job.handle for job in self._jobs):
            self.wrong(f"jobs that were not started, or are missing: {found}")
        if left := processes_of(self._server):
            self.wrong(f"every job has ended, and these processes live: {left}")


def _open(job: Expected) -> None:
    assert job.gate is not None
    job.gate.touch()


def _mistakes(job: Expected, data: bytes, end: pb.EndRecord) -> list[str]:
    """What of a job's end and output is not as it must be."""
    wrong = []
    lines = job.lines if job.lines is not None else data.count(b"\n")
    if data != expected_lines(lines):
        wrong.append(f"{len(data)} bytes that are not its lines 1 to {lines}")
    if (end.output_bytes, list(end.gaps)) != (len(data), []):
        wrong.append(f"its record says {end.output_bytes} bytes, gaps {list(end.gaps)}")
    if end.output_sha256 != hashlib.sha256(data).hexdigest():
        wrong.append("its record has another SHA-256")
    reason = "exited" if job.lines is not None else "stopped"
    if end.reason != reason:
        wrong.append(f"ended as {end.reason}, not {reason}: {end.detail}")
    if job.command == "deaf":
        if (end.signal, end.escalated) != (signal.SIGKILL, True):
            wrong.append(f"deaf, and ended by signal {end.signal}")
    elif end.exit_code != job.code:
        wrong.append(f"exit code {end.exit_code}, not {job.code}")
    return wrong


def processes_of(server: RunningServer) -> list[int]:
    """Every process of a job of this server, wherever it has fled to: by its environment.

    Home or working directory is named there. What clears its environment is found in the groups.
    """
    needle = f"={server.directory}/".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        if b"PENSTOCK_JOB=" in environment and needle in environment:
            found.add(int(path.parent.name))
    for group in server.groups():
        with contextlib.suppress(OSError):  # it is being removed, so nobody is in it
            found |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return sorted(found)


async def kill_supervisor(
    server: RunningServer, say: Callable[[str], None], *, both: bool = False
) -> tuple[list[str], list[str]]:
    """SIGKILL to penstockd under jobs that are deaf to TERM: their handles, and what was wrong.

    ``both``: and to its server in the same moment. Afterwards nothing of it runs; ``check_lost`` is
    for the next penstockd on its directory.
    """
    handles = []
    async with connect(server.endpoint("alice")) as client:
        for code in range(8):
            job = await client.start("deaf", ["x", str(ENDLESS), str(code)])
            handles.append(job.handle)
    server_pid = server.server_pid()
    server_fd = os.pidfd_open(server_pid)
    if both:
        stand_still(server.process.pid)  # or it would start the next one
        os.kill(server_pid, signal.SIGKILL)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    wrong = []
    with trio.move_on_after(_SERVED_S) as bound:
        await trio.lowlevel.wait_readable(server_fd)
        await _until_dead(server)
    os.close(server_fd)
    if bound.cancelled_caught:
        wrong.append(f"the supervisor is dead, and not its server or {processes_of(server)}")
    who = "supervisor and server were" if both else "the supervisor was"
    say(f"{who} killed; its server and {len(handles)} jobs are dead")
    return handles, wrong


async def _until_dead(server: RunningServer) -> None:
    while True:
        if not processes_of(server):
            return
        await trio.sleep(0.02)  # they are nobody's children here, so nobody tells


async def check_lost(server: RunningServer, handles: Sequence[str]) -> list[str]:
    """What is wrong with the jobs of kill_supervisor: the next penstockd must say lost, and have
    what they wrote."""
    wrong = []
    async with connect(server.endpoint("alice")) as client:
        for handle in handles:
            data, end = await read_all(client, handle)
            if end.reason != "lost":
                wrong.append(f"{handle} of a killed supervisor ended as {end.reason}")
            if data != expected_lines(data.count(b"\n")):
                wrong.append(f"{handle} of a killed supervisor: output that it did not write")
    return wrong
