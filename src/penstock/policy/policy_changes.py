"""What a policy grants, or refuses, that the one before did not, in words (pure).

For the operator who has changed it: a line for each client that gains or loses something, and one
for each command, class or bound of output that is not as it was. What was only moved or written
otherwise has no line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from .grammar import Grammar
from .limit_changes import limit_changes
from .limit_classes import LimitClass
from .policy_file import VERBS, ClientPolicy, Policy

# What a client's line says by itself, or what is no key of its own.
_TOLD_APART: Final = frozenset({"id", "commands", "verbs", "on_revoke"})
_KEYS: Final = {
    "class_name": "class",
    "grammar": "arguments",
    "timeout_s": "timeout",
    "grace_s": "grace",
    "output_bytes": "output",
    "control": "stdin, signals or stop",
    "totals": "limits",
    "job_bytes": "job",
    "client_bytes": "client",
    "server_bytes": "server",
    "keep_s": "keep",
}


def policy_changes(before: Policy, now: Policy) -> list[str]:
    """A line for each difference; those about clients come first."""
    lines = [
        *(_comes(now, name) for name in sorted(now.clients.keys() - before.clients.keys())),
        *(_goes(now, name) for name in sorted(before.clients.keys() - now.clients.keys())),
        *_both(before, now),
        *_revoked(before, now),
    ]
    lines += _tables("command", before.commands, now.commands, _users_of(before, now))
    lines += _classes(before.classes, now.classes)
    if before.output != now.output:
        lines.append(f"[output] has other {_keys(before.output, now.output)}")
    if before.on_revoke != now.on_revoke:
        fate = "stopped" if now.on_revoke == "stop" else "kept"
        lines.append(f"on_revoke: jobs of clients that are gone are {fate} from now on")
    return lines


def _comes(now: Policy, name: str) -> str:
    client = now.clients[name]
    verbs = "every verb" if client.verbs == set(VERBS) else f"the verbs {_listed(client.verbs)}"
    return f"client {name} comes in, with {verbs} and the commands {_listed(client.commands)}"


def _goes(now: Policy, name: str) -> str:
    return f"client {name} is out; {_fate(now.on_revoke)}"


def _fate(on_revoke: str) -> str:
    return "its jobs are stopped" if on_revoke == "stop" else "its jobs run on"


def _both(before: Policy, now: Policy) -> list[str]:
    lines = []
    for name in sorted(before.clients.keys() & now.clients.keys()):
        had, has = before.clients[name], now.clients[name]
        parts = _changed(had, has)
        inherits = had.on_revoke == before.on_revoke and has.on_revoke == now.on_revoke
        if had.on_revoke != has.on_revoke and not inherits:  # the policy's has a line of its own
            parts.append(f"has on_revoke {has.on_revoke} instead of {had.on_revoke}")
        if parts:
            lines.append(f"client {name} {', '.join(parts)}")
    return lines


def _changed(before: ClientPolicy, now: ClientPolicy) -> list[str]:
    parts = []
    for key, word in (("commands", "command"), ("verbs", "verb")):
        had, has = getattr(before, key), getattr(now, key)
        if has - had:
            parts.append(f"gains the {_some(word, has - had)}")
        if had - has:
            parts.append(f"loses the {_some(word, had - has)}")
    for key in _differing(before, now):
        if key in _TOLD_APART:
            continue
        name = _KEYS.get(key, key)
        old, new = getattr(before, key), getattr(now, key)
        if isinstance(old, LimitClass) and isinstance(new, LimitClass):
            parts.append(f"has {', '.join(limit_changes(old, new, 'limits.'))}")
            continue
        numbers = isinstance(old, int) and isinstance(new, int)
        parts.append(f"has {name} {new} instead of {old}" if numbers else f"has other {name}")
    return parts


def _revoked(before: Policy, now: Policy) -> list[str]:
    lines = []
    for name in sorted(now.revoked.clients - before.revoked.clients):
        client = now.clients.get(name)
        fate = now.on_revoke if client is None else client.on_revoke
        lines.append(f"client {name} is revoked; {_fate(fate)}")
    for name in sorted(before.revoked.clients - now.revoked.clients):
        lines.append(f"client {name} is no longer revoked")
    for serial in sorted(now.revoked.serials - before.revoked.serials):
        lines.append(f"the certificate of serial number {serial} is revoked")
    for serial in sorted(before.revoked.serials - now.revoked.serials):
        lines.append(f"the certificate of serial number {serial} is no longer revoked")
    return lines


def _users_of(before: Policy, now: Policy) -> dict[str, list[str]]:
    """By command, the clients that had it, and have it still."""
    found: dict[str, list[str]] = {}
    for name in sorted(before.clients.keys() & now.clients.keys()):
        for command in before.clients[name].commands & now.clients[name].commands:
            found.setdefault(command, []).append(name)
    return found


def _tables(
    what: str, before: dict[str, Any], now: dict[str, Any], users: dict[str, list[str]]
) -> list[str]:
    lines = _new_and_gone(what, before, now)
    for name in sorted(before.keys() & now.keys()):
        keys = _keys(before[name], now[name])
        if keys:
            whom = f", which concerns {_listed(users[name])}" if name in users else ""
            lines.append(f"{what} {name} has other {keys}{whom}")
    return lines


def _classes(before: dict[str, LimitClass], now: dict[str, LimitClass]) -> list[str]:
    lines = _new_and_gone("class", before, now)
    for name in sorted(before.keys() & now.keys()):
        if parts := limit_changes(before[name], now[name]):
            lines.append(f"class {name} has {', '.join(parts)}")
    return lines


def _new_and_gone(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = [f"{what} {name} is new" for name in sorted(now.keys() - before.keys())]
    return lines + [f"{what} {name} is gone" for name in sorted(before.keys() - now.keys())]


def _differing(before: object, now: object) -> list[str]:
    """The fields whose values are not the same, in their order."""
    names = [each.name for each in fields(now)]  # type: ignore[arg-type]  # a dataclass
    return [name for name in names if _plain(getattr(before, name)) != _plain(getattr(now, name))]


def _plain(value: object) -> object:
    """What can be compared: a grammar is the text of what it was made of, because two patterns of
    one text are not equal."""
    return repr(value.slots) if isinstance(value, Grammar) else value


def _keys(before: object, now: object) -> str:
    """The same, as the file spells them; "" if there are none."""
    return ", ".join(_KEYS.get(name, name) for name in _differing(before, now))


def _some(word: str, names: Iterable[str]) -> str:
    names = sorted(names)
    return f"{word}{'s' if len(names) > 1 else ''} {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    found: Sequence[str] = sorted(names)
    return ", ".join(found) or "(none)"
