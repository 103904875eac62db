"""The schedules themselves: deterministic, fair in the end, and each finds what it is for."""

import itertools

import trio

from machines.schedule import Kind, Schedule, scheduled

RUNS = 300


class Toy:
    """A notice that goes up two ticks after its wall: who comes later than that misses it."""

    def __init__(self) -> None:
        self.seen = True

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            changes = trio.Event()
            nursery.start_soon(self._reader, changes)
            nursery.start_soon(self._writer, changes)

    async def _reader(self, changes: trio.Event) -> None:
        await trio.lowlevel.checkpoint()
        self.seen = not changes.is_set()

    async def _writer(self, changes: trio.Event) -> None:
        for _ in range(4):
            await trio.lowlevel.checkpoint()
        changes.set()


def missed(schedule: Schedule) -> bool:
    toy = Toy()
    with scheduled(schedule):
        trio.run(toy.run)
    return not toy.seen


def test_hold_back_lets_a_task_lag_where_shuffle_cannot() -> None:
    """The race of one task that is ticks behind another."""
    assert not missed(Schedule())
    assert not any(missed(Schedule("shuffle", seed)) for seed in range(RUNS))
    kinds: tuple[Kind, ...] = ("hold", "lag")
    for kind in kinds:
        assert sum(missed(Schedule(kind, seed)) for seed in range(RUNS)) > RUNS // 20, kind


async def _order(seen: list[int]) -> None:
    async def one(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            seen.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(one, number)


def order(schedule: Schedule) -> tuple[int, ...]:
    seen: list[int] = []
    with scheduled(schedule):
        trio.run(_order, seen)
    return tuple(seen)


def test_fifo_is_by_age_and_the_others_are_by_their_seed() -> None:
    """And every task comes to its end in each."""
    assert order(Schedule()) == (0, 1, 2, 3) * 3
    kinds: tuple[Kind, ...] = ("shuffle", "hold", "lag")
    for kind in kinds:
        orders = {order(Schedule(kind, seed)) for seed in range(30)}
        assert len(orders) > 10
        assert {tuple(sorted(each)) for each in orders} == {(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)}
        assert order(Schedule(kind, 5)) == order(Schedule(kind, 5))


def test_nobody_is_held_for_ever_by_one_who_never_waits() -> None:
    """Ticks are bounded, also next to a task that is always ready."""

    async def main() -> None:
        done = trio.Event()

        async def late() -> None:
            await trio.lowlevel.checkpoint()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            while not done.is_set():  # noqa: ASYNC110  # one that never waits
                await trio.lowlevel.checkpoint()

    kinds: tuple[Kind, ...] = ("hold", "lag")
    for kind, seed in itertools.product(kinds, range(50)):
        with scheduled(Schedule(kind, seed, one_in=2, ticks=64)) as made:
            trio.run(main)
        assert made.ticks < 1000


def test_trio_is_as_before_afterwards() -> None:
    """What a test has changed of Trio is not what the next one gets."""
    with scheduled(Schedule()) as inner:
        pass
    trio.run(trio.lowlevel.checkpoint)
    assert inner.ticks == 0
