"""The event loop: timers, descriptors whose numbers are used again, and long waits."""

import os

from penstock.supervisor.kernel import loop as loop_module
from penstock.supervisor.kernel.loop import READ, Loop


def test_timers_fire_in_order() -> None:
    """By time, and in the order of asking where the times are the same."""
    loop, fired = Loop(), []
    loop.after(0.01, lambda: fired.append("late"))
    loop.after(0, lambda: fired.append("first"))
    loop.after(0, lambda: fired.append("second"))
    loop.after(0.02, loop.stop)
    loop.run()
    assert fired == ["first", "second", "late"]


def test_a_cancelled_timer_does_not_fire() -> None:
    """Also when it is cancelled by one that fires at the same moment."""
    loop, fired = Loop(), []
    later = loop.after(0.0, lambda: fired.append("cancelled"))
    later.cancel()
    later.cancel()
    loop.after(0.001, loop.stop)
    loop.run()
    assert fired == []


def test_cancelled_timers_do_not_pile_up() -> None:
    """A job's timeout of days is gone when the job is."""
    loop = Loop()
    for _ in range(10_000):
        loop.after(1e9, loop.stop).cancel()
    assert len(loop._timers) < 1000


def test_a_wait_of_years_is_none_for_the_kernel() -> None:
    """epoll_wait(2) takes at most 25 days; the loop wakes up earlier and waits again."""
    loop = Loop()
    loop.after(1e12, loop.stop)
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"x")
    loop.watch(read_fd, READ, loop.stop)
    loop.run()
    loop.forget(read_fd)
    os.close(read_fd)
    os.close(write_fd)
    assert loop_module._LONGEST_WAIT_S < 2**31 / 1000


def test_a_number_used_again_is_not_called_for_the_old_event() -> None:
    """In one batch a callback may close a descriptor, and open another under its number."""
    loop, called = Loop(), []
    pipes = [os.pipe() for _ in range(2)]
    fresh: list[int] = []

    def replace_other(own: int, other: int) -> None:
        loop.forget(own)
        if fresh:
            return
        loop.forget(other)
        os.close(other)
        fresh.extend(os.pipe())
        assert fresh[0] == other
        loop.watch(other, READ, lambda: called.append("spurious"))
        loop.after(0.01, loop.stop)

    (one, _), (two, _) = pipes
    for _, write_fd in pipes:
        os.write(write_fd, b"x")
    loop.watch(one, READ, lambda: replace_other(one, two))
    loop.watch(two, READ, lambda: replace_other(two, one))
    loop.run()
    assert called == []
    for fd in {one, two, *fresh, *(write_fd for _, write_fd in pipes)}:
        os.close(fd)
