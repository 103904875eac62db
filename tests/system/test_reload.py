"""SIGHUP to the real penstockd: certificates and the revocation list are read again."""

import signal
from collections.abc import Iterator

import pytest
import trio
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.errors import HandshakeFailed, RpcError, StatusCode

COMMANDS = script("idle", "echo ready; sleep 300", grace="200ms")
CLIENTS = "".join(f'[clients.{name}]\ncommands = ["idle"]\n' for name in ("alice", "bob"))


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS), crl=True) as server:
        yield server


async def reload(server: RunningServer, loaded: bool) -> str:
    """SIGHUP, and the audit line that says what came of it."""

    def lines() -> list[str]:
        return [
            str(line.get("message", ""))
            for line in server.audit()
            if line["event"] == "tls.reload" and line["loaded"] is loaded
        ]

    before = len(lines())
    server.process.send_signal(signal.SIGHUP)
    with trio.fail_after(10):
        while len(lines()) == before:  # noqa: ASYNC110 - a file: nothing tells of a new line
            await trio.sleep(0.02)
    return lines()[-1]


async def test_a_revoked_client_loses_its_streams_and_keeps_its_job(server: RunningServer) -> None:
    """C16: within a second UNAUTHENTICATED, and no way back; others notice nothing."""
    async with connect(server.endpoint("alice")) as alice, connect(server.endpoint("bob")) as bob:
        job = await alice.start("idle")
        server.pki.write_crl("alice")
        took: list[float] = []

        async def stream() -> None:
            async with alice.stream(job.handle) as messages:
                async for message in messages:
                    if message.data:
                        await reload(server, True)
                        took.append(trio.current_time())

        with pytest.raises(RpcError) as caught:
            await stream()
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        assert trio.current_time() - took[0] < 1
        with pytest.raises(HandshakeFailed):
            async with connect(server.endpoint("alice")):
                pass
        assert isinstance(await bob.start("idle"), pb.Job)
    server.pki.write_crl()
    await reload(server, True)
    async with connect(server.endpoint("alice")) as alice:
        (found,) = await alice.jobs()
        assert found.handle == job.handle
        await alice.stop(job.handle)


async def test_a_bad_reload_changes_nothing(server: RunningServer) -> None:
    """Row 6: every mistake is named, the old certificate stays, connections too."""
    async with connect(server.endpoint("alice")) as alice:
        certificate = server.pki.server.certificate.read_bytes()
        server.pki.server.certificate.write_text("no certificate")
        server.pki.server.key.chmod(0o644)
        server.pki.write_crl("alice", days=-1)
        message = await reload(server, False)
        assert "[tls] key" in message
        assert "out of date" in message
        assert "[tls] of the configuration" in message
        await alice.server_info()
        async with connect(server.endpoint("alice")) as again:
            await again.server_info()
        server.pki.server.certificate.write_bytes(certificate)
        server.pki.server.key.chmod(0o600)
        server.pki.write_crl()
        await reload(server, True)
        async with connect(server.endpoint("alice")) as again:
            await again.server_info()
