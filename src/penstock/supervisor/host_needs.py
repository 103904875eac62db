"""What a policy requires and this host does not hold, so that starts would be refused (pure).

A start is refused for it one by one (job/start_requirements.py), by what the kernel then says of
that job. This is the same question, asked beforehand of what host_facts.py has tried.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..policy.limit_classes import (
    ISOLATION_NAMES,
    Enforcement,
    IsolationName,
    LimitClass,
)
from ..policy.policy_file import Policy
from ..policy.toml_tables import dotted
from .doctor import remedy_of
from .host_facts import Facts
from .isolation import unmet_by

# blk-throttle of cgroup v1 holds each group alone: see cgroups/v1.py.
_TOTALS_OF_V1: Final = "cgroup v1 holds no bandwidth of several jobs together"
_MOST_NAMED: Final = 4


def unheld(policy: Policy, facts: Facts) -> list[str]:
    """A mistake for each limit and isolation that a class, a command or a client requires in vain.

    Only of classes that a command names, because others refuse nothing.
    """
    entries = facts.entries
    isolations = {entry.limit: entry for entry in entries if entry.limit in ISOLATION_NAMES}
    mistakes = []
    for name, limit_class in policy.classes.items():
        commands = [each for each in policy.commands.values() if each.class_name == name]
        if commands:
            starts = f"starts of {_listed(each.name for each in commands)}"
            mistakes += _mistakes(dotted("classes", name), limit_class, entries, starts)
    mistakes += _isolation(policy, isolations, root=facts.root)
    totals = [_of_totals(entry, facts.cgroups) for entry in entries]
    for client in policy.clients.values():
        where = dotted("clients", client.id, "limits")
        mistakes += _mistakes(where, client.totals, totals, f"starts of {client.id}")
    return mistakes


def _isolation(
    policy: Policy, isolations: Mapping[IsolationName, Enforcement], *, root: bool
) -> list[str]:
    """A mistake for each isolation, at the first command that requires it: all do by default."""
    found: dict[str, tuple[Enforcement, list[str]]] = {}
    for command in policy.commands.values():
        limit_class = policy.classes.get(command.class_name)
        if limit_class is not None:
            for entry in unmet_by(command, limit_class, isolations, root=root):
                found.setdefault(entry.limit, (entry, []))[1].append(command.name)
    return [
        _text(dotted("commands", names[0]), entry, f"starts of {_listed(names)}")
        for entry, names in found.values()
    ]


def _mistakes(
    where: str, limits: LimitClass, entries: Sequence[Enforcement], starts: str
) -> list[str]:
    unmet = {entry.limit: entry for entry in limits.unmet(entries)}
    read, write = unmet.get("disk_read"), unmet.get("disk_write")
    if read and write and read == replace(write, limit="disk_read"):
        # Most write both as one, and are told so once.
        unmet = {name: entry for name, entry in unmet.items() if entry not in (read, write)}
        return [
            _text(f"{where}.disk", read, starts, name="disk"),
            *(_text(f"{where}.{name}", entry, starts) for name, entry in unmet.items()),
        ]
    return [_text(f"{where}.{name}", entry, starts) for name, entry in unmet.items()]


def _text(where: str, entry: Enforcement, starts: str, name: str = "") -> str:
    why = f" ({entry.detail})" if entry.detail else ""
    return (
        f"{where}: {name or entry.limit} is required and {entry.state} on this host{why}, so "
        f"{starts} are refused; {remedy_of(entry)}"
    )


def _of_totals(entry: Enforcement, kind: str) -> Enforcement:
    if kind == "v2" or not entry.limit.startswith("disk"):
        return entry
    return replace(entry, state="unavailable", detail=_TOTALS_OF_V1)


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
