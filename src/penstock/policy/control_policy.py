"""What a command's policy says of its running jobs: how they are stopped, signals, input (pure)."""

from dataclasses import dataclass
from typing import Any, Final

from .signal_names import parse_signal
from .toml_tables import Table

_TERM: Final = 15


@dataclass(frozen=True, slots=True)
class Control:
    """How a running job may be controlled.

    ``stop_tree``: a stop's first signal goes to every process, not to the main one alone.
    ``signals`` are those that a client may send; None: all. ``stdin``: the job may have input.
    """

    stop_signal: int = _TERM
    stop_tree: bool = False
    signals: frozenset[int] | None = None
    stdin: bool = False

    def fields(self) -> dict[str, object]:
        """As a JSON object, for control_of."""
        return {
            "stop_signal": self.stop_signal,
            "stop_tree": self.stop_tree,
            "signals": None if self.signals is None else sorted(self.signals),
            "stdin": self.stdin,
        }

    def admits(self, number: int) -> bool:
        """May a client send this one?"""
        return self.signals is None or number in self.signals


def control_of(fields: dict[str, Any] | None) -> Control:
    """The Control that ``fields`` was made of.

    None gives the defaults, because a supervisor of an earlier version does not send it.
    """
    if fields is None:
        return Control()
    signals = fields["signals"]
    return Control(**(fields | {"signals": None if signals is None else frozenset(signals)}))


def parse_control(table: Table) -> Control:
    """The keys of a command's table that are about running jobs. Mistakes are recorded."""
    return Control(
        stop_signal=table.parsed(
            "stop_signal", parse_signal, _TERM, remedy='write a signal, such as "TERM" or "INT"'
        ),
        stop_tree=table.choice("stop_to", ("main", "tree"), "main") == "tree",
        signals=_signals(table) if table.has("signals") else None,
        stdin=table.flag("stdin", False),
    )


def _signals(table: Table) -> frozenset[int]:
    numbers = set()
    for text in table.texts("signals"):
        try:
            numbers.add(parse_signal(text))
        except ValueError as error:
            table.wrong("signals", str(error), 'write signals, such as ["HUP", "USR1"]')
    return frozenset(numbers)
