"""What the block of a context manager raises comes out as it is, whatever happens meanwhile."""

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from fake_service import HANDLE, FakeServer, fake_server
from marks import SOURCE
from running import policy_text, script
from scripted_job import ENDPOINT, Scripted, begin
from this_run import group, own_directory

from penstock.agent.lent_connections import LentConnections
from penstock.cli.connecting import Connecting
from penstock.cli.descriptors import ERR
from penstock.cli.flags import Settings
from penstock.cli.full_screen import full_screen
from penstock.cli.shell.running_line import _Noting
from penstock.cli.shell.shared_connection import SharedConnection
from penstock.cli.signal_handling import beside, caught_signals, detaching
from penstock.client import Endpoint, RepeatedStart, connect
from penstock.client.follow import Follower
from penstock.client.identity import load_identity
from penstock.concurrency.plain_errors import PlainErrors
from penstock.jobs.manager import open_manager
from penstock.jobs.standalone import open_local
from penstock.rpc.channel import Channel, open_channel
from penstock.rpc.turns import FairTurns

Manager = Callable[[], AbstractAsyncContextManager[Any]]


class Mistake(Exception):
    """Of the block."""


def endpoint(server: FakeServer) -> Endpoint:
    pair = server.pki.clients["alice"]
    return Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)


@asynccontextmanager
async def a_channel() -> AsyncIterator[Manager]:
    async with fake_server() as server:
        yield lambda: channel_to(server)


def channel_to(server: FakeServer) -> AbstractAsyncContextManager[Channel]:
    at = endpoint(server)
    context = load_identity(at.ca, at.certificate, at.key, None)
    return open_channel(at.host, at.port, context)


@asynccontextmanager
async def a_connection() -> AsyncIterator[Manager]:
    async with fake_server() as server:
        yield lambda: connect(endpoint(server))


@asynccontextmanager
async def a_stream() -> AsyncIterator[Manager]:
    async with fake_server() as server, connect(endpoint(server)) as client:
        yield lambda: client.stream(HANDLE)


@asynccontextmanager
async def a_call() -> AsyncIterator[Manager]:
    async with fake_server() as server, connect(endpoint(server)) as client:
        yield client.send_input


@asynccontextmanager
async def a_start() -> AsyncIterator[Manager]:
    async with fake_server() as server:
        yield lambda: RepeatedStart("ls", []).connected(endpoint(server))


@asynccontextmanager
async def a_follower() -> AsyncIterator[Manager]:
    scripted = Scripted(lambda number, request: [begin(), trio.Event])
    yield lambda: Follower(ENDPOINT, "7", connecting=scripted).messages()
    assert scripted.open == 0


@asynccontextmanager
async def a_manager() -> AsyncIterator[Manager]:
    with own_directory("manager") as directory:
        yield lambda: open_manager(FakeBackend(), str(directory / "state"))


@asynccontextmanager
async def a_supervisor() -> AsyncIterator[Manager]:
    with own_directory("local") as directory:
        policy = directory / "policy.toml"
        policy.write_text(policy_text(script("idle", "sleep 300"), ""))
        yield lambda: open_local(policy, directory / "state", cgroup_parent=group("plain"))


@asynccontextmanager
async def a_whole_terminal() -> AsyncIterator[Manager]:
    """Which is none here: what it would show goes to standard output."""
    yield lambda: full_screen(lambda: None)


@asynccontextmanager
async def a_task_beside() -> AsyncIterator[Manager]:
    yield lambda: beside(trio.sleep_forever)


@asynccontextmanager
async def a_first_connection() -> AsyncIterator[Manager]:
    """With the word for a terminal, which is a task beside the block."""
    async with fake_server() as server:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ERR, "terminal", True)
            connecting = Connecting(Settings())
        yield lambda: connecting(endpoint(server))


@asynccontextmanager
async def a_shared_connection() -> AsyncIterator[Manager]:
    """As a line of the shell gets it."""
    async with fake_server() as server, trio.open_nursery() as nursery:
        shared = SharedConnection(endpoint(server), lambda: None)
        nursery.start_soon(shared.run)
        noting = _Noting(shared, lambda handle: None)
        yield lambda: noting(endpoint(server))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_lent_connection() -> AsyncIterator[Manager]:
    """As a front end of the agent gets it."""
    async with fake_server() as server, trio.open_nursery() as nursery:
        connections = LentConnections(nursery)
        yield lambda: connections.connect(endpoint(server))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def signals() -> AsyncIterator[Manager]:
    yield caught_signals


@asynccontextmanager
async def a_verb() -> AsyncIterator[Manager]:
    yield lambda: detaching(lambda: "how to go on")


@asynccontextmanager
async def a_turn() -> AsyncIterator[Manager]:
    yield lambda: FairTurns().of("alice")


