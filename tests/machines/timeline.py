"""What happened, for people: virtual time, who, what; and how to see it again."""

from dataclasses import dataclass, field

import trio

from .programs import Program
from .schedule import Schedule


@dataclass
class Timeline:
    """``lines`` in order."""

    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def say(self, who: str, what: str) -> None:
        """No checkpoint; also before and after a run."""
        try:
            now = trio.current_time()
        except RuntimeError:
            now = self.lines[-1][0] if self.lines else 0.0
        self.lines.append((now, who, what))

    def last(self, *who: str) -> float:
        """When one of them did something for the last time."""
        return max((at for at, each, _ in self.lines if each in who), default=-float("inf"))

    def text(self) -> str:
        """One line an event: seconds, who, what."""
        return "\n".join(f"{at:10.3f}  {who:<10} {what}" for at, who, what in self.lines)


class Broken(AssertionError):
    """An invariant does not hold. The text has the program, the command that plays it again, and
    the timeline."""

    def __init__(
        self,
        wrong: list[str],
        program: Program,
        schedule: Schedule,
        timeline: Timeline,
        seed: str = "",
    ) -> None:
        self.wrong = wrong
        self.program = program
        self.schedule = schedule
        self.timeline = timeline
        self.seed = seed
        super().__init__(self.text())

    def text(self) -> str:
        """All of it."""
        value = f"({self.program!r}, {self.schedule!r})"
        seed = f"seed: {self.seed}\n" if self.seed else ""
        return (
            "\n".join(["broken:", *(f"  {each}" for each in self.wrong)])
            + f"\n{seed}program and schedule:\n  {value}\n"
            + f'again: python tests/machines/replay.py "{value}"\n'
            + f"timeline (virtual seconds):\n{self.timeline.text()}\n"
        )
