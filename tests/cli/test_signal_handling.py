"""Whatever ends the CLI, KILL excepted, does what the table in docs/cli.md says."""

import os
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_service import HANDLE, Cli, FakeServer, FakeService, chunk, fake_server, finished

from penstock.cli.ending_signals import ending_signals
from penstock.cli.verbs import VERBS
from penstock.proto import command_pb2 as pb

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
EVERY = "any of these but STOP, if it was ignored at the start (`nohup`, `trap ''`)"
NAMES = re.compile(r"\b(?:[A-Z]{2,}[0-9]?)\b")


def rows() -> dict[str, tuple[str, str]]:
    """By what happens: what `run` does, and what every other verb does."""
    section = DOCS.read_text().split("## How it can be made to end")[1].split("\n## ")[0]
    lines = section.splitlines()
    table = [line for line in lines if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table[1:]]
    return {what: (run, other) for what, run, other in cells}


def signals_of(what: str) -> list[signal.Signals | int]:
    """Those that a row is about; none for other ways to end."""
    if not re.match(r"[A-Z]{2,}", what):
        return []
    numbers: list[signal.Signals | int] = []
    for name in NAMES.findall(re.sub(r"\(.*?\)", "", what).split(":")[0]):
        number = getattr(signal, f"SIG{name}", None)
        if number is not None:
            numbers.append(number)
    return numbers


SIGNAL_ROWS = {what: cells for what, cells in rows().items() if signals_of(what)}
OTHER_ROWS = {what: cells for what, cells in rows().items() if not signals_of(what)}


def test_every_signal_is_in_one_row_of_the_table() -> None:
    """Of those that there are on this kernel, by whatever name; KILL alone is in none."""
    named = [number for what in SIGNAL_ROWS for number in signals_of(what)]
    assert len(named) == len(set(named))
    ordinary = {number for number in signal.valid_signals() if number < signal.SIGRTMIN}
    assert set(named) - {signal.SIGRTMIN, signal.SIGRTMAX} == ordinary - {signal.SIGKILL}
    caught = [w for w, cells in SIGNAL_ROWS.items() if cells[1] == "detaches"]
    ending = {number for what in caught for number in signals_of(what)}
    ending |= set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
    ignored = {n for n in ordinary if signal.getsignal(n) is signal.SIG_IGN}
    assert set(ending_signals()) == ending - ignored


