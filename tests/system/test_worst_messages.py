"""The worst messages that may be sent, and one field or byte more, against a real penstockd.

Rows 57 and 63 of the hazards: others are served, and the audit log stays small.
"""

from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import trio
from message_attackers import KINDS, SERVICE, Raw, attacked
from patience import patient, slowness
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

CALLS = 40
# All kinds together take minutes; they are in tools/test --all.
ALWAYS = (("arguments", "alice", 4),)
COMMANDS = (
    script("idle", "sleep 300")
    + '[commands.echo]\npath = "/bin/echo"\nclass = "free"\n@user\n'
    + 'arguments = [{repeat = {slot = {pattern = "[\\u0001-~]{0,256}"}, max = 500}}]\n'
)
CLIENTS = """
[clients.alice]
commands = ["idle", "echo"]
starts_per_minute = 600
max_running = 200
[clients.bob]
commands = ["idle"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def answered(client: Client, kind: str) -> RpcError | None:
    """What this message is answered with; None is OK."""
    service, method, data = KINDS[kind]
    message: Any = Raw(data)
    try:
        if method in ("StreamOutput", "SendInput"):
            async with client._channel.open_call(service, method, pb.StatusResponse) as call:
                await call.send(message)
                call.end()
                async for _ in call:
                    pass
        else:
            await client._channel.unary(service, method, message, pb.StatusResponse)
    except RpcError as error:
        return error
    return None


EXPECTED = {
    "arguments": StatusCode.PERMISSION_DENIED,
    "argv": StatusCode.PERMISSION_DENIED,
    "empty_arguments": StatusCode.INVALID_ARGUMENT,
    "names_in_an_argument": StatusCode.INVALID_ARGUMENT,
    "empty_env": StatusCode.INVALID_ARGUMENT,
    "unknown_fields": StatusCode.INVALID_ARGUMENT,
    "padded_lengths": StatusCode.INVALID_ARGUMENT,
    "long_argument": StatusCode.PERMISSION_DENIED,
    "granted": None,
    "granted_but_for_json": StatusCode.INVALID_ARGUMENT,
    "four_mib": StatusCode.RESOURCE_EXHAUSTED,
    "input_fields": StatusCode.INVALID_ARGUMENT,
    "input": StatusCode.NOT_FOUND,
    "list": StatusCode.INVALID_ARGUMENT,
    "streams": StatusCode.INVALID_ARGUMENT,
    "status": StatusCode.INVALID_ARGUMENT,
    "status_of_nothing": StatusCode.NOT_FOUND,
    "info": StatusCode.INVALID_ARGUMENT,
    "who": StatusCode.INVALID_ARGUMENT,
    "health": StatusCode.INVALID_ARGUMENT,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_is_answered_alone(server: RunningServer, kind: str) -> None:
    """With the status of its fault; the connection goes on. Who is nobody hears that, whatever it
    was."""
    async with connect(server.endpoint("alice")) as client:
        error = await answered(client, kind)
        assert (error.code if error else None) == EXPECTED[kind], error
        await client.server_info()
    async with connect(server.endpoint("carol")) as client:
        error = await answered(client, kind)
        nobody = StatusCode.UNAUTHENTICATED if KINDS[kind][0] == SERVICE else EXPECTED[kind]
        assert error is not None
        assert error.code is nobody


async def latencies(server: RunningServer) -> tuple[list[float], list[float]]:
    """Of bob's calls, and of new connections of his with a call each; sorted."""
    calls, connects = [], []
    async with connect(server.endpoint("bob")) as client:
        for number in range(CALLS):
            begin = trio.current_time()
            with trio.fail_after(patient(10)):
                if number % 4:
                    await client.server_info()
                    calls.append(trio.current_time() - begin)
                else:
                    async with connect(server.endpoint("bob")) as new:
                        await new.server_info()
                    connects.append(trio.current_time() - begin)
            await trio.sleep(0.025)
    return sorted(calls), sorted(connects)


def _marks(kind: str, who: str, count: int) -> tuple[pytest.MarkDecorator, ...]:
    """One alone is milder than four of its kind, which tools/test --all has."""
    if (kind, who, count) in ALWAYS:
        return ()
    return (pytest.mark.release,) if count == 1 else (pytest.mark.slow,)


@pytest.mark.alone
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "who", "count"),
    [
        pytest.param(
            *(kind, who, count),
            marks=_marks(kind, who, count),
            id=f"{kind}-{who}-{count}",
        )
        for kind in KINDS
        for who in ("alice", "carol")
        for count in (1, 4)
    ],
)
async def test_others_are_served_meanwhile(
    server: RunningServer, kind: str, who: str, count: int
) -> None:
    """Under 100 ms more than without, with a hundred such calls at once on each connection."""
    quiet, quiet_connects = await latencies(server)
    with attacked(server.directory / "certs", server.port, kind, who, count):
        found, connects = await latencies(server)
    print(
        f"{kind} of {who}, {count}: median {1000 * median(found):.1f} ms, worst "
        f"{1000 * found[-1]:.1f} ms, new connection {1000 * connects[-1]:.1f} ms; unattacked "
        f"{1000 * quiet[-1]:.1f} ms, {1000 * quiet_connects[-1]:.1f} ms"
    )
    # One may be late for reasons that the server does not have.
    assert found[-2] < 0.1 * slowness() + quiet[-2], [round(1000 * each) for each in found]
    assert connects[-2] < 0.1 * slowness() + quiet_connects[-1], connects
