"""The shell: reads lines, runs each as ``penstock`` would, and is left without ending a job."""

import os
import signal
from typing import Final

import trio
import trio_asyncio

from ...client.first_connection import Endpoint
from ...client.identity import load_identity
from ...concurrency.interrupts import uninterrupted_methods
from ..colours import wants_colours
from ..connection_settings import endpoint_of
from ..descriptors import OUT, OutputFailed
from ..ending_signals import HUNG_UP, SIGNAL_BASE
from ..flags import Settings, SettingsError
from ..setting_sources import setting_sources
from ..signal_handling import Signals, caught_signals
from ..standard import say
from .above_prompt import AbovePrompt
from .bottom_bar import bar_text
from .history_file import history_path
from .kept_terminal import KeptTerminal, kept_terminal
from .line_completer import KnownAnswers, LineCompleter
from .line_editor import LineCleared, LineEditor, NoMoreLines
from .line_history import LineHistory
from .line_runner import LineRunner, refused
from .line_traits import LEAVING, PROGRAM, flags_of, keeps_line
from .line_words import LineRead, LineRefused, read_lines
from .live_view import LiveView
from .plain_prompt import PlainPrompt
from .shared_connection import LinkNews, SharedConnection

LEAVE_S: Final = 4.0
"""How long verbs may take to say what goes on: ``start`` waits 3 s for its handle."""
_LAST_LINES_S: Final = 1.0
GIVEN_UP_S: Final = 8.0
"""When a terminal that takes nothing is waited for no longer: more than both of these."""
_DUMB: Final = frozenset(("", "dumb", "unknown"))
_HELP: Final = f"""
In this shell each line is a command line of {PROGRAM}, whose name may be left out.
  LINE &        runs it beside; its lines come with its job's handle in front
  Tab           completes verbs, options, granted commands and jobs
  ^C            ends what runs in front, as of {PROGRAM} in your own shell; clears the line
  ^D, exit      leaves; jobs run on"""


async def interactive(settings: Settings) -> int:
    """Runs the shell until the user leaves it or a signal ends it; returns the exit status.

    Cancellation: minimum cleanup; C65, C66.
    """
    sources = setting_sources(settings)
    try:
        endpoint = endpoint_of(settings)
    except SettingsError as error:
        # Who types the name alone may want to see what there is.
        raise SettingsError(f"{error}; all commands: {PROGRAM} --help") from error
    if endpoint.passphrase is not None:
        # It is asked for once: a shell with a wrong one would try to connect for good.
        load_identity(endpoint.ca, endpoint.certificate, endpoint.key, endpoint.passphrase)
    where = sources.context or f"{endpoint.host}:{endpoint.port}"
    async with trio_asyncio.open_loop(), caught_signals() as signals:
        plain = os.environ.get("TERM", "") in _DUMB
        with kept_terminal(plain=plain) as terminal:
            shell = Shell(settings, endpoint, where, terminal, signals, plain=plain)
            signals.react = shell.on_signal
            await shell.run()
    return shell.code


