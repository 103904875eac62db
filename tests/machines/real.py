"""Programs on a real server: real clients, processes, kernel and kills. What clients are told is
noted as it comes; judging.py judges it afterwards.

Times are a tenth of the program's, but for a client's patience. Jobs are one shell
script, which does what its argument says.
"""

import contextlib
import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from killing import kill_server
from patience import patient
from running import RunningServer, script
from this_run import process_mark

from penstock.client import Client, connect
from penstock.client.follow import Follower, Part
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode

from .clients import EXPECTED, HIDDEN, Enough
from .feeding import Feeding
from .naming import labels_of
from .peeking import KINDS, SERVICE, peek
from .programs import OWNERS, Act, Actor, Behaviour, Fault, Op, Program
from .real_input import READ, feed

_SCALE: Final = 0.1
_PATIENCE_S: Final = 2.0
_END_S: Final = 60.0
_SIGNALS: Final = ("HUP", "INT", "TERM", "USR1", "CONT")
# Redirected around each, as the shell itself says "Terminated" of a child that a signal has ended.
_DO: Final = """export PENSTOCK_TEST_MARK=$0; IFS=,
for act in $1; do n=${act#?}; case $act in
o*) { seq $n | head -c $n; } 2>/dev/null || exit 9;;
e*) { seq $n | head -c $n >&3; } 3>&2 2>/dev/null || exit 9;;
s*) { sleep $n; } 2>/dev/null;;
d*) sleep $n & ;;
D*) (trap '' TERM; exec sleep $n) & ;;
t*) trap '' TERM;;
r*) @read;;
c*) exec <&-;;
x*) exit $n;;
esac; done""".replace("@read", READ)
COMMANDS: Final = (
    script("act", _DO, grace="200ms")
    + 'stdin = true\narguments = [{ pattern = "[a-z0-9]{1,80}" }, '
    '{ pattern = "[a-zA-Z0-9.,]{1,200}" }]\n'
)
CLIENTS: Final = "".join(
    f'[clients.{owner}]\ncommands = ["act"]\nmax_running = 200\nstarts_per_minute = 100000\n'
    "max_streams = 200\n"
    for owner in OWNERS
)


def _letter(act: Act) -> str:
    match act.what:
        case "write":
            return f"{' oe'[act.stream]}{act.size}"
        case "daemon":
            return f"{'D' if act.deaf else 'd'}{act.seconds * _SCALE:.4f}"
        case "sleep" | "asleep":
            return f"s{act.seconds * _SCALE:.4f}"
    return {"deaf": "t", "read": "r", "shut": "c"}[act.what]


def written(behaviour: Behaviour, stream: int) -> bytes:
    """On one stream, if it comes to its end."""
    pieces = b""
    for act in behaviour.acts:
        if act.what == "write" and act.stream == stream:
            lines = b"".join(b"%d\n" % number for number in range(1, act.size + 1))
            pieces += lines[: act.size]
    return pieces


def alive(mark: str) -> list[int]:
    """Pids of a job's processes: its shells have the mark as an argument, what they execute in
    its environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = Path("/proc", pid, "cmdline").read_bytes()
            text += b"\0" + Path("/proc", pid, "environ").read_bytes()
            words = text.split(b"\0")
            if mark.encode() in words or b"PENSTOCK_TEST_MARK=" + mark.encode() in words:
                found.append(int(pid))
    return found


@dataclass(frozen=True, slots=True)
class Told:
    """One answer or message. ``alive``: pids at that moment, of a job that is said to be dead."""

    owner: str
    what: str
    handle: str
    message: Any
    request_id: str = ""
    alive: tuple[int, ...] = ()


@dataclass
class History:
    """Of programs that ran at once, in the order in which it was told."""

    told: list[Told] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """What was answered, and how often."""
    handles: dict[str, list[str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    signaled: set[str] = field(default_factory=set)
    peeks: Iterator[int] = field(default_factory=itertools.count)
    """Of calls about other clients' jobs: which is the next."""
    feeding: Feeding = field(init=False)
    """By handle, what jobs were sent."""

    def __post_init__(self) -> None:
        world: Any = self
        self.feeding = Feeding(world)

    def fail(self, what: str) -> None:
        """An invariant does not hold."""
        self.wrong.append(what)


