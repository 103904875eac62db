"""How a command is kept apart from the host, as the policy file writes it (pure).

Every command is isolated unless its table turns that off. More isolation has to be asked for,
because not every program can live with it. docs/policy.md explains the keys.
"""

from dataclasses import dataclass
from typing import Final

from .limit_classes import IsolationName
from .toml_tables import Table, parse_path, show

DEFAULT: Final[frozenset[IsolationName]] = frozenset(
    {"isolation.filesystem", "isolation.ipc", "isolation.uts", "isolation.seccomp"}
)
TURNED_OFF: Final = "turned off by the policy"
"""Why a job does not have one of DEFAULT, for its enforcement."""
# Keys that mean nothing beside isolation = "none", so that both together are a mistake.
_KEYS: Final = ("network", "pid_namespace", "seccomp", "writable", "landlock")


@dataclass(frozen=True, slots=True)
class LandlockPaths:
    """Absolute paths, each with all beneath it: ``read`` may be read and executed, ``write`` may be
    written too."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IsolationPolicy:
    """``wanted`` are the isolations that a job of this command gets.

    ``asked`` are those of them that its table names itself: without root, and where the class says
    nothing, a start is refused only for want of these. ``writable`` are directories that stay
    writable, those of Landlock among them.
    """

    wanted: frozenset[IsolationName] = DEFAULT
    asked: frozenset[IsolationName] = frozenset()
    writable: tuple[str, ...] = ()
    landlock: LandlockPaths | None = None


def parse_isolation(table: Table) -> IsolationPolicy:
    """The keys of one command that speak of isolation. Mistakes are recorded."""
    none = table.choice("isolation", ("default", "none"), "default") == "none"
    wanted = set() if none else set(DEFAULT)
    asked: set[IsolationName] = set()
    if none:
        for key in _KEYS:
            if table.has(key):
                table.wrong(key, 'stands beside isolation = "none"', "remove one of the two")
    if table.choice("network", ("host", "none"), "host") == "none":
        asked.add("isolation.network")
    if table.flag("pid_namespace", False):
        asked.add("isolation.pid")
    if not table.flag("seccomp", True):
        wanted.discard("isolation.seccomp")
    elif table.has("seccomp"):
        asked.add("isolation.seccomp")
    writable = _paths(table, "writable")
    landlock = None
    if table.has("landlock"):
        paths = table.table("landlock")
        landlock = LandlockPaths(_paths(paths, "read", all_of_it=True), _paths(paths, "write"))
        paths.finish()
        asked.add("isolation.landlock")
    if landlock is not None:
        writable += landlock.write
    return IsolationPolicy(frozenset(wanted | asked), frozenset(asked), writable, landlock)


def _paths(table: Table, key: str, *, all_of_it: bool = False) -> tuple[str, ...]:
    found = []
    for text in table.texts(key):
        try:
            found.append(parse_path(text))
        except ValueError as error:
            table.wrong(key, str(error), "write a list of absolute paths")
            continue
        if text == "/" and not all_of_it:
            table.wrong(
                key, f"{show(text)} is everything", 'name directories, or write isolation = "none"'
            )
    return tuple(found)
