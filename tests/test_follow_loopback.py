"""Following over real TLS connections that break anywhere, the handshake included."""

import hashlib
from pathlib import Path
from random import Random

import pytest
import trio
from cutting_proxy import cutting_proxy
from fake_service import HANDLE, FakeServer, FakeService, chunk, fake_server

from penstock.client import Endpoint, backoff
from penstock.client.follow import Follower
from penstock.client.identity import IdentityError
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode


def endpoint(server: FakeServer, port: int | None = None) -> Endpoint:
    pair = server.pki.clients["alice"]
    return Endpoint("127.0.0.1", port or server.port, server.pki.ca, pair.certificate, pair.key)


def service_of(output: bytes, random: Random) -> FakeService:
    """A job that has ended, in chunks of many sizes."""
    service = FakeService()
    at = 0
    while at < len(output):
        data = output[at : at + random.choice([1, 10, 1000, 20_000])]
        service.messages.append(chunk(data, stream=random.choice([1, 2]), offset=at))
        at += len(data)
    end = pb.EndRecord(
        reason="exited",
        exit_code=0,
        output_sha256=hashlib.sha256(output).hexdigest(),
        sha256_to=len(output),
    )
    service.messages.append(pb.StreamOutputResponse(finished=end))
    return service


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_hundred_cut_connections(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the handshake, in a frame, by a reset or an end: every byte once, and proven."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_S", 0.02)
    random = Random(seed)
    output = random.randbytes(8_000_000)
    service = service_of(output, random)
    digest = hashlib.sha256()
    async with (
        fake_server(service) as server,
        cutting_proxy(server.port, random, cuts=101, most_bytes=80_000) as proxy,
    ):
        proxy.cuts = 0  # a first connection that cannot be made is an error
        follower = Follower(endpoint(server, proxy.port), HANDLE)
        at = 0
        async with follower.messages() as messages:
            async for message in messages:
                if at == 0:
                    proxy.cuts = 101
                assert message.offset == at
                at = message.next_offset
                digest.update(message.data)
                if proxy.done == 0 and at > 100_000:
                    server.break_connections()
                    await server.serve()
                    proxy.server_port = server.port
                    proxy.done = 1
    assert proxy.done == 101
    assert at == len(output)
    assert digest.digest() == hashlib.sha256(output).digest()
    assert follower.verdict.verified


async def test_a_server_that_was_never_there_is_not_tried_again() -> None:
    """Beyond the time for a first connection; nor one that refuses our certificate."""
    async with fake_server() as server:
        follower = Follower(endpoint(server, 1), HANDLE, connect_timeout_s=0.1)
        with pytest.raises(ConnectionLost):
            async with follower.messages() as messages:
                await anext(messages)
        pair = server.pki.clients["alice"]
        other = server.pki.other_authority.certificate
        wrong = Endpoint("127.0.0.1", server.port, other, pair.certificate, pair.key)
        with pytest.raises(HandshakeFailed):
            async with Follower(wrong, HANDLE).messages() as messages:
                await anext(messages)
        absent = Endpoint("127.0.0.1", server.port, Path("absent"), pair.certificate, pair.key)
        with pytest.raises(IdentityError):
            async with Follower(absent, HANDLE).messages() as messages:
                await anext(messages)


async def test_a_drain_is_a_loss_and_not_found_an_end() -> None:
    """As the real statuses say it: the job is gone when the server is back."""
    service = FakeService()
    service.messages = [chunk(b"ab")]
    service.stream_error = RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")
    async with fake_server(service) as server:
        found = b""
        async with Follower(endpoint(server), HANDLE).messages() as messages:
            await anext(messages)
            found += (await anext(messages)).data
            service.stream_errors = [RpcError(StatusCode.NOT_FOUND, "Job 48213 not found")]
            with pytest.raises(RpcError) as caught:
                await anext(messages)
    assert caught.value.code is StatusCode.NOT_FOUND
    assert [request.offset for request in service.streams] == [0, 2]


async def test_cancelling_leaves_no_connection() -> None:
    """The server's handler ends with it."""
    service = FakeService()
    service.messages = [chunk(b"ab")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server:
        with trio.CancelScope() as scope:
            async with Follower(endpoint(server), HANDLE).messages() as messages:
                async for message in messages:
                    if message.data:
                        scope.cancel()
        assert scope.cancelled_caught
        # The descriptor check after each test sees the socket if it is still open.