class RealPlayer:
    """One actor on real connections. Never raises: what must not be is noted."""

    def __init__(
        self, server: RunningServer, program: Program, actor: Actor, name: str, history: History
    ) -> None:
        self._server = server
        self._program = program
        self._actor = actor
        self._name = name
        self._history = history

    async def run(self) -> None:
        """All its operations, each bounded."""
        async with contextlib.AsyncExitStack() as stack:
            client: Client | None = None
            for number, op in enumerate(self._actor.ops):
                await trio.sleep(op.after * _SCALE)
                if client is None:
                    client = await self._connected(stack)
                patience = _PATIENCE_S if op.within is None else op.within
                lost = op.within is not None and op.how == "cut"
                with trio.move_on_after(patience) as scope:
                    lost |= not await self.do(op, f"{self._name}x{number}", client)
                if scope.cancelled_caught:
                    self._history.done[f"left {op.what}"] += 1
                if lost:
                    await stack.aclose()
                    client = None

    async def _connected(self, stack: contextlib.AsyncExitStack) -> Client:
        while True:  # the program's time bounds it
            try:
                opened = connect(self._server.endpoint(self._actor.owner))
                return await stack.enter_async_context(opened)
            except ConnectionLost:
                await trio.sleep(0.02)  # there is nothing to wait for before a server listens

    async def do(self, op: Op, mark: str, client: Client) -> bool:
        """Whether the connection is to be kept."""
        owner, history = self._actor.owner, self._history
        owners = [owner] if op.what != "peek" else [each for each in OWNERS if each != owner]
        known = [each for who in owners for each in history.handles.get(who, [])]
        handle = known[op.job % len(known)] if known else ""
        if not handle and op.what not in ("start", "list"):
            return True
        try:
            await self.call(op, mark, client, handle)
        except Enough:
            history.done["left"] += 1
        except ConnectionLost:
            history.done["lost"] += 1
            return False
        except RpcError as error:
            history.done[error.code.name] += 1
            expected = HIDDEN | {StatusCode.NOT_FOUND} if op.what == "peek" else EXPECTED
            if error.code not in expected:
                history.wrong.append(f"{owner}: {op.what} {handle}: {error}")
        else:
            history.done[op.what] += 1
        return True

    async def call(self, op: Op, mark: str, client: Client, handle: str) -> None:
        """Raises what the client does, and Enough."""
        match op.what:
            case "start":
                await self._start(op, mark, client)
            case "status":
                self._note("job", handle, (await client.status(handle)).job)
            case "list":
                for job in await client.jobs(include_finished=op.flag):
                    if job.handle:  # else it is just being started
                        self._note("job", job.handle, job)
            case "stop":
                grace_s = None if op.seconds is None else op.seconds * _SCALE
                answer = await client.stop(handle, grace_s=grace_s, no_wait=op.flag)
                self._note("job" if op.flag else "stopped", handle, answer.job)
            case "wait":
                self._note("stopped", handle, await client.wait(handle))
            case "peek":
                channel = client._channel
                unary = partial(channel.unary, SERVICE)
                what = await peek(next(self._history.peeks), channel, unary, handle)
                self._history.wrong.append(
                    f"{self._actor.owner} was told by {what} of job {handle}, not its own"
                )
            case "signal":
                self._history.signaled.add(handle)
                name = _SIGNALS[op.number % len(_SIGNALS)]
                await client.signal(handle, name, tree=op.flag)
            case "pause":
                self._note("job", handle, await client.pause(handle))
            case "resume":
                self._note("job", handle, await client.resume(handle))
            case "stream":
                await self.follow(handle, op.number if op.flag else None)
            case "input":
                await feed(client, self._history.feeding, handle, op.number * 700)

    def _note(self, what: str, handle: str, message: Any, request_id: str = "") -> None:
        left = tuple(alive(self._history.marks[handle])) if what == "stopped" else ()
        told = Told(self._actor.owner, what, handle, message, request_id, left)
        self._history.told.append(told)

    async def _start(self, op: Op, mark: str, client: Client) -> None:
        number = op.job % len(self._program.jobs)
        behaviour = self._program.jobs[number]
        request_id = ""
        if op.request_id:  # the same words each time, and those of one program
            program = self._name.partition("y")[0]
            mark = f"{program}{op.request_id}{self._actor.owner}n{number}"
            request_id = f"{program}{op.request_id}"
        mark = f"{process_mark()}{mark}"  # other runs on this machine play the same programs
        acts = ",".join([*map(_letter, behaviour.acts), f"x{behaviour.code}"])
        # One of each program, because those that run beside it have the same names.
        name = f"{op.name}-{self._name.partition('y')[0]}" if op.name else ""
        job = await client.start(
            "act",
            [mark, acts],
            request_id=request_id,
            stdin=behaviour.stdin,
            name=name,
            labels=labels_of(op),
        )
        history = self._history
        if (job.name, dict(job.labels)) != (name, labels_of(op)):
            history.wrong.append(f"job {job.handle} has not the name and labels of its start")
        known = history.handles.setdefault(self._actor.owner, [])
        if job.handle not in known:
            known.append(job.handle)
        history.marks[job.handle] = mark
        history.behaviours[job.handle] = behaviour
        self._note("started", job.handle, job, request_id)

    async def follow(self, handle: str, enough: int | None, what: str = "output") -> None:
        """By its follower, over any number of connections; to its end or to so many messages."""
        seen = 0

        async def take(message: pb.StreamOutputResponse) -> None:
            nonlocal seen
            seen += 1
            self._note(what, handle, message)
            if enough is not None and seen > enough:
                raise Enough

        await Follower(self._server.endpoint(self._actor.owner), handle, Part()).deliver(take)


