"""The supervisor, or the server, stands still (SIGSTOP): calls are answered, KILL comes, and who
stays silent is given up. With a real kernel."""

import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import killing
import pytest
import trio
from disturbing import disturbed_server
from google.rpc.error_details_pb2 import ErrorInfo
from patience import patient, slowness
from running import policy_text, running_server, script
from supervisor_peer import PATIENCE_S
from supervisor_process import running_supervisor, shell

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

T = TypeVar("T")

pytestmark = pytest.mark.root

DEAF = "trap '' TERM; setsid sleep 300 & echo up; while :; do sleep 0.05; done"
COMMANDS = (
    script("ticks", "trap : TERM; while :; do echo up; sleep 0.1; done")
    + script("deaf", DEAF, grace="500ms")
    + script("note", "echo one >> @dir/notes/notes; while :; do sleep 0.1; done")
)
CLIENTS = '[clients.alice]\ncommands = ["ticks", "deaf", "note"]\n'


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """That process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def begun(client: Client, command: str) -> str:
    """A job that has printed."""
    job = await client.start(command)
    async with client.stream(job.handle) as messages:
        async for message in messages:
            if b"up" in message.data:
                break
    return str(job.handle)


async def silent(call: Callable[[], Awaitable[object]]) -> None:
    """It is answered in time, with the reason."""
    began = time.monotonic()
    with pytest.raises(RpcError) as caught:
        await call()
    took_s = time.monotonic() - began
    assert caught.value.code is StatusCode.UNAVAILABLE, caught.value
    reasons = [each.reason for each in caught.value.details if isinstance(each, ErrorInfo)]
    assert reasons == ["SUPERVISOR_SILENT"], caught.value
    assert took_s <= 10.0 * slowness(), f"answered after {took_s:.1f} s"


@pytest.mark.slow
async def test_calls_are_answered_while_the_supervisor_stands_still() -> None:
    """C26: each within 10 s, and each may be asked again: one job, one pause, one end."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        async with connect(server.endpoint("alice")) as client:
            handles = [await begun(client, "ticks") for _ in range(3)]
            start = partial(client.start, "ticks", request_id="once")
            calls: list[Callable[[], Awaitable[object]]] = [
                start,
                partial(client.signal, handles[0], "TERM"),
                partial(client.pause, handles[1]),
                partial(client.stop, handles[2], grace_s=30.0, signal="KILL"),
            ]
            with stopped(server.process.pid), trio.fail_after(patient(60)):
                async with trio.open_nursery() as nursery:
                    for call in calls:
                        nursery.start_soon(silent, call)
                async with trio.open_nursery() as nursery:  # once more, while it is known
                    another: Callable[[], Awaitable[object]] = partial(client.start, "ticks")
                    for call in (*calls, another):
                        nursery.start_soon(silent, call)
                await client.server_info()
            with trio.fail_after(patient(60)):
                job = await until_heard(start)
                assert (await client.pause(handles[1])).paused
                end = (await client.stop(handles[2])).job.end
                assert (end.reason, end.escalated) == ("stopped", False)
                assert (await start()).handle == job.handle
                known = await client.jobs(include_finished=True)
                assert {each.handle for each in known} == {job.handle, *handles}


