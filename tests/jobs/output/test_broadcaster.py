"""Wake-ups: each reader has its own, a second one is no news, and none is lost."""

import trio
import trio.testing

from penstock.jobs.output.broadcaster import Broadcaster, WakeUps


async def woken(wakeups: WakeUps) -> bool:
    """Whether ``wait`` returns at once; takes the wake-up then."""
    # A deadline of now would win over a wake-up that is there.
    done = False

    async def wait() -> None:
        nonlocal done
        await wakeups.wait()
        done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return done


async def test_every_reader_is_woken_also_behind_one_that_was() -> None:
    """A wake-up that waits is enough, and keeps no other reader from its own, whoever is first."""
    broadcaster = Broadcaster()
    readers = [broadcaster.subscribe() for _ in range(3)]
    for early in readers:
        broadcaster.notify()
        for each in readers:
            if each is not early:
                assert await woken(each)
        broadcaster.notify()
        for each in readers:
            assert await woken(each)
            assert not await woken(each)
    for each in readers:
        each.close()
    assert broadcaster.readers == 0


async def test_a_wake_up_between_the_look_and_the_wait_is_not_lost() -> None:
    """The state is changed first; a reader that has looked before sees the change all the same."""
    broadcaster, length, seen = Broadcaster(), 0, 0
    wakeups = broadcaster.subscribe()

    async def read() -> None:
        nonlocal length, seen
        while seen < 2:
            if seen == length:  # the look
                if length == 0:
                    length = 1  # the writer, in between
                    broadcaster.notify()
                await wakeups.wait()
            seen = length

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == 1
        length = 2
        broadcaster.notify()
    assert seen == 2
    wakeups.close()


async def test_what_was_announced_before_is_not_announced_to_a_new_reader() -> None:
    """It subscribes, and looks after that."""
    broadcaster = Broadcaster()
    broadcaster.notify()
    wakeups = broadcaster.subscribe()
    assert not await woken(wakeups)
    wakeups.close()


async def test_a_closed_reader_is_not_woken_and_others_are() -> None:
    """Closing is no checkpoint, so the reader is gone at once; again is fine."""
    broadcaster = Broadcaster()
    leaver, stayer = broadcaster.subscribe(), broadcaster.subscribe()
    leaver.close()
    leaver.close()
    assert broadcaster.readers == 1
    broadcaster.notify()
    assert await woken(stayer)
    stayer.close()
