"""Scripts that a command fixes, and that no job of it will find."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from ...policy import programs
from ...policy.policy_file import Command
from ...policy.slot_places import leaf_places
from ...policy.slots import PathSlot
from ...policy.toml_tables import dotted
from .script_files import runs_others

# A job has these for itself, and sees of the host's only what its command's table names.
_JOBS_OWN: Final = ("/tmp", "/var/tmp", "/dev/shm")

_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})


def script_doubts(command: Command, *, root: bool) -> list[str]:
    """A warning if the file that this command's interpreter or wrapper runs is not there, or is
    where jobs do not see it. No mistake, because it may come later. ``root``: jobs are isolated.

    Only of the first file that is named: what follows it are its arguments, such as a file that it
    is to write.
    """
    path = _first_file(command)
    if path is None:
        return []
    where = dotted("commands", command.name, "fixed")
    try:
        os.stat(path)
    except FileNotFoundError:
        return [f"{where}: {path} is not there, so each job ends at once; create it, or correct it"]
    except (OSError, ValueError):
        return []
    if root and "isolation.filesystem" in command.isolation.wanted and not _seen(command, path):
        return [
            f"{where}: {path} is not seen by jobs, which have a /tmp, a /var/tmp and a /dev/shm "
            "of their own; keep it elsewhere, such as in /opt"
        ]
    return []


def _first_file(command: Command) -> str | None:
    if not runs_others(command.path):
        return None
    # Behind one of these stands the program's text, and what follows that are its arguments. To a
    # shell -e is something else.
    shell = programs.names_of(command.path) & _SHELLS
    text_follows = ("-c",) if shell else ("-c", "-e")
    for word in command.fixed:
        if word in text_follows:
            return None
        if word.startswith("/"):
            return word
    return None


def _seen(command: Command, path: str) -> bool:
    """Judged by the name: a link out of /tmp is rare, and only a warning is at stake."""
    if not _beneath(path, _JOBS_OWN):
        return True
    return _beneath(path, _of_the_host(command))


def _of_the_host(command: Command) -> Iterator[str]:
    if command.workdir is not None:
        yield command.workdir
    yield from command.isolation.writable
    for slot, _ in leaf_places(command.grammar.slots, ""):
        if isinstance(slot, PathSlot):
            yield slot.root


def _beneath(path: str, places: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{place.rstrip('/')}/") for place in places)
