"""^C in a program that uses open_local, on real processes: nothing is lost, nothing stays."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from fake_backend import FakeBackend
from library_program import JOBS
from patience import patient
from running import policy_text, script
from this_run import group, new_directory

from penstock.jobs.manager import open_manager
from penstock.jobs.states import JobState

PROGRAM = Path(__file__).parent.parent / "lib" / "library_program.py"
COMMANDS = (
    script("greet", "echo hello")
    + script("idle", "sleep 300")
    + script("deaf", 'trap "" TERM; echo deaf; while :; do sleep 1; done')
)
END_S = patient(40)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that jobs of other users can come through."""
    directory = new_directory("interrupted")
    (directory / "policy.toml").write_text(policy_text(COMMANDS, ""))
    yield directory
    shutil.rmtree(directory)


def started(place: Path, odd_one: str, line: int = -1) -> subprocess.Popen[str]:
    """The program, as a terminal's foreground: a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, str(PROGRAM), str(place / "policy.toml"), str(place / "state")),
            *(group("interrupted"), odd_one, str(line)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def press(process: subprocess.Popen[str]) -> None:
    """^C: the terminal sends it to all of the foreground."""
    os.killpg(process.pid, signal.SIGINT)


def check(process: subprocess.Popen[str], place: Path) -> int:
    """It has died of ^C, as a shell wants it, and all is recorded: how many jobs there were. The
    leak check looks for processes and groups."""
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == -signal.SIGINT, errors
    assert "ExceptionGroup" not in errors
    return trio.run(look, place)


async def look(place: Path) -> int:
    """As the next program finds it."""
    database = place / "state" / "penstock.db"
    if not database.exists():  # ^C came before there was one
        return 0
    with sqlite3.connect(database) as records:
        assert records.execute("pragma integrity_check").fetchall() == [("ok",)]
    records.close()
    told: list[str] = []
    async with open_manager(
        FakeBackend(), str(place / "state"), audit=lambda event, fields: told.append(event)
    ) as manager:
        jobs = manager.list(include_finished=True)
        for job in jobs:
            assert job.state is JobState.FINISHED
            assert job.end is not None
            assert job.end.reason in ("exited", "stopped"), job.end
    assert told == []  # every end was recorded, and nothing is damaged
    return len(jobs)


def test_a_terminals_interrupt_with_many_jobs(place: Path) -> None:
    """C28: ^C as they run, and again as they are being stopped: 14 of 14 have an end record."""
    with started(place, "idle") as process:
        assert process.stdout is not None
        words = [process.stdout.readline().strip() for _ in range(JOBS + 2)]
        assert words.count("started") == JOBS
        press(process)
        press(process)
        assert check(process, place) == JOBS


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [1, 2, 3, JOBS, JOBS + 2])
@pytest.mark.parametrize("again", [1, 3])
def test_a_terminals_interrupt_at_every_stage(place: Path, words: int, again: int) -> None:
    """C28: as the supervisor begins, as jobs are started, and as they run; one needs KILL."""
    with started(place, "deaf") as process:
        assert process.stdout is not None
        for _ in range(words):
            process.stdout.readline()
        for _ in range(again):
            press(process)
        assert check(process, place) >= words - 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.release) for n in range(10, 50, 10))]
)
def test_at_lines_of_the_library(place: Path, first: int) -> None:
    """C28: of every 50th line that it runs, in whatever task, with a real supervisor."""
    line = first
    while True:
        with started(place, "idle", line) as process:
            if process.wait(END_S) == 0:
                break
            check(process, place)
        shutil.rmtree(place / "state", ignore_errors=True)
        line += 50
    assert line > 500
