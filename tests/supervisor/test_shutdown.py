"""How penstockd ends what no server has ended: it asks each job first, then kills, then names."""

import signal
from typing import Any, cast

import pytest

from penstock.supervisor import shutdown
from penstock.supervisor.client_listeners import Listeners
from penstock.supervisor.dispatch import Dispatcher
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.server_process import ServerProcess


class Job:
    """``heeds`` its command's signal, ``dies`` of KILL."""

    def __init__(self, name: str, *, heeds: bool = False, dies: bool = True) -> None:
        self.id = name
        self.heard: list[str] = []
        self._heeds = heeds
        self._dies = dies
        self._alive = True

    def pids(self) -> list[int]:
        return [1] if self._alive else []

    def ask_end(self) -> None:
        self.heard.append("asked")
        self._alive = not self._heeds

    def release(self) -> None:
        self.heard.append("killed" if self._alive else "released")
        self._alive = self._alive and not self._dies


class Requests:
    """What holds them, as Dispatcher does."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.refuses = False
        self.shutdown: shutdown.Shutdown

    def refuse_starts(self) -> None:
        self.refuses = True

    def release_all(self) -> None:
        for job in list(self.jobs.values()):
            job.release()
            if not job.pids():
                del self.jobs[job.id]
        if not self.jobs:
            self.shutdown.jobs_gone()


def ended(
    requests: Requests, server: ServerProcess | None, *, ask_jobs: bool = True
) -> shutdown.Shutdown:
    """After SIGTERM, to the end of the loop."""
    loop = Loop()
    made = requests.shutdown = shutdown.Shutdown(
        *(loop, cast(Dispatcher, requests), Listeners(())), drain_s=lambda: 5.0, ask_jobs=ask_jobs
    )
    loop.after(0, lambda: made.begin(0, server, signal.SIGTERM))
    loop.run()
    return made


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "_JOBS_GRACE_S", 0.02)
    monkeypatch.setattr(shutdown, "_JOBS_BOUND_S", 0.02)


def test_jobs_that_no_server_has_stopped_are_asked_first() -> None:
    """C31, C49: the last server has ended, and the next one is not there: each job gets its
    command's own signal, and KILL when the time is over."""
    willing, deaf = Job("willing", heeds=True), Job("deaf")
    requests = Requests(willing, deaf)
    server = ServerProcess(Loop(), ["/nonexistent"], None)  # it does not run
    made = ended(requests, server)
    assert requests.refuses
    assert (willing.heard, deaf.heard) == (["asked", "released"], ["asked", "killed"])
    assert made.exit_code == 0


def test_jobs_of_a_program_that_is_gone_are_killed_at_once() -> None:
    """C50: the library's manager has stopped its own, or was killed, so no record will be made
    of them."""
    job = Job("left", heeds=True)
    made = ended(Requests(job), None, ask_jobs=False)
    assert job.heard == ["killed"]
    assert made.exit_code == 0


def test_a_job_that_does_not_die_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """C11: penstockd does not wait for an uninterruptible sleep, and its exit status says so."""
    made = ended(Requests(Job("asleep", dies=False)), None)
    assert made.exit_code == 1
    assert "job asleep does not die: processes [1]" in capfd.readouterr().err


def test_a_second_signal_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """C12: which ends at once for it; penstockd has begun to end already."""
    told: list[Any] = []
    server = ServerProcess(Loop(), ["/nonexistent"], None)
    monkeypatch.setattr(server, "stop", lambda seconds, then: told.append(seconds))
    monkeypatch.setattr(server, "signal", told.append)
    made = shutdown.Shutdown(
        *(Loop(), cast(Dispatcher, Requests()), Listeners(())), drain_s=lambda: 5.0, ask_jobs=True
    )
    made.begin(0, server, signal.SIGTERM)
    made.begin(0, server, signal.SIGINT)
    assert told == [5.0 + 15.0, signal.SIGINT]
