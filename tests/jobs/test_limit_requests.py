"""One question about limits at a time, whoever asks and however often; and none that hangs."""

from typing import Any

import pytest
import trio
import trio.testing

from penstock.jobs.job_errors import SupervisorSilent, Unavailable
from penstock.jobs.limit_requests import LOOK_S, LimitRequests


class Slow:
    """Answers a question when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = trio.Semaphore(0)
        self.error: Exception | None = None

    async def look_at_limits(self, job_id: str) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        await self.go.acquire()


async def test_who_asks_meanwhile_shares_the_next_answer() -> None:
    """Never one that began before: a change in between would be missed."""
    backend: Any = Slow()
    asking = LimitRequests()
    seen: list[bool] = []

    async def ask() -> None:
        seen.append(await asking.check(backend, "j"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(50):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert backend.asked == 1
        backend.go.release()
        await trio.testing.wait_all_tasks_blocked()
        assert (backend.asked, seen) == (2, [True])
        backend.go.release()
    assert (backend.asked, seen) == (2, [True] * 51)


@pytest.mark.mock_clock
async def test_a_supervisor_that_does_not_answer_is_not_waited_for() -> None:
    """For longer than a second; who asks later has a second of its own."""
    backend: Any = Slow()
    asking = LimitRequests()
    for _ in range(2):
        begun = trio.current_time()
        assert not await asking.check(backend, "j")
        assert trio.current_time() - begun == LOOK_S


@pytest.mark.parametrize("error", [Unavailable("full"), SupervisorSilent("silent")])
async def test_what_cannot_be_asked_is_no_error_of_a_status(error: Exception) -> None:
    """It says what was seen last."""
    backend: Any = Slow()
    backend.error = error
    assert not await LimitRequests().check(backend, "j")
