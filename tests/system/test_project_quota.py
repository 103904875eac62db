"""What a job may have on the disk is held by the kernel, where the file system has project quotas:
real jobs on a real ext4. `tools/vm tests/system/test_project_quota.py` has such a kernel."""

import contextlib
import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from disks import loop_disk
from patience import patient
from running import (
    RunningServer,
    policy_text,
    running_again,
    running_server,
    script,
)

from penstock.client import Client, connect
from penstock.policy.configuration import parse_config
from penstock.policy.limit_classes import ResourceLimits
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError
from penstock.supervisor.doctor import examine_host
from penstock.supervisor.kernel.system_calls import call
from penstock.supervisor.storage import project_quota
from penstock.supervisor.storage.project_quota import FIRST, ProjectQuotas

pytestmark = pytest.mark.root

STORAGE, FILES = 8_000_000, 200
# No need is watched: what is not enforced is refused.
CLASSES = """
[classes.tight]
storage = "8MB"
files = 200
needs = { disk = "direct_io" }

[classes.watched]
storage = "8MB"
files = 200
needs = { disk = "direct_io", storage = "watched" }
"""
# How far it comes, and what stops it then.
FILL = """
import os, sys
os.chdir(sys.argv[1])
written = made = 0
try:
    fd = os.open("f", os.O_WRONLY | os.O_CREAT)
    while True:
        written += os.write(fd, bytes(1024))
except OSError as error:
    first = error.errno
os.ftruncate(fd, 0)
try:
    while True:
        os.close(os.open(str(made), os.O_WRONLY | os.O_CREAT))
        made += 1
except OSError as error:
    second = error.errno
print(json.dumps([written, first, made + 1, second]), flush=True)
"""
# Ways for an owner to put his files where no limit is. Each must be refused.
LEAVE = """
import ctypes, errno, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(".", os.O_RDONLY)
found = {}
data = bytearray(28)
fcntl.ioctl(fd, 0x801C581F, data)
project = struct.unpack_from("=IIIII", data)[3]
tries = {
    "project": (0x401C5820, bytes(28)),
    "flags": (0x40086602, bytes(8)),
    "flags32": (0x40046602, bytes(4)),
}
for name, (command, value) in tries.items():
    try:
        fcntl.ioctl(fd, command, value)
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
result = libc.syscall(469, -100, b".", bytes(24), 24, 0)
found["file_setattr"] = 0 if result == 0 else ctypes.get_errno()
fcntl.ioctl(fd, 0x801C581F, data)
found["same"] = struct.unpack_from("=IIIII", data)[3] == project != 0
print(json.dumps(found), flush=True)
"""


def python(name: str, text: str, *words: str, extra: str = "") -> str:
    fixed = json.dumps(["-I", "-c", f"import json{text}", *words])
    limits = "" if "class =" in extra else 'class = "tight"\n'
    path = "/usr/bin/python3"
    return f'[commands.{name}]\npath = "{path}"\n{limits}@user\nfixed = {fixed}\n{extra}'


COMMANDS = (
    python("fill", FILL, ".")
    + python("fill-tmp", FILL, "/tmp")
    + python("leave", LEAVE)
    + python("open", LEAVE, extra='class = "watched"\nisolation = "none"\n')
    + python("refused", LEAVE, extra='isolation = "none"\n')
    + script("idle", "echo up; sleep 300", limits="tight")
    + script("large", "fallocate -l 7000000 f; echo up; sleep 300", limits="tight")
)
NAMES = ("fill", "fill-tmp", "leave", "open", "refused", "idle", "large")
CLIENTS = f"[clients.alice]\ncommands = {json.dumps(NAMES)}\n"


@pytest.fixture
def disk() -> Iterator[Path]:
    with loop_disk(project_quotas=True) as disk:
        yield disk


@pytest.fixture
def server(disk: Path) -> Iterator[RunningServer]:
    policy = policy_text(CLASSES + COMMANDS, CLIENTS)
    with running_server(policy, work_root=str(disk / "work")) as server:
        yield server


async def printed(client: Client, job: pb.Job) -> str:
    """Its first line."""
    data = b""
    async with client.stream(job.handle) as messages:
        async for message in messages:
            data += message.data
            if b"\n" in data:
                break
    return data.decode()


def limits(disk: Path) -> dict[int, tuple[int, int]]:
    """Of our projects that have any: units and inodes. By the kernel's own list."""
    found = {}
    with ProjectQuotas(str(disk))._opened() as fd, contextlib.suppress(OSError):
        number = FIRST
        while True:
            units, _, _, inodes, *_, number = project_quota._get(fd, number, project_quota._NEXT)
            if units or inodes:
                found[number] = units, inodes
            number += 1
    return found


