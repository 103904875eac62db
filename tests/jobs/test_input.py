"""A job's input over real pipes, with the other ends in the test's hands: each byte once."""

import fcntl
import itertools
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from penstock.jobs.backends.base import InputPipes
from penstock.jobs.input import JobInput
from penstock.jobs.input_note import NOTE_NAME
from penstock.jobs.job_errors import InputGap, InputTakenOver, JobError, Precondition
from penstock.jobs.output import disk as disk_module

F_SETPIPE_SZ = 1031
FULL = bytes(itertools.islice(itertools.cycle(range(251)), 30_000))


class Holder:
    """What the supervisor has: every end; and the job's."""

    def __init__(self) -> None:
        self.job_fd, job_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._kept = [job_write, *os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]
        for fd in (job_write, self._kept[2]):
            fcntl.fcntl(fd, F_SETPIPE_SZ, 4096)
        self.read = bytearray()

    def copies(self) -> InputPipes:
        return InputPipes(*[os.dup(fd) for fd in self._kept])

    def close_input(self) -> None:
        while self._kept:
            os.close(self._kept.pop())

    async def read_all(self) -> bytes:
        """As a job that reads to the end."""
        while True:
            await trio.lowlevel.wait_readable(self.job_fd)
            part = os.read(self.job_fd, 65536)
            if not part:
                return bytes(self.read)
            self.read += part

    def stop_reading(self) -> None:
        os.close(self.job_fd)
        self.job_fd = -1

    def close(self) -> None:
        self.close_input()
        if self.job_fd >= 0:
            self.stop_reading()


@pytest.fixture
def holder() -> Any:
    holder = Holder()
    yield holder
    holder.close()


def made(holder: Holder, directory: Path) -> JobInput:
    pipes = holder.copies()
    try:
        return JobInput(pipes, str(directory), "7", holder.close_input)
    except Killed:  # the kernel closes what a dead process had
        for fd in (pipes.job_fd, pipes.read_fd, pipes.write_fd, Killing.last_opened):
            os.close(fd)
        raise


