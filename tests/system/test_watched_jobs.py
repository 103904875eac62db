"""Watch against the real server: over cuts, restarts and slowness, no change is missed."""

import signal
import uuid
from collections.abc import Iterator
from random import Random

import pytest
import trio
from cutting_proxy import cutting_proxy
from database_copy import opened_copy
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, Endpoint, JobWatcher, News, RpcError, StatusCode, ask
from penstock.proto import command_pb2 as pb

COMMANDS = script("brief", "exit 0") + script("idle", "sleep 300")
CLIENTS = """
[clients.alice]
commands = ["brief", "idle"]
max_running = 50
starts_per_minute = 100000
signals_per_minute = 100000
[clients.bob]
commands = ["brief"]
starts_per_minute = 100000
"""
WORKERS = 6
WHAT = {
    pb.JOB_STATE_RUNNING: "running",
    pb.JOB_STATE_STOPPING: "stopping",
    pb.JOB_STATE_FINISHED: "finished",
}
Seen = tuple[int, str, str]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def recorded(server: RunningServer, owner: str = "alice") -> list[Seen]:
    """The table of changes, while nothing happens."""
    with opened_copy(server.directory / "state" / "penstock.db") as db:
        return db.execute(
            "SELECT sequence, handle, what FROM changes WHERE owner = ? ORDER BY sequence", (owner,)
        ).fetchall()


class Watching(News):
    """What one watcher has had."""

    def __init__(self, endpoint: Endpoint, slow_s: float = 0.0) -> None:
        self.seen: list[Seen] = []
        self.begin = -1
        self.resyncs = 0
        self.losses = 0
        self.begun = trio.Event()
        self.go = trio.Event()
        """It takes no change before."""
        self._watcher = JobWatcher(endpoint, news=self, heartbeat_s=1.0)
        self._slow_s = slow_s
        self._changed = trio.lowlevel.ParkingLot()

    def lost(self, error: RpcError) -> None:
        self.losses += 1

    async def run(self) -> None:
        async with self._watcher.messages() as messages:
            async for message in messages:
                if not message.handle:
                    self.resyncs += message.resync
                    self.begin = message.sequence
                    self.begun.set()
                    await self.go.wait()
                    continue
                what = "removed" if message.removed else WHAT[message.state]
                if message.HasField("paused"):
                    what = "paused" if message.paused else "resumed"
                self.seen.append((message.sequence, message.handle, what))
                self._changed.unpark_all()
                await trio.sleep(self._slow_s)

    async def has(self, last: Seen) -> None:
        """Until it has had this one."""
        while not self.seen or self.seen[-1][0] < last[0]:
            await self._changed.park()

    async def has_more(self, count: int) -> None:
        """Until it has had so many since."""
        wanted = len(self.seen) + count
        while len(self.seen) < wanted:
            await self._changed.park()


async def a_life(server: RunningServer, client: str, request_id: str) -> None:
    """A job from its start to its removal, over any number of connections."""

    async def life(connected: Client) -> None:
        try:
            job = await connected.start("brief", request_id=request_id)
            await connected.wait(job.handle)
            await connected.remove(job.handle)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:  # by what was cut off before its answer
                raise

    await ask(server.endpoint(client), life, repeatable=True, reached=True, give_up_s=30)


async def lives(server: RunningServer, client: str, count: int) -> None:
    for _ in range(count):
        await a_life(server, client, str(uuid.uuid4()))


