"""The prompt: prompt_toolkit, an asyncio library, as a part of the Trio program.

Its reply to the terminal is drawn by itself; what comes meanwhile is put above it by ``above``.
Cursor position requests are off, because not every terminal answers them, and an answer that comes
late would be taken for keys.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import History
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from trio_asyncio import aio_as_trio, trio_as_aio

from ..descriptors import OUT
from ..writing import write

PROMPT: Final = "> "


class LineCleared(Exception):
    """^C was pressed while a line was typed."""


class NoMoreLines(Exception):
    """^D was pressed on an empty line, or the terminal is gone."""


class LineEditor:
    """One prompt after the other; what is typed comes from ``ask``."""

    def __init__(
        self,
        history: History,
        completer: Completer,
        bar: Callable[[], str],
        restore: Callable[[], None],
        *,
        colours: bool,
    ) -> None:
        """``bar``: the text of the line below the prompt, now. ``restore`` makes the terminal as it
        was before the shell."""
        self._restore = restore
        self._asking = False
        self._over = trio.Event()
        self._session = PromptSession[str](
            PROMPT,
            history=history,
            completer=completer,
            complete_while_typing=False,
            bottom_toolbar=lambda: [("", bar())],
            color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
            key_bindings=self._keys(),
            input=Vt100Input(sys.stdin),
            output=_Output(sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False),
            interrupt_exception=LineCleared,
            eof_exception=NoMoreLines,
        )

    async def ask(self) -> str:
        """What is typed at the next prompt: a line, or several that were pasted. Raises LineCleared
        and NoMoreLines. Cancelled: the terminal is as it was before, and what was typed is gone.

        Cancellation: minimum cleanup; C65.
        """
        self._asking, self._over = True, trio.Event()
        try:
            typed: str = await aio_as_trio(self._session.prompt_async)(
                # Its handler would wait for a key, and ^C is not its signal but ours.
                set_exception_handler=False,
                handle_sigint=False,
            )
        except EOFError:
            raise NoMoreLines from None
        else:
            return typed
        finally:
            self._asking = False
            self._over.set()
            OUT.place.line_open = False  # what it draws ends with a line end

    async def above(self, data: bytes) -> None:
        """Writes whole lines above the prompt, or where the cursor is if there is none. Raises
        OutputFailed.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        while self._asking:
            if self._session.app.is_running and not self._session.app.is_done:
                if await aio_as_trio(self._put_above)(data):
                    return
            elif self._session.app.is_done:
                await self._over.wait()
            else:
                await trio.lowlevel.checkpoint()  # the prompt is about to be drawn
        await write(OUT, OUT.place.end_line().encode() + data)

    async def _put_above(self, data: bytes) -> bool:
        """Of asyncio. Whether it was written: not if the line was accepted in between.

        As prompt_toolkit's ``in_terminal``, but without its cooked mode, in which keys that come
        meanwhile would be echoed, and be signals.
        """
        app = self._session.app
        before = app._running_in_terminal_f
        done = app._running_in_terminal_f = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await before
            if app.is_done or not app.is_running:
                return False
            app.renderer.erase()
            app._running_in_terminal = True
            try:
                # Keys wait in the kernel until the prompt is drawn again.
                with app.input.detach():
                    await trio_as_aio(write)(OUT, data)
            finally:
                app._running_in_terminal = False
                app.renderer.reset()
                app._redraw()
        finally:
            if not done.done():
                done.set_result(None)
        return True

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-z")
        def _suspend(event: KeyPressEvent) -> None:  # noqa: ARG001  prompt_toolkit's
            run_in_terminal(self._stop)

        return keys

    def _stop(self) -> None:
        """^Z: not prompt_toolkit's own, which leaves the terminal without its flow control."""
        self._restore()
        os.kill(0, signal.SIGTSTP)  # the whole group, as the terminal's own ^Z

    def clear(self) -> None:
        """As ^C, for a signal that comes from elsewhere."""
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit(exception=LineCleared())

    def redraw(self) -> None:
        """The bar's text has changed."""
        if self._asking:
            self._session.app.invalidate()


class _Output(Vt100_Output):
    """The terminal. How many rows are below the cursor is not known; one is enough to draw with,
    and the rest is scrolled up."""

    def get_rows_below_cursor_position(self) -> int:
        return 1


def _size() -> Size:
    with contextlib.suppress(OSError):
        columns, lines = os.get_terminal_size(OUT.fd)
        if columns and lines:
            return Size(rows=lines, columns=columns)
    return Size(rows=24, columns=80)
