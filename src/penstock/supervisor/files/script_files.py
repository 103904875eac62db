"""Scripts that a granted interpreter or wrapper runs, by identity.

The interpreter opens a script by its name, so only root may decide what the name means. A script
that has changed since the policy was read is written into the audit log before it runs, as for the
program itself.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...policy import programs
from ...policy.policy_file import Command
from ...policy.slots import LiteralSlot
from ...policy.toml_tables import dotted
from .executables import ExecutableError, file_mistakes, identity_of, way_mistakes

_RUN_OTHERS: Final = (
    programs.SHELLS | programs.COMMAND_READERS | programs.WRAPPERS | programs.RUNNERS
)


@dataclass(frozen=True, slots=True)
class ScriptFile:
    """A checked file, which is not kept open."""

    path: str
    identity: tuple[int, ...]


def check_script(path: str, owners: frozenset[int]) -> ScriptFile:
    """The file that ``path`` names now: regular, of one of ``owners``, and no other user's to write
    or to replace. Raises ExecutableError, naming every mistake."""
    try:
        status = os.stat(path)
        mistakes = file_mistakes(status, owners) + way_mistakes(path, owners)
    except OSError as error:
        raise ExecutableError(f"{path}: {error.strerror}") from None
    if mistakes:
        raise ExecutableError(f"{path}: {'; '.join(mistakes)}")
    return ScriptFile(path, identity_of(status))


def find_scripts(command: Command, owners: frozenset[int]) -> tuple[list[ScriptFile], list[str]]:
    """The scripts of a command, and warnings of those that an untrusted user can change.

    The latter run as before, and are not checked again: a check would prove nothing.
    """
    found, warnings = [], []
    for path in _paths(command):
        try:
            found.append(check_script(path, owners))
        except ExecutableError as error:
            warnings.append(
                f"{dotted('commands', command.name)}: {error} (who can change it decides what is "
                "run)"
            )
    return found, warnings


def runs_others(path: str) -> bool:
    """Is the program an interpreter or a wrapper, by its name or that of what it leads to?"""
    # A link of any name may lead to an interpreter.
    names = programs.names_of(path) | programs.names_of(os.path.realpath(path))
    return bool(names & _RUN_OTHERS)


def _paths(command: Command) -> Iterator[str]:
    """Files among the words that the policy has fixed, if the program is one that runs others."""
    if not runs_others(command.path):
        return
    words = [*command.fixed]
    for slot in command.grammar.slots:
        if not isinstance(slot, LiteralSlot):
            break
        words.append(slot.text)
    for word in dict.fromkeys(words):
        try:
            if word.startswith("/") and stat.S_ISREG(os.stat(word).st_mode):
                yield word
        except (OSError, ValueError):  # no file, or none yet
            continue