async def until_heard(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, as soon as the supervisor's next beat has come."""
    while True:
        try:
            return await call()
        except RpcError as error:
            if "does not answer" not in error.message:
                raise
            await trio.sleep(0.1)  # it beats every two seconds


@pytest.mark.slow
async def test_kill_does_not_wait_for_a_supervisor_that_stands_still() -> None:
    """C26: the whole tree is dead a second after its grace, though nobody has heard of the stop."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        async with connect(server.endpoint("alice")) as client:
            handle = await begun(client, "deaf")
            with stopped(server.process.pid), trio.fail_after(patient(60)):
                began = time.monotonic()
                await client.stop(handle, no_wait=True)
                # They are nobody's children here, so nobody tells.
                while killing.processes_of(server):  # noqa: ASYNC110
                    await trio.sleep(0.02)
                took_s = time.monotonic() - began
                assert took_s <= 2.5 * slowness()
                await silent(partial(client.stop, handle))
            with trio.fail_after(patient(60)):
                end = (await until_heard(partial(client.stop, handle))).job.end
                assert (end.reason, end.signal, end.escalated) == ("stopped", signal.SIGKILL, True)


@pytest.mark.slow
async def test_a_supervisor_that_stays_silent_is_given_up() -> None:
    """C14b: groups are killed, records say why; when it goes on all is consistent."""
    policy = policy_text(COMMANDS, CLIENTS)
    with running_server(policy, supervisor_silence_s=14.0) as server:
        notes = server.directory / "notes"
        notes.mkdir()
        notes.chmod(0o777)
        async with connect(server.endpoint("alice")) as client:
            handles = [await begun(client, command) for command in ("deaf", "ticks")]
            before = server.server_pid()
            fd = os.pidfd_open(before)
            start = partial(client.start, "note", request_id="once")
            with stopped(server.process.pid), trio.fail_after(patient(90)):
                await silent(start)  # it is under way to the supervisor
                await trio.lowlevel.wait_readable(fd)
                assert killing.processes_of(server) == []
            os.close(fd)
        await killing.until_served(server, before)
        async with connect(server.endpoint("alice")) as client:
            known = {job.handle: job for job in await client.jobs(include_finished=True)}
            assert set(known) == set(handles)
            for handle in handles:
                data, end = await killing.read_all(client, handle)
                assert (end.reason, end.detail) == ("lost", "the supervisor does not answer")
                assert data.startswith(b"up\n")
            job = await client.start("note", request_id="once")
            while not (notes / "notes").exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
            assert (await client.stop(job.handle)).job.end.reason == "stopped"
        assert (notes / "notes").read_text() == "one\n"  # the first START was not heeded
        assert killing.processes_of(server) == []


@pytest.mark.slow
async def test_a_server_that_stands_still_is_killed_and_replaced() -> None:
    """C27: its jobs run on and are taken over, and the log says what happened."""
    policy = policy_text(COMMANDS, CLIENTS)
    with running_server(policy, server_silence_s=4.0) as server:
        async with connect(server.endpoint("alice")) as client:
            handle = await begun(client, "ticks")
        before = server.server_pid()
        os.kill(before, signal.SIGSTOP)
        await killing.until_served(server, before)
        async with connect(server.endpoint("alice")) as client:
            (job,) = await client.jobs()
            assert job.handle == handle
            assert (await client.stop(handle)).job.end.reason == "stopped"
        await server.logged("does not answer for 4 s: it is killed")


@pytest.mark.slow
async def test_a_machine_that_stood_still_kills_nobody() -> None:
    """C14b, C27, C53: both were stopped for longer than either bound, as by a suspend, then run."""
    policy = policy_text(COMMANDS, CLIENTS)
    with running_server(policy, server_silence_s=4.0, supervisor_silence_s=4.0) as server:
        async with connect(server.endpoint("alice")) as client:
            handle = await begun(client, "ticks")
            before = server.server_pid()
            with stopped(server.process.pid), stopped(before):
                await trio.sleep(12.0)  # this is the event
            await trio.sleep(6.0)  # in which one that has misjudged would act
            assert server.server_pid() == before
            (job,) = await client.jobs()
            assert (job.handle, job.state) == (handle, pb.JOB_STATE_RUNNING)


@pytest.mark.timeout(400)
@pytest.mark.slow
async def test_disturbed_again_and_again_nothing_is_lost() -> None:
    """C13, C27: servers end while supervisor, server or the log's reader stand still."""
    plan = killing.Plan(jobs=8, lines=1_500, kills=6, readers=2, restarts=True, disturbed=True)
    with disturbed_server(policy_text(killing.COMMANDS, killing.CLIENTS)) as (server, reader):
        report = await killing.run(server, plan, print, reader)
    assert report.wrong == []
    assert (report.jobs, report.readers) == (plan.jobs, plan.readers)
    assert (report.hung_supervisors, report.hung_servers) == (2, 2)


def test_a_start_of_a_server_that_is_gone_is_not_heeded() -> None:
    """C14b: it was sent, and its sender has ended since: its client has asked the next one."""
    text = shell("note", "echo up; sleep 60", root=True)
    with running_supervisor(text) as supervisor:
        peer = supervisor.connect()
        peer.hello()
        with stopped(supervisor.process.pid):
            job_id = peer.request("note")
            peer.close()
        assert supervisor.process.wait(PATIENCE_S) == 0
        assert f"a START of a server that is gone is not heeded: job {job_id}" in supervisor.log
