"""A stop that is asked for as often as it takes: it is one stop, however often."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from ..backoff import Backoff
from ..client import Endpoint, connect
from ..rpc.errors import RpcError
from .starting import RETRY_S, worth_repeating

if TYPE_CHECKING:
    from ..proto import command_pb2 as pb


async def stop_job(
    endpoint: Endpoint, handle: str, options: Mapping[str, object], *, reached: bool = False
) -> "pb.StopResponse":
    """The answer to ``Client.stop`` with these ``options``, over lost connections and restarts of
    the server, each of which is tried to get over for RETRY_S.

    ``reached``: the server is known to be there; else a first connection that cannot be made is
    not tried again. Raises what ``connect`` and ``Client.stop`` raise. The
    stop goes on though the caller leaves, if the server has heard of it.

    Cancellation: minimum cleanup; C6.
    """
    backoff = Backoff(RETRY_S)
    while True:
        try:
            async with connect(endpoint) as client:
                reached = True
                backoff.progress()
                return await client.stop(handle, **options)  # type: ignore[arg-type]
        except RpcError as error:
            pause_s = None
            if reached and worth_repeating(error):
                pause_s = backoff.pause_s(trio.current_time())
            if pause_s is None:
                raise
        await trio.sleep(pause_s)
