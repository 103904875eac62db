"""Start: the one call whose request may cost milliseconds, even if it is refused.

A command line of 8,192 arguments or 128 KiB is gone through in slices, each in a turn of the event
loop of its own, and clients take turns, so that a client with a short one waits for one slice at
most. Only what depends on nothing but the request and the policy is cut up. The decision by the
quotas and the running jobs comes after it without a checkpoint, and the job is in the list before
the next one.
"""

from collections.abc import Mapping
from typing import Final

from ..jobs.backends.base import JobSpec, StartRefused
from ..jobs.job_errors import Precondition, RequestConflict
from ..policy.decision import Denial, may_start
from ..policy.grammar import CHARACTERS_A_SLICE, Match, Mismatch
from ..policy.policy_file import AUTO, Policy
from ..proto import command_pb2 as pb
from ..rpc.turns import FairTurns
from ..supervisor.ipc import protocol
from .access import Access, AskedCall, HandlerRequest, translated
from .authn import Identity
from .convert import job_message
from .parse import ARGUMENTS_A_SLICE, argument_slices, spec_of

_LOGGED: Final = 256  # of an unchecked text, in the audit log


class StartCalls:
    """Start, a part of CommandService."""

    def __init__(self, access: Access, userless: Mapping[str, str]) -> None:
        """``userless``: by client, why its starts are refused because it has no system user."""
        self.userless = userless
        self._access = access
        self._turns = FairTurns()

    async def Start(
        self, input_message: pb.StartRequest, request: HandlerRequest
    ) -> pb.StartResponse:
        """Completes: once granted, the job starts even if the client disconnects.

        One that only validates has no checkpoint, but for a command line of many arguments.

        Cancellation: completes; C4.
        """
        identity = request.context.identity
        arguments = await self._arguments(input_message, identity)
        policy, match = await self._matched(identity.client_id, input_message.command, arguments)
        # No checkpoint from here on, until the job is in the list.
        call = self._access.asked("Start", request, command=input_message.command[:_LOGGED])
        spec = call.form(spec_of, input_message, arguments)
        granted = may_start(policy, call.client.id, spec, match=match)
        if isinstance(granted, Denial) and granted.kind == "form":
            call.refuse(granted)
        call.says(command=spec.command, argv=spec.arguments, **_names(spec))
        if isinstance(granted, Denial):
            call.refuse(granted)
        replayed = self._is_replayed(call, spec, input_message)
        if replayed or input_message.validate_only:
            call.counted(starts=False)
        else:
            call.granted()
        if input_message.validate_only:
            return pb.StartResponse()
        request_id = input_message.request_id or None
        with translated():
            job = await self._access.manager.start(call.client.id, spec, request_id=request_id)
        return pb.StartResponse(pid=job.handle, job=job_message(job), replayed=replayed)

    async def still_granted(self, owner: str, spec: JobSpec) -> StartRefused | None:
        """Decides anew about a start that was granted by a policy that is gone, and that nothing
        has come of yet: None, or what its caller hears. Its quota was taken, and stays so.

        No checkpoint for a command line that is short.

        Cancellation: minimum cleanup; C73.
        """
        policy, match = await self._matched(owner, spec.command, spec.arguments)
        granted = may_start(policy, owner, spec, match=match)
        if not isinstance(granted, Denial):
            return None
        of_form = granted.kind in ("form", "length")
        return StartRefused(protocol.INVALID if of_form else protocol.DENIED, granted.message)

    def _is_replayed(self, call: AskedCall, spec: JobSpec, start: pb.StartRequest) -> bool:
        """Whether the client has asked for this start before, under its request id. Otherwise takes
        of the quota, unless it only validates. Raises RpcError if the id was used
        for another start, an unfinished job has the name, or a quota is full."""
        manager, client, request_id = self._access.manager, call.client.id, start.request_id
        with call.refusals():
            earlier = manager.find_request(client, request_id) if request_id else None
            if spec.name and earlier is None:
                manager.history.check_name(client, spec.name)
            if start.validate_only:
                self._check_user(client, spec.command)
            elif earlier is None:
                call.take_quota(running=len(manager.list(client)))
            elif earlier.spec != spec:
                raise RequestConflict(
                    f"request id {request_id!r} was used before, for another start"
                )
        return earlier is not None

    def _check_user(self, client: str, command: str) -> None:
        """Refuses what the supervisor would refuse later. Raises Precondition."""
        why = self.userless.get(client)
        if why is not None and self._access.policy.commands[command].user == AUTO:
            text = f"{command} could not be started: user: {why}"
            raise Precondition("START_FAILED", text)

    async def _arguments(self, start: pb.StartRequest, identity: Identity) -> tuple[str, ...]:
        """A start's arguments, before anything is decided; checkpoints only if there are many.

        Done first, so that the decision fits into one turn of the event loop.
        """
        slices = argument_slices(start)
        found = next(slices)
        if len(start.arguments) <= ARGUMENTS_A_SLICE:
            return tuple(found)
        while True:
            async with self._turns.of(identity.client_id):
                more = next(slices, None)
                if more is None:
                    return tuple(found)
                found += more

    async def _matched(
        self, owner: str, command: str, arguments: tuple[str, ...]
    ) -> tuple[Policy, Match | Mismatch | None]:
        """The policy in force, and its grammar's verdict on a long command line; None: may_start
        matches a short one itself, and refuses an unknown client or command."""
        while True:
            policy = self._access.policy
            match = await self._matched_by(policy, owner, command, arguments)
            if policy is self._access.policy:  # otherwise another grammar has come meanwhile
                return policy, match

    async def _matched_by(
        self, policy: Policy, owner: str, command: str, arguments: tuple[str, ...]
    ) -> Match | Mismatch | None:
        client = policy.clients.get(owner)
        if client is None or command not in client.commands:
            return None
        if sum(map(len, arguments)) <= CHARACTERS_A_SLICE:
            return None
        slices = policy.commands[command].grammar.match_in_slices(arguments)
        while True:
            async with self._turns.of(owner):
                try:
                    next(slices)
                except StopIteration as end:
                    found: Match | Mismatch = end.value
                    return found


def _names(spec: JobSpec) -> dict[str, object]:
    """What an audit line has of them; nothing of a job without."""
    name = {"name": spec.name} if spec.name else {}
    return name | ({"labels": dict(spec.labels)} if spec.labels else {})
