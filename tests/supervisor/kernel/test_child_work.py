"""Work in a child: what it gives back, its bound, and that nothing of it is left."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from penstock.supervisor.kernel.child_work import ChildWork, WorkDone
from penstock.supervisor.kernel.loop import Loop


def opened() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def result(
    work: Callable[[], tuple[bytes, Sequence[int]]], bound_s: float = 20.0
) -> tuple[WorkDone, int]:
    """What came back, and how many descriptors this process has more than before, once the child
    is gone."""
    loop, found = Loop(), list[WorkDone]()
    before = opened()

    def done(what: WorkDone) -> None:
        found.append(what)
        loop.stop()

    made = ChildWork(loop, work, bound_s, done)
    assert found == []
    loop.run()
    (what,) = found
    while made.is_left:  # it was killed, and ends
        os.sched_yield()
    return what, len(opened()) - len(before)


def test_bytes_and_descriptors_come_back_in_their_order() -> None:
    """More descriptors than one message takes."""

    def work() -> tuple[bytes, Sequence[int]]:
        files = [os.memfd_create(f"file-{number}") for number in range(450)]
        return b"x" * 3_000_000, files

    done, more = result(work)
    assert (len(done.data), len(done.descriptors), done.failure) == (3_000_000, 450, "")
    assert more == 450
    for number, fd in enumerate(done.descriptors):
        assert f"file-{number} " in os.readlink(f"/proc/self/fd/{fd}")
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_work_that_takes_too_long_is_killed() -> None:
    """And what it has sent by then is closed."""
    there: list[int] = []

    def work() -> tuple[bytes, Sequence[int]]:
        time.sleep(100)
        return b"", there

    began = time.monotonic()
    done, more = result(work, bound_s=0.1)
    assert time.monotonic() - began < 20
    assert "took more than 0.1 s" in done.failure
    assert more == 0


def test_a_bug_in_it_is_a_failure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traceback is in the log."""
    # As in a supervisor; pytest's own is a file that the child has not.
    monkeypatch.setattr(sys, "stderr", open(2, "w", closefd=False))  # noqa: SIM115

    def work() -> tuple[bytes, Sequence[int]]:
        raise RuntimeError("a bug")

    done, more = result(work)
    assert "the log of penstockd says why" in done.failure
    assert more == 0
    assert "RuntimeError: a bug" in capfd.readouterr().err


def test_it_has_no_descriptor_of_its_parent() -> None:
    """Its parent's locks and connections must end with the parent."""
    read_fd, write_fd = os.pipe()
    done, _ = result(lambda: (" ".join(os.listdir("/proc/self/fd")).encode(), []))
    os.close(read_fd)
    os.close(write_fd)
    assert len(done.data.split()) == 6  # 0 to 2, the two for its answer, the listing's own


def test_one_that_does_not_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As KILL does not end one that waits for a disk; here it gets none."""
    loop, found = Loop(), list[WorkDone]()

    def done(what: WorkDone) -> None:
        found.append(what)
        loop.stop()

    def work() -> tuple[bytes, Sequence[int]]:
        time.sleep(100)
        return b"", []

    with monkeypatch.context() as patched:
        patched.setattr(signal, "pidfd_send_signal", lambda *_: None)
        made = ChildWork(loop, work, 0.05, done)
        pid = made._pid
        loop.run()
    assert found[0].failure
    assert made.is_left
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not made.is_left


def test_without_processes_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when RLIMIT_NPROC is used up."""

    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("penstock.supervisor.kernel.child_work.fork", fork)
    done, more = result(lambda: (b"", []))
    assert "Resource temporarily unavailable" in done.failure
    assert more == 0


def test_cancelled_work_reports_nothing() -> None:
    """And leaves no process."""
    loop, found = Loop(), list[WorkDone]()
    before = opened()

    def forever() -> tuple[bytes, Sequence[int]]:
        time.sleep(100)
        return b"", []

    work = ChildWork(loop, forever, 50.0, found.append)
    pid = work._pid
    work.cancel()
    loop.after(0.05, loop.stop)
    loop.run()
    assert found == []
    os.waitpid(pid, 0)
    assert not work.is_left
    assert opened() == before


def test_one_that_is_given_up_while_a_tracer_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bound is over just then, and the tracer lets go: it is reaped as a stranger, and the
    supervisor goes on."""
    loop, found = Loop(), list[WorkDone]()
    real = os.wait4
    held = True

    def wait4(pid: int, options: int) -> tuple[int, int, object]:
        if held:
            return 0, 0, None
        return real(pid, options)

    monkeypatch.setattr("penstock.supervisor.kernel.reap.os.wait4", wait4)
    work = ChildWork(loop, lambda: (b"", []), 0.3, found.append)
    pid = work._pid

    def let_go() -> None:
        nonlocal held
        os.waitpid(pid, 0)
        held = False
        loop.after(0.05, loop.stop)

    loop.after(0.4, let_go)
    loop.run()
    assert "took more than 0.3 s" in found[0].failure
    assert len(found) == 1
    assert not work.is_left