@pytest.mark.parametrize("name", ["fill", "fill-tmp"])
async def test_it_gets_edquot_exactly_at_the_bound(
    server: RunningServer, disk: Path, name: str
) -> None:
    """In its directory and its /tmp: not a block and not a file more, and nobody else is held."""
    async with connect(server.endpoint("alice")) as alice:
        other = await alice.start("idle")
        job = await alice.start(name)
        written, first, made, second = json.loads(await printed(alice, job))
        assert (first, second) == (errno.EDQUOT, errno.EDQUOT)
        # Its directories have a block each; a block is 1 or 4 KiB.
        assert STORAGE - 5 * 4096 <= written <= STORAGE
        # Places of mounts in /tmp are files of it, too.
        assert FILES - 4 <= made <= FILES
        assert (await alice.wait(job.handle)).end.exit_code == 0
        assert (await alice.status(other.handle)).job.state == pb.JOB_STATE_RUNNING
        assert len(limits(disk)) == 1


async def test_what_is_held_is_said(server: RunningServer, disk: Path) -> None:
    """By the start's answer, the host, the doctor and the log; a class that requires it starts."""
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle")
        held = {entry.limit: (entry.state, entry.actual) for entry in job.enforcement}
        assert held["storage"] == ("enforced", str(STORAGE // 1024 * 1024))
        assert held["files"] == ("enforced", str(FILES))
        host = {entry.limit: entry.state for entry in (await alice.server_info()).limits}
        assert (host["storage"], host["files"]) == ("enforced", "enforced")
    text = (server.directory / "penstockd.toml").read_bytes()
    found = {finding.name: finding for finding in examine_host(parse_config(text))}
    assert (found["storage"].state, found["files"].state) == ("ok", "ok")


async def test_an_owner_cannot_leave_his_project(server: RunningServer) -> None:
    """The filter refuses every call for it. Without the filter it is no limit that is required."""
    async with connect(server.endpoint("alice")) as alice:
        found = json.loads(await printed(alice, await alice.start("leave")))
        assert found.pop("same")
        assert set(found.values()) == {errno.EPERM}
        with pytest.raises(RpcError, match=r"storage is partial .*without isolation\.seccomp"):
            await alice.start("refused")
        job = await alice.start("open")
        states = {entry.limit: entry.state for entry in job.enforcement}
        assert (states["storage"], states["files"]) == ("partial", "partial")
        found = json.loads(await printed(alice, job))
        assert found["project"] == 0  # it is as said: its owner has left it
        assert not found["same"]


async def test_limits_end_with_the_job(server: RunningServer, disk: Path) -> None:
    """Also those of jobs that a killed penstockd has left: the next one sweeps them."""
    async with connect(server.endpoint("alice")) as alice:
        jobs = [await alice.start(name) for name in ("idle", "large")]
        for job in jobs:
            await printed(alice, job)
        assert sorted(limits(disk).values()) == [(STORAGE // 1024, FILES + 2)] * 2
        await alice.stop(jobs[0].handle, grace_s=0)
        with trio.fail_after(patient(10)):
            while len(limits(disk)) > 1:  # noqa: ASYNC110 - of a removal there is no event
                await trio.sleep(0.02)
    server.process.kill()
    server.process.wait()
    assert len(limits(disk)) == 1
    with running_again(server):
        assert limits(disk) == {}


def test_where_it_does_not_hold_it_is_not_said(disk: Path) -> None:
    """Limits switched off under a running penstockd, and a file system that has none: a job is
    looked at then, and the reason is there."""
    quotas = ProjectQuotas(str(disk))
    assert quotas.missing == ""
    subprocess.run(["mount", "-o", "remount,noquota", str(disk)], check=False)
    with contextlib.suppress(OSError):
        _switch_off(disk)
    directory = disk / "own"
    directory.mkdir()
    bounds = ResourceLimits(storage_bytes=1_000_000, files=10)
    assert quotas.hold([str(directory)], bounds) is None
    assert "no project quotas" in ProjectQuotas(str(disk)).missing
    assert ProjectQuotas("/proc").missing


def _switch_off(disk: Path) -> None:
    """quotaoff(8), which need not be installed: Q_QUOTAOFF."""
    with ProjectQuotas(str(disk))._opened() as fd:
        call(443, fd, 0x800003 << 8 | 2, 0, None)
