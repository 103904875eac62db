"""Processes of others that stand still: nobody is told when they come to that."""

from pathlib import Path

import trio
from patience import patient


def state(pid: int) -> str:
    """A letter of proc(5): T is stopped by a signal, t by a tracer."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


async def wait_state(pid: int, letter: str) -> None:
    """Returns once it is in this state. Bounded.

    Cancellation: minimum cleanup.
    """
    with trio.fail_after(patient(10)):
        while state(pid) != letter:  # noqa: ASYNC110  # there is no event for it
            await trio.sleep(0.005)