async def many_lives(server: RunningServer, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(lives, server, "alice", count)
        nursery.start_soon(lives, server, "bob", count)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("each", "cuts", "least"),
    [
        pytest.param(6, 3, 300, id="300"),
        pytest.param(20, 10, 1000, marks=pytest.mark.slow, id="1000"),
    ],
)
async def test_changes_over_cuts_restarts_and_slowness_miss_none(
    server: RunningServer, each: int, cuts: int, least: int
) -> None:
    """C63: three watchers, one cut so often, one that reads nothing for the first half and slowly
    then; the server is killed, and restarted in good order. Each has had exactly the table."""
    endpoint = server.endpoint("alice")
    proxying = cutting_proxy(server.port, Random(7), cuts=cuts, most_bytes=3000 * each)
    async with proxying as proxy, trio.open_nursery() as nursery:
        through = Endpoint("127.0.0.1", proxy.port, endpoint.ca, endpoint.certificate, endpoint.key)
        cut, plain, slow = Watching(through), Watching(endpoint), Watching(endpoint, 0.002)
        for watching in (cut, plain, slow):
            nursery.start_soon(watching.run)
            await watching.begun.wait()
        cut.go.set()
        plain.go.set()
        await many_lives(server, each)
        async with trio.open_nursery() as killing:
            killing.start_soon(many_lives, server, each)
            await plain.has_more(20)
            await kill_server(server)
        slow.go.set()
        async with trio.open_nursery() as restarting:
            restarting.start_soon(many_lives, server, each)
            await plain.has_more(20)
            server.process.send_signal(signal.SIGUSR2)
        async with connected_again(server, "alice"):
            table = recorded(server)
        for watching in (cut, plain, slow):
            await watching.has(table[-1])
            assert watching.resyncs == 0
            assert watching.seen == [row for row in table if row[0] > watching.begin]
        nursery.cancel_scope.cancel()
    assert proxy.done == cuts
    assert len(plain.seen) >= least
    # A cut in a handshake is no loss of its own, and who reads nothing notices none meanwhile.
    assert cut.losses > plain.losses >= 2
    assert slow.losses >= 1
    assert {what for _, _, what in table} == {"running", "finished", "removed"}
    print(f"{len(plain.seen)} changes; losses: {cut.losses}, {plain.losses}, {slow.losses}")


async def test_a_watch_ends_with_a_drain_and_its_number_is_good_for_the_next_server(
    server: RunningServer,
) -> None:
    """C11, C63: UNAVAILABLE for the call, and no change between two servers is lost."""
    async with connected_again(server, "alice") as client, client.watch() as call:
        begin = (await anext(call)).sequence
        job = await client.start("idle")
        running = await anext(call)
        assert (running.handle, running.sequence > begin) == (job.handle, True)
        server.process.send_signal(signal.SIGUSR2)
        with pytest.raises(RpcError) as caught:
            await anext(call)
        assert caught.value.code is StatusCode.UNAVAILABLE
    async with connected_again(server, "alice") as client:
        await client.stop(job.handle)
        async with client.watch(after=running.sequence) as call:
            messages = [await anext(call) for _ in range(3)]
        assert [each.resync for each in messages] == [False] * 3
        assert [each.state for each in messages[1:]] == [
            pb.JOB_STATE_STOPPING,
            pb.JOB_STATE_FINISHED,
        ]
        assert messages[2].job.end.reason == "stopped"


@pytest.mark.root
async def test_pauses_are_changes_and_survive_a_kill(server: RunningServer) -> None:
    """C62: what stands still is a change before its caller is answered; a stop lets it run on."""
    async with connected_again(server, "alice") as client, client.watch() as call:
        begin = (await anext(call)).sequence
        job = await client.start("idle")
        assert (await client.pause(job.handle)).paused
        running, paused = await anext(call), await anext(call)
        assert (running.HasField("paused"), paused.paused, paused.job.paused) == (False, True, True)
        await client.resume(job.handle)
        resumed = await anext(call)
        assert (resumed.HasField("paused"), resumed.paused) == (True, False)
        await client.pause(job.handle)
        assert (await anext(call)).paused
    await kill_server(server)
    async with connected_again(server, "alice") as client:
        await client.stop(job.handle)
        assert (await client.status(job.handle)).job.end.reason == "stopped"
    whats = [(handle, what) for at, handle, what in recorded(server) if at > begin]
    expected = ("running", "paused", "resumed", "paused", "stopping", "finished")
    assert whats == [(job.handle, what) for what in expected]
