"""A group that a service manager has given to penstockd: it stays inside, in the right places.

There is no systemd here: the test makes the unit's group and starts penstockd in it, as systemd
does. It runs on v2 with controllers, on hybrid, and as pure v1 where v1 has the controllers.
"""

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from running import RunningServer, policy_text, running_server, script
from this_run import group

from penstock.client import connect
from penstock.supervisor.cgroups import GroupError, Mounts, find_place, mounted
from penstock.supervisor.cgroups.delegation import own_path
from penstock.supervisor.cgroups.v2 import CONTROLLERS, enable_controllers

pytestmark = pytest.mark.root
COMMANDS = script("idle", "echo ready; sleep 300", limits="small")
CLIENTS = '[clients.alice]\ncommands = ["idle"]\nlimits = { memory = "200MB" }\n'
# Enters the unit's group, and executes penstockd, as systemd's own child does.
ENTER = 'echo 0 > "$1/cgroup.procs" && shift && exec "$@"'


@dataclass
class Unit:
    """``directory`` is the unit's group where its manager sees it."""

    kind: str
    name: str
    directory: Path
    prefix: list[str] = field(default_factory=list)

    def group_of(self, pid: int | str) -> str | None:
        """Of a process, in the hierarchy that the manager sees."""
        return own_path(Path(f"/proc/{pid}/cgroup").read_text(), v2=self.kind != "v1")


