"""What a client may do: one screen, deny by default, decided without a checkpoint (pure).

The supervisor decides the same again, by the policy that it has read itself, before anything
runs: it believes the server who the client is, and nothing else (start_check.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..policy.control_policy import Control
from ..policy.grammar import Match, Mismatch
from ..policy.policy_file import ClientPolicy, Policy
from ..policy.signal_names import signal_name

_SHOWN: Final = 64  # characters of a client's text in a message


@dataclass(frozen=True, slots=True)
class Decision:
    """``message`` names nothing but the asker's own rules."""

    allowed: bool
    message: str = ""
    rule: str = ""


def client_of(policy: Policy, client_id: str) -> ClientPolicy | None:
    """The policy's entry of a client, None for nobody."""
    return policy.clients.get(client_id)


def may_call(client: ClientPolicy, verb: str) -> Decision:
    """May this client use a verb, one of policy.VERBS, at all?"""
    if verb in client.verbs:
        return Decision(True, rule=f"clients.{client.id}.verbs")
    return Decision(False, f"the verb {verb!r} is not granted to {client.id}")


def may_start(
    policy: Policy,
    client: ClientPolicy,
    command_name: str,
    arguments: Sequence[str],
    env: Sequence[str] = (),
    *,
    stdin: bool = False,
    match: Match | Mismatch | None = None,
) -> Decision:
    """May this client start this whole command line with these environment keys, and input?

    ``match``: what the command's grammar says of the arguments, if somebody has asked it.
    A command that exists for others and one that does not exist give the same answer.
    """
    if command_name not in client.commands:
        granted = ", ".join(sorted(client.commands)) or "nothing"
        shown = repr(command_name[:_SHOWN]) + ("..." if len(command_name) > _SHOWN else "")
        return Decision(False, f"command {shown} is not granted to {client.id}; granted: {granted}")
    command = policy.commands[command_name]
    if match is None:
        match = command.grammar.match(arguments)
    if isinstance(match, Mismatch):
        usage = f"{command_name} {command.grammar.usage()}".rstrip()
        return Decision(False, f"{match.message}; granted is: {usage}")
    refused = sorted(set(env) - command.env_allowed)
    if refused:
        return Decision(
            False,
            f"environment key {refused[0][:_SHOWN]!r} is not granted for command {command_name!r}",
        )
    if stdin and not command.control.stdin:
        return Decision(False, f"input is not granted for command {command_name!r}")
    return Decision(True, rule=f"commands.{command_name}")


def may_signal(control: Control, command_name: str, number: int) -> Decision:
    """May the owner of a job that was started under these rules send it this signal?"""
    if control.admits(number):
        return Decision(True, rule=f"commands.{command_name}.signals")
    granted = ", ".join(signal_name(each) for each in sorted(control.signals or ())) or "none"
    text = f"signal {signal_name(number)} is not granted for command {command_name!r}"
    return Decision(False, f"{text}; granted: {granted}")


def owns(client_id: str, owner: str) -> bool:
    """Clients see and touch their own jobs only."""
    return client_id == owner
