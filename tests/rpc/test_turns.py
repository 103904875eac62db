"""Clients take turns, one a turn of the scheduler, whoever leaves while waiting."""

import trio
import trio.testing
from patience import patient

from penstock.rpc.turns import FairTurns


class Turn(trio.abc.Instrument):
    """Which turn of the scheduler it is."""

    number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


async def slices(turns: FairTurns, client: str, count: int, done: list[str]) -> None:
    for _ in range(count):
        async with turns.of(client):
            done.append(client)


async def test_clients_take_turns() -> None:
    """Fifty tasks of one client, and one each of two others: these wait for a slice or two."""
    turns, done = FairTurns(), list[str]()
    async with trio.open_nursery() as nursery:
        async with turns.of("anybody"):
            for _ in range(50):
                nursery.start_soon(slices, turns, "many", 2, done)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(slices, turns, "one", 2, done)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(slices, turns, "other", 2, done)
            await trio.testing.wait_all_tasks_blocked()
    assert done[:3] == ["many", "one", "other"]
    assert sorted(done[3:7]) == ["many", "many", "one", "other"]
    assert done[7:] == ["many"] * 97


async def test_no_two_slices_are_in_a_turn_of_the_scheduler() -> None:
    """Of whatever clients, and also where nobody waits."""
    turns, seen, turn = FairTurns(), list[int](), Turn()

    async def some(client: int) -> None:
        for _ in range(5):
            async with turns.of(client % 3):
                seen.append(turn.number)

    trio.lowlevel.add_instrument(turn)
    try:
        async with trio.open_nursery() as nursery:
            for client in range(10):
                nursery.start_soon(some, client)
        await some(0)
    finally:
        trio.lowlevel.remove_instrument(turn)
    assert len(seen) == len(set(seen)) == 55


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    """Alone in its queue, in front of others, or as it is given the turn; the others go on."""
    turns, done = FairTurns(), list[str]()
    async with trio.open_nursery() as nursery:
        async with turns.of("anybody"), trio.open_nursery() as leaving:
            leaving.start_soon(slices, turns, "gone", 1, done)
            leaving.start_soon(slices, turns, "stays", 1, done)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(slices, turns, "stays", 1, done)
            await trio.testing.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
    assert done == ["stays"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await slices(turns, "gone", 1, done)
    await slices(turns, "stays", 1, done)
    assert done == ["stays"] * 2
    assert not turns._waiting
    assert not turns._taken


async def test_who_leaves_in_the_moment_of_a_release_takes_no_turn_with_him() -> None:
    """It has not run since it was cancelled, as where both happen in one turn of the scheduler: the
    turn goes to the next, or is free."""
    turns, done = FairTurns(), list[str]()
    with trio.fail_after(patient(5)):
        async with trio.open_nursery() as nursery:
            async with turns.of("anybody"):
                scopes = [trio.CancelScope() for _ in range(2)]

                async def leaves(client: str, scope: trio.CancelScope) -> None:
                    with scope:
                        await slices(turns, client, 1, done)

                for client, scope in zip(("gone", "gone too"), scopes, strict=True):
                    nursery.start_soon(leaves, client, scope)
                    await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(slices, turns, "stays", 1, done)
                await trio.testing.wait_all_tasks_blocked()
                for scope in scopes:
                    scope.cancel()
        assert done == ["stays"]
        async with trio.open_nursery() as nursery:
            async with turns.of("anybody"):
                scope = trio.CancelScope()
                nursery.start_soon(leaves, "gone", scope)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await slices(turns, "another", 1, done)
    assert done == ["stays", "another"]
    assert not turns._waiting


def test_what_is_done_without_a_turn_has_a_share_of_the_time() -> None:
    """Two milliseconds at once, whoever does it, and then as much as a quarter of what passes."""
    now, done = 0.0, 0

    def work() -> None:
        nonlocal now, done
        now += 0.001
        done += 1

    turns = FairTurns(lambda: now)
    for _ in range(100):
        turns.at_once(work)
    assert done == 3  # the last began before there was enough
    for _ in range(400):
        now += 0.001
        turns.at_once(work)
    assert 100 <= done <= 140
