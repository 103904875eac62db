"""Pausing over processes that stand still when the test says so."""

from typing import Any

import pytest

from penstock.supervisor.cgroups import GroupError
from penstock.supervisor.job import pause
from penstock.supervisor.job.pause import Pausing
from penstock.supervisor.kernel.loop import Loop


class Scripted:
    """Stands still after so many looks; ``broken`` cannot be asked for anything."""

    def __init__(self, looks: int = 0, *, broken: bool = False) -> None:
        self.asked: list[bool] = []
        self.let_runs = 0
        self._looks = looks
        self._broken = broken

    def freeze(self, frozen: bool) -> None:
        if self._broken:
            raise GroupError("writing '1' to /cgroup.freeze: No such file or directory")
        self.asked.append(frozen)

    def let_run(self) -> list[str]:
        if self._broken:
            raise AssertionError("it says what it cannot do")
        self.let_runs += 1
        return ["/its/group was frozen"]

    def frozen(self) -> bool:
        self._looks -= 1
        return self._looks < 0


class World:
    def __init__(self, looks: int = 0, *, broken: bool = False) -> None:
        self.loop = Loop()
        self.processes = Scripted(looks, broken=broken)
        self.answers: list[tuple[bool, str]] = []
        processes: Any = self.processes
        self.pausing = Pausing(self.loop, processes)

    def answer(self, paused: bool, why: str) -> None:
        self.answers.append((paused, why))
        self.loop.stop()

    def pause(self) -> None:
        self.pausing.pause(self.answer)
        if not self.answers:
            self.loop.run()


def test_it_is_answered_when_all_stand_still() -> None:
    """Not before; and a second time at once, without asking the kernel again."""
    world = World(looks=3)
    world.pause()
    world.pausing.pause(world.answer)
    assert world.answers == [(True, ""), (True, "")]
    assert world.processes.asked == [True]
    world.pausing.resume(world.answer)
    world.pausing.resume(world.answer)
    assert world.answers[2:] == [(False, ""), (False, "")]
    assert world.processes.asked == [True, False]


def test_who_does_not_stand_still_in_time_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, said, and undone."""
    monkeypatch.setattr(pause, "_BOUND_S", 0.02)
    world = World(looks=10**9)
    world.pause()
    ((paused, why),) = world.answers
    assert not paused
    assert "stood still" in why
    assert world.processes.asked == [True, False]
    assert not world.pausing.paused


def test_a_host_that_cannot_says_so() -> None:
    """With no path of ours."""
    world = World(broken=True)
    world.pause()
    assert [paused for paused, _ in world.answers] == [False]
    assert "/cgroup" not in world.answers[0][1]


@pytest.mark.parametrize("how", ["resume", "ended", "server_gone"])
def test_what_comes_before_it_stands_still_undoes_it(how: str) -> None:
    """A resume, the end of the job, the end of the server: everybody is answered, nobody is left
    standing."""
    world = World(looks=10**9)
    for _ in range(2):
        world.pausing.pause(world.answer)
    getattr(world.pausing, how)()
    assert [paused for paused, _ in world.answers] == [False, False]
    assert world.processes.asked[-1] is False
    assert not world.pausing.paused


def test_what_stands_still_does_so_without_a_server() -> None:
    """The next one is told of it."""
    world = World()
    world.pause()
    world.pausing.server_gone()
    assert world.pausing.paused
    assert world.processes.asked == [True]


def test_who_is_to_hear_its_end_runs_whoever_has_frozen_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pause of ours ends with it; what others have done is in the log."""
    lines: list[str] = []
    monkeypatch.setattr(pause, "log", lines.append)
    world = World()
    world.pause()
    assert world.pausing.let_run("j")
    assert not world.pausing.let_run("j")
    assert (world.processes.let_runs, world.pausing.paused) == (2, False)
    assert lines == ["job j is to hear a signal of its end: /its/group was frozen"]
