"""Clients that arrive at even intervals, whatever becomes of the server: nobody may be refused."""

import functools
from dataclasses import dataclass, field
from typing import Final

import trio
from patience import patient
from running import RunningServer

from penstock.client import Client, connect
from penstock.client.repeated_calls import ask
from penstock.rpc.call_errors import RpcError

# A server that stands still is killed only after some seconds, and then another has to come up.
_WAIT_S: Final = patient(15)


@dataclass
class Arrivals:
    """What became of them. ``refused`` are the refusals and resets of TCP, which is asked without
    trying again; ``failed`` those who were not served in the end."""

    server: RunningServer
    every_s: float = 0.05
    came: int = 0
    served: int = 0
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _enough: bool = False
    _changed: trio.Event = field(default_factory=trio.Event)

    async def keep_coming(self) -> None:
        """Until ``all_served`` is asked for; ends with the last of them."""
        async with trio.open_nursery() as nursery:
            while not self._enough:
                self.came += 1
                nursery.start_soon(self._arrive)
                await trio.sleep(self.every_s)

    async def until_served(self, more: int) -> None:
        """Until so many have an end as have come by now, and ``more``."""
        count = self.came + more
        while self.served + len(self.failed) < count:
            await self._changed.wait()

    async def all_served(self) -> None:
        """No more come; until each of them has an end."""
        self._enough = True
        await self.until_served(0)

    async def _arrive(self) -> None:
        begin = trio.current_time()
        with trio.socket.socket() as raw:
            try:
                await raw.connect(("127.0.0.1", self.server.port))
            except OSError as error:
                self.refused.append(str(error))
        connecting = functools.partial(connect, connect_timeout_s=_WAIT_S)
        endpoint = self.server.endpoint("alice")
        try:
            await ask(
                endpoint,
                Client.server_info,
                repeatable=True,
                give_up_s=_WAIT_S,
                connecting=connecting,
            )
            self.served += 1
        except RpcError as error:
            self.failed.append(str(error))
        self.longest_s = max(self.longest_s, trio.current_time() - begin)
        self._changed.set()
        self._changed = trio.Event()
