"""A stop that is asked for as often as it takes: it is one stop, however often."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..client.client import Client, Connect, Endpoint
from ..client.retry import ask

if TYPE_CHECKING:
    from ..proto import command_pb2 as pb


async def stop_job(
    endpoint: Endpoint,
    handle: str,
    options: Mapping[str, object],
    *,
    connecting: Connect,
    reached: bool = False,
) -> "pb.StopResponse":
    """The answer to ``Client.stop`` with these ``options``, over lost connections and restarts of
    the server, each of which is tried to get over for RETRY_S.

    ``reached``: the server is known to be there; else a first connection that ``connecting`` cannot
    make is not tried for again. Raises what ``connect`` and ``Client.stop`` raise. The
    stop goes on though the caller leaves, if the server has heard of it.

    Cancellation: minimum cleanup; C6.
    """

    async def stop(client: Client) -> "pb.StopResponse":
        return await client.stop(handle, **options)  # type: ignore[arg-type]

    return await ask(endpoint, stop, repeatable=True, reached=reached, connecting=connecting)
