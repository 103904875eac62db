"""Looks at limits over files in a directory, put back by real processes of their own."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from patience import patient

from penstock.policy.limit_classes import CHANGED_OUTSIDE, Enforcement
from penstock.supervisor.cgroups import GroupError, LimitChange, LimitCheck, control_files
from penstock.supervisor.cgroups.control_files import ControlFiles
from penstock.supervisor.job import limit_rounds
from penstock.supervisor.job.limit_rounds import LimitRounds
from penstock.supervisor.kernel.loop import Loop

AS_SET = (Enforcement("cpu", "enforced", "5"), Enforcement("disk_read", "partial", "1", "direct"))


class Limits:
    """What V1Limits and V2Limits have for a look."""

    def __init__(self, directory: Path) -> None:
        self.files = ControlFiles()
        self.as_set = AS_SET
        self.entries = list(AS_SET)
        self.quota, self.disk = directory / "quota", directory / "io.max"
        self.set(self.quota, "5\n")
        self.files.note("cpu", str(self.quota), "5", "5")
        self.set(self.disk, "8:0 rbps=1 wbps=max riops=max wiops=max\n")
        text = self.disk.read_text()
        self.files.note("disk_read", str(self.disk), "8:0 rbps=1", text, keyed=True)

    def set(self, path: Path, text: str) -> None:
        path.write_text(text)


class World:
    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.reports: list[tuple[str, list[LimitChange]]] = []
        self.watch = LimitRounds(self.loop, self.report)
        self.own, self.client = Limits(_new(directory, "own")), Limits(_new(directory, "client"))
        own: Any = self.own
        client: Any = self.client
        self.limits = LimitCheck(own, client)
        self.watch.add("j", self.limits)

    def report(self, name: str, changes: Sequence[LimitChange]) -> None:
        self.reports.append((name, list(changes)))

    def looked(self) -> None:
        """One look that somebody has asked for, to its answer."""
        done: list[int] = []
        self.watch.check("j", lambda: done.append(1))
        self.until(lambda: done == [1])

    def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + patient(5)

        def again() -> None:
            if what() or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.after(0.002, again)

        self.loop.after(0.0, again)
        self.loop.run()
        assert what()


def _new(directory: Path, name: str) -> Path:
    path = directory / name
    path.mkdir()
    return path


def write(path: str, value: str) -> None:
    """As the kernel's files take it: all of it anew."""
    try:
        Path(path).write_text(value)
    except OSError as error:
        raise GroupError(str(error)) from error


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(control_files, "write", write)
    made = World(tmp_path)
    yield made
    made.loop._epoll.close()


def held(world: World) -> bool:
    return world.limits.entries[0].state == "enforced"


def run_at_once(world: World, done: list[int]) -> None:
    world.watch.check("j", lambda: done.append(1))


def test_what_is_as_it_was_set_is_answered_at_once(world: World) -> None:
    """And says nothing; so is a job that nobody knows. Other keys of a disk's line are others'."""
    world.own.set(world.own.disk, "8:16 rbps=9\n8:0 rbps=1 wbps=max riops=7 wiops=max\n")
    done: list[int] = []
    run_at_once(world, done)
    world.watch.check("unknown", lambda: done.append(2))
    assert (done, world.reports) == ([1, 2], [])


def test_what_was_changed_is_put_back_and_told(world: World) -> None:
    """Of the job and of its client; the entry says so from then on."""
    world.own.set(world.own.quota, "-1\n")
    world.client.set(world.client.quota, "77\n")
    world.looked()
    assert (world.own.quota.read_text(), world.client.quota.read_text()) == ("5", "5")
    ((name, changes),) = world.reports
    assert name == "j"
    assert [(each.of, each.limit, each.file, each.found, each.put_back) for each in changes] == [
        ("job", "cpu", "quota", "-1", True),
        ("client", "cpu", "quota", "77", True),
    ]
    (entry, other) = world.limits.entries
    assert (entry.state, entry.actual) == ("enforced", "5")
    assert entry.detail.startswith(f"{CHANGED_OUTSIDE} at 20")
    assert entry.detail.endswith("and put back: quota was -1")
    assert other == AS_SET[1]
    world.looked()
    assert len(world.reports) == 1