def systemd_mount() -> Path | None:
    """The v1 hierarchy without a controller, by which systemd tells units apart."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.endswith("name=systemd"):
            return Path(line.split()[4])
    return None


def top_groups(mounts: Mounts) -> set[Path]:
    """Just below the mounts, what a penstock of this test could have made by mistake."""
    roots = {*mounts.v1.values()} | ({mounts.v2} if mounts.v2 is not None else set())
    names = ("penstock", "jobs", "supervisor", group("unit").strip("/"))
    return {Path(root) / name for root in roots for name in names if (Path(root) / name).is_dir()}


@pytest.fixture(params=["host", pytest.param("v1", marks=pytest.mark.slow)])
def unit(request: pytest.FixtureRequest) -> Iterator[Unit]:
    mounts, name = mounted(), group("unit")
    prefix: list[str] = []
    if request.param == "host" and mounts.v2 is not None:
        has_controllers = mounts.v2_controllers.issuperset(CONTROLLERS)
        kind, top = "v2" if has_controllers else "hybrid", Path(mounts.v2)
        if has_controllers:
            enable_controllers(mounts.v2, "")
    else:
        systemd = systemd_mount()
        if systemd is None or not {"cpu", "memory", "freezer"} <= mounts.v1.keys():
            pytest.skip("v1 has not the controllers, or no hierarchy of systemd's")
        kind, top = "v1", systemd
        if mounts.v2 is not None:  # hidden from penstockd alone
            hide = f'umount {mounts.v2} && exec "$@"'
            prefix = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", hide, "sh"]
    before = top_groups(mounts)
    made = Unit(kind, name, top / name.strip("/"))
    made.directory.mkdir()
    made.prefix = [*prefix, "/bin/sh", "-c", ENTER, "sh", str(made.directory)]
    yield made
    for root in {*map(Path, mounts.v1.values()), top}:
        for leaf in ("supervisor", ""):
            path = root / name.strip("/") / leaf
            if path.is_dir():
                path.rmdir()  # fails where anything is left inside
    assert top_groups(mounts) == before


def groups_of(pid: int) -> dict[str, str]:
    """By controller, of which several may share a hierarchy; that of v2 has no name."""
    found: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


async def check_places(server: RunningServer, unit: Unit) -> None:
    """Supervisor and server in their leaf, the job below jobs, all limits held."""
    server.cgroup_parent = f"{unit.name}/jobs"
    own = f"{unit.name}/supervisor" if unit.kind != "v1" else unit.name
    assert unit.group_of(server.process.pid) == own
    assert unit.group_of(server.server_pid()) == own
    async with connect(server.endpoint("alice")) as alice:
        assert (await alice.server_info()).cgroups == unit.kind
        job = await alice.start("idle")
        (job_id,) = {path.name for path in server.groups() if len(path.name) == 32}
        (life,) = {path.name for path in server.groups() if path.name.startswith("life-")}
        expected = f"{unit.name}/jobs/{life}/client-alice/{job_id}"
        groups = groups_of(job.os_pid)
        if unit.kind == "v2":
            assert groups[""] == expected
        else:
            held = ("cpu", "memory", "pids", "blkio")
            assert {groups[name] for name in held} == {expected}
            assert groups["freezer" if unit.kind == "v1" else ""] == expected
        states = {entry.limit: entry.state for entry in job.enforcement}
        assert (states["cpu"], states["memory"], states["processes"]) == ("enforced",) * 3
        assert job.client_enforcement[1].state == "enforced"
        await alice.stop(job.handle, grace_s=0)


async def test_a_unit_says_that_it_is_delegated(unit: Unit) -> None:
    """The configuration says so; at the end the jobs' part is gone, the unit's group empty."""
    with running_server(
        policy_text(COMMANDS, CLIENTS), prefix=unit.prefix, cgroup_parent="delegated"
    ) as server:
        await check_places(server, unit)
    assert not (unit.directory / "jobs").exists()


async def test_a_group_that_systemd_has_marked_is_used_unasked(unit: Unit) -> None:
    """Without a word in the configuration; DelegateSubgroup= has made the leaf already."""
    if unit.kind == "v1":
        pytest.skip("systemd's mark is in a hierarchy that penstock does not use")
    os.setxattr(unit.directory, "trusted.delegate", b"1")
    (unit.directory / "supervisor").mkdir()
    unit.prefix[-1] = str(unit.directory / "supervisor")
    with running_server(
        policy_text(COMMANDS, CLIENTS), prefix=unit.prefix, cgroup_parent=None
    ) as server:
        await check_places(server, unit)
        await server.logged(f"in {unit.directory}/jobs")


def test_what_a_killed_one_left_in_its_unit_is_swept(unit: Unit) -> None:
    """The next one in the same unit's group ends the job, and leaves its own leaf alone."""
    if unit.kind == "v1":
        pytest.skip("nothing of it is different from other parents")
    policy = policy_text(COMMANDS, CLIENTS)
    with running_server(policy, prefix=unit.prefix, cgroup_parent="delegated") as server:
        server.cgroup_parent = f"{unit.name}/jobs"
        handle = server.start("alice", "idle")  # the first of its number, so the pid
        job_fd, server_fd = os.pidfd_open(int(handle)), os.pidfd_open(server.server_pid())
        server.process.send_signal(signal.SIGSTOP)
        signal.pidfd_send_signal(server_fd, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
        config = str(server.directory / "penstockd.toml")
        command = server.process.args
        assert isinstance(command, list)
        assert command[-1] == config
        if unit.kind == "v2":
            # The unit's group gives controllers to those below, so nobody can be put into it any
            # more. systemd removes what is left before it starts a unit anew, except for the
            # group that DelegateSubgroup= names, where it starts it.
            command = [
                f"{word}/supervisor" if word == str(unit.directory) else word for word in command
            ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as next_one:
            assert next_one.stderr is not None
            for line in next_one.stderr:
                if b"ready" in line:
                    break
            assert unit.group_of(next_one.pid) == f"{unit.name}/supervisor"
            assert [path for path in server.groups() if len(path.name) == 32] == []
            assert select.select([job_fd], [], [], 0)[0]  # ended
            assert select.select([job_fd], [], [], 0)[0]  # it has ended
            next_one.terminate()
            next_one.stderr.read()
        os.close(job_fd)
        os.close(server_fd)


def test_in_the_hosts_root_group_nothing_is_delegated() -> None:
    """An error that says what to do, and no group is made; without the word the path is used."""
    mounts = mounted()
    before = top_groups(mounts)
    own = "1:name=systemd:/\n0::/\n"
    with pytest.raises(GroupError, match="no group of its own; write cgroup_parent"):
        find_place("delegated", mounts, own)
    with pytest.raises(GroupError, match="no group of its own"):
        find_place("delegated", mounts, "0::/gone (deleted)\n")
    assert find_place(None, mounts, own) == (mounts, "/penstock")
    assert find_place("/a/b", mounts, "0::/some.service\n") == (mounts, "/a/b")
    assert top_groups(mounts) == before
