"""May this client start this command line? One function says so, and two processes ask it (pure).

Theory of operation. The server asks ``may_start`` before it writes its line of audit; the
supervisor asks it again before it forks, because a server that was taken over would not have asked.
Each does so by the policy that it has read itself, and the hash in START makes sure that both have
read the same one. So the two agree on every command line, word for word, and there is no second
place where a rule could be forgotten.

The order is: the client, the verb, the request's form, the command, its arguments by the grammar,
the keys of the environment, input, and last whether all of it fits a message between the two
processes. The client comes first so that a stranger learns nothing of forms. Form comes before the
policy so that a mistake of typing does not read as a missing grant.

What is not decided here: what only the host knows (where a path leads, whose user a job gets, which
file the program is, which limits are held), which is the supervisor's (start_check.py); and what
depends on what happens now (quotas, request ids), which is the server's.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Final, Literal, Protocol

from .client_ids import valid_client_id
from .control_policy import Control
from .environment import OWN_KEYS, reserved_key, settable_name
from .grammar import Match, Mismatch
from .policy_file import ClientPolicy, Command, Policy
from .revoked_policy import OnRevoke
from .signal_names import signal_name

# Of a command line with its environment: as execve(2) takes it, and once more as JSON, because
# START brings it and STARTED brings it back in one datagram.
MAX_COMMAND_LINE_BYTES: Final = 128 * 1024
# A year: beyond it the number is a mistake, not a wish.
MAX_TIMEOUT_S: Final = 31_536_000.0
_SHOWN: Final = 64  # characters of a client's text in a message
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class CommandLine(Protocol):
    """What a client asks to be started: a JobSpec in the server, a START in the supervisor."""

    @property
    def command(self) -> str: ...
    @property
    def arguments(self) -> Sequence[str]: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def stdin(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Denial:
    """Why not. ``message`` names nothing but the asker's own rules.

    ``kind``: the *client* is none of the policy's; the *form* of ``field`` is one that no policy
    could grant; the *policy* does not grant it; it is granted, but of too great a *length*.
    ``rule``: the policy's key that would have to grant it, such as ``commands.tail.arguments``;
    empty where no key of the asker's own could.
    """

    message: str
    kind: Literal["client", "form", "policy", "length"] = "policy"
    field: str = ""
    rule: str = dataclass_field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class GrantedStart:
    """The policy's words on what may be started, and which of the arguments are paths.

    The records before and after it are in supervisor/job/__init__.py.
    """

    client: ClientPolicy
    command: Command
    match: Match


def may_call(
    policy: Policy, client_id: str, verb: str | None, *, standalone: bool = False
) -> ClientPolicy | Denial:
    """The client's entry of the policy, if it grants the verb; None is a verb of all clients.

    ``standalone``: the program that asks has started the supervisor itself, so a policy that names
    no clients grants every command to any id.
    """
    if client_id in policy.revoked.clients:
        return Denial(f"client {client_id} was revoked", "client")
    if standalone and not policy.clients:
        return ClientPolicy(client_id, frozenset(policy.commands))
    client = policy.clients.get(client_id)
    if client is None:
        shown = client_id if valid_client_id(client_id) else _shown(client_id)
        return Denial(f"{shown} is no client of this server", "client")
    if verb is not None and verb not in client.verbs:
        text = f"the verb {verb!r} is not granted to {client.id}"
        return Denial(text, rule=_rule("clients", client.id, "verbs"))
    return client


def fate_of_jobs(policy: Policy, owner: str) -> OnRevoke | None:
    """What becomes of jobs of an owner that has lost its rights; None: it has not."""
    client = policy.clients.get(owner)
    if client is not None and owner not in policy.revoked.clients:
        return None
    return policy.on_revoke if client is None else client.on_revoke


def granted_command(policy: Policy, client: ClientPolicy, name: str) -> Command | Denial:
    """The command, if it is granted to this client.

    One that exists for others and one that does not exist give the same answer.
    """
    if name in client.commands:
        return policy.commands[name]
    granted = ", ".join(sorted(client.commands)) or "nothing"
    text = f"command {_shown(name)} is not granted to {client.id}"
    return Denial(f"{text}; granted: {granted}", rule=_rule("clients", client.id, "commands"))


def may_start(
    policy: Policy,
    client_id: str,
    start: CommandLine,
    *,
    match: Match | Mismatch | None = None,
    standalone: bool = False,
) -> GrantedStart | Denial:
    """May this client start this whole command line with this environment, and input?

    ``match``: what the command's grammar says of the arguments, if the caller has asked it.
    A command that exists for others and one that does not exist give the same answer.
    """
    client = may_call(policy, client_id, "start", standalone=standalone)
    if isinstance(client, Denial):
        return client
    mistake = _form_mistake(start)
    if mistake is not None:
        return mistake
    command = granted_command(policy, client, start.command)
    if isinstance(command, Denial):
        return command
    if match is None:
        match = command.grammar.match(start.arguments)
    if isinstance(match, Mismatch):
        usage = f"{command.name} {command.grammar.usage()}".rstrip()
        text = f"{match.message}; granted is: {usage}"
        return Denial(text, rule=_rule("commands", command.name, "arguments"))
    for key in sorted(start.env):
        if key not in command.env_allowed or key in OWN_KEYS or reserved_key(key):
            text = f"environment key {key[:_SHOWN]!r} is not granted for command {command.name!r}"
            return Denial(text, rule=_rule("commands", command.name, "env_allowed"))
    if start.stdin and not command.control.stdin:
        text = f"input is not granted for command {command.name!r}"
        return Denial(text, rule=_rule("commands", command.name, "stdin"))
    too_long = length_mistake(command.argv(start.arguments), start.env)
    return GrantedStart(client, command, match) if too_long is None else too_long


def length_mistake(argv: Sequence[str], env: Mapping[str, str]) -> Denial | None:
    """Of what runs, if it fits no message: control characters are six bytes each there.

    The supervisor asks once more when paths are resolved, as that makes them longer.
    """
    size = len(json.dumps([argv, dict(env)], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= MAX_COMMAND_LINE_BYTES:
        return None
    return Denial(
        f"command line and environment take {size} bytes as JSON; "
        f"at most {MAX_COMMAND_LINE_BYTES} are possible",
        "length",
        "argv",
    )


def may_signal(control: Control, command_name: str, number: int) -> Denial | None:
    """Why the owner of a job that was started under these rules may not send it this signal."""
    if control.admits(number):
        return None
    granted = ", ".join(signal_name(each) for each in sorted(control.signals or ())) or "none"
    text = f"signal {signal_name(number)} is not granted for command {command_name!r}"
    return Denial(f"{text}; granted: {granted}", rule=_rule("commands", command_name, "signals"))


def _form_mistake(start: CommandLine) -> Denial | None:
    """Of what no execve(2) could be given, whatever a policy says."""
    if not start.command:
        return _form("command", "command is empty; it is the policy's name of a command")
    total = 0
    for name, texts in (("command", (start.command,)), ("argv", start.arguments)):
        # All at once: there may be thousands.
        joined = "\0".join(texts)
        if joined.count("\0") > max(0, len(texts) - 1):
            return _form(name, f"{name} holds a NUL byte, which no argv can carry")
        size = _bytes_of(joined)
        if size is None:
            return _form(name, f"{name} holds a lone surrogate, which no argv can carry")
        total += size + bool(texts)
    for key, value in start.env.items():
        if not settable_name(key):
            return _form("env", f"environment key {key[:_SHOWN]!r} is not a name")
        if "\0" in value:
            return _form("env", f"the value of environment key {key!r} holds a NUL byte")
        size = _bytes_of(value)
        if size is None:
            return _form("env", f"the value of environment key {key!r} holds a lone surrogate")
        total += len(key) + size + 2
    if total > MAX_COMMAND_LINE_BYTES:
        return _form(
            "argv",
            f"command line and environment are {total} bytes; "
            f"at most {MAX_COMMAND_LINE_BYTES} are possible",
        )
    if start.timeout_s is not None and not 0 <= start.timeout_s <= MAX_TIMEOUT_S:
        bounds = f"it must be between 0 and {MAX_TIMEOUT_S:g} seconds"
        return _form("timeout_s", f"timeout_s is {start.timeout_s}; {bounds}")
    return None


def _form(field: str, message: str) -> Denial:
    return Denial(message, "form", field)


def _bytes_of(text: str) -> int | None:
    """As execve(2) takes it; None: no bytes are meant. U+DC80 to U+DCFF are bytes of an argument
    that is no UTF-8, as os.fsencode has it."""
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return None


def _rule(table: str, name: str, key: str) -> str:
    """A key of the policy's file, as TOML spells it."""
    shown = name if _BARE.fullmatch(name) else f'"{name}"'
    return f"{table}.{shown}.{key}"


def _shown(text: str) -> str:
    return repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")
