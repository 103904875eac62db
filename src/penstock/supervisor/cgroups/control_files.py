"""Control files that penstock has written, with the text that was read back, to compare later.

Other programs with root's rights can write them too, so a limit holds only as long as its file has
the text that it had after it was set. Later looks compare with the text that was read back, not
with the one that was written, because some kernels round it.
"""

import contextlib
import os
from dataclasses import dataclass
from typing import Final

from ...policy.limit_classes import LimitName
from .group_files import GroupError, read, write

_GONE: Final = ""
_MOST_FOUND: Final = 100  # characters shown of a text that another program may have written


@dataclass(frozen=True, slots=True)
class ControlFile:
    """One limit in a file. ``value`` was written to it, and ``held`` was read back.

    In a file with a line for each disk ``value`` begins with the disk's number. ``held`` is then
    what that line has for the keys in ``value``, because other lines are not penstock's.
    """

    limit: LimitName
    path: str
    value: str
    held: str
    keyed: bool = False

    def now(self) -> str:
        """The text now, as ``held``; "" where it cannot be read, or has no line for that disk."""
        try:
            return _said(read(self.path), self.value if self.keyed else None)
        except GroupError:
            return _GONE


class ControlFiles:
    """The limits' files of one group, in the order in which they were written."""

    def __init__(self) -> None:
        self._files: list[ControlFile] = []

    def note(
        self, limit: LimitName, path: str, value: str, said: str, *, keyed: bool = False
    ) -> str:
        """Remembers that ``value`` was written and what was read back, and returns the latter."""
        held = _said(said, value if keyed else None)
        self._files.append(ControlFile(limit, path, value, held, keyed))
        return said

    def forget(self) -> None:
        """Forgets all files, because the caller sets every limit again."""
        self._files.clear()

    def limits_in(self, directory: str) -> list[LimitName]:
        """The limits that files in this directory hold, each once."""
        return list(
            dict.fromkeys(
                file.limit for file in self._files if os.path.dirname(file.path) == directory
            )
        )

    def changed(self) -> list[tuple[ControlFile, str]]:
        """The files whose text has changed, each with its text now. Reads each file once."""
        found = [(file, file.now()) for file in self._files]
        return [(file, now[:_MOST_FOUND]) for file, now in found if now != file.held]

    def put_back(self) -> None:
        """Writes the files that have changed. Errors are ignored, because the next look finds them.

        May take seconds, because the kernel takes back used memory during the write.
        """
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
