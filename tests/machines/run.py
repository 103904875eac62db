"""One program in one schedule: ``run`` it, or raise Broken; and many of them, by a seed."""

import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import trio
import trio.testing

from .clients import PATIENCE_S, Player
from .faults import cause
from .host import new_state_dir, simulated
from .invariants import Invariants
from .process import Process
from .programs import (
    INPUT_FOCUS,
    NAMES_FOCUS,
    WATCH_FOCUS,
    Actor,
    Fault,
    Op,
    Program,
    Seeded,
    make_program,
    make_schedule,
)
from .schedule import Schedule, scheduled, tasks_alive
from .timeline import Broken, Timeline
from .world import World

# What an actor may take for one operation: its patience, a connection, a few lives of servers.
_OP_S = 4 * PATIENCE_S
# Until the last job has ended: processes asleep, grace, patience after KILL, records again.
_END_S = 120.0
_COLLECT_EVERY = 50
# Of a seed's programs one in so many is about input.
_INPUT_EACH = 5
# And one in so many about names.
_NAMES_EACH = 10
# And one in so many about watchers.
_WATCH_EACH = 10


@dataclass(frozen=True, slots=True)
class Result:
    """What a program took. ``trace`` is the same whenever it is run again."""

    ticks: int
    steps: int
    lives: int
    virtual_s: float
    covered: frozenset[str]
    trace: int
    timeline: Timeline


FIFO = Schedule()


def run(program: Program, schedule: Schedule = FIFO, *, seed: str = "") -> Result:
    """Raises Broken, with all there is to see."""
    timeline = Timeline()
    clock = trio.testing.MockClock(autojump_threshold=0)
    random_before = random.getstate()
    random.seed(0)  # what backing off leaves to chance
    began = clock.current_time()
    try:
        with new_state_dir() as state_dir, scheduled(schedule) as order:
            world = World(program, timeline, state_dir)
            invariants = Invariants(world)
            try:
                with simulated(world):
                    trio.run(_main, world, invariants, clock=clock)
            except Exception as error:
                world.fail(f"{error!r}")
    finally:
        random.setstate(random_before)
    if world.wrong:
        raise Broken(world.wrong, program, schedule, timeline, seed)
    return Result(
        order.ticks,
        order.steps,
        world.lives,
        clock.current_time() - began,
        frozenset(world.covered),
        order.trace,
        timeline,
    )


async def _main(world: World, invariants: Invariants) -> None:
    Process.on_handle = staticmethod(invariants.handle_given)
    Process.on_stop = staticmethod(invariants.asked.recorded)
    Process.on_heard = staticmethod(invariants.graces.heard)
    Process.on_request = staticmethod(invariants.requested)
    Process.on_begun = staticmethod(invariants.naming.begun)
    Process.on_gone = staticmethod(invariants.naming.over)
    Process.on_end = staticmethod(invariants.end_written)
    Process.on_changes = staticmethod(invariants.changes.durable)
    Process.kill_pid = staticmethod(world.kernel.kill_pid)
    program = world.program
    async with trio.open_nursery() as kernel, trio.open_nursery() as machine:
        world.kernel.nursery = kernel
        kernel.start_soon(world.kernel.run)
        machine.start_soon(world.serve)
        async with trio.open_nursery() as faults:
            for fault in program.faults:
                faults.start_soon(_cause_later, world, fault)
            longest = max((len(actor.ops) for actor in program.actors), default=0)
            with trio.move_on_after((longest + 1) * _OP_S) as scope:
                async with trio.open_nursery() as actors:
                    for number, actor in enumerate(program.actors):
                        player = Player(world, invariants, actor, f"{actor.owner}.{number}")
                        actors.start_soon(player.run)
            if scope.cancelled_caught:
                world.fail("an actor does not come to its end")
            faults.cancel_scope.cancel()
        world.stop_faults()
        await come_to_an_end(world, invariants)
        machine.cancel_scope.cancel()
        kernel.cancel_scope.cancel()


async def _cause_later(world: World, fault: Fault) -> None:
    await trio.sleep(fault.at)
    cause(world, fault)