class Waiting(FakeService):
    """Answers no call before ``may_answer``; a stream shows one line and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = trio.Event()
        self.may_answer = trio.Event()
        self.start_may_answer = trio.Event()
        self.messages = [chunk(b"hello\n")]
        self.stream_may_end = trio.Event()
        self.at_stop = [finished(0)]
        self.jobs = [self.job]


def held(name: str) -> None:
    """Makes a call of Waiting wait."""
    plain = getattr(FakeService, name)

    async def call(self: Waiting, input_message: Any, request: Any) -> Any:
        self.arrived.set()
        await self.may_answer.wait()
        return await plain(self, input_message, request)

    setattr(Waiting, name, call)


for _name in (
    "Wait",
    "Status",
    "List",
    "Remove",
    "Signal",
    "Pause",
    "Resume",
    "ServerInfo",
    "WhoAmI",
):
    held(_name)

WORDS = {
    "run": ["run", "ls"],
    "start": ["start", "ls"],
    "stream": ["stream", "--no-timestamps", HANDLE],
    "logs": ["logs", "--no-timestamps", HANDLE],
    "send": ["send", HANDLE],
    "stop": ["stop", HANDLE],
    "attach": ["attach", HANDLE],
    "wait": ["wait", HANDLE],
    "watch": ["watch"],
    "top": ["top"],
    "status": ["status", HANDLE],
    "list": ["list"],
    "ps": ["ps"],
    "rm": ["rm", HANDLE],
    "signal": ["signal", HANDLE, "HUP"],
    "kill": ["kill", "-HUP", HANDLE],
    "pause": ["pause", HANDLE],
    "resume": ["resume", HANDLE],
    "version": ["version"],
    "whoami": ["whoami"],
    "commands": ["commands"],
    "can": ["can", "start", "ls"],
}


def test_every_verb_is_walked() -> None:
    """But what asks no server: certs has a test of its own."""
    assert set(WORDS) | {"agent", "certs", "completion", "context", "help", "schema"} == set(VERBS)


class World:
    """One verb under way, which waits for the server."""

    def __init__(self, verb: str, server: FakeServer, service: Waiting, cli: Cli) -> None:
        self.verb, self.server, self.service, self.cli = verb, server, service, cli
        self.unwritten: int | None = None
        """The other end of its input."""

    async def ready(self) -> None:
        """It has asked, and hears nothing for now."""
        match self.verb:
            case "run":
                self.service.start_may_answer.set()
                await self.cli.wait_for(b"hello\n")
            case "stream" | "logs" | "attach":
                await self.cli.wait_for(b"hello\n")
            case "start" | "can":
                await self.service.start_arrived.wait()
            case "stop":
                await self.service.stop_arrived.wait()
            case "watch":
                await self.service.watch_arrived.wait()
            case "send":
                await self.service.wait_input(0, calls=1)
            case _:
                await self.service.arrived.wait()

    def answer(self) -> None:
        """The server goes on, and the job ends."""
        service = self.service
        service.may_answer.set()
        service.start_may_answer.set()
        service.stop_may_answer.set()
        service.stream_may_end.set()
        self.end_input()

    def end_input(self) -> None:
        """Nothing more is typed."""
        if self.unwritten is not None:
            os.close(self.unwritten)
            self.unwritten = None

    async def kill(self, number: int) -> None:
        os.kill(self.cli.process.pid, number)

    async def check(self, phrase: str, number: int) -> None:
        """What the table says happens at this signal."""
        process, service = self.cli.process, self.service
        if phrase == "asks for a stop; the second detaches":
            service.at_stop = []
            await self.kill(number)
            await self.cli.wait_for(b"Stopping")
            await service.stop_arrived.wait()
            while len(service.stops) < 2:  # that it is under way is known
                await trio.testing.wait_all_tasks_blocked(0.01)
            await self.kill(number)
            done = await self.cli.done()
            assert {stop.reason for stop in service.stops} == {"interrupted"}
            assert (done.code, done.out) == (128 + number, b"hello\n")
            assert f"go on with: penstock stream {HANDLE} --offset 6\n".encode() in done.err
        elif phrase == "detaches":
            await self.kill(number)
            if self.verb == "start":
                await self.cli.wait_for(b"Waiting")
                service.start_may_answer.set()
            done = await self.cli.done()
            assert done.code == 128 + number, done.err
            expected = {"start": b"was started; end it with: penstock stop"}
            assert expected.get(self.verb, b"with: penstock ") in done.err, done.err
            assert len(service.stops) == (self.verb == "stop")
        elif phrase == "ends without a word":
            await self.kill(number)
            done = await self.cli.done()
            assert (done.code, done.err) == (-number, b"")
        elif phrase == "stands still until CONT (`fg`)":
            await self.kill(number)
            await trio.to_thread.run_sync(
                os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT
            )
            await self.kill(signal.SIGCONT)
            await self.goes_on()
        else:
            assert phrase == "goes on", phrase
            await self.kill(number)
            await self.goes_on()

    async def goes_on(self) -> None:
        """As if nothing had been."""
        if self.verb == "watch":  # which no answer ends
            self.service.change(state=pb.JOB_STATE_RUNNING)
            await self.cli.wait_for(b"is running")
            assert b"Detached" not in self.cli.err
            return
        self.answer()
        done = await self.cli.done()
        # A job that Status and Remove do not know is 4: their answer came all the same.
        assert done.code == (4 if self.verb in ("status", "rm") else 0), done.err
        assert b"Detached" not in done.err


@asynccontextmanager
async def under_way(verb: str, words: list[str] | None = None, **options: Any) -> Any:
    """The verb with a server that says nothing yet."""
    service = Waiting()
    if verb != "stop":
        service.stop_may_answer.set()
    else:
        service.stop_may_answer = trio.Event()
    unwritten = None
    if verb == "send" and "stdin" not in options:
        options["stdin"], unwritten = os.pipe()
    async with (
        fake_server(service) as server,
        server.cli(*(words or WORDS[verb]), **options) as cli,
    ):
        world = World(verb, server, service, cli)
        world.unwritten = unwritten
        try:
            yield world
        finally:
            world.end_input()


def phrase_of(verb: str, number: int) -> str:
    (cells,) = (cells for what, cells in SIGNAL_ROWS.items() if number in signals_of(what))
    return cells[0 if verb == "run" else 1]


async def walk(verb: str, number: int) -> None:
    async with under_way(verb) as world:
        await world.ready()
        await world.check(phrase_of(verb, number), number)


@pytest.mark.parametrize(
    ("verb", "number"),
    [
        ("run", signal.SIGHUP),
        ("run", signal.SIGQUIT),
        ("run", signal.SIGUSR1),
        ("stream", signal.SIGHUP),
        ("wait", signal.SIGHUP),
        ("stop", signal.SIGQUIT),
    ],
)
async def test_the_usual_ones(verb: str, number: signal.Signals) -> None:
    """Row 76, C22: the job is asked to stop, or runs on and its user knows how to go on."""
    await walk(verb, number)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", [verb for verb in WORDS if verb != "run"])
async def test_every_verb_in_every_row(verb: str) -> None:
    """One signal of each row, and all of those that ask a job to stop."""
    for what in SIGNAL_ROWS:
        numbers = signals_of(what)
        for number in numbers if signal.SIGINT in numbers else numbers[:1]:
            await walk(verb, number)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", ["run", "wait"])
@pytest.mark.parametrize("what", SIGNAL_ROWS)
async def test_every_signal(what: str, verb: str) -> None:
    """Each of a row."""
    for number in signals_of(what):
        await walk(verb, number)


IGNORABLE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


@pytest.mark.parametrize("verb", ["run", "wait"])
async def test_what_is_ignored_at_the_start_stays_ignored(verb: str) -> None:
    """As ``nohup`` has it; what is not ignored is heard all the same."""
    assert OTHER_ROWS[EVERY] == ("goes on", "goes on")
    async with under_way(verb, ignoring=IGNORABLE) as world:
        await world.ready()
        for number in IGNORABLE:
            await world.kill(number)
        await world.goes_on()
        assert world.service.stops == []


async def test_closing_a_terminal_sends_several_hups_and_is_one() -> None:
    """By the kernel and by the shell: the second must not leave a job whose stop is not under
    way yet."""
    async with under_way("run") as world:
        await world.ready()
        world.service.stop_may_answer = trio.Event()
        await world.kill(signal.SIGHUP)
        await world.service.stop_arrived.wait()
        await world.kill(signal.SIGHUP)
        await world.kill(signal.SIGHUP)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert world.cli.process.returncode is None
        world.service.stop_may_answer.set()
        done = await world.cli.done()
    assert done.code == 0, done.err  # as the job ended
    assert world.service.stops


def unread() -> int:
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


async def broken_stdout(verb: str, phrase: str, **options: Any) -> None:
    async with under_way(verb, **options) as world:
        if verb == "run":
            world.service.start_may_answer.set()
        elif verb not in ("stream", "logs"):
            await world.ready()
            world.answer()
        done = await world.cli.done()
    code = int(re.search(r"\d+", phrase)[0])  # type: ignore[index]
    assert done.code == code, (verb, done)
    assert ("without a word" not in phrase) or done.err == b""
    assert ("detaches" not in phrase) or b"go on with: penstock stream" in done.err
    assert len(world.service.stops) == (verb == "stop")  # what was asked for happens


async def stdout_reader(verb: str, phrase: str) -> None:
    await broken_stdout(verb, phrase, out=unread())


async def stdout_full(verb: str, phrase: str) -> None:
    await broken_stdout(verb, phrase, out=full())


async def stdout_closed(verb: str, phrase: str) -> None:
    await broken_stdout(verb, phrase, without=(1,))


async def no_stderr(verb: str, phrase: str) -> None:
    assert phrase == "goes on"
    for options in ({"without": (2,)}, {"err": unread()}):
        async with under_way(verb, **options) as world:
            await world.ready()
            await world.goes_on()


async def no_terminal(verb: str, phrase: str) -> None:
    """What is written to a terminal that is gone fails; no signal is sent to the CLI."""
    ours, theirs = os.openpty()
    copy = os.dup(theirs)
    async with under_way(verb, out=theirs, err=copy) as world:
        if verb == "run":
            world.service.start_may_answer.set()
        await world.service.stream_read.wait()
        while b"hello" not in await trio.to_thread.run_sync(os.read, ours, 4096):
            pass
        os.close(ours)
        world.service.at_stop = [chunk(b"more\n", offset=6), finished(0)]
        world.service.stream_may_end.set()
        done = await world.cli.done()
    assert done.code == int(phrase[-3:])
    assert bool(world.service.stops) == ("asks for a stop" in phrase)


async def no_stdin(verb: str, phrase: str) -> None:
    assert phrase == "goes on"
    async with under_way(verb, without=(0,)) as world:
        await world.ready()
        await world.goes_on()


async def no_server(verb: str, phrase: str) -> None:
    words = [verb, "--reconnect", "0.1", WORDS[verb][-1]]
    async with under_way(verb, words) as world:
        await world.ready()
        world.server.break_connections()
        done = await world.cli.done()
    assert done.code == int(re.search(r"\d+", phrase)[0])  # type: ignore[index]
    assert b"go on with: penstock stream" in done.err


WAYS: dict[str, tuple[Callable[[str, str], Awaitable[None]], str]] = {
    "stdout's reader leaves (EPIPE)": (stdout_reader, "stream list stop version"),
    "stdout's disk is full": (stdout_full, "stream list stop version"),
    "stdout is closed": (stdout_closed, "stream list stop version"),
    "stderr is closed, or its reader leaves": (no_stderr, "stream wait list"),
    "the terminal is gone (EIO), and HUP did not come": (no_terminal, "stream"),
    "stdin ends or is closed": (no_stdin, "stream wait list"),
    "the connection or the server is lost": (no_server, "stream"),
}


def test_every_other_row_has_its_test() -> None:
    """None is there for show."""
    assert set(WAYS) | {EVERY} == set(OTHER_ROWS)


async def test_a_terminal_that_is_gone_asks_for_a_stop() -> None:
    """Although no signal has come: a shell sends HUP to its own jobs alone."""
    what = "the terminal is gone (EIO), and HUP did not come"
    await no_terminal("run", OTHER_ROWS[what][0])


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", WAYS)
async def test_every_other_way(what: str) -> None:
    """With `run`, and with verbs of each kind."""
    check, verbs = WAYS[what]
    await check("run", OTHER_ROWS[what][0])
    for verb in verbs.split():
        await check(verb, OTHER_ROWS[what][1])


async def test_an_interrupted_stop_still_says_what_it_knows() -> None:
    """Nothing is said to have been done that is not known to be."""
    async with under_way("stop") as world:
        await world.ready()
        await world.kill(signal.SIGTERM)
        done = await world.cli.done()
    assert done.out == f"Stopping {HANDLE}...\n".encode()
    assert done.err.decode() == (
        "Detached; a stop that the server has heard of goes on; look with: "
        f"penstock status {HANDLE}\n"
    )
    assert world.service.stops == [pb.StopRequest(pid=HANDLE)]
