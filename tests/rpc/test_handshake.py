"""Who gets in: TLS 1.3, ALPN, and certificates on both sides."""

import ssl

import pytest
import trio
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.wrappers_pb2 import BytesValue
from patience import slowness
from pki import Pair, make_pki, shared_pki
from ports import reserved_port
from raw import raw_client
from toy import SERVICE, Running, serving

from penstock.rpc.channel import ConnectionLost, HandshakeFailed, open_channel
from penstock.rpc.tls.contexts import KeyPasswordNeeded, client_ssl_context, server_ssl_context


async def assert_serves(running: Running) -> None:
    async with running.channel("bob") as channel:
        await channel.unary(SERVICE, "Echo", BytesValue(), BytesValue)


def _wrong_clients() -> dict[str, Pair]:
    pki = shared_pki()
    return {
        "another CA": pki.other_client,
        "expired": pki.expired_client,
        "not yet valid": pki.not_yet_client,
        "a server's certificate": pki.server,
    }


@pytest.mark.parametrize("name", list(_wrong_clients()))
async def test_client_certificate_refused(name: str) -> None:
    """The client learns it before it has sent a call; the server goes on."""
    async with serving(shared_pki()) as running:
        with pytest.raises(HandshakeFailed):
            async with running.channel(_wrong_clients()[name]):
                pass
        assert running.server.statistics().refused["handshake"] == 1
        await assert_serves(running)


async def test_no_client_certificate() -> None:
    async with serving(shared_pki()) as running:
        context = ssl.create_default_context(cafile=shared_pki().ca)
        context.set_alpn_protocols(["h2"])
        with pytest.raises(HandshakeFailed):
            async with open_channel("127.0.0.1", running.port, context):
                pass
        await assert_serves(running)


async def test_tls_1_2() -> None:
    async with serving(shared_pki()) as running:
        context = shared_pki().client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(HandshakeFailed):
            async with open_channel("127.0.0.1", running.port, context):
                pass
        await assert_serves(running)


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_no_alpn(protocols: list[str]) -> None:
    """TLS itself would agree; HTTP/2 may not be spoken without."""
    pki = shared_pki()
    async with serving(pki) as running:
        context = ssl.create_default_context(cafile=pki.ca)
        context.load_cert_chain(pki.clients["alice"].certificate, pki.clients["alice"].key)
        if protocols:
            context.set_alpn_protocols(protocols)
        async with raw_client(running.port, context) as client:
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await client.wait_for(object)
        assert running.server.statistics().refused["handshake"] == 1
        await assert_serves(running)


async def test_server_certificate_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Another CA, another name, a client's certificate: nothing is sent."""
    pki = make_pki(tmp_path)
    impostor = pki.authority.issue("impostor", "penstock", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    for pair in (pki.other_server, impostor, pki.clients["bob"]):
        context = server_ssl_context(pair.certificate, pair.key, pki.ca)

        class Impostor:
            server = pair

            def server_context(self, context: ssl.SSLContext = context) -> ssl.SSLContext:
                return context

        async with serving(Impostor()) as running:  # type: ignore[arg-type]
            running.pki = pki
            with pytest.raises(HandshakeFailed, match="certificate is refused"):
                async with running.channel():
                    pass


async def test_silent_handshake_is_cut() -> None:
    """A connection that says nothing is closed at the deadline."""
    async with serving(shared_pki(), handshake_s=0.05) as running:
        stream = await trio.open_tcp_stream("127.0.0.1", running.port)
        async with stream:
            with trio.fail_after(2 * slowness()):
                assert await stream.receive_some() == b""
        assert running.server.statistics().refused == {"handshake_timeout": 1}


async def test_half_open_handshakes_are_capped() -> None:
    """One that has said nothing makes room, so that a client who means it gets in."""
    async with serving(shared_pki(), handshakes=3) as running:
        streams = [await trio.open_tcp_stream("127.0.0.1", running.port) for _ in range(10)]
        await assert_serves(running)
        assert running.server.statistics().handshakes <= 3
        for stream in streams:
            await stream.aclose()


async def test_handshakes_that_have_failed_make_room_too() -> None:
    """Neither what is no TLS nor an ended handshake counts once more; few may linger."""
    async with serving(shared_pki(), handshakes=3, lingering=2, linger_s=60.0) as running:
        streams = []
        for _ in range(10):
            stream = await trio.open_tcp_stream("127.0.0.1", running.port)
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            streams.append(stream)
        while sum(running.server.statistics().refused.values()) < 10:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        found = running.server.statistics()
        assert (found.handshakes, found.lingering) == (0, 2)
        await assert_serves(running)
        for stream in streams:
            await stream.aclose()
        while running.server.statistics().lingering:  # noqa: ASYNC110 - nothing tells of it
            await trio.lowlevel.checkpoint()


async def test_one_silent_handshake_is_ended_for_one_new() -> None:
    """Once, and whichever it is: the cap holds however fast they come."""
    async with serving(shared_pki(), handshakes=3) as running:
        streams = [await trio.open_tcp_stream("127.0.0.1", running.port) for _ in range(50)]
        ended = 0

        async def wait_ended(stream: trio.SocketStream, everybody: trio.CancelScope) -> None:
            nonlocal ended
            assert await stream.receive_some() == b""
            ended += 1
            if ended == 47:
                everybody.cancel()

        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(wait_ended, stream, nursery.cancel_scope)
        found = running.server.statistics()
        assert found.handshakes == 3
        assert found.refused == {"handshakes": 47}
        for stream in streams:
            await stream.aclose()


async def test_connections_are_capped() -> None:
    async with serving(shared_pki(), connections=2) as running:
        async with running.channel(), running.channel("carol"):
            with pytest.raises(ConnectionLost):
                async with running.channel("bob"):
                    pass
        while running.server.statistics().connections:
            await trio.testing.wait_all_tasks_blocked()
        await assert_serves(running)


async def test_no_preface() -> None:
    """TLS alone does not keep a connection open."""
    async with serving(shared_pki(), preface_s=0.05) as running:
        context = shared_pki().client_context()
        async with raw_client(running.port, context, start=False) as client:
            with trio.fail_after(2 * slowness()):
                await client.wait_closed()
        while running.server.statistics().connections:
            await trio.testing.wait_all_tasks_blocked()
        assert running.server.statistics().ended == {"preface_timeout": 1}


async def test_nobody_listens() -> None:
    with reserved_port() as port, pytest.raises(ConnectionLost, match="refused"):
        async with open_channel("127.0.0.1", port, shared_pki().client_context()):
            pass


async def test_server_that_says_nothing() -> None:
    """The time to connect covers the handshake."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(ConnectionLost, match="no connection within"):
            async with open_channel(
                "127.0.0.1", port, shared_pki().client_context(), connect_timeout_s=0.05
            ):
                pass


def test_encrypted_key(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The password is used; without one there is an error, never a prompt."""
    pki = make_pki(tmp_path)
    pair = pki.authority.issue("dora", "dora", password=b"sesame")
    client_ssl_context(pair.certificate, pair.key, pki.ca, password="sesame")
    with pytest.raises(KeyPasswordNeeded, match=r"dora\.key"):
        client_ssl_context(pair.certificate, pair.key, pki.ca)
    with pytest.raises(ssl.SSLError):
        client_ssl_context(pair.certificate, pair.key, pki.ca, password="wrong")
