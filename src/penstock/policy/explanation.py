"""Why a command line is granted or not: which rule decided, and which slot took what (pure).

The decision is ``may_start``'s, word for word. What is added is where in the policy's file it comes
from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .decision import Denial, GrantedStart, may_start
from .grammar import Grammar, Mismatch
from .policy_file import Policy
from .slot_places import leaf_places
from .slots import Leaf, PathArgument, PathSlot
from .toml_tables import dotted


@dataclass(frozen=True, slots=True)
class TriedStart:
    """A command line that somebody asks about: a decision's CommandLine."""

    command: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class SlotUse:
    """A slot, by its key in the file, and the argument that it took; None if it took none."""

    key: str
    meaning: str
    argument: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """``rule`` is the key of the policy that decided: the grant, or what would have to grant it.

    ``slots`` took the arguments, in order, of a denied line as far as it goes; ``open`` are those
    that could have taken the argument that none took. ``argv`` is what a granted line runs, if each
    path in it leads through no symbolic link.
    """

    granted: bool
    message: str
    rule: str
    slots: tuple[SlotUse, ...] = ()
    open: tuple[SlotUse, ...] = ()
    argv: tuple[str, ...] = ()


def explain(policy: Policy, client: str, start: TriedStart) -> Explanation:
    """What ``may_start`` decides of this client's command line, and why."""
    decision = may_start(policy, client, start)
    if isinstance(decision, GrantedStart):
        command = decision.command
        return Explanation(
            True,
            f"{client} may start {command.name}",
            dotted("clients", client, "commands"),
            _taken(command.grammar, command.name, start.arguments),
            argv=tuple(command.argv(_resolved(start.arguments, decision.match.paths))),
        )
    if not decision.rule.endswith(".arguments"):
        return Explanation(
            False, decision.message, decision.rule or _rule_of(policy, client, decision)
        )
    return _mismatch(policy, decision, start)


def _resolved(arguments: Sequence[str], paths: Sequence[PathArgument]) -> list[str]:
    found = list(arguments)
    for path in paths:
        below = "" if path.relative == "." else f"/{path.relative}"
        found[path.position] = path.root + below
    return found


def _mismatch(policy: Policy, denial: Denial, start: TriedStart) -> Explanation:
    command = policy.commands[start.command]
    found = command.grammar.match(start.arguments)
    index = found.index if isinstance(found, Mismatch) else 0
    before = start.arguments[:index]
    keys = _keys(command.grammar, command.name)
    wanted = command.grammar.expected(before) or ()
    return Explanation(
        False,
        denial.message,
        denial.rule,
        _taken(command.grammar, command.name, before),
        tuple(SlotUse(keys[id(leaf)], leaf.describe()) for leaf in wanted),
    )


def _taken(grammar: Grammar, name: str, arguments: tuple[str, ...]) -> tuple[SlotUse, ...]:
    keys = _keys(grammar, name)
    leaves = grammar.taken_by(arguments)
    return tuple(
        SlotUse(keys[id(leaf)], _meaning(leaf), argument)
        for leaf, argument in zip(leaves, arguments, strict=True)
    )


def _meaning(leaf: Leaf) -> str:
    """As in a refusal, but for what a granted path is not."""
    return f"a path beneath {leaf.root}" if isinstance(leaf, PathSlot) else leaf.describe()


def _keys(grammar: Grammar, name: str) -> dict[int, str]:
    arguments = dotted("commands", name, "arguments")
    return {id(leaf): key for leaf, key in leaf_places(grammar.slots, arguments)}


def _rule_of(policy: Policy, client: str, denial: Denial) -> str:
    """Of a denial that names no key of the asker's own, because the asker may have none."""
    if denial.kind != "client":
        return ""  # a form that no policy could grant
    return "revoked.clients" if client in policy.revoked.clients else dotted("clients", client)
