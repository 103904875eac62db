"""The policy: classes of limits, commands with their grammars, clients with their grants (pure).

One TOML file says which client may start what. It is read whole or refused whole, and a refusal
names every mistake. What a file does not grant is denied: a client without an entry, a command
without a grant, an argument without a slot, an environment key that is not listed. docs/policy.md
explains the file to administrators.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from .class_parser import check_name, parse_class, parse_totals
from .client_ids import valid_client_id
from .control_policy import Control, parse_control
from .environment import OWN_KEYS, RESERVED_KEYS, reserved_key, valid_key
from .grammar import Grammar
from .isolation_policy import IsolationPolicy, parse_isolation
from .limit_classes import NO_LIMITS, LimitClass
from .output_policy import OutputPolicy, WhenFull, parse_bound, parse_output, parse_when_full
from .revoked_policy import OnRevoke, Revoked, parse_on_revoke, parse_revoked
from .slot_parser import parse_grammar
from .toml_tables import Table, parse_duration, parse_path, read_document, show, valid_user

VERBS: Final = (
    *("start", "stop", "status", "stream", "list", "wait", "remove"),
    *("signal", "send", "pause", "resume", "watch"),
)

AUTO: Final = "auto"
"""The user of a command whose jobs run as a user of their client's own."""
_MAX_GROUPS: Final = 64
_MAX_DESCRIPTION: Final = 200
_MAX_SECONDS: Final = 366 * 86400.0
_MAX_GRACE_S: Final = 3600.0


class PolicyError(Exception):
    """The policy is refused; ``mistakes`` are for people, each with its key and a remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Command:
    """What one name starts. The command line is ``path``, ``fixed``, then the client's part."""

    name: str
    path: str
    class_name: str
    grammar: Grammar = field(default_factory=Grammar)
    user: str = AUTO
    groups: tuple[str, ...] = ()
    workdir: str | None = None
    env: dict[str, str] = field(default_factory=dict, hash=False)
    env_allowed: frozenset[str] = frozenset()
    timeout_s: float | None = None
    grace_s: float = 10.0
    merge_stderr: bool = False
    fixed: tuple[str, ...] = ()
    output_bytes: int | None = None
    when_full: WhenFull = "drop_oldest"
    control: Control = field(default_factory=Control)
    isolation: IsolationPolicy = field(default_factory=IsolationPolicy)
    pinned: bool = False
    """A file that takes the program's place is refused, even if it passes every check."""
    description: str = ""
    """What the command is for, in the words of the policy's author; on one line."""

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """The whole command line for granted arguments, with their paths already resolved."""
        return [self.path, *self.fixed, *arguments]


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """What one client may start, how much of it at once, and which verbs it may use."""

    id: str
    commands: frozenset[str]
    max_running: int = 8
    max_streams: int = 32
    starts_per_minute: int = 120
    verbs: frozenset[str] = frozenset(VERBS)
    on_revoke: OnRevoke = "keep"
    """What becomes of its jobs if ``[revoked]`` names it."""
    totals: LimitClass = NO_LIMITS  # what all its jobs may use together
    signals_per_minute: int = 600


@dataclass(frozen=True, slots=True)
class Policy:
    """``hash`` is the SHA-256 of the file's bytes, in lower-case hexadecimal. ``on_revoke``: what
    becomes of jobs whose owner is none of its clients."""

    classes: dict[str, LimitClass]
    commands: dict[str, Command]
    clients: dict[str, ClientPolicy]
    hash: str
    output: OutputPolicy = field(default_factory=OutputPolicy)
    revoked: Revoked = field(default_factory=Revoked)
    on_revoke: OnRevoke = "keep"
    stray_on_revoke: tuple[str, ...] = ()
    """Clients that have an ``on_revoke`` of their own in a file that has none above its tables."""


def parse_policy(data: bytes) -> Policy:
    """The policy in the bytes of a file. Raises PolicyError with every mistake."""
    policy, mistakes = read_policy(data)
    if mistakes:
        raise PolicyError(mistakes)
    return policy


def read_policy(data: bytes) -> tuple[Policy, list[str]]:
    """The policy with every mistake of its file.

    One with mistakes must not be put into force. What it has in the place of a mistake is the
    key's default, an empty text for a ``path``: enough to look for the file's other mistakes.
    """
    mistakes: list[str] = []
    document = read_document(data, mistakes)
    classes = {name: parse_class(name, table) for name, table in document.tables("classes")}
    output = parse_output(document.table("output"))
    commands = {
        name: _command(name, table, classes, output) for name, table in document.tables("commands")
    }
    revoked = parse_revoked(document.table("revoked"))
    on_revoke = parse_on_revoke(document, "keep")
    tables = document.tables("clients")
    clients = {name: _client(name, table, commands, on_revoke) for name, table in tables}
    own = tuple(name for name, table in tables if table.has("on_revoke"))
    stray = () if document.has("on_revoke") else own
    document.finish()
    digest = hashlib.sha256(data).hexdigest()
    policy = Policy(classes, commands, clients, digest, output, revoked, on_revoke, stray)
    return policy, mistakes