@uninterrupted_methods
class Shell:
    """``code``: the exit status, once ``run`` has returned."""

    def __init__(
        self,
        settings: Settings,
        endpoint: Endpoint,
        where: str,
        terminal: KeptTerminal,
        signals: Signals,
        *,
        plain: bool,
    ) -> None:
        """``where``: what the bar names the server by."""
        self.code = 0
        self._where = where
        self._terminal = terminal
        self._signals = signals
        self._leaving = False
        self._news = LinkNews()
        # Scope K0.shell_lines.
        self._reading = trio.CancelScope()
        # Scope K0.shell_leaving.
        self._waiting = trio.CancelScope()
        self._shared = SharedConnection(endpoint, self._link_changed)
        self._view = LiveView(self._shared, endpoint, self._redraw)
        self._prompt: LineEditor | PlainPrompt
        if plain:
            self._prompt = PlainPrompt()
        else:
            self._prompt = LineEditor(
                LineHistory(history_path(os.environ), keeps_line),
                LineCompleter(KnownAnswers(self._shared, endpoint)),
                self._bar,
                terminal.restore,
                colours=wants_colours(terminal=True),
            )
        self._above = AbovePrompt(self._prompt.above, lambda: OUT.columns)
        self._lines = LineRunner(
            flags_of(settings), endpoint, self._shared, self._above, terminal, self._redraw
        )

    async def run(self) -> None:
        """Reads and runs lines until the shell is left.

        Cancellation: minimum cleanup; C65, C66.
        """
        # Scope K0.shell.
        async with trio.open_nursery() as nursery:
            for task in (self._shared.run, self._view.run, self._show, self._resume):
                nursery.start_soon(task)
            with self._reading:
                await self._read_lines(nursery)
            await self._leave()
            # Cancels K0.shell.
            nursery.cancel_scope.cancel()

    def on_signal(self) -> None:
        """A signal has come. ^C is the verb's in front, or clears the line; one that ends programs
        leaves the shell, and a further one waits for nothing more."""
        number = self._signals.number
        if self._leaving:
            # Cancels K0.shell_leaving.
            self._waiting.cancel()
        elif number in (signal.SIGINT, signal.SIGQUIT):
            if self._lines.front is not None:
                self._lines.front.interrupt(number)
            elif number == signal.SIGINT:
                self._prompt.clear()
        else:
            self._end(SIGNAL_BASE + number)

    def _end(self, code: int) -> None:
        """The shell is left with this exit status, unless it has one already."""
        self.code = self.code or code
        self._leaving = True
        self._terminal.leave_within(GIVEN_UP_S, self.code)
        # Cancels K0.shell_lines.
        self._reading.cancel()

    async def _show(self) -> None:
        try:
            await self._above.run()
        except OutputFailed:
            self._end(HUNG_UP)

    async def _resume(self) -> None:
        with trio.open_signal_receiver(signal.SIGCONT) as coming:
            async for _ in coming:
                self._prompt.resumed()

    async def _read_lines(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                typed = await self._prompt.ask()
            except LineCleared:
                continue
            except NoMoreLines:
                self._leaving = True
                if self._terminal.gone:
                    self.code = HUNG_UP
                return
            for line in read_lines(typed):
                code = await self._take(line, nursery)
                if self._leaving:
                    return
                if code == SIGNAL_BASE + signal.SIGINT:
                    break  # the user wants none of the lines behind it either
            if OUT.failure is not None:
                self._end(HUNG_UP)

    async def _take(self, line: LineRead, nursery: trio.Nursery) -> int:
        """Runs one line; returns its exit status, 0 of one that runs beside."""
        try:
            words = line.texts
        except LineRefused as error:
            return refused(str(error))
        if words[:1] == [PROGRAM]:
            del words[0]
        if not words:
            return 0
        if words[0] in LEAVING and len(words) == 1:
            self._leaving = True
            return 0
        if line.beside:
            return self._lines.run_beside(line.typed, words, nursery)
        code = await self._lines.run_in_front(line.typed, words, nursery)
        if words == ["help"]:
            say(_HELP)
        return code

    async def _leave(self) -> None:
        """Verbs say what goes on, within LEAVE_S, and are left."""
        number = self.code - SIGNAL_BASE if self.code > SIGNAL_BASE else signal.SIGHUP
        under_way = self._lines.under_way
        for running in under_way:
            running.leave(number)
        with self._waiting:
            # Scope K0.shell_left.
            with trio.move_on_after(LEAVE_S):
                for running in under_way:
                    await running.done.wait()
        for running in under_way:
            if not running.done.is_set():
                running.abandon()
        for running in under_way:
            await running.done.wait()
            if running.abandoned:
                self._above.notice(running.left_text)
        # Scope K0.shell_last.
        with trio.move_on_after(_LAST_LINES_S):
            try:
                await self._above.show_rest()
            except OutputFailed:
                self.code = self.code or HUNG_UP

    def _link_changed(self) -> None:
        if text := self._news.of(self._shared.state, self._shared.failure):
            self._above.notice(text)
        self._redraw()

    def _redraw(self) -> None:
        self._prompt.redraw()

    def _bar(self) -> str:
        return bar_text(
            client_id=self._view.client_id,
            where=self._where,
            connection=self._shared.state.value,
            running=self._view.running,
            beside=len(self._lines.beside),
            columns=OUT.columns,
        )
