"""The shell: reads lines, runs each as ``penstock`` would, and is left without ending a job."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio
import trio_asyncio

from ...client.first_connection import Connect, Endpoint
from ...concurrency.interrupts import uninterrupted_methods
from ..colours import wants_colours
from ..connection_settings import endpoint_of
from ..descriptors import ERR, OUT, OutputFailed
from ..ending_signals import HUNG_UP, SIGNAL_BASE
from ..error_report import report_error
from ..failures import Exit
from ..flags import Settings
from ..given_signals import GivenSignals
from ..handed_input import NoInput
from ..invocation import Invocation
from ..setting_sources import NAMES, setting_sources
from ..signal_handling import Signals, caught_signals
from ..standard import say
from .above_prompt import AbovePrompt, BesideOutput
from .bottom_bar import bar_text
from .kept_terminal import KeptTerminal, kept_terminal
from .line_completer import KnownAnswers, LineCompleter
from .line_editor import LineCleared, LineEditor, NoMoreLines
from .line_history import LineHistory, history_path
from .line_traits import LEAVING, PROGRAM, flags_of, keeps_line, place_of, takes_terminal
from .line_words import LineRead, LineRefused, read_lines
from .live_view import LiveView
from .plain_prompt import PlainPrompt
from .running_line import RunningLine
from .shared_connection import LinkNews, SharedConnection
from .terminal_input import TerminalInput, TerminalQuestion

LEAVE_S: Final = 4.0
"""How long verbs may take to say what goes on: ``start`` waits 3 s for its handle."""
MOST_BESIDE: Final = 12
"""So many lines run beside: their streams share the connection's window."""
_LAST_LINES_S: Final = 1.0
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
    endpoint = endpoint_of(settings)
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
        self._flags = flags_of(settings)
        self._endpoint = endpoint
        self._where = where
        self._terminal = terminal
        self._signals = signals
        self._leaving = False
        self._news = LinkNews()
        self._front: RunningLine | None = None
        self._beside: dict[int, RunningLine] = {}
        self._last_number = 0
        self._question = TerminalQuestion()
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

    async def run(self) -> None:
        """Reads and runs lines until the shell is left.

        Cancellation: minimum cleanup; C65, C66.
        """
        # Scope K0.shell.
        async with trio.open_nursery() as nursery:
            for task in (self._shared.run, self._view.run, self._show):
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
            if self._front is not None:
                self._front.interrupt(number)
            elif number == signal.SIGINT:
                self._prompt.clear()
        else:
            self._end(SIGNAL_BASE + number)

    def _end(self, code: int) -> None:
        """The shell is left with this exit status."""
        self.code = code
        self._leaving = True
        # Cancels K0.shell_lines.
        self._reading.cancel()

    async def _show(self) -> None:
        try:
            await self._above.run()
        except OutputFailed:
            self._end(HUNG_UP)

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
            return self._run_beside(line.typed, words, nursery)
        code = await self._run_in_front(line.typed, words, nursery)
        if words == ["help"]:
            say(_HELP)
        return code

    def _run_beside(self, typed: str, words: Sequence[str], nursery: trio.Nursery) -> int:
        if len(self._beside) >= MOST_BESIDE:
            return refused(f"{MOST_BESIDE} lines run beside already, which is the most")

        output = self._above.output(lambda: running.front)

        def made(connector: Connect, signals: GivenSignals) -> Invocation:
            return Invocation(
                out=output,
                err=output,
                environment=self._environment(words),
                signals=signals,
                stdin=NoInput(),
                connector=connector,
            )

        self._last_number += 1
        running = self._running(self._last_number, typed, words, made)
        self._beside[running.number] = running
        nursery.start_soon(self._finish_beside, running, output)
        self._redraw()
        return 0

    async def _finish_beside(self, running: RunningLine, output: BesideOutput) -> None:
        await running.run()
        output.end_line()
        del self._beside[running.number]
        self._redraw()

    async def _run_in_front(self, typed: str, words: Sequence[str], nursery: trio.Nursery) -> int:
        made = partial(self._own_terminal, words)
        self._front = running = self._running(0, typed, words, made)
        whole = takes_terminal(words)
        if whole:
            self._above.hold()
        nursery.start_soon(running.run)
        try:
            await running.done.wait()
        finally:
            # Otherwise it is left: ``_leave`` waits for it.
            if running.done.is_set():
                self._front = None
            self._question.give_up()
            self._terminal.restore()
            if whole:
                self._above.release()
        return running.code

    def _own_terminal(
        self, words: Sequence[str], connector: Connect, signals: GivenSignals
    ) -> Invocation:
        return Invocation(
            out=OUT,
            err=ERR,
            environment=self._environment(words),
            signals=signals,
            stdin=TerminalInput(),
            connector=connector,
            ask=self._question.ask,
            terminal=True,
        )

    def _running(
        self,
        number: int,
        typed: str,
        words: Sequence[str],
        made: Callable[[Connect, GivenSignals], Invocation],
    ) -> RunningLine:
        return RunningLine(number, typed, words, self._flags, made, self._shared)

    def _environment(self, words: Sequence[str]) -> dict[str, str]:
        """With the passphrase that was typed as the shell began, for lines that go to its server
        as its client."""
        environment = dict(os.environ)
        names = {name for name, *_ in NAMES} | {"context"}
        if self._endpoint.passphrase is not None and not names & {*place_of(words)}:
            environment.setdefault(
                "PENSTOCK_KEY_PASSPHRASE", os.fsdecode(self._endpoint.passphrase)
            )
        return environment

    async def _leave(self) -> None:
        """Verbs say what goes on, within LEAVE_S, and are left."""
        number = self.code - SIGNAL_BASE if self.code > SIGNAL_BASE else signal.SIGHUP
        under_way = [*self._beside.values(), *([self._front] if self._front else [])]
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
            beside=len(self._beside),
            columns=OUT.columns,
        )


def refused(text: str) -> int:
    """Says that a line is not taken; returns its exit status."""
    report_error(text, Exit.USAGE, code="INVALID_ARGUMENT", reason="USAGE")
    return Exit.USAGE
