"""top: what one's jobs use, live on a terminal, once in a pipe.

Which jobs there are is pushed by Watch. What they use is asked for by Status, of those that are
seen in each round and of the others in turn, so that a client with a thousand jobs costs the server
no more than one with a screenful.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from ..client.client import Client
from ..client.repeated_calls import ask
from ..client.resumption import HEARTBEAT_S
from ..rpc.call_errors import ConnectionLost, RpcError, StatusCode
from .colours import only_prints, wants_colours
from .connecting import asked, connector, endpoint_for
from .descriptors import OutputFailed
from .ending_signals import HUNG_UP
from .exits import message
from .failures import Exit, fail
from .flags import Settings
from .full_screen import FullScreen, full_screen
from .invocation import current
from .job_figures import FiguresTable, JobFigures
from .printing import say_json
from .signal_handling import beside, caught_signals, detaches, hangs_up
from .standard import say
from .top_screen import plain_table, rows_that_fit, screen

MOST_ASKED: Final = 60
"""So many jobs are asked for in a round."""
_AT_ONCE: Final = 8
# Changes that come faster are drawn together.
_LEAST_PAUSE_S: Final = 0.1
_SNAPSHOT_S: Final = 1.0
_SORT_KEYS: Final = {
    "c": "cpu",
    "m": "memory",
    "i": "io",
    "o": "output",
    "t": "throttled",
    "s": "started",
}


async def top(settings: Settings, sort: str, interval: float, reconnect: float) -> int:
    """Returns the exit status, 0 after q.

    Cancellation: minimum cleanup; C22, C63.
    """
    draws = current().out.terminal and not only_prints(current().environment)
    if settings.json or not (current().terminal and draws):
        await _snapshot(settings, sort)
        return 0
    # Before the screen is taken, because it may ask for a passphrase.
    endpoint = await endpoint_for(settings)
    live = _LiveTop(f"{endpoint.host}:{endpoint.port}", sort, interval)
    # Not Connecting, which reports on standard error, where the screen is.
    connecting = partial(connector(), connect_timeout_s=settings.connect_timeout_s)
    async with caught_signals() as signals:
        # Scope K0.top.
        with trio.CancelScope() as scope:
            # Cancels K0.top.
            leave = signals.react = scope.cancel
            try:
                async with (
                    full_screen(live.redraw) as live.terminal,
                    beside(live.draw_on),
                    beside(live.take_keys, leave),
                ):
                    await ask(
                        endpoint,
                        live.follow,
                        repeatable=True,
                        give_up_s=reconnect,
                        connecting=connecting,
                        on_lost=live.lost,
                    )
            except OutputFailed as error:
                code = HUNG_UP if error.hung_up and hangs_up() else Exit.FAILURE
                fail(f"Error: {error}", code)
    return signals.exit_code


class _LiveTop:
    """What is shown, and the tasks that keep it so."""

    terminal: FullScreen

    def __init__(self, server: str, sort: str, interval_s: float) -> None:
        self._figures = FiguresTable()
        self._sort = sort
        self._reverse = False
        self._first = 0
        self._interval_s = interval_s
        self._note = "Connecting"
        self._server = server
        self._changed = trio.Event()
        self._colours = wants_colours(terminal=current().out.terminal)

    def redraw(self) -> None:
        """Something that is shown has changed."""
        self._changed.set()

    def lost(self, error: RpcError) -> None:
        """The connection was lost; what is shown stays, and says so."""
        self._note = f"Connection lost ({message(error)})"
        self.redraw()

    async def follow(self, client: Client) -> None:
        """One connection's worth: changes as they come, figures in rounds. Never returns.

        Cancellation: minimum cleanup; C63.
        """
        async with client.watch(heartbeat_s=HEARTBEAT_S) as changes:
            await anext(changes)  # where it begins: nothing behind that is missed by the list
            self._figures.replace(await client.jobs())
            self._note = ""
            self.redraw()
            async with beside(self._ask_in_rounds, client):
                async for change in changes:
                    if change.resync:
                        self._figures.replace(await client.jobs())
                    elif change.handle:
                        self._figures.apply(change)
                    if not change.heartbeat:
                        self.redraw()
        raise ConnectionLost("the server has ended the watch")

    async def _ask_in_rounds(self, client: Client) -> None:
        while True:
            begun = trio.current_time()
            chosen = self._figures.to_ask(self._visible(), MOST_ASKED)
            try:
                await _ask(client, self._figures, chosen)
                self._note = ""
            except RpcError as error:  # of a lost connection ``follow`` hears, too
                self._note = message(error)
            self.redraw()
            await trio.sleep_until(begun + self._interval_s)

    def _visible(self) -> list[JobFigures]:
        rows = rows_that_fit(self.terminal.size[1])
        ordered = self._figures.ordered(self._sort, reverse=self._reverse)
        self._first = max(0, min(self._first, len(ordered) - rows))
        return ordered[self._first : self._first + rows]

    async def draw_on(self) -> None:
        """Draws whenever something has changed, but not more often than eyes follow.

        Cancellation: minimum cleanup.
        """
        while True:
            columns, lines = self.terminal.size
            drawn = screen(
                self._figures,
                self._visible(),
                server=self._server,
                note=self._note,
                sort=self._sort,
                columns=columns,
                lines=lines,
                now_ns=time.time_ns(),
                colours=self._colours,
            )
            await self.terminal.draw(drawn)
            await trio.sleep(_LEAST_PAUSE_S)
            await self._changed.wait()
            self._changed = trio.Event()

    async def take_keys(self, leave: Callable[[], None]) -> None:
        """Does what is pressed; calls ``leave`` at q. Never returns.

        Cancellation: minimum cleanup.
        """
        while True:
            for key in await self.terminal.keys():
                page = rows_that_fit(self.terminal.size[1])
                steps = {"up": -1, "down": 1, "page up": -page, "page down": page}
                if key == "q":
                    leave()
                elif key == "r":
                    self._reverse = not self._reverse
                elif key in _SORT_KEYS:
                    self._sort = _SORT_KEYS[key]
                    self._first = 0
                else:
                    self._first += steps.get(key, 0)
            self.redraw()


async def _ask(client: Client, figures: FiguresTable, jobs: Sequence[JobFigures]) -> None:
    """Asks what these jobs use, some at once. Raises the first error, and then asks no more."""
    waiting = list(reversed(jobs))
    errors: list[RpcError] = []

    async def ask_on() -> None:
        while waiting:
            each = waiting.pop()
            each.asked_at = trio.current_time()
            try:
                each.sample(await client.status(each.job.handle))
            except RpcError as error:
                if error.code is StatusCode.NOT_FOUND:
                    figures.remove(each.job.handle)
                else:
                    waiting.clear()
                    errors.append(error)

    # Scope K0.asking.
    async with trio.open_nursery() as nursery:
        for _ in range(min(_AT_ONCE, len(waiting))):
            nursery.start_soon(ask_on)
    if errors:
        raise errors[0]


@detaches("nothing was changed; ask again with: penstock top")
async def _snapshot(settings: Settings, sort: str) -> None:
    """Prints what all jobs use now, as a table or as JSON."""

    async def look(client: Client) -> list[JobFigures]:
        figures = FiguresTable()
        figures.replace(await client.jobs())
        await _ask(client, figures, figures.ordered(sort))
        if len(figures):
            await trio.sleep(_SNAPSHOT_S)  # because rates need two samples
        await _ask(client, figures, figures.ordered(sort))
        return figures.ordered(sort)

    found = await asked(settings, look)
    if settings.json:
        for each in found:
            if each.answer is not None:
                say_json(each.answer)
    else:
        for line in plain_table(found, time.time_ns()):
            say(line)
