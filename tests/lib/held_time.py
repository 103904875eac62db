"""Time that stands still while a test arranges what must come before a deadline."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio
import trio.testing


@contextmanager
def held_time() -> Iterator[None]:
    """Inside, no deadline comes, however slow the machine is; that of the test neither. For tests
    marked ``held_clock``."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock), "mark the test held_clock"
    clock.rate = 0.0
    try:
        yield
    finally:
        clock.rate = 1.0