def _command(
    name: str, table: Table, classes: dict[str, LimitClass], output: OutputPolicy
) -> Command:
    check_name(table, name, "a command")
    class_name = table.text("class", required=True)
    if class_name and class_name not in classes:
        table.wrong("class", f"there is no class {show(class_name)}", _one_of("classes", classes))
    command = Command(
        name=name,
        path=table.parsed(
            "path",
            parse_path,
            "",
            required=True,
            remedy='write the program\'s absolute path, such as "/usr/bin/ls"',
        ),
        class_name=class_name,
        grammar=parse_grammar(table, "arguments"),
        user=table.parsed(
            "user",
            _parse_user,
            AUTO,
            remedy='write "auto", or a name or a numeric id, such as "backup"',
        ),
        groups=_groups(table),
        workdir=table.parsed(
            "workdir", parse_path, None, remedy="write the directory as an absolute path"
        ),
        env=_environment(table.table("env")),
        env_allowed=_environment_keys(table, "env_allowed"),
        timeout_s=_seconds(table, "timeout", None, least_s=0.001, most_s=_MAX_SECONDS),
        grace_s=_seconds(table, "grace", 10.0, least_s=0.0, most_s=_MAX_GRACE_S) or 0.0,
        merge_stderr=table.flag("merge_stderr", False),
        fixed=tuple(table.texts("fixed")),
        output_bytes=parse_bound(table, "output", output.job_bytes),
        when_full=parse_when_full(table, output.when_full),
        control=parse_control(table),
        isolation=parse_isolation(table),
        pinned=table.flag("pinned", False),
        description=_description(table),
    )
    table.finish()
    return command


def _client(
    name: str, table: Table, commands: dict[str, Command], on_revoke: OnRevoke
) -> ClientPolicy:
    if not valid_client_id(name):
        table.wrong_itself(
            "is no client id",
            "write lower-case letters, digits, '.', '_' and '-', at most 63, beginning with a "
            "letter or digit, or a spiffe:// URI in quotes",
        )
    granted = table.texts("commands", required=True)
    for command in granted:
        if command not in commands:
            table.wrong(
                "commands", f"there is no command {show(command)}", _one_of("commands", commands)
            )
    client = ClientPolicy(
        id=name,
        commands=frozenset(granted),
        max_running=table.integer("max_running", 8, 1, 100_000),
        max_streams=table.integer("max_streams", 32, 1, 100_000),
        starts_per_minute=table.integer("starts_per_minute", 120, 1, 1_000_000),
        signals_per_minute=table.integer("signals_per_minute", 600, 1, 1_000_000),
        verbs=table.choices("verbs", VERBS, frozenset(VERBS)),
        on_revoke=parse_on_revoke(table, on_revoke),
        totals=parse_totals(name, table),
    )
    table.finish()
    return client


def _environment(table: Table) -> dict[str, str]:
    env: dict[str, str] = {}
    for key in table.names():
        env[key] = table.text(key)
        if not valid_key(key):
            table.wrong(key, "is no environment key", "write letters, digits and '_'")
    return env


def _environment_keys(table: Table, key: str) -> frozenset[str]:
    keys = table.texts(key)
    for name in keys:
        if not valid_key(name):
            table.wrong(key, f"{show(name)} is no environment key", "write letters, digits and '_'")
        elif name in OWN_KEYS - RESERVED_KEYS:
            table.wrong(
                key,
                f"{name} is penstock's own, and no request may set it",
                "remove it, or set it yourself in env",
            )
        elif reserved_key(name):
            table.wrong(
                key,
                f"{name} would let a client change what runs",
                "remove it, or set it yourself in env",
            )
    return frozenset(keys)


def _seconds(
    table: Table, key: str, default: float | None, *, least_s: float, most_s: float
) -> float | None:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if not least_s <= seconds <= most_s:
            raise ValueError(f"{show(text)} is out of range, {least_s:g} to {most_s:g} seconds")
        return seconds

    return table.parsed(key, parse, default, remedy='write a duration, such as "60s" or "5m"')


def _groups(table: Table) -> tuple[str, ...]:
    names = table.texts("groups")
    for name in names:
        if not valid_user(name):  # names of groups have the form of users' names
            table.wrong("groups", f"{show(name)} is no group", 'write names, such as ["adm"]')
    if len(names) > _MAX_GROUPS:
        table.wrong("groups", f"are {len(names)}", f"name at most {_MAX_GROUPS}")
    return tuple(dict.fromkeys(filter(valid_user, names)))


def _description(table: Table) -> str:
    text = table.text("description")
    if len(text) > _MAX_DESCRIPTION or not text.isprintable():
        remedy = f"write one line of at most {_MAX_DESCRIPTION} characters"
        table.wrong("description", "is too long, or holds what does not print", remedy)
    return text


def _parse_user(text: str) -> str:
    if not valid_user(text):
        raise ValueError(f"{show(text)} is no user")
    return text


def _one_of(what: str, known: Iterable[str]) -> str:
    names = ", ".join(known)
    return f"use one of {names}" if names else f"add it under [{what}]"