@asynccontextmanager
async def running(given: JobInput) -> AsyncIterator[JobInput]:
    """An input and its task."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(given.run)
            yield given
            nursery.cancel_scope.cancel()
    finally:
        given.close("the test is over")


class Killed(BaseException):
    """Nothing of this process happens after it."""


class Killing:
    """Stands for the module os: the n-th call that changes something is the last."""

    CALLS = ("write", "pwrite", "splice")
    last_opened = -1

    def __init__(self, number: int, *, after: bool) -> None:
        self.left = number
        self.killed = False
        self._after = after

    def open(self, *args: Any) -> int:
        Killing.last_opened = os.open(*args)
        return Killing.last_opened

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._deadly(real) if name in self.CALLS else real

    def _deadly(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if self.killed:
                raise Killed
            self.left -= 1
            if self.left < 0:
                self.killed = True
                if self._after:
                    real(*args, **more)
                raise Killed
            return real(*args, **more)

        return call


async def one_life(holder: Holder, directory: Path, back: int) -> None:
    """Sends what is left from ``back`` bytes before what is accepted, in pieces, and the end."""
    given = made(holder, directory)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(given.run)
            while not given.ended:
                offset = max(0, given.accepted - back)
                piece = FULL[offset : offset + 7_000 + back]
                await given.take(offset, piece, end=offset + len(piece) == len(FULL))
    finally:
        given.close("this server is dead")


@pytest.mark.parametrize("again", [0, 1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
async def test_killed_at_every_step_each_byte_arrives_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool, again: int
) -> None:
    """For every n: dead at its n-th write, note or splice, and in the next life at one of the
    first; the job reads the whole input, once and in order, and its end."""
    for number in itertools.count():
        directory = tmp_path / str(number)
        directory.mkdir()
        holder = Holder()
        kills = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(holder.read_all)
            for life, deadly in enumerate((number, again, 10**9)):
                killing = Killing(deadly, after=after)
                monkeypatch.setattr(disk_module, "os", killing)
                try:
                    await one_life(holder, directory, back=life * 100)
                    break
                except (Killed, BaseExceptionGroup) as error:
                    if isinstance(error, BaseExceptionGroup) and error.split(Killed)[1]:
                        raise
                    kills += 1
            monkeypatch.setattr(disk_module, "os", os)
            # The end was accepted, and whoever was killed then has not told the holder.
            if holder._kept:
                async with running(made(holder, directory)) as last:
                    assert last.accepted == len(FULL)
                    await trio.testing.wait_all_tasks_blocked()
        assert bytes(holder.read) == FULL, f"killed at step {number}"
        holder.close()
        if not kills:
            break
    assert number > 12


async def test_a_job_that_does_not_read_holds_its_sender_alone(
    tmp_path: Path, holder: Holder
) -> None:
    """What is accepted fits two pipes; the rest waits with its sender, until the job reads."""
    async with running(made(holder, tmp_path)) as given, trio.open_nursery() as nursery:

        async def send() -> None:
            await given.take(0, FULL, end=True)

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < given.accepted <= 2 * 4096
        assert not given.closed
        assert await holder.read_all() == FULL
    assert given.closed


async def test_what_was_accepted_is_skipped_and_a_gap_is_refused(
    tmp_path: Path, holder: Holder
) -> None:
    """By offsets alone, the end included; after it nothing more is taken."""
    async with running(made(holder, tmp_path)) as given:
        await given.take(0, b"abcdef")
        await given.take(2, b"cdefgh")
        await given.take(0, b"ab")
        with pytest.raises(InputGap) as caught:
            await given.take(9, b"x")
        assert caught.value.accepted == 8
        with pytest.raises(InputGap):
            await given.take(0, b"abc", end=True)
        await given.take(4, b"efgh", end=True)
        await given.take(8, b"", end=True)  # its answer was lost
        await given.take(0, b"abcdefgh")
        with pytest.raises(Precondition) as refused:
            await given.take(8, b"i")
        assert refused.value.reason == "STDIN_CLOSED"
        assert await holder.read_all() == b"abcdefgh"
        given.claim()  # to be told that all of it is accepted


async def test_a_job_that_closes_its_input_ends_its_sender(tmp_path: Path, holder: Holder) -> None:
    """Also one that waits for room, and one that waits for its client."""
    async with running(made(holder, tmp_path)) as given:
        sender = given.claim()
        errors: list[str] = []

        async def expect(what: Callable[..., Any], *args: object) -> None:
            with pytest.raises(Precondition) as caught:
                await sender.wait(what, *args)
            errors.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, given.take, 0, FULL)
            await trio.testing.wait_all_tasks_blocked()
            holder.stop_reading()
        await expect(trio.sleep_forever)
        with pytest.raises(Precondition):
            given.claim()
        assert errors == ["STDIN_CLOSED", "STDIN_CLOSED"]


async def test_the_newest_sender_has_the_input(tmp_path: Path, holder: Holder) -> None:
    """The one before is told so, wherever it waits; its place may have been lost long ago."""
    async with running(made(holder, tmp_path)) as given:
        first = given.claim()
        raised: list[JobError] = []

        async def wait() -> None:
            with pytest.raises(InputTakenOver) as caught:
                await first.wait(trio.sleep_forever)
            raised.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            second = given.claim()
        assert raised
        given.leave(first)  # too late to matter
        await second.wait(given.take, 0, b"x")
        assert given.accepted == 1


async def test_who_was_replaced_gets_no_byte_more_in(tmp_path: Path, holder: Holder) -> None:
    """Also if the job has just made room for it: the next sender was told where its own begin."""
    async with running(made(holder, tmp_path)) as given:
        first = given.claim()

        async def wait() -> None:
            with pytest.raises(InputTakenOver):
                await first.wait(given.take, 0, b"a" * len(FULL))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert os.read(holder.job_fd, 4096) == b"a" * 4096
            given._move()  # as its task does; from here to claim there is no checkpoint
            given.claim()
            accepted = given.accepted
        assert given.accepted == accepted


async def test_who_goes_on_is_told_of_others(tmp_path: Path, holder: Holder) -> None:
    """By its name, also by the next server: what others sent would pass for its own. Who only
    came, and sent nothing, has changed nothing."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder.read_all)
        async with running(made(holder, tmp_path)) as given:
            given.claim("ann", goes_on=True)  # her first call was lost before anything was accepted
            await given.take(0, b"abc")
            given.claim("ben")
            given.claim("ann", goes_on=True)
            await given.take(3, b"d")
        async with running(made(holder, tmp_path)) as again:
            again.claim("ann", goes_on=True)
            again.claim()
            await again.take(4, b"e")
            with pytest.raises(InputTakenOver):
                again.claim("ann", goes_on=True)
        async with running(made(holder, tmp_path)) as third:
            with pytest.raises(InputTakenOver):
                third.claim("ann", goes_on=True)
            third.claim("ann")
            await third.take(5, b"", end=True)
            third.claim("ann", goes_on=True)
    assert bytes(holder.read) == b"abcde"


async def test_a_note_of_the_version_before_counts(tmp_path: Path, holder: Holder) -> None:
    """A server that is replaced by the next version leaves some; nobody is known of them."""
    body = struct.pack("<BQ", 2, 7)
    (tmp_path / NOTE_NAME).write_bytes(body + struct.pack("<I", zlib.crc32(body)))
    async with running(made(holder, tmp_path)) as given:
        assert given.accepted == 7
        given.claim("ann", goes_on=True)
        await given.take(7, b"x")
        assert given.accepted == 8


async def test_a_note_that_is_damaged_closes_the_input_and_ends_nothing(
    tmp_path: Path, holder: Holder
) -> None:
    """How much was accepted cannot be known; the job must not read an end that nobody sent."""
    async with running(made(holder, tmp_path)) as given:
        await given.take(0, b"abc")
    (tmp_path / NOTE_NAME).write_bytes(b"\xff" * 13)
    async with running(made(holder, tmp_path)) as again:
        assert again.closed
        with pytest.raises(Precondition) as caught:
            again.claim()
        assert caught.value.reason == "STDIN_CLOSED"
        assert os.read(holder.job_fd, 100) == b"abc"
        with pytest.raises(BlockingIOError):
            os.read(holder.job_fd, 1)


async def test_a_disk_that_fails_closes_the_input_alone(
    tmp_path: Path, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a byte of it is taken."""
    async with running(made(holder, tmp_path)) as given:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        names = {name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
        shim = SimpleNamespace(**(names | {"pwrite": full}))
        monkeypatch.setattr(disk_module, "os", shim)
        with pytest.raises(Precondition):
            await given.take(0, b"abc")
        assert given.accepted == 0
        assert given.closed
