"""The supervisor is killed, with and without a server: C14, and what the next one makes of it."""

import contextlib
import os
import signal
from collections.abc import Iterator

import killing
import pytest
import trio
from running import RunningServer, policy_text, running_again, running_server, script

from penstock.client import connect
from penstock.jobs.records import EndRecord
from penstock.jobs.store import JobRecord, Store

pytestmark = pytest.mark.root

# Deaf to TERM, with a daemon in a session of its own, and one that is stopped.
TREE = (
    "trap '' TERM; setsid sleep 300 & sh -c 'kill -STOP $$' & echo 1; "
    "while :; do echo 2; sleep 0.05; done"
)
COMMANDS = script("tree", TREE) + script("say", "echo kept; exit 3")
CLIENTS = '[clients.alice]\ncommands = ["tree", "say"]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def started(server: RunningServer) -> list[str]:
    """Handles of three trees that run and have printed."""
    handles = []
    async with connect(server.endpoint("alice")) as client:
        for _ in range(3):
            job = await client.start("tree")
            handles.append(job.handle)
            async with client.stream(job.handle) as messages:
                async for message in messages:
                    if b"2" in message.data:
                        break
    return handles


def records(server: RunningServer) -> dict[str, EndRecord | None]:
    """What is durable, by handle; nobody else has the database open."""
    store = Store(str(server.directory / "state" / "penstock.db"))
    try:
        found = [each for each in store.load() if isinstance(each, JobRecord)]
    finally:
        store.close()
    return {each.handle: each.end for each in found if each.handle is not None}


def audited(server: RunningServer) -> list[tuple[str, str]]:
    lines = [line for line in server.audit() if line["event"] == "job.finished"]
    return [(line.get("handle", ""), line["reason"]) for line in lines]


async def check_next(server: RunningServer, handles: list[str]) -> None:
    """The next penstockd: the jobs are lost, what they printed is there, and it takes starts."""
    async with connect(server.endpoint("alice")) as client:
        known = {job.handle: job for job in await client.jobs(include_finished=True)}
        assert set(known) == set(handles)
        for handle in handles:
            data, end = await killing.read_all(client, handle)
            assert end.reason == "lost"
            assert not end.HasField("exit_code")
            assert data.startswith(b"1\n2\n")
            assert len(data) == end.output_bytes
        new = await client.start("say")
        assert new.handle not in handles
        assert (await client.wait(new.handle)).end.exit_code == 3


async def test_a_supervisor_killed_with_a_server(server: RunningServer) -> None:
    """It writes 1 into every kill descriptor, says lost, durably, and ends; all are dead then."""
    handles = await started(server)
    server_pid = server.server_pid()
    assert len(killing.processes_of(server)) >= 9
    fd = os.pidfd_open(server_pid)
    server.process.kill()
    await trio.lowlevel.wait_readable(fd)
    os.close(fd)
    await trio.to_thread.run_sync(server.process.wait)
    assert killing.processes_of(server) == []
    ends = records(server)
    assert {handle: end and end.reason for handle, end in ends.items()} == dict.fromkeys(
        handles, "lost"
    )
    assert sorted(audited(server)) == sorted((handle, "lost") for handle in handles)
    with running_again(server):
        await check_next(server, handles)
    assert len(audited(server)) == len(handles) + 1  # lost once, and the new one


async def test_a_supervisor_killed_without_a_server(server: RunningServer) -> None:
    """Nobody is left to kill them: they run until the next supervisor, and not one moment more."""
    handles = await started(server)
    server_pid = server.server_pid()
    server.process.send_signal(signal.SIGSTOP)  # so that it cannot start the next server
    os.kill(server_pid, signal.SIGKILL)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    tree = killing.processes_of(server)
    assert len(tree) >= 9
    assert set(records(server).values()) == {None}
    with running_again(server):
        assert not set(killing.processes_of(server)) & set(tree)
        await check_next(server, handles)
    assert sorted(audited(server)[:3]) == sorted((handle, "lost") for handle in handles)


async def test_a_supervisor_killed_while_the_server_comes_up(server: RunningServer) -> None:
    """The next server finds nobody to take the jobs from: it ends, and they are lost."""
    handles = await started(server)
    before = server.server_pid()
    os.kill(before, signal.SIGKILL)
    fd = os.pidfd_open(await next_server(server, before))
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    await trio.lowlevel.wait_readable(fd)
    os.close(fd)
    with running_again(server):
        await check_next(server, handles)
    assert sorted(audited(server)[:3]) == sorted((handle, "lost") for handle in handles)


async def next_server(server: RunningServer, before: int) -> int:
    """Its pid, as soon as it is forked."""
    while True:
        with contextlib.suppress(AssertionError, OSError):
            if (pid := server.server_pid()) != before:
                return pid
        await trio.sleep(0.005)  # nobody tells of a fork
