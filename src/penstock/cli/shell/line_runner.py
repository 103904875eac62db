"""Lines under way: each run in front, on the terminal itself, or beside, above the prompt."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from ...client.first_connection import Connect, Endpoint
from ..descriptors import ERR, OUT
from ..error_report import report_error
from ..failures import Exit
from ..given_signals import GivenSignals
from ..handed_input import NoInput
from ..invocation import Invocation
from .above_prompt import AbovePrompt, BesideOutput
from .kept_terminal import KeptTerminal
from .line_traits import takes_terminal
from .running_line import RunningLine
from .terminal_input import TerminalInput, TerminalQuestion

MOST_BESIDE: Final = 12
"""So many lines run beside: their streams share the connection's window."""


class LineRunner:
    """``front``: the line in front, None without one. Each line of ``beside`` runs in a nursery of
    the caller's."""

    def __init__(
        self,
        flags: Sequence[str],
        endpoint: Endpoint,
        connecting: Connect,
        above: AbovePrompt,
        terminal: KeptTerminal,
        on_change: Callable[[], None],
    ) -> None:
        """``flags`` stand in front of each line. ``on_change`` is called when another number of
        lines runs beside."""
        self.front: RunningLine | None = None
        self.beside: dict[int, RunningLine] = {}
        self._flags = flags
        self._endpoint = endpoint
        self._connecting = connecting
        self._above = above
        self._terminal = terminal
        self._on_change = on_change
        self._last_number = 0

    @property
    def under_way(self) -> list[RunningLine]:
        """All of them."""
        return [*self.beside.values(), *([self.front] if self.front else [])]

    def run_beside(self, typed: str, words: Sequence[str], nursery: trio.Nursery) -> int:
        """Begins a line beside; returns its exit status so far."""
        if len(self.beside) >= MOST_BESIDE:
            return refused(
                f"{MOST_BESIDE} lines run beside already, which is the most; wait for one to end"
            )

        output = self._above.output(lambda: running.front)

        def made(connector: Connect, signals: GivenSignals) -> Invocation:
            return Invocation(
                out=output,
                err=output,
                environment=os.environ,
                signals=signals,
                stdin=NoInput(),
                connector=connector,
                known_passphrase=self._passphrase_of,
            )

        self._last_number += 1
        running = self._running(self._last_number, typed, words, made)
        self.beside[running.number] = running
        nursery.start_soon(self._finish_beside, running, output)
        self._on_change()
        return 0

    async def _finish_beside(self, running: RunningLine, output: BesideOutput) -> None:
        await running.run()
        output.end_line()
        del self.beside[running.number]
        self._on_change()

    async def run_in_front(self, typed: str, words: Sequence[str], nursery: trio.Nursery) -> int:
        """Runs a line on the terminal to its end; returns its exit status. Cancelled: it goes on.

        Cancellation: minimum cleanup; C65.
        """
        question = TerminalQuestion()
        made = partial(self._own_terminal, question)
        self.front = running = self._running(0, typed, words, made)
        whole = takes_terminal(words)
        if whole:
            self._above.hold()
        nursery.start_soon(running.run)
        try:
            await running.done.wait()
        finally:
            # Otherwise it is left, and who leaves it waits for it.
            if running.done.is_set():
                self.front = None
            question.give_up()
            self._terminal.restore()
            if whole:
                self._above.release()
        return running.code

    def _own_terminal(
        self,
        question: TerminalQuestion,
        connector: Connect,
        signals: GivenSignals,
    ) -> Invocation:
        return Invocation(
            out=OUT,
            err=ERR,
            environment=os.environ,
            signals=signals,
            stdin=TerminalInput(),
            connector=connector,
            ask=question.ask,
            known_passphrase=self._passphrase_of,
            terminal=True,
        )

    def _running(
        self,
        number: int,
        typed: str,
        words: Sequence[str],
        made: Callable[[Connect, GivenSignals], Invocation],
    ) -> RunningLine:
        return RunningLine(number, typed, words, self._flags, made, self._connecting)

    def _passphrase_of(self, key: Path) -> bytes | None:
        """What the shell has opened its own key with as it began, whatever line uses that. Not by
        the environment, because a line could send that to its job."""
        return self._endpoint.passphrase if key == self._endpoint.key else None


def refused(text: str) -> int:
    """Says that a line is not taken; returns its exit status."""
    report_error(text, Exit.USAGE, code="INVALID_ARGUMENT", reason="USAGE")
    return Exit.USAGE
