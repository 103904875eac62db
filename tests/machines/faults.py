"""What happens to a world: each kind of Fault, and what must be true soon after it."""

import trio

from .process import Process
from .programs import OWNERS, Fault
from .switches import reload_for_a_while
from .world import World

# Grace of a shutdown and the patience after KILL, and what ending takes besides.
_AT_ONCE_S = 3.0 + 10.0 + 1.0
_REVOKED_S = 1.0
# Longer than anybody waits for an answer, and than a call may take that asks for one.
_STILL_S = 15.0
# Longer than anybody waits for a record who is told then that there is none.
_UNRECORDED_S = 15.0


def cause(world: World, fault: Fault) -> None:
    """A fault, now. What it does later is done in the nursery of the world's kernel."""
    world.say("fault", repr(fault))
    match fault.what:
        case "crash" if fault.step is None:
            world.covered.add("C13")
            world.process.die()
        case "cut":
            world.covered.add("C2")
            owner = (*OWNERS, None)[fault.number % 3]
            world.network.cut(owner, silent=fault.number == 3)
        case "stall":
            world.network.stall(fault.seconds)
        case "still":
            world.covered.add("C26")
            world.kernel.stand_still(_STILL_S + fault.seconds)
        case "full":
            world.covered.add("C9")
            world.disk.capacity_bytes = world.disk.used_bytes + 4 * 1024 * 1024 + fault.number
        case "eio":
            world.covered.add("C9")
            world.disk.faults.extend([0] * fault.number + [5])
        case "short":
            world.disk.short = True
        case "records":
            world.faults.records += fault.number
        case "unrecorded":
            world.covered.add("C23")
            begin = trio.current_time()
            world.faults.no_records.append((begin, begin + _UNRECORDED_S + fault.seconds))
        case "storage":
            world.covered.add("C17b")
            world.kernel.fill_storage(fault.number)
        case "away":
            world.covered.add("C13")
            world.away_s = fault.seconds
            world.process.die()
        case "audit":
            world.faults.audits += fault.number
            # A log that fails with a decision is asked for nothing more: this one fails after it.
            world.faults.lines_of_jobs += fault.number == 0
        case "bug":
            world.faults.bugs += fault.number
        case "shutdown" | "leave":
            if world.end_server(fault.what):
                world.covered.add("C11")
        case "twice":
            if world.end_server("shutdown"):
                world.kernel.nursery.start_soon(_second_signal, world, world.process, fault.seconds)
        case "revoke":
            world.covered.add("C16")
            owner = _shut_out(world, fault)
            if world.server is not None:
                world.server.revoke(lambda peer, _: peer.certificate.decode() == owner)
        case "expire":  # the server knows when, and looks at its clock
            world.covered.add("C16b")
            _shut_out(world, fault)
        case "reload":
            world.kernel.nursery.start_soon(reload_for_a_while, world, fault)
        case "supervisor":
            world.covered.add("C14")
            world.kernel.supervisor_dies()
            world.end_server("supervisor")


async def _second_signal(world: World, process: Process, after_s: float) -> None:
    """C12: as server._end_on_second_signal does it."""
    await trio.sleep(after_s)
    if not process.alive or process is not world.process or world.manager is None:
        return
    world.say("fault", "a second signal")
    world.covered.add("C12")
    world.manager.leave(leave=False)
    world.everything.cancel()
    with trio.move_on_after(_AT_ONCE_S) as scope:
        await process.dead.wait()
    if scope.cancelled_caught:
        world.fail(f"the server lives {_AT_ONCE_S:g} s after a second signal")


def _shut_out(world: World, fault: Fault) -> str:
    """C16 and C16b: a client's certificate is good for nothing, for so many seconds or until the
    faults end; whose."""
    owner = OWNERS[fault.number % len(OWNERS)]
    world.revoked.add(owner)
    world.kernel.nursery.start_soon(_after_revocation, world, world.process, owner, fault.seconds)
    return owner


async def _after_revocation(world: World, process: Process, owner: str, seconds: float) -> None:
    """Its calls end at once, and nobody lets it in; then it may come again."""
    with trio.move_on_after(max(seconds, _REVOKED_S)):
        await trio.sleep(_REVOKED_S)
        if world.server is not None and process is world.process and owner in world.revoked:
            running = [
                link.running_calls
                for link in world.server._links
                if link.refusal is None and link.peer.certificate.decode() == owner
            ]
            if sum(running):
                world.fail(
                    f"{sum(running)} calls of {owner} run on, whose certificate is good no more"
                )
        await trio.sleep_forever()
    world.revoked.discard(owner)
