"""A client comes in and goes out again, by reloads of a real penstockd: its calls and its jobs.

How often that can be done, under load and with the server killed, is in test_hundred_reloads.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from patience import slowness
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect, wait_for_job
from penstock.operate import control_client
from penstock.rpc.call_errors import RpcError, StatusCode

COMMANDS = script("idle", "echo up; sleep 300", grace="200ms")
CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'
CAROL = '[clients.carol]\ncommands = ["idle"]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def policy_of(server: RunningServer) -> Path:
    return server.directory / "policy.toml"


async def reload(server: RunningServer, policy: str) -> list[str]:
    """By another policy; what is different then."""
    policy_of(server).write_text(policy)
    control = str(server.directory / "run" / "control.sock")
    answer = await trio.to_thread.run_sync(control_client.ask, control, "reload")
    assert answer.ok, answer.fields
    return answer.texts("changes")


async def goes_out(client: Client, handle: str, begun: trio.Event) -> float:
    """Follows a job until the right to that is gone; when that was."""

    async def follow() -> None:
        async with client.stream(handle) as messages:
            async for _ in messages:
                begun.set()

    with pytest.raises(RpcError) as caught:
        await follow()
    assert caught.value.code is StatusCode.PERMISSION_DENIED
    return trio.current_time()


async def test_who_goes_out_loses_its_streams_within_a_second(server: RunningServer) -> None:
    """C74: and its job, as ``on_revoke`` says; one that comes in needs no new connection, and one
    that stays notices nothing."""
    text = policy_of(server).read_text()
    async with (
        connect(server.endpoint("alice")) as alice,
        connect(server.endpoint("carol")) as carol,
    ):
        kept = await alice.start("idle")
        with pytest.raises(RpcError) as caught:
            await carol.start("idle")
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        await reload(server, text + CAROL)
        job = await carol.start("idle")
        when: list[float] = []
        begun = trio.Event()

        async def follow() -> None:
            when.append(await goes_out(carol, job.handle, begun))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await begun.wait()
            changes = await reload(server, f'on_revoke = "stop"\n{text}')
            done = trio.current_time()
        assert "client carol is out; its jobs are stopped" in changes
        assert when[0] - done < 1 * slowness()
        with pytest.raises(RpcError) as caught:
            await carol.status(job.handle)
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        await reload(server, text + CAROL)
        ended = (await wait_for_job(server.endpoint("carol"), job.handle)).end
        assert (ended.reason, ended.stopped_by) == ("revoked", "the policy")
        await alice.stop(kept.handle)
    (line,) = [line for line in server.audit() if line["event"] == "client.revoked"]
    assert (line["client"], line["jobs_stopped"]) == ("carol", 1)