async def play(
    server: RunningServer,
    programs: Mapping[str, Program],
    kills: Sequence[Fault],
    history: History,
    *,
    after: Callable[[], bool] = lambda: True,
) -> None:
    """All of them at once, by name (letters and digits), while the server is killed, each time
    so long after it serves again (``crash`` SIGKILL, ``leave`` SIGUSR2), and not before ``after``.
    Then every job is stopped, read and asked for once more. ``history`` grows as they are told.
    Raises TooSlowError."""
    longest = max(len(actor.ops) for each in programs.values() for actor in each.actors)
    with trio.fail_after(patient((longest + 1) * _PATIENCE_S + _END_S)):
        async with trio.open_nursery() as nursery:
            for name, program in programs.items():
                for number, actor in enumerate(program.actors):
                    player = RealPlayer(server, program, actor, f"{name}y{number}", history)
                    nursery.start_soon(player.run)
            while not after():  # noqa: ASYNC110  a history has no event
                await trio.sleep(0.01)
            for kill in kills:
                await trio.sleep(kill.at * _SCALE)
                leave = kill.what == "leave"
                await kill_server(server, signal.SIGUSR2 if leave else signal.SIGKILL)
        for owner in OWNERS:
            player = RealPlayer(server, Program(), Actor(owner), "", history)
            async with connect(server.endpoint(owner)) as client:
                # Also those of whose start nobody heard the answer.
                while jobs := await client.jobs():
                    for job in jobs:
                        if job.handle:
                            await client.stop(job.handle)
                        else:
                            await trio.sleep(0.02)  # one that is started has no name to wait by
                for number in range(KINDS):  # each of them, at whatever jobs others have
                    await player.do(Op("peek", job=number), "", client)
                for handle in history.handles.get(owner, []):
                    for what in ("stop", "wait", "status"):
                        await player.call(Op(what), "", client, handle)
                    await player.follow(handle, None, "read")