def test_what_cannot_be_put_back_is_not_said_to_be_held(world: World) -> None:
    """A file that is gone; it is tried again with each look, and held once it can be. A line
    that is gone of a file for several disks is written."""
    world.own.set(world.own.disk, "8:16 rbps=9\n")
    world.own.quota.unlink()
    world.own.quota.mkdir()
    world.looked()
    states = [(each.state, each.actual) for each in world.limits.entries]
    assert states[0] == ("unavailable", "")
    assert "and cannot be put back now: quota was nothing" in world.limits.entries[0].detail
    assert states[1] == ("partial", "1")
    assert world.limits.entries[1].detail.startswith(f"direct; {CHANGED_OUTSIDE} at 20")
    world.own.quota.rmdir()
    world.own.set(world.own.quota, "6\n")
    world.looked()
    assert world.limits.entries[0].state == "enforced"
    assert world.own.quota.read_text() == "5"


def test_each_is_looked_at_within_a_round_though_nobody_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few in each tick; the ticks end with the last job."""
    monkeypatch.setattr(limit_rounds, "_TICK_S", 0.002)
    world.watch = LimitRounds(world.loop, world.report)
    world.watch.add("j", world.limits)
    looked: list[int] = []

    class Counting(LimitCheck):
        def changed(self) -> list[LimitChange]:
            looked.append(1)
            return super().changed()

    own: Any = world.own
    for number in range(200):
        world.watch.add(str(number), Counting(own, None))
    world.own.set(world.own.quota, "9\n")
    world.until(lambda: bool(world.reports) and len(looked) >= 200)
    assert limit_rounds.ROUND_S > limit_rounds._TICKS * 1.0
    assert world.watch._share == 4
    for name in [*map(str, range(200)), "j"]:
        world.watch.remove(name)
    world.until(lambda: not world.watch._ticking)


def test_one_that_takes_long_is_told_of_twice_and_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the kernel takes memory back: after a bound it is said that it is not held now."""
    monkeypatch.setattr(limit_rounds, "_PUT_BACK_S", 0.01)
    before = LimitCheck.put_back

    def slow(self: LimitCheck) -> None:
        with os.fdopen(os.open(tmp_path / "gate", os.O_RDONLY)) as file:
            file.read()
        before(self)

    os.mkfifo(tmp_path / "gate")
    monkeypatch.setattr(LimitCheck, "put_back", slow)
    world.own.set(world.own.quota, "-1\n")
    world.looked()
    assert [each.put_back for each in world.reports[0][1]] == [False]
    assert not held(world)
    world.looked()  # at once: one is at it already
    with open(tmp_path / "gate", "w", encoding="ascii"):
        pass
    world.until(lambda: len(world.reports) == 2)
    assert [each.put_back for each in world.reports[1][1]] == [True]
    assert held(world)


def test_a_job_that_ends_meanwhile_is_not_told_of(world: World) -> None:
    """But who has asked is answered. One that is killed has its quota taken off by us."""
    world.own.set(world.own.quota, "-1\n")
    done: list[int] = []
    run_at_once(world, done)
    world.watch.remove("j")
    world.until(lambda: done == [1])
    assert world.reports == []
    world.limits.end()
    world.own.set(world.own.quota, "-1\n")
    assert world.limits.changed() == []


def test_a_kill_meanwhile_waits_for_nobody_and_ends_the_looks(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """C51: who has asked is answered at the bound, and nothing is put back from then on but by the
    process that is at it already."""
    monkeypatch.setattr(limit_rounds, "_PUT_BACK_S", 0.01)

    def stuck(self: LimitCheck) -> None:
        with os.fdopen(os.open(tmp_path / "gate", os.O_RDONLY)) as file:
            file.read()

    os.mkfifo(tmp_path / "gate")
    monkeypatch.setattr(LimitCheck, "put_back", stuck)
    world.own.set(world.own.quota, "-1\n")
    done: list[int] = []
    world.watch.check("j", lambda: done.append(1))
    world.limits.end()  # as JobGroup.kill does, before its KILL
    assert done == []
    world.until(lambda: done == [1])
    world.looked()
    assert world.watch._putting_back == {"j"}
    with open(tmp_path / "gate", "w", encoding="ascii"):
        pass
    world.until(lambda: world.watch._putting_back == set())
    world.looked()
    assert world.watch._putting_back == set()
    assert world.own.quota.read_text() == "-1\n"
