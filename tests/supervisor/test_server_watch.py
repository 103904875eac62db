"""The supervisor's watch over its server, with a clock and a server that are told what to do."""

import signal
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

import penstock.supervisor.server_watch as watching
from penstock.supervisor.ipc.silence import BEAT_S
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.server_process import ServerProcess
from penstock.supervisor.server_watch import ServerWatch

BOUND_S = 20.0


class World:
    """One server, process 7; ``beats`` lets time pass, each a beat."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.signals: list[int] = []
        self.pid: int | None = 7
        self.state = "T"
        self.said: list[str] = []
        self.sent = 0
        self._next: Callable[[], None] = lambda: None
        monkeypatch.setattr(watching, "_state", lambda pid: self.state)
        monkeypatch.setattr(watching, "log", self.said.append)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.watch = ServerWatch(
            cast(Loop, self), cast(ServerProcess, self), lambda: BOUND_S, self._sent
        )

    def after(self, seconds: float, callback: Callable[[], None]) -> Any:
        assert seconds == BEAT_S
        self._next = callback

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def _sent(self) -> None:
        self.sent += 1

    def beats(self, count: int, each_s: float = BEAT_S) -> None:
        for _ in range(count):
            self.now += each_s
            self._next()

    def serve(self) -> None:
        """Before or after the first beat."""
        self.watch.greeted(True)
        self.watch.serving()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_server_that_is_silent_is_killed_after_the_bound(world: World) -> None:
    """C27: once, and what comes from it meanwhile begins the count anew."""
    world.serve()
    world.beats(9)
    world.watch.heard()
    world.beats(10)
    assert world.signals == []
    world.beats(2)
    assert world.signals == [signal.SIGKILL]
    assert "process 7, does not answer for 20 s" in world.said[0]
    world.pid = None
    world.beats(5)
    world.pid = 8
    world.serve()
    world.beats(10)
    assert world.signals == [signal.SIGKILL]
    assert world.sent == 36


def test_a_server_in_an_uninterruptible_sleep_is_named_and_left_alone(world: World) -> None:
    """C27: said once; what it misses after it woke counts from there."""
    world.serve()
    world.state = "D"
    world.beats(100)
    assert world.signals == []
    (text,) = world.said
    assert "process 7" in text
    assert "uninterruptible sleep" in text
    world.state = "S"
    world.beats(9)
    assert world.signals == []
    world.beats(1)
    assert world.signals == [signal.SIGKILL]


def test_a_supervisor_that_stood_still_kills_nobody(world: World) -> None:
    """C27: it comes to its own beats too late."""
    world.serve()
    world.beats(100, BEAT_S * 2)
    world.beats(1, 3600.0)
    assert world.signals == []


def test_a_server_that_reads_its_records_has_more_time(world: World) -> None:
    """C27: until it takes calls for the first time."""
    world.watch.greeted(True)
    world.beats(59)
    assert world.signals == []
    world.beats(3)
    assert world.signals == [signal.SIGKILL]


def test_a_server_of_an_earlier_version_is_not_watched(world: World) -> None:
    """C27: it does not beat."""
    world.watch.greeted(False)
    world.watch.serving()
    world.beats(100)
    assert world.signals == []
