"""The prompt: prompt_toolkit, an asyncio library, as a part of the Trio program.

Its reply to the terminal is drawn by itself; what comes meanwhile is put above it by ``above``.
Cursor position requests are off, because not every terminal answers them, and an answer that comes
late would be taken for keys. Only public names of prompt_toolkit are used, which a test watches.
"""

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal, run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from trio_asyncio import aio_as_trio, trio_as_aio

from ..descriptors import OUT
from ..writing import write
from .line_history import LineHistory

PROMPT: Final = "> "


class LineCleared(Exception):
    """^C was pressed while a line was typed."""


class NoMoreLines(Exception):
    """^D was pressed on an empty line, or the terminal is gone."""


class LineEditor:
    """One prompt after the other; what is typed comes from ``ask``."""

    def __init__(
        self,
        history: LineHistory,
        completer: Completer,
        bar: Callable[[], str],
        restore: Callable[[], None],
        *,
        colours: bool,
    ) -> None:
        """``bar``: the text of the line below the prompt, now. ``restore`` makes the terminal as it
        was before the shell."""
        self._history = history
        self._history_read = False
        self._restore = restore
        self._asking = False
        self._begun = self._over = trio.Event()
        self._beside_prompt = trio.Lock()
        """Held by what writes where no prompt is."""
        self._input = _Input()
        self._session = PromptSession[str](
            PROMPT,
            history=history,
            completer=completer,
            complete_while_typing=False,
            bottom_toolbar=lambda: [("", bar())],
            color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
            key_bindings=self._keys(),
            input=self._input,
            output=_Output(sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False),
            interrupt_exception=LineCleared,
            eof_exception=NoMoreLines,
        )
        # The kernel tells when it has changed.
        self._session.app.terminal_size_polling_interval = None

    async def ask(self) -> str:
        """What is typed at the next prompt: a line, or several that were pasted. Raises LineCleared
        and NoMoreLines. Cancelled: the terminal is as it was before, and what was typed is gone.

        Cancellation: minimum cleanup; C65.
        """
        if not self._history_read:
            self._history_read = True
            await self._history.read()
        typed = await self._ask()
        await self._history.write()
        return typed

    async def _ask(self) -> str:
        self._asking, self._begun, self._over = True, trio.Event(), trio.Event()
        try:
            async with self._beside_prompt:
                pass  # otherwise its last lines would come behind the prompt
            typed: str = await aio_as_trio(self._session.prompt_async)(
                pre_run=self._begin,
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
            self._begun.set()
            self._over.set()
            OUT.place.line_open = False  # what it draws ends with a line end

    def _begin(self) -> None:
        """The prompt begins. Keys wait until it has the older lines, as Up may be one of them."""
        app = self._session.app
        self._input.hold()

        async def take_keys() -> None:
            app.key_processor.feed_multiple(self._input.release())
            app.key_processor.process_keys()

        # Two tasks of asyncio, whose first steps come in this order; that of loading is its last.
        self._session.default_buffer.load_history_if_not_yet_loaded()
        app.create_background_task(take_keys())
        self._begun.set()

    async def above(self, data: bytes) -> None:
        """Writes whole lines above the prompt, or where the cursor is if there is none. Raises
        OutputFailed.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        while self._asking:
            await self._begun.wait()
            if await aio_as_trio(self._put_above)(data):
                return
            await self._over.wait()
        async with self._beside_prompt:
            await write(OUT, OUT.place.end_line().encode() + data)

    async def _put_above(self, data: bytes) -> bool:
        """Of asyncio. Whether it was written: not if the line is accepted by now."""
        app = self._session.app
        if app.is_done or not app.is_running:
            return False
        async with in_terminal():  # keys wait in the kernel until the prompt is drawn again
            await trio_as_aio(write)(OUT, data)
        return True

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-z")
        def _suspend(event: KeyPressEvent) -> None:  # noqa: ARG001  prompt_toolkit's
            run_in_terminal(self._stop)

        @keys.add("c-@")
        def _nothing(event: KeyPressEvent) -> None:
            """A ^D that was typed while a verb ran is this key: it would begin a selection."""

        return keys

    def _stop(self) -> None:
        """^Z: not prompt_toolkit's own, which leaves the terminal without its flow control."""
        prompts = termios.tcgetattr(0)
        self._restore()
        os.kill(0, signal.SIGTSTP)  # the whole group, as the terminal's own ^Z
        # Here it runs on, after fg.
        with contextlib.suppress(termios.error):  # it was closed meanwhile
            termios.tcsetattr(0, termios.TCSANOW, prompts)

    def resumed(self) -> None:
        """The shell goes on after it was stopped, from elsewhere (kill -STOP), so that whoever had
        the terminal meanwhile has made its mode the usual one, and has written there."""
        app = self._session.app
        with contextlib.suppress(termios.error):  # it was closed meanwhile
            usual = termios.tcgetattr(0)[3] & termios.ICANON
            if usual and app.is_running and not app.is_done:
                self._input.raw_mode().__enter__()  # left where the prompt leaves its own
                app.renderer.reset()
                app.invalidate()

    def clear(self) -> None:
        """As ^C, for a signal that comes from elsewhere."""
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit(exception=LineCleared())

    def redraw(self) -> None:
        """The bar's text has changed."""
        if self._asking:
            self._session.app.invalidate()


class _Input(Vt100Input):
    """The keyboard. While lines are put above the prompt its mode stays, because in the usual one
    keys that come meanwhile would be echoed, and be signals."""

    def __init__(self) -> None:
        super().__init__(sys.stdin)
        self._held: list[KeyPress] | None = None

    def cooked_mode(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hold(self) -> None:
        """Keeps keys back until ``release``, also those that the prompt before has left over."""
        self._held = [*(self._held or ()), *get_typeahead(self)]

    def release(self) -> list[KeyPress]:
        """What was kept back."""
        held, self._held = self._held or [], None
        return held

    def read_keys(self) -> list[KeyPress]:
        return self._unless_held(super().read_keys())

    def flush_keys(self) -> list[KeyPress]:
        return self._unless_held(super().flush_keys())

    def _unless_held(self, keys: list[KeyPress]) -> list[KeyPress]:
        if self._held is None:
            return keys
        self._held += keys
        return []


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
