"""Names, labels and filtered lists on a real server, over a kill and over SIGUSR2."""

import signal
from collections.abc import Iterator

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from killing import kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect, start_job
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

COMMANDS = script("sleep", "sleep 300") + script("true", "exit 0")
CLIENTS = "".join(
    f'[clients.{owner}]\ncommands = ["sleep", "true"]\n' for owner in ("alice", "bob")
)
LABELS = {"team": "core", "app/tier": "front é"}


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def holder(server: RunningServer, name: str) -> str:
    """The handle of the job because of which alice's start by this name is refused."""
    async with connect(server.endpoint("alice")) as client:
        with pytest.raises(RpcError, match="has the name") as caught:
            await client.start("true", name=name)
    assert caught.value.code is StatusCode.ALREADY_EXISTS
    (info,) = [each for each in caught.value.details if isinstance(each, ErrorInfo)]
    assert info.reason == "NAME_IN_USE"
    return str(info.metadata["handle"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR2])
async def test_names_and_labels_outlive_a_server(
    server: RunningServer, number: signal.Signals
) -> None:
    """Those of a job that runs on, and of one that has ended, which does not hold its name; the
    supervisor, which stays, is not told of them."""
    async with connect(server.endpoint("alice")) as client:
        assert {"names", "list_filters"} <= set((await client.server_info()).features)
        over = await client.start("true", name="web", labels={"team": "old"})
        await client.wait(over.handle)
        runs = await client.start("sleep", name="web", labels=LABELS)
        nameless = await client.start("sleep")
        assert (runs.name, dict(runs.labels)) == ("web", LABELS)
    assert await holder(server, "web") == runs.handle
    supervisor = server.process.pid
    await kill_server(server, number)
    assert server.process.pid == supervisor
    assert await holder(server, "web") == runs.handle
    async with connect(server.endpoint("alice")) as client:

        async def handles(**wanted: object) -> list[str]:
            return [job.handle for job in await client.jobs(**wanted)]  # type: ignore[arg-type]

        found = (await client.status(runs.handle)).job
        assert (found.name, dict(found.labels)) == ("web", LABELS)
        assert await handles() == [nameless.handle, runs.handle]
        assert await handles(name="web") == [runs.handle]
        assert await handles(name="web", include_finished=True) == [runs.handle, over.handle]
        assert await handles(name="web", include_finished=True, most=1) == [runs.handle]
        assert await handles(states=[pb.JOB_STATE_FINISHED]) == [over.handle]
        assert await handles(labels={"app/tier": "front é"}) == [runs.handle]
        assert await handles(label_keys=["team"], include_finished=True) == [
            runs.handle,
            over.handle,
        ]
        assert await handles(labels={"team": "core"}, command="true") == []
        assert await handles(prefix="we") == [runs.handle]
        assert await handles(prefix=nameless.handle) == [nameless.handle]
        since_ns = runs.started_ns
        assert await handles(since_ns=since_ns, include_finished=True) == [
            nameless.handle,
            runs.handle,
        ]
        await client.stop(runs.handle)
        again = await start_job(server.endpoint("alice"), "sleep", name="web", labels=LABELS)
        assert await handles(name="web") == [again.handle]
    async with connect(server.endpoint("bob")) as client:
        assert await client.jobs(name="web", include_finished=True) == []
        await client.start("sleep", name="web")
    lines = [
        line
        for line in server.audit()
        if (line["event"], line.get("verb"), line.get("name")) == ("decision", "start", "web")
    ]
    assert [line["allowed"] for line in lines] == [True, True, False, False, True, True]
    assert [line.get("labels") for line in lines[:2]] == [{"team": "old"}, LABELS]
