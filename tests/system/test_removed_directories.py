"""Row 68: directories and files of penstock's are removed or replaced while it runs."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.rpc.call_errors import RpcError, StatusCode

COMMANDS = script("idle", "echo ready; read x; echo $x", grace="200ms").replace(
    'class = "free"', 'class = "free"\nstdin = true'
)
CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def remove(run: Path) -> None:
    """As a cleaner of temporary files does."""
    shutil.rmtree(run)


def remove_socket(run: Path) -> None:
    (run / "supervisor.sock").unlink()


def remove_lock(run: Path) -> None:
    (run / "supervisor.lock").unlink()


def replace(run: Path) -> None:
    """By an empty directory of the same user, with a mode of its own."""
    shutil.rmtree(run)
    run.mkdir(mode=0o700)


def replace_socket(run: Path) -> None:
    (run / "supervisor.sock").unlink()
    os.mkfifo(run / "supervisor.sock")


async def killed_and_back(server: RunningServer) -> None:
    """The server is killed; returns when the next one answers."""
    pid = server.server_pid()
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(patient(20)):
        while True:
            try:
                async with connect(server.endpoint("alice")) as alice:
                    await alice.server_info()
                    assert server.server_pid() != pid
                    return
            except (OSError, RpcError):
                await trio.sleep(0.05)  # nobody listens before the next one does


@pytest.mark.parametrize(
    "how",
    [
        remove,
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in (remove_socket, remove_lock, replace, replace_socket)
        ),
    ],
)
async def test_a_next_server_comes_back(server: RunningServer, how: Callable[[Path], None]) -> None:
    """It finds the supervisor, though the way there is gone; the job runs on, under its handle."""
    run = server.directory / "run"
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle", stdin=True)
    how(run)
    await killed_and_back(server)
    await server.logged("was removed or replaced; it is made again")
    status = run.stat()
    assert status.st_mode & 0o7777 == 0o750
    assert status.st_uid == os.geteuid()
    async with connect(server.endpoint("alice")) as alice:
        await alice.status(job.handle)
        response = await alice.stop(job.handle)
        assert response.job.end.reason == "stopped"
    await killed_and_back(server)  # what was made again is as good as the first
    assert sum("it is made again" in line for line in server.log_lines) == 1


@pytest.mark.slow
async def test_what_is_somebody_elses_is_left_alone(server: RunningServer) -> None:
    """A run_dir that leads elsewhere is said, and nothing there is touched; jobs run on. When it
    is gone the next server comes."""
    run, elsewhere = server.directory / "run", server.directory / "elsewhere"
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle", stdin=True)
    shutil.rmtree(run)
    elsewhere.mkdir(mode=0o755)
    run.symlink_to(elsewhere)
    os.kill(server.server_pid(), signal.SIGKILL)
    words = f"run_dir: {run} is no directory; remove it. Until then no server can connect"
    await server.logged(words)
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o7777 == 0o755
    run.unlink()
    with trio.fail_after(patient(30)):
        while True:
            try:
                async with connect(server.endpoint("alice")) as alice:
                    await alice.stop(job.handle)
                    break
            except (OSError, RpcError):
                await trio.sleep(0.1)  # nobody listens before the next one does


@pytest.mark.slow
async def test_records_that_are_removed_are_said_and_written_anew(server: RunningServer) -> None:
    """The next server knows every job, though nothing was written in between."""
    state = server.directory / "state"
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle", stdin=True)
    for path in state.glob("penstock.db*"):
        path.unlink()
    await server.logged("was removed under the running server; it is written anew")
    await killed_and_back(server)
    async with connect(server.endpoint("alice")) as alice:
        response = await alice.stop(job.handle)
        assert response.job.end.reason == "stopped"


@pytest.mark.slow
async def test_a_state_directory_that_is_removed_is_said(server: RunningServer) -> None:
    """Starts are refused, running jobs can be stopped, and all is well when it is there again."""
    state = server.directory / "state"
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle", stdin=True)
        moved = server.directory / "moved"
        state.rename(moved)
        await server.logged(f"missing: {state}")
        with pytest.raises(RpcError) as caught:
            await alice.start("idle", stdin=True)
        assert caught.value.code is StatusCode.UNAVAILABLE
        moved.rename(state)
        assert (await alice.stop(job.handle)).job.end.reason == "stopped"


async def test_output_that_is_removed_costs_its_job_alone(server: RunningServer) -> None:
    """While the job runs: who reads is told, the job is stopped as any other, the server lives."""
    pid = server.server_pid()
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle", stdin=True)
        (found,) = (server.directory / "state" / "jobs").iterdir()
        other = await alice.start("idle", stdin=True)
        shutil.rmtree(found)
        with contextlib.suppress(RpcError):
            async with alice.stream(job.handle, follow=False) as messages:
                async for _ in messages:
                    pass
        end = (await alice.stop(job.handle)).job.end
        assert end.reason == "stopped"
        assert "could not be hashed" in end.detail
        with contextlib.suppress(RpcError):
            async with alice.stream(job.handle) as messages:
                async for _ in messages:
                    pass
        assert (await alice.stop(other.handle)).job.end.detail == ""
    assert server.server_pid() == pid