async def come_to_an_end(world: World, invariants: Invariants) -> None:
    """Faults have ended: every job does, everybody is told the same, nothing is left."""
    with trio.move_on_after(_END_S) as scope:
        await trio.sleep(2.0)  # what callers have given up meanwhile is on its way
        await world.wait_up()
        await world.switches.wait_whole()
        # A job that is still starting is in no list; one that was just taken over has no life yet.
        while (manager := world.manager) is not None and (manager._tasks.runners or manager.list()):
            for job in manager.list():
                try:
                    job.ask_stop(by="world")
                except Exception as error:
                    world.say("world", f"stop of {job.handle}: {error!r}")
            await trio.sleep(1.0)
        for owner in invariants.handles:
            ops = tuple(Op("status", job=at) for at in range(len(invariants.handles[owner])))
            last = Actor(owner, (Op("list", flag=True), Op("whoami", flag=True), *ops))
            await Player(world, invariants, last, f"{owner}.end").run()
        await trio.sleep(2.0)  # resets and goodbyes are on their way
        if world.server is not None:
            invariants.check_left()
    if scope.cancelled_caught:
        left = [] if world.manager is None else [each[-4:] for each in world.manager._tasks.runners]
        world.fail(f"after {_END_S:g} s without faults these jobs have not ended: {left}")
    world.over = True
    process = world.process
    if not world.end_server("shutdown"):
        process.die()
    with trio.move_on_after(60.0) as scope:
        await process.dead.wait()
    if scope.cancelled_caught:
        world.fail(f"the server does not end: {tasks_alive()}")
        process.die()
    invariants.check_no_system_task()
    invariants.check_records()


@dataclass
class Tally:
    """What ``run_many`` has done so far. ``broken`` ends it."""

    programs: int = 0
    ticks: int = 0
    steps: int = 0
    lives: int = 0
    virtual_s: float = 0.0
    seconds: float = 0.0
    schedules: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    """Rows of the table of cancellation: how many programs did something about each."""
    broken: Broken | None = None


def seeded(seed: str) -> tuple[Program, Schedule]:
    """The program and schedule of a seed, as Broken prints it."""
    choose = Seeded(seed)
    number = seed.rpartition(":")[2]
    focus = None
    if number.isdecimal() and int(number) % _INPUT_EACH == _INPUT_EACH - 1:
        focus = INPUT_FOCUS
    elif number.isdecimal() and int(number) % _NAMES_EACH == _NAMES_EACH - 2:
        focus = NAMES_FOCUS
    elif number.isdecimal() and int(number) % _WATCH_EACH == 0:
        focus = WATCH_FOCUS
    program = make_program(choose, focus=focus)
    return program, make_schedule(choose)


def run_many(
    seed: int | str,
    programs: int | None = None,
    seconds: float | None = None,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Programs ``<seed>:0``, ``<seed>:1`` … until so many are done, or so many seconds are over,
    or one has failed, which is in the tally. ``on_progress`` is called after each."""
    with _no_collections() as collect:
        return _run_many(seed, programs, seconds, on_progress, collect)


@contextlib.contextmanager
def _no_collections() -> Iterator[Callable[[int], None]]:
    """Looking through everything that was imported, again and again, takes a third of the time."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()

    def collect(number: int) -> None:
        if number % _COLLECT_EVERY == 0:
            gc.collect()

    try:
        yield collect
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _run_many(
    seed: int | str,
    programs: int | None,
    seconds: float | None,
    on_progress: Callable[[Tally], None],
    collect: Callable[[int], None],
) -> Tally:
    tally = Tally()
    began = time.monotonic()
    while programs is None or tally.programs < programs:
        each = f"{seed}:{tally.programs}"
        program, schedule = seeded(each)
        try:
            result = run(program, schedule, seed=each)
        except Broken as broken:
            tally.broken = broken
            tally.seconds = time.monotonic() - began
            return tally
        tally.programs += 1
        tally.ticks += result.ticks
        tally.steps += result.steps
        tally.lives += result.lives
        tally.virtual_s += result.virtual_s
        tally.schedules[schedule.kind] = tally.schedules.get(schedule.kind, 0) + 1
        for row in result.covered:
            tally.covered[row] = tally.covered.get(row, 0) + 1
        tally.seconds = time.monotonic() - began
        collect(tally.programs)
        on_progress(tally)
        if seconds is not None and tally.seconds >= seconds:
            break
    return tally
