"""WhoAmI: as which client the server knows the caller, and what that client may do.

A policy may grant hundreds of commands, with a grammar of hundreds of words each, which take
milliseconds to be written out and encoded. So that is done in slices, each in a turn of the event
loop of its own, and once for each policy. An answer is put together from encoded commands, as many
as fit, and has a token for the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..policy.decision import Denial, granted_command
from ..policy.policy_file import Policy
from ..proto import command_pb2 as pb
from ..rpc.turns import FairTurns
from .access import Access, AskedCall, HandlerRequest
from .authn import Identity
from .convert import totals_message
from .granted_commands import command_message
from .parse import check_who

_LOGGED: Final = 256  # of an unchecked text, in the audit log
_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_PAGE_BYTES: Final = 1 << 20  # a quarter of what a message may have; one command may have that, too
# Of a slice: a slot takes some 5 us to be written out and encoded; a command that was asked for
# before takes less than one.
_COST_A_TURN: Final = 500
_NANO: Final = 1_000_000_000
_LAST_NS: Final = 2**63 - 1  # of int64, in 2262; a certificate may say 9999 (RFC 5280 4.1.2.5)


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """An encoded WhoAmIResponse. Encoding one of a megabyte would take 25 ms of one turn."""

    data: bytes

    def SerializeToString(self) -> bytes:  # protobuf's name
        """The encoded bytes, under the name by which the transport asks a message for them."""
        return self.data


class EncodedCommands:
    """The commands of one policy, each as a part of an answer, once it was asked for."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._encoded: dict[str, bytes] = {}

    def cost(self, name: str) -> int:
        """What ``command`` would cost now, counted in slots."""
        if name in self._encoded:
            return 1
        return 1 + self.policy.commands[name].grammar.most_arguments

    def command(self, name: str) -> bytes:
        """The command as a part of an answer."""
        encoded = self._encoded.get(name)
        if encoded is None:
            command = self.policy.commands[name]
            message = command_message(command, self.policy.classes[command.class_name])
            encoded = pb.WhoAmIResponse(commands=[message]).SerializeToString()
            self._encoded[name] = encoded
        return encoded


class WhoAmICalls:
    """WhoAmI, a part of CommandService."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._turns = FairTurns()
        self._commands = EncodedCommands(access.policy)

    async def WhoAmI(
        self, input_message: pb.WhoAmIRequest, request: HandlerRequest
    ) -> EncodedAnswer:
        """Reads only; every client of the policy may ask, for itself. The quotas are those of the
        moment at which the call is read.

        No checkpoint where no commands are asked for.

        Cancellation: atomic; C43.
        """
        call = self._access.begin("WhoAmI", request, input_message)
        call.form(check_who, input_message)
        if self._commands.policy is not self._access.policy:
            self._commands = EncodedCommands(self._access.policy)
        known = self._commands  # of one policy in the whole answer, whatever comes meanwhile
        names = self._names(call, input_message)
        answer = self._caller(call, request.context.identity)
        size = min(input_message.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        room = _PAGE_BYTES
        commands: list[bytes] = []
        last = ""
        for some in _slices(names, known):
            async with self._turns.of(call.client.id):
                for name in some:
                    command = known.command(name)
                    room -= len(command)
                    if len(commands) == size or (commands and room < 0):
                        answer.next_page_token = last
                        return _encoded(answer, commands)
                    commands.append(command)
                    last = name
        return _encoded(answer, commands)

    def _names(self, call: AskedCall, asked: pb.WhoAmIRequest) -> list[str]:
        """Of the commands that are asked for. Raises RpcError if one is not granted."""
        if asked.command:
            call.says(command=asked.command[:_LOGGED])
            granted = granted_command(self._access.policy, call.client, asked.command)
            if isinstance(granted, Denial):
                call.refuse(granted)
            return [granted.name]
        if asked.no_commands:
            return []
        return sorted(name for name in call.client.commands if name > asked.page_token)

    def _caller(self, call: AskedCall, identity: Identity) -> pb.WhoAmIResponse:
        client, manager = call.client, self._access.manager
        uses = self._access.quotas.used(client, len(manager.list(client.id)))
        quotas = [pb.Quota(**use._asdict()) for use in uses]
        output = manager.history.budget_of(client.id)
        if output.limit_bytes is not None:
            quotas.append(
                pb.Quota(name="output.client", limit=output.limit_bytes, used=output.used_bytes)
            )
        return pb.WhoAmIResponse(
            client_id=client.id,
            certificate=pb.Certificate(
                serial=identity.serial,
                fingerprint=identity.fingerprint,
                not_after_ns=min(_LAST_NS, int(identity.not_after.timestamp()) * _NANO),
            ),
            verbs=sorted(client.verbs),
            quotas=quotas,
            client_limits=totals_message(client.totals.limits),
            policy_revision=self._access.policy.hash,
            command_count=len(client.commands),
        )


def _slices(names: list[str], known: EncodedCommands) -> Iterator[list[str]]:
    """Together at most _COST_A_TURN each, or one."""
    some, cost = list[str](), 0
    for name in names:
        own = known.cost(name)
        if some and cost + own > _COST_A_TURN:
            yield some
            some, cost = [], 0
        some.append(name)
        cost += own
    if some:
        yield some


def _encoded(answer: pb.WhoAmIResponse, commands: Sequence[bytes]) -> EncodedAnswer:
    """Messages that are encoded one behind the other are one message with the fields of all:
    https://protobuf.dev/programming-guides/encoding/#last-one-wins"""
    return EncodedAnswer(b"".join((answer.SerializeToString(), *commands)))
