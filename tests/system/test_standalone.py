"""The library without gRPC: the README's example, on a supervisor of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from documents import blocks
from leaks import Children, Descriptors
from patience import patient
from running import IS_ROOT, JOB_UID, policy_text, script
from steps import at_every, cancelled_at
from this_run import group, new_directory

from penstock.jobs import standalone
from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job import Job
from penstock.jobs.job_errors import NotGranted, Unavailable
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.standalone import open_local

COMMANDS = script("greet", "echo hello") + script("idle", "sleep 300")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that jobs of other users can come through."""
    directory = new_directory("standalone")
    (directory / "policy.toml").write_text(policy_text(COMMANDS, ""))
    yield directory
    shutil.rmtree(directory)


def parent() -> str:
    return group("standalone")


async def test_jobs_without_a_server(place: Path) -> None:
    """Start, read, wait; what is not granted is refused; leaving stops what runs."""
    async with open_local(
        place / "policy.toml", place / "state", cgroup_parent=parent()
    ) as manager:
        job = await manager.start("me", JobSpec("greet"))
        with job.read_output() as reader:
            assert [chunk.data async for chunk in reader if isinstance(chunk, Chunk)] == [
                b"hello\n"
            ]
        assert (await job.wait_finished()).exit_code == 0
        with pytest.raises(NotGranted):
            await manager.start("me", JobSpec("greet", ("--loudly",)))
        idle = await manager.start("me", JobSpec("idle"))
    assert idle.end is not None
    assert idle.end.reason == "stopped"


@pytest.mark.slow
async def test_cancelled_it_still_ends_in_order(place: Path) -> None:
    """The shields end by themselves; the leak check sees that nothing is left."""
    jobs: list[Job] = []
    with trio.CancelScope() as scope:
        async with open_local(
            place / "policy.toml", place / "state", cgroup_parent=parent()
        ) as manager:
            jobs.append(await manager.start("me", JobSpec("idle")))
            scope.cancel()
            await trio.sleep_forever()
    assert jobs[0].end is not None
    assert jobs[0].end.reason == "stopped"


@pytest.mark.slow
async def test_cancelled_at_every_step_of_its_beginning_it_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12, C40: no supervisor that nobody waits for, and no descriptor of one."""
    fds, children = Descriptors(), Children()
    opened: list[trio.Process] = []

    async def open_process(*words: Any, **options: Any) -> trio.Process:
        opened.append(await true_open(*words, **options))
        return opened[-1]

    true_open = trio.lowlevel.open_process
    monkeypatch.setattr(trio.lowlevel, "open_process", open_process)

    async def begin() -> None:
        async with open_local(place / "policy.toml", place / "state", cgroup_parent=parent()):
            pass

    async def attempt(step: int) -> bool:
        reached = await cancelled_at(step, begin)
        assert all(process.returncode is not None for process in opened)
        # It may leave us a child that closes descriptors for it, and ends (server_socket.py).
        assert children.left_behind() == []
        assert fds.opened_since() == {}
        return reached

    assert await at_every(attempt) >= 5
    assert len(opened) >= 5


def test_a_program_that_ends_while_its_supervisor_begins(place: Path) -> None:
    """^C in open_local: it ends without a word of its own bugs, and its groups are gone, which the
    leak check sees."""
    config = standalone._write_config(
        str(place), place / "policy.toml", place / "state", parent()
    )  # what open_local gives it
    ready_read, ready_write = os.pipe()
    parent_read, parent_write = os.pipe()
    os.close(ready_read)
    os.close(parent_write)
    words = ["--config", config, "--no-server"]
    words += ["--ready-fd", str(ready_write), "--parent-fd", str(parent_read)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", standalone._SUPERVISOR, *words],
        check=False,
        pass_fds=(ready_write, parent_read),
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    os.close(ready_write)
    os.close(parent_read)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


async def test_a_bad_policy_is_unavailable(place: Path) -> None:
    """The supervisor's own log has named the mistake."""
    (place / "policy.toml").write_text("nonsense = 1\n")
    with pytest.raises(Unavailable):
        async with open_local(place / "policy.toml", place / "state"):
            pass


def test_the_example_of_the_library_runs(place: Path) -> None:
    """docs/embed.md's, by README's policy: but for the job's user, and a log of this test's."""
    shown = {each.language: each.text for each in blocks() if each.page.name == "README.md"}
    program = next(each.text for each in blocks("python") if each.page.name == "embed.md")
    logs = place / "logs"
    logs.mkdir()
    (logs / "dpkg.log").write_text("a line\nthe last one\n")
    policy = shown["toml"].replace("/var/log", str(logs))
    user = f'user = "{JOB_UID}"' if IS_ROOT else ""
    policy = re.sub(r'^user = "penstock-jobs"', user, policy, flags=re.MULTILINE)
    if not IS_ROOT:
        policy = re.sub(
            r"^needs = {.*?}", 'needs = { all = "best_effort" }', policy, flags=re.MULTILINE
        )
    (place / "policy.toml").write_text(policy)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a line\nthe last one\nEndRecord(reason='exited'")
