"""Input over a server's death: before each of its effects, while a job is fed."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
import trio

from machines.planting import instead
from machines.programs import Act, Actor, Behaviour, Fault, Op, Program
from machines.run import run
from machines.timeline import Broken
from penstock.jobs.input import JobInput
from penstock.jobs.input_note import Phase, Written

_MOST = 200


def _program(step: int) -> Program:
    """More than both pipes take is sent to a job that reads after two seconds, and sent on by
    another call once the server has died before its ``step``-th effect."""
    feeding = (Op("start"), Op("input", number=12), Op("input", after=1.0, number=12), Op("wait"))
    job = Behaviour((Act("sleep", seconds=2.0), Act("read")), stdin=True)
    return Program((Actor("alice", feeding),), (job,), (Fault("crash", step=step),))


def _at_every_step() -> int:
    """Until the program is over before that step; which that was."""
    for step in range(_MOST):
        if run(_program(step)).lives == 1:
            return step
    raise AssertionError(f"{_MOST} steps were not enough")


def test_each_byte_is_read_once_whenever_the_server_dies() -> None:
    assert _at_every_step() > 20


@contextlib.contextmanager
def _doubled() -> Iterator[None]:
    """Whoever takes over does not count what was written into the pipe just before."""
    true = JobInput._restore

    def restore(self: JobInput, written: Written) -> None:
        true(self, written)
        if written.phase is Phase.WRITING:
            self.accepted = written.accepted

    with instead(JobInput, "_restore", restore):
        yield


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Whoever takes over moves nothing on before something new comes."""

    async def run_input(self: JobInput) -> None:
        while self._closed is None:
            await self._wait_changed()
            while self._held and self._closed is None:
                with contextlib.suppress(trio.ClosedResourceError):
                    await self._disk.wait_writable(self._pipes.job_fd)
                self._move()

    with instead(JobInput, "run", run_input):
        yield


@pytest.mark.parametrize(
    ("plant", "says"),
    [(_doubled, "of input that nobody has sent there"), (_held_back, "input 101 hangs")],
    ids=["doubled", "held back"],
)
def test_what_a_takeover_doubles_or_holds_back_is_found(
    plant: Callable[[], contextlib.AbstractContextManager[None]], says: str
) -> None:
    with plant(), pytest.raises(Broken) as caught:
        _at_every_step()
    assert any(says in wrong for wrong in caught.value.wrong), caught.value.wrong
