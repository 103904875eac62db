"""Clients of other makes as fast as they go, near and far: nothing of it looks like an attack."""

import shutil
import sys
import time
from pathlib import Path

import pytest
import trio
import trio.testing
from delaying_relay import delaying_relay
from foreign import run_foreign
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value
from patience import patient
from pki import shared_pki
from raw import message
from toy import CHUNK, SERVICE, Running, serving

from penstock.rpc.channel import open_channel
from penstock.rpc.token_bucket import TokenBucket

HERE = Path(__file__).parent
MIB = 2**20
LONG_S = patient(120)
BOUND = pytest.mark.timeout(LONG_S + 60)


class Spending:
    """How far each budget of the server, and of our own channel, went down: parts of its burst."""

    def __init__(self) -> None:
        self.lowest: dict[str, float] = {}

    def noted(self, budget: TokenBucket) -> None:
        kind, left = budget.kind, budget._tokens / budget._rate.burst
        self.lowest[kind] = min(self.lowest.get(kind, 1.0), left)

    def check(self) -> None:
        """Half of each is left: a client that is twice as eager passes as well."""
        print("left of budgets:", {kind: f"{left:.0%}" for kind, left in self.lowest.items()})
        assert all(left >= 0.5 for left in self.lowest.values()), self.lowest


@pytest.fixture
def spending(monkeypatch: pytest.MonkeyPatch) -> Spending:
    """Notes what is left each time that something is taken."""
    found = Spending()
    take = TokenBucket.try_take

    def noting(budget: TokenBucket, tokens: int = 1) -> bool:
        taken = take(budget, tokens)
        found.noted(budget)
        return taken

    monkeypatch.setattr(TokenBucket, "try_take", noting)
    return found


@pytest.fixture(params=["grpc-go", "grpcio-asyncio", "grpcio-sync", "grpc-js"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a client; port, certificates and cases follow."""
    match request.param:
        case "grpc-go":
            return [str(request.getfixturevalue("grpc_go"))]
        case "grpc-js":
            monkeypatch.setenv("NODE_PATH", str(request.getfixturevalue("npm")))
            return ["node", str(HERE / "grpc_js_client.cjs")]
        case "grpcio-asyncio":
            return [sys.executable, str(HERE / "grpcio_client.py")]
        case _:
            return [sys.executable, str(HERE / "grpcio_sync_client.py")]


async def passes(
    running: Running,
    program: list[str],
    case: str,
    port: int | None = None,
    refused: dict[str, int] | None = None,
) -> None:
    """The client had all of it, on one connection that nobody else has ended."""
    command = [*program, str(port or running.port), str(running.pki.directory), case]
    begin = time.perf_counter()
    await run_foreign(command, LONG_S)
    print(f"{case}: {time.perf_counter() - begin:.1f} s")
    while running.server.statistics().connections:  # noqa: ASYNC110 - nothing tells of it
        await trio.sleep(0.01)
    statistics = running.server.statistics()
    assert statistics.refused == (refused or {})
    # By the client; lost where it has not read all that was under way.
    assert statistics.ended in ({"closed": 1}, {"lost": 1})
    assert running.errors == []


@pytest.mark.interop
@pytest.mark.slow
@BOUND
async def test_a_gibibyte(program: list[str], spending: Spending) -> None:
    """From the first byte to the last, at the speed of loopback."""
    async with serving(shared_pki()) as running:
        await passes(running, program, f"full_speed={1024 * MIB // len(CHUNK)}")
    spending.check()


@pytest.mark.interop
@pytest.mark.slow
@BOUND
async def test_a_gibibyte_by_nghttp(spending: Spending, tmp_path: Path) -> None:
    """nghttp2's own client, whose window is small."""
    nghttp = shutil.which("nghttp")
    if nghttp is None:
        pytest.skip("NOT TESTED: no nghttp here (Debian: nghttp2-client)")
    request = tmp_path / "request"
    request.write_bytes(message(Int64Value(value=1024 * MIB // len(CHUNK)).SerializeToString()))
    directory = shared_pki().directory
    async with serving(shared_pki()) as running:
        printed = await run_foreign(
            [
                *(nghttp, "--stat", "--null-out", "--data", str(request)),
                *("--cert", str(directory / "alice.crt"), "--key", str(directory / "alice.key")),
                *("-H", ":method: POST", "-H", "te: trailers"),
                *("-H", "content-type: application/grpc"),
                f"https://localhost:{running.port}/{SERVICE}/Flood",
            ],
            LONG_S,
        )
        assert b"1G" in printed, printed
        assert running.toy.sent_chunks == 1024 * MIB // len(CHUNK)
    spending.check()


@pytest.mark.interop
@pytest.mark.slow
@BOUND
async def test_small_calls_of_grpc_go(grpc_go: Path, spending: Spending) -> None:
    """Each brings a PING of its own, and no call waits for long."""
    async with serving(shared_pki()) as running:
        await passes(running, [str(grpc_go)], "calls=20000")
    spending.check()


@pytest.mark.interop
@pytest.mark.slow
@BOUND
async def test_small_messages_of_grpc_go(grpc_go: Path, spending: Spending) -> None:
    """A frame of eight bytes each."""
    async with serving(shared_pki()) as running:
        await passes(running, [str(grpc_go)], "small_messages=200000")
    spending.check()


@pytest.mark.interop
@pytest.mark.slow
@BOUND
async def test_small_messages_that_are_refused(grpc_go: Path) -> None:
    """What was under way then, a window full of them, ends nothing else."""
    async with serving(shared_pki()) as running:
        await passes(running, [str(grpc_go)], "mistaken_uploads=5", refused={"second_message": 5})


@pytest.mark.interop
@pytest.mark.slow
@BOUND
@pytest.mark.parametrize(("delay_ms", "mib"), [(50, 96), (200, 32)])
async def test_far_away(program: list[str], spending: Spending, delay_ms: int, mib: int) -> None:
    """As over a long cable, so long each way."""
    if program[0] == "node":  # its window stays at 64 KiB, which is all that a round trip brings
        mib = 4 * 50 // delay_ms
    async with (
        serving(shared_pki()) as running,
        delaying_relay(running.port, delay_ms / 1000) as relay,
    ):
        await passes(running, program, f"full_speed={mib * MIB // len(CHUNK)}", relay.port)
        assert relay.connections == 1
    spending.check()


@pytest.mark.interop
@pytest.mark.slow
@BOUND
@pytest.mark.parametrize(("delay_ms", "mib"), [(50, 32), (200, 8)])
async def test_our_channel_far_away(spending: Spending, delay_ms: int, mib: int) -> None:
    """Output through the delay, and as much input as the other clients have output."""
    async with (
        serving(shared_pki()) as running,
        delaying_relay(running.port, delay_ms / 1000) as relay,
    ):
        context = running.pki.client_context("alice")
        async with open_channel("127.0.0.1", relay.port, context) as channel:
            chunks = mib * MIB // len(CHUNK)
            request = Int64Value(value=chunks)
            async with channel.server_stream(SERVICE, "Flood", request, BytesValue) as answers:
                count = 0
                async for answer in answers:
                    count += len(answer.value) == len(CHUNK)
            assert count == chunks
            whole = BytesValue(value=CHUNK * 32)
            assert await channel.unary(SERVICE, "Echo", whole, BytesValue) == whole
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.statistics().refused == {}
    spending.check()
