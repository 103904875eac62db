"""Control files that penstock has written, with what the kernel said then: to be compared later.

Root can write them, too, and other programs do: a limit is held only as long as its file says what
it said after it was set. Some kernels round what is written, so what counts is the text that was
read back, not the one that was written.
"""

import contextlib
import os
from dataclasses import dataclass
from typing import Final

from ...policy.limit_classes import LimitName
from .group_files import GroupError, read, write

_GONE: Final = ""
_MOST_FOUND: Final = 100  # of a text that anybody may have written


@dataclass(frozen=True, slots=True)
class ControlFile:
    """``value`` is what was written. Of a file with a line for each disk, ``value`` begins with
    the disk's number, and ``held`` is of its line alone: what it says of the keys in ``value``."""

    limit: LimitName
    path: str
    value: str
    held: str
    keyed: bool = False

    def now(self) -> str:
        """What it says; "" where it cannot be read, or has no line of that disk."""
        try:
            return _said(read(self.path), self.value if self.keyed else None)
        except GroupError:
            return _GONE


class ControlFiles:
    """Of one group, in the order in which they were written."""

    def __init__(self) -> None:
        self._files: list[ControlFile] = []

    def note(
        self, limit: LimitName, path: str, value: str, said: str, *, keyed: bool = False
    ) -> str:
        """``value`` was written, and the file then said this, which is given back."""
        held = _said(said, value if keyed else None)
        self._files.append(ControlFile(limit, path, value, held, keyed))
        return said

    def forget(self) -> None:
        """They are being written anew."""
        self._files.clear()

    def limits_in(self, directory: str) -> list[LimitName]:
        """Those that files there hold, each once."""
        return list(
            dict.fromkeys(
                file.limit for file in self._files if os.path.dirname(file.path) == directory
            )
        )

    def changed(self) -> list[tuple[ControlFile, str]]:
        """Those that say something else by now, and what. Reads each once."""
        found = [(file, file.now()) for file in self._files]
        return [(file, now[:_MOST_FOUND]) for file, now in found if now != file.held]

    def put_back(self) -> None:
        """Writes those that have changed, whatever becomes of each: who looks again sees it. May
        take long: memory that is used is taken back while the kernel is writing."""
        for file, _ in self.changed():
            with contextlib.suppress(GroupError):
                write(file.path, file.value)


def _said(text: str, keyed: str | None) -> str:
    """``keyed`` is what was written: "8:0 1048576", or of v2 "8:0 rbps=1048576"."""
    if keyed is None:
        return text
    device, *wanted = keyed.split()
    for line in text.splitlines():
        number, *values = line.split()
        if number != device:
            continue
        if "=" not in keyed:
            return " ".join(values)
        names = [each.partition("=")[0] for each in wanted]
        found = dict(each.partition("=")[::2] for each in values)
        return " ".join(f"{name}={found.get(name, _GONE)}" for name in names)
    return _GONE