# What each is shown by. Those of a leading underscore, and open_nursery, are within others.
WORLDS: dict[str, Callable[[], AbstractAsyncContextManager[Manager]]] = {
    "agent/attending.py: Attended._connected": a_lent_connection,
    "agent/lent_connections.py: LentConnections.connect": a_lent_connection,
    "cli/connecting.py: Connecting.__call__": a_first_connection,
    "cli/full_screen.py: full_screen": a_whole_terminal,
    "cli/shell/running_line.py: _Noting.__call__": a_shared_connection,
    "cli/shell/shared_connection.py: SharedConnection.__call__": a_shared_connection,
    "cli/signal_handling.py: beside": a_task_beside,
    "cli/signal_handling.py: caught_signals": signals,
    "cli/signal_handling.py: detaching": a_verb,
    "client/first_connection.py: connect": a_connection,
    "client/delivery.py: delivered": a_follower,
    "client/repeated_calls.py: RepeatedStart.connected": a_start,
    "client/retry.py: Attempts.answered": a_start,
    "jobs/backends/local.py: connect_local": a_supervisor,
    "jobs/job_tasks.py: JobTasks._runner_of": a_manager,
    "jobs/manager.py: Manager.open_nursery": a_manager,
    "jobs/manager.py: open_manager": a_manager,
    "jobs/standalone.py: _supervisor": a_supervisor,
    "jobs/standalone.py: open_local": a_supervisor,
    "rpc/channel.py: Channel.open_call": a_call,
    "rpc/channel.py: Channel.server_stream": a_stream,
    "rpc/channel.py: _channel": a_channel,
    "rpc/channel.py: open_channel": a_channel,
    "rpc/turns.py: _Turn": a_turn,
}
# No KeyboardInterrupt comes there: a server receives SIGINT itself.
SERVERS_OWN = {"rpc/turns.py: _Turn"}


def context_managers() -> dict[str, list[str]]:
    """Every asynchronous one of the source, with its decorators."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        tree = ast.parse(path.read_text())
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        parts = [(tree.body, ""), *((each.body, f"{each.name}.") for each in classes)]
        for body, prefix in parts:
            for node in body:
                if isinstance(node, ast.AsyncFunctionDef):
                    wrappers = [ast.unparse(each) for each in node.decorator_list]
                    if any(each.endswith("asynccontextmanager") for each in wrappers):
                        found[f"{name}: {prefix}{node.name}"] = wrappers
                    elif node.name == "__aexit__":
                        found[f"{name}: {prefix[:-1]}"] = wrappers
    return found


def test_every_one_is_known_and_protected() -> None:
    """All of them: whoever adds one shows that it loses nothing, and ^C comes not between."""
    found = context_managers()
    assert found.pop("concurrency/interrupts.py: _Uninterrupted") == []
    assert set(found) == set(WORLDS)
    bare = {name for name, wrappers in found.items() if "uninterrupted_context" not in wrappers[:1]}
    assert bare == SERVERS_OWN


async def fail() -> None:
    raise Mistake


async def fail_in_a_nursery() -> None:
    """Beside tasks that are cancelled in the same moment."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)
        raise Mistake


@pytest.mark.parametrize("world", sorted({each.__name__: each for each in WORLDS.values()}))
async def test_a_blocks_error_is_not_lost(world: str) -> None:
    """C28: though the scope around is cancelled in the same moment; and it is in no group."""
    make_world = next(each for each in WORLDS.values() if each.__name__ == world)
    async with make_world() as make:
        for scope_is_cancelled in (True, False):
            with pytest.raises(Mistake):  # noqa: PT012 - both are one behaviour
                with trio.CancelScope() as scope:
                    async with make():
                        if scope_is_cancelled:
                            scope.cancel()
                        raise Mistake
        with trio.CancelScope() as scope:  # without one of the block, Cancelled comes out as ever
            async with make():
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        with pytest.RaisesGroup(Mistake), trio.CancelScope() as scope:  # the block's own group
            async with make():
                scope.cancel()
                await fail_in_a_nursery()


async def held(task: Callable[[], Awaitable[None]], act: Callable[[], Awaitable[None]]) -> None:
    errors = PlainErrors()
    with errors.outside():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            with errors.inside():
                await act()
            nursery.cancel_scope.cancel()


async def test_a_bug_beside_the_block_is_not_lost_either() -> None:
    """Alone it comes as itself; with the block's own error, both in a group."""

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def fail_at_once() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await held(fail_at_once, trio.sleep_forever)
    with pytest.RaisesGroup(Mistake, ZeroDivisionError) as caught:
        await held(fail_at_the_end, fail)
    assert caught.value.exceptions[0].__context__ is None


async def test_an_errors_own_context_stays() -> None:
    """Not the nursery's group, which would show the same error twice."""

    async def fail_twice() -> None:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as error:
            raise Mistake from error

    with pytest.raises(Mistake) as caught:
        await held(trio.sleep_forever, fail_twice)
    assert isinstance(caught.value.__context__, ZeroDivisionError)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
