"""What the shell knows without asking: who we are, and our unfinished jobs as they change."""

from collections.abc import Callable
from typing import Final

import trio

from ...client.client import Client
from ...client.first_connection import Endpoint
from ...client.resumption import HEARTBEAT_S
from ...proto import command_pb2 as pb
from ...rpc.call_errors import ConnectionLost, RpcError
from ..exits import EXPECTED
from .shared_connection import SharedConnection

# A server that refuses to tell is asked again after this, because a policy may change.
_ASKED_AGAIN_S: Final = 60.0
_LEAST_PAUSE_S: Final = 0.1


class LiveView:
    """``client_id`` is "" and ``unfinished`` None as long as they are not known, also where the
    policy does not let us ask. ``on_change`` is called when one of them has changed."""

    def __init__(
        self, shared: SharedConnection, endpoint: Endpoint, on_change: Callable[[], None]
    ) -> None:
        self.client_id = ""
        self.unfinished: dict[str, pb.Job] | None = None
        self._shared = shared
        self._endpoint = endpoint
        self._on_change = on_change

    @property
    def running(self) -> int | None:
        """How many of our jobs have not finished; None if that is not known."""
        return None if self.unfinished is None else len(self.unfinished)

    async def run(self) -> None:
        """Follows every connection. Never returns.

        Cancellation: minimum cleanup; C63.
        """
        while True:
            await self._shared.wait_connected()
            pause_s = _LEAST_PAUSE_S
            try:
                async with self._shared(self._endpoint) as client:
                    await self._ask_who(client)
                    await self._follow(client)
            except EXPECTED as error:
                self._forget_jobs()
                if not isinstance(error, ConnectionLost):
                    pause_s = _ASKED_AGAIN_S
            await trio.sleep(pause_s)

    async def _ask_who(self, client: Client) -> None:
        try:
            answer = await client.who_am_i(commands=False)
        except ConnectionLost:
            raise
        except RpcError:
            return  # not granted, or an older server: the bar has no name
        self.client_id = answer.client_id
        self._on_change()

    async def _follow(self, client: Client) -> None:
        """Jobs, until the connection is lost. Raises RpcError where the server does not tell."""
        async with client.watch(heartbeat_s=HEARTBEAT_S) as changes:
            await anext(changes)  # where it begins: nothing behind that is missed by the list
            await self._list(client)
            async for change in changes:
                if change.resync:
                    await self._list(client)
                elif change.handle and self.unfinished is not None:
                    if change.removed or change.job.state == pb.JOB_STATE_FINISHED:
                        self.unfinished.pop(change.handle, None)
                    elif change.HasField("job"):
                        self.unfinished[change.handle] = change.job
                    self._on_change()
        raise ConnectionLost("the server has ended the watch", may_pass=True)

    async def _list(self, client: Client) -> None:
        self.unfinished = {job.handle: job for job in await client.jobs()}
        self._on_change()

    def _forget_jobs(self) -> None:
        if self.unfinished is not None:
            self.unfinished = None
            self._on_change()
