"""What a check has found, each with its file and line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..policy.mistakes import FileMistake, located, unlocated


@dataclass(slots=True)
class CheckReport:
    """``mistakes`` are what a start or a reload would refuse, or what would have every start of a
    job refused; ``warnings`` what an operator should know; ``unchecked`` what this user cannot find
    out."""

    mistakes: list[FileMistake] = field(default_factory=list)
    warnings: list[FileMistake] = field(default_factory=list)
    unchecked: list[FileMistake] = field(default_factory=list)

    def add_refusals(self, mistakes: Iterable[FileMistake]) -> None:
        """Adds mistakes, but for those that are there already."""
        self.mistakes += [each for each in mistakes if each not in self.mistakes]


class Findings:
    """Adds to a report what is about one file, in the words ``key: what is wrong; remedy``."""

    def __init__(self, report: CheckReport, path: str, data: bytes) -> None:
        self._report = report
        self._path, self._data = path, data

    def wrong(self, *texts: str) -> None:
        """Adds mistakes of the file. One that stands there already is not added again."""
        self._add(self._report.mistakes, texts)

    def warn(self, *texts: str) -> None:
        """Adds warnings."""
        self._add(self._report.warnings, texts)

    def unchecked(self, *texts: str) -> None:
        """Adds what this user cannot find out."""
        self._add(self._report.unchecked, texts)

    def of_host(self, *texts: str) -> None:
        """Adds mistakes that are not the file's own."""
        self._report.mistakes += map(unlocated, texts)

    def has(self, key: str) -> bool:
        """Is there a mistake of this key?"""
        return any((each.file, each.key) == (self._path, key) for each in self._report.mistakes)

    def _add(self, to: list[FileMistake], texts: Sequence[str]) -> None:
        found = located(self._path, self._data, texts)
        to += [each for each in found if each not in to]
