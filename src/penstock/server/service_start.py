"""Start: the one call whose request may cost milliseconds, whatever becomes of it.

A command line of 8,192 arguments or 128 KiB is gone through in slices, each in a turn of the event
loop of its own, and clients take turns: who asks for little waits for one slice at most. Only what
depends on nothing but the request and the policy is cut up. What is decided then, by the quotas
and by what runs, is decided in one go, and the job is in the list before the next checkpoint.
"""

from collections.abc import Mapping
from typing import Any, Final

from ..jobs.job_errors import Precondition, RequestConflict
from ..policy.decision import Denial, may_start
from ..policy.grammar import CHARACTERS_A_SLICE, Match, Mismatch
from ..policy.policy_file import AUTO
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError
from .access import Access, error_of, translated
from .authn import Identity
from .convert import job_message
from .parse import ARGUMENTS_A_SLICE, argument_slices, spec_of

_LOGGED: Final = 256  # of a text that nobody has checked, in the audit log


class StartCalls(Access):
    """Start of CommandService."""

    _userless: Mapping[str, str]

    async def Start(self, input_message: pb.StartRequest, request: Any) -> pb.StartResponse:
        """Completes: once the policy has granted it, the job starts though the caller leaves.

        One that only validates has no checkpoint, but for a command line of many arguments.

        Cancellation: completes; C4.
        """
        identity = request.context.identity
        arguments = await self._arguments(input_message, identity)
        match = await self._matched(input_message.command, arguments, identity)
        command = input_message.command[:_LOGGED]
        client = self._client(request, "start", command=command)
        try:
            spec = spec_of(input_message, arguments)
        except RpcError as error:
            self._record(client.id, "start", Denial(error.message), command=command)
            raise
        granted = may_start(self._policy, client.id, spec, match=match)
        if isinstance(granted, Denial) and granted.kind == "form":
            self._record(client.id, "start", granted, command=command)
            raise error_of(granted)
        about = {"command": spec.command, "argv": spec.arguments}
        if isinstance(granted, Denial):
            self._record(client.id, "start", granted, **about)
            raise error_of(granted)
        request_id = input_message.request_id or None
        with translated():
            with self._refusals_recorded(client.id, "start", **about):
                earlier = request_id and self._manager.find_request(client.id, request_id)
                replayed = bool(earlier)
                starts = not replayed and not input_message.validate_only
                if earlier and earlier.spec != spec and not input_message.validate_only:
                    raise RequestConflict(
                        f"request id {request_id!r} was used before, for another start"
                    )
                if input_message.validate_only:
                    self._check_user(client.id, spec.command)
                if starts:
                    self._quotas.take_start(client, len(self._manager.list(client.id)))
            if starts:
                self._record(client.id, "start", None, **about)
            else:
                self._record_read(client.id, "start", **about, starts=False)
            if input_message.validate_only:
                return pb.StartResponse()
            # No checkpoint since the quota was asked: the job is in the list when it waits.
            job = await self._manager.start(client.id, spec, request_id=request_id)
        return pb.StartResponse(pid=job.handle, job=job_message(job), replayed=replayed)

    def _check_user(self, client: str, command: str) -> None:
        """As the supervisor would refuse it. Raises Precondition."""
        why = self._userless.get(client)
        if why is not None and self._policy.commands[command].user == AUTO:
            text = f"{command} could not be started: user: {why}"
            raise Precondition("START_FAILED", text)

    async def _arguments(self, start: pb.StartRequest, identity: Identity) -> tuple[str, ...]:
        """Of a start, before anything is decided: with checkpoints only where there are many.

        What is decided then is in one turn of the event loop with nothing but that.
        """
        slices = argument_slices(start)
        found = next(slices)
        if len(start.arguments) <= ARGUMENTS_A_SLICE:
            return tuple(found)
        while True:
            async with self._start_turns.of(identity.client_id):
                more = next(slices, None)
                if more is None:
                    return tuple(found)
                found += more

    async def _matched(
        self, command: str, arguments: tuple[str, ...], identity: Identity
    ) -> Match | Mismatch | None:
        """What the command's grammar says, where that takes long; None: may_start asks it."""
        client = self._policy.clients.get(identity.client_id)
        if client is None or command not in client.commands:
            return None
        if sum(map(len, arguments)) <= CHARACTERS_A_SLICE:
            return None
        slices = self._policy.commands[command].grammar.match_in_slices(arguments)
        while True:
            async with self._start_turns.of(identity.client_id):
                try:
                    next(slices)
                except StopIteration as end:
                    found: Match | Mismatch = end.value
                    return found
