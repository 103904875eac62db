"""What ends a server: a signal, a second one, and the loss of its supervisor.

Each cancels S0 (main.py), around everything that the server does but the jobs, which the manager
outside of it stops or leaves to the next server.
"""

import logging
import signal
from collections.abc import AsyncIterator

import trio

from ..jobs.backends.local import LocalBackend
from ..jobs.manager import Manager
from ..rpc.grpc_server import Server
from .generation import InForce

log = logging.getLogger("penstock.server")


async def drain_on_signal(
    server: Server,
    manager: Manager,
    in_force: InForce,
    everything: trio.CancelScope,
    signals: AsyncIterator[int],
) -> None:
    """Waits for the first of ``signals``, drains the server and ends ``everything``.

    Cancellation: minimum cleanup; C11, C31.
    """
    async for number in signals:
        drain_s = in_force.current.config.drain_s
        log.info("%s: draining for at most %g s", signal.Signals(number).name, drain_s)
        if number == signal.SIGUSR2:
            manager.leave()
        break
    # Scope S0.drain.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_second_signal, manager, signals, everything)
        await server.drain(in_force.current.config.drain_s)
        # Cancels S0.
        everything.cancel()


async def _end_on_second_signal(
    manager: Manager, signals: AsyncIterator[int], everything: trio.CancelScope
) -> None:
    async for number in signals:
        if number == signal.SIGUSR2:
            continue  # draining already: the first signal decided about the jobs
        log.info("second signal: ending at once")
        manager.leave(leave=False)  # an operator who ends penstockd ends its jobs
        # Cancels S0.
        everything.cancel()
        return


async def end_with_supervisor(backend: LocalBackend, everything: trio.CancelScope) -> None:
    """Waits for the end of the supervisor's connection and ends ``everything`` then.

    Cancellation: minimum cleanup; C14.
    """
    await backend.wait_closed()
    log.error("%s; its jobs are recorded as lost", backend.lost)
    # Cancels S0.
    everything.cancel()
