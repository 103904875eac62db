"""Limits that root changes while a job runs: put back, said in its status and in the audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from patience import patient
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

COMMANDS = script("idle", "echo ready; exec sleep 300", limits="small")
CLIENTS = """
[clients.alice]
commands = ["idle"]
[clients.alice.limits]
cpu = "150%"
memory = "4GB"
processes = 2000
needs = { all = "best_effort" }
"""
# What root writes: of each file that penstock sets on either version, where it is there.
WRITTEN = {
    "cpu.cfs_quota_us": "-1",
    "cpu.max": "max",
    "memory.memsw.limit_in_bytes": "-1",
    "memory.limit_in_bytes": "-1",
    "memory.max": "max",
    "memory.oom.group": "0",
    "pids.max": "max",
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def groups_of(server: RunningServer, job: pb.Job, *, client: bool = False) -> list[Path]:
    """The job's directories, or its client's, in every hierarchy."""
    found = []
    for parent in server.parents():
        found += [path for path in parent.rglob("*") if f"{job.os_pid}" in _members(path)]
    return sorted({path.parent for path in found} if client else set(found))


def _members(path: Path) -> list[str]:
    try:
        return (path / "cgroup.procs").read_text().split()
    except OSError:
        return []


def change(groups: list[Path]) -> dict[Path, str]:
    """Writes them; what each said before."""
    before = {}
    for name, value in WRITTEN.items():
        for group in groups:
            path = group / name
            if path.exists() and (text := path.read_text()).strip() not in (value, "max"):
                before[path] = text
                path.write_text(value)
    return before


def top_of(group: Path) -> Path:
    """Of its hierarchy: a v2 group that gives controllers on would take no process."""
    return [each for each in group.parents if (each / "cgroup.procs").exists()][-1]


def place_of(job: pb.Job) -> str:
    """Of its main process, in every hierarchy."""
    return Path(f"/proc/{job.os_pid}/cgroup").read_text()


def changes(server: RunningServer, job: pb.Job) -> list[dict[str, Any]]:
    lines = [line for line in server.audit() if line["event"] == "limits.changed"]
    return [line for line in lines if line["job"] and line["handle"] == job.handle]


async def started(client: Client) -> pb.Job:
    return await client.start("idle")


@pytest.mark.parametrize("of", ["job", "client"])
async def test_a_status_puts_them_back_and_says_so(server: RunningServer, of: str) -> None:
    """Every limit of a group, of the job and of its client, as the kernel says."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client)
        before = change(groups_of(server, job, client=of == "client"))
        assert len(before) >= 3
        status = await client.status(job.handle)
        assert {path: path.read_text() for path in before} == before
        found = status.job.enforcement if of == "job" else status.job.client_enforcement
        said = {each.limit: each for each in found if "changed from outside" in each.detail}
        assert said.keys() == {"cpu", "memory", "processes"}
        assert all(each.state == "enforced" for each in said.values())
        assert all("and put back" in each.detail for each in said.values())
        lines = changes(server, job)
        assert {line["file"] for line in lines} == {path.name for path in before}
        assert all(
            (line["of"], line["put_back"], line["owner"]) == (of, True, "alice") for line in lines
        )
        assert (await client.status(job.handle)).job.enforcement == status.job.enforcement
        assert len(changes(server, job)) == len(lines)
        text = server.cli("alice", "status", job.handle).stdout
        whose = "Its cpu" if of == "job" else "Its client's cpu"
        assert f"{whose} limit is enforced: changed from outside at 20" in text
        await client.stop(job.handle, grace_s=0)


async def test_who_was_moved_away_is_brought_back(server: RunningServer) -> None:
    """In each hierarchy that holds a limit: the process is under it again, and that is said."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client)
        before, groups = place_of(job), groups_of(server, job)
        for group in groups:
            (top_of(group) / "cgroup.procs").write_text(str(job.os_pid))
        assert place_of(job) != before
        status = await client.status(job.handle)
        assert place_of(job) == before
        said = {
            each.limit: (each.state, each.detail)
            for each in status.job.enforcement
            if f"put back: cgroup.procs was without process {job.os_pid}" in each.detail
        }
        assert said.keys() >= {"cpu", "memory", "processes"}
        assert said["cpu"][0] == "enforced"
        lines = [line for line in changes(server, job) if line["file"] == "cgroup.procs"]
        assert {line["limit"] for line in lines} == said.keys()
        await client.status(job.handle)
        assert [line for line in changes(server, job) if line["file"] == "cgroup.procs"] == lines
        await client.stop(job.handle, grace_s=0)


@pytest.mark.slow
async def test_limits_that_depend_on_each_other_are_put_back_too(server: RunningServer) -> None:
    """v1 takes no quota above that of the group above, so the client's has to be right first."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client)
        quotas = [
            path / "cpu.cfs_quota_us"
            for path in (*groups_of(server, job), *groups_of(server, job, client=True))
            if (path / "cpu.cfs_quota_us").exists()
        ]
        before = [path.read_text() for path in quotas]
        for path, quota in zip(quotas, ("2000", "3000"), strict=False):
            path.write_text(quota)
        status = await client.status(job.handle)
        assert [path.read_text() for path in quotas] == before
        (cpu,) = [each for each in status.job.enforcement if each.limit == "cpu"]
        assert cpu.state == "enforced"
        await client.stop(job.handle, grace_s=0)


@pytest.mark.slow
async def test_what_a_dead_server_did_not_hear_the_next_one_writes_down(
    server: RunningServer,
) -> None:
    """It is found by the first who asks, and said by whoever is there then."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client)
    await kill_server(server)
    before = change(groups_of(server, job))
    async with connected_again(server, "alice") as client:
        with trio.fail_after(patient(20)):
            while not changes(server, job):
                await client.status(job.handle)
        assert {path: path.read_text() for path in before} == before
        await client.stop(job.handle, grace_s=0)
