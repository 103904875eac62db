"""Watch: changes of the caller's own jobs, from a number on (a part of CommandService)."""

import math
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import trio

from ..jobs.change_reader import ChangeReader
from ..jobs.change_table import Change
from ..jobs.job_errors import JobError
from ..proto import command_pb2 as pb
from ..rpc.turns import FairTurns
from .access import Access, HandlerRequest
from .convert import change_message
from .error_status import from_job_error
from .parse import WatchWish, watch_wish_of

# A job takes some 50 us, and a command line may have 128 KiB: so much is read and encoded in one
# turn, over all clients, and is all that a watcher which does not read costs.
_CHANGES_A_TURN: Final = 25
_BYTES_A_TURN: Final = 256 * 1024


class WatchCalls:
    """The call of CommandService that reads changes."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._turns = FairTurns()

    async def Watch(
        self, input_message: pb.WatchRequest, request: HandlerRequest
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """Minimum cleanup: the cursor is freed; no job and no other reader is affected.

        Cancellation: minimum cleanup; C63, C64.
        """
        call = self._access.begin("Watch", request, input_message)
        with call.refusals():
            wish = watch_wish_of(input_message)
            if wish.after is None:  # otherwise one that is gone may have changes behind it
                for handle in wish.handles:
                    self._access.manager.get(handle, owner=call.client.id)
            call.take_quota()
        try:
            with call.refusals():
                reader = self._access.manager.watch(call.client.id, wish.after)
            try:
                call.granted()
                skipped = reader.must_list()
                yield pb.WatchResponse(sequence=reader.position, resync=skipped)
                beat_at = trio.current_time() + wish.heartbeat_s
                while True:
                    async with self._turns.of(call.client.id):
                        found, more = self._next(reader, wish)
                    for message in found:
                        yield message
                    if found and wish.heartbeat_s != math.inf:
                        beat_at = trio.current_time() + wish.heartbeat_s
                    if not more and await _wait_until(reader, beat_at) is False:
                        return
                    if trio.current_time() >= beat_at:
                        yield pb.WatchResponse(sequence=reader.position, heartbeat=True)
                        beat_at = trio.current_time() + wish.heartbeat_s
            except JobError as error:  # such as records that cannot be read now
                raise from_job_error(error) from error
            finally:
                reader.close()
        finally:
            call.give_stream()

    def _next(
        self, reader: ChangeReader, wish: WatchWish
    ) -> tuple[Sequence[pb.WatchResponse], bool]:
        """The next messages, which the reader has passed then, and whether to look again at once.
        No checkpoint."""
        if reader.must_list():
            return [pb.WatchResponse(sequence=reader.position, resync=True)], True
        changes = reader.look(_CHANGES_A_TURN)
        found: list[pb.WatchResponse] = []
        room = _BYTES_A_TURN
        for change in changes:
            message = self._message(change, wish)
            if message is not None:
                room -= message.ByteSize()
                if found and room < 0:
                    break
                found.append(message)
            reader.passed(change)
        return found, bool(changes)

    def _message(self, change: Change, wish: WatchWish) -> pb.WatchResponse | None:
        """None if the client has not asked for it."""
        if wish.handles and change.handle not in wish.handles:
            return None
        job = self._access.manager.history.by_id(change.job_id)
        if job is not None and not wish.jobs.matches(job):
            return None
        message = change_message(change, job)
        return message if not wish.states or message.state in wish.states else None


async def _wait_until(reader: ChangeReader, deadline: float) -> bool | None:
    """As wait_changed; None if nothing has come before the deadline."""
    # Scope S3.watch.
    with trio.move_on_at(deadline):
        return await reader.wait_changed()
    return None
