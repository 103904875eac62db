"""The supervisor is killed, with and without a server: C14, and what the next one makes of it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import killing
import pytest
import trio
from patience import patient
from running import RunningServer, policy_text, running_again, running_server, script
from this_run import new_group

from penstock.client import connect
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job_rows import JobRecord
from penstock.jobs.store import Store
from penstock.supervisor import sentinel_main
from penstock.supervisor.cgroups import mounted

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


@pytest.mark.parametrize(
    "whole_group",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["both", "whole-process-group"],
)
async def test_a_supervisor_killed_without_a_server(
    server: RunningServer, whole_group: bool
) -> None:
    """C14: both at once, and whoever is in their process groups: its sentinel kills every tree
    within a moment, and no next supervisor is needed for it."""
    handles = await started(server)
    server_pid = server.server_pid()
    tree = killing.processes_of(server)
    assert len(tree) >= 9
    supervisor = server.process.pid
    server.process.send_signal(signal.SIGSTOP)  # so that it cannot start the next server
    (kill_group if whole_group else os.kill)(server_pid, signal.SIGKILL)
    if whole_group and os.getpgid(supervisor) != os.getpgid(0):
        os.killpg(os.getpgid(supervisor), signal.SIGKILL)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    with trio.fail_after(patient(5)):
        await until_dead(server)
    assert set(records(server).values()) == {None}
    with running_again(server):
        assert not set(killing.processes_of(server)) & set(tree)
        await check_next(server, handles)
    assert sorted(audited(server)[:3]) == sorted((handle, "lost") for handle in handles)


def kill_group(pid: int, number: int) -> None:
    os.killpg(os.getpgid(pid), number)


async def until_dead(server: RunningServer) -> None:
    # They are nobody's children here, so nobody tells.
    while killing.processes_of(server):  # noqa: ASYNC110
        await trio.sleep(0.01)


@pytest.mark.slow
async def test_a_sentinel_that_is_killed_is_replaced(server: RunningServer) -> None:
    """C14, C51: and the next one does the same; SIGTERM, which a manager sends to all, ends none
    of them."""
    await started(server)
    before = sentinel(server)
    os.kill(before, signal.SIGTERM)
    os.kill(before, signal.SIGKILL)
    with trio.fail_after(patient(10)):
        # Nobody tells of a fork.
        while (after := sentinel(server)) in (0, before):  # noqa: ASYNC110
            await trio.sleep(0.02)
    os.kill(after, signal.SIGTERM)
    server_pid = server.server_pid()
    server.process.send_signal(signal.SIGSTOP)
    os.kill(server_pid, signal.SIGKILL)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    with trio.fail_after(patient(5)):
        await until_dead(server)
        while sentinel_lives(after):  # noqa: ASYNC110 - it is nobody's child here
            await trio.sleep(0.01)
    await server.logged("the process that ends jobs if this one is killed")
    server.remove_groups()


def sentinel(server: RunningServer) -> int:
    """Its pid; 0: it has none just now."""
    pid = server.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"sentinel_main.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def sentinel_lives(pid: int) -> bool:
    try:
        return b"sentinel_main.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_sentinel_holds_three_descriptors_and_is_a_program_of_its_own(
    server: RunningServer,
) -> None:
    """A pidfd, cgroup.kill and the lock of the parent group; no environment, another session."""
    pid = sentinel(server)
    fds = Path(f"/proc/{pid}/fd")
    held = sorted(os.readlink(fds / name) for name in os.listdir(fds) if int(name) > 2)
    parent = server.cgroup_parent
    (life,) = {path.name for path in server.groups() if path.name.startswith("life-")}
    assert [text.partition(parent)[2] if parent in text else text for text in held] == [
        "",
        f"/{life}/cgroup.kill",
        "anon_inode:[pidfd]",
    ]
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"LANG=C.UTF-8\0"


@pytest.mark.parametrize("kind", ["freezer", "paused", "none"])
def test_a_sentinel_without_cgroup_kill_goes_through_the_members(kind: str) -> None:
    """Pure v1 has a freezer; a v2 mount before Linux 5.14 not even that: it is done in rounds. A
    job that was paused stands still in its own group, where KILL alone does not reach it."""
    mounts = mounted()
    controller = "pids" if kind == "none" else "freezer"
    if controller not in mounts.v1:
        pytest.skip("no v1 hierarchies here")
    parent = Path(mounts.v1[controller] + new_group("sentinel"))
    group = parent / "client-alice" / "job"
    group.mkdir(parents=True)
    fork_again = "while :; do (sleep 300 &) ; sleep 0.01; done"
    script = f"echo $$ > {group}/cgroup.procs; trap '' TERM; echo in; {fork_again}"
    victim = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE)
    dying = subprocess.Popen(["/bin/sleep", "300"])
    pidfd = os.pidfd_open(dying.pid)
    words = [sys.executable, "-I", "-S", "-E", sentinel_main.__file__]
    process = subprocess.Popen([*words, str(pidfd), "-1", "-1", str(parent)], pass_fds=[pidfd])
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"in\n"
        if kind == "paused":
            (group / "freezer.state").write_text("FROZEN")
        dying.kill()
        dying.wait()
        assert process.wait(patient(10)) == 0
        assert victim.wait(patient(10)) == -signal.SIGKILL
        assert sentinel_main.members(str(parent)) == set()
    finally:
        for each in (victim, dying, process):
            each.kill()
            each.wait()
        if victim.stdout is not None:
            victim.stdout.close()
        os.close(pidfd)
        for folder in (group, group.parent, parent):
            folder.rmdir()


@pytest.mark.slow
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
