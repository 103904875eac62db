"""Limits per client, keepalive, configuration, reload and revocation, health, reflection."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from google.rpc import error_details_pb2
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame, RstStreamFrame
from patience import patient, slowness
from pki import Pki, make_pki, shared_pki
from raw import GRPC_HEADERS, PREFACE, frame, message
from toy import CHUNK, SERVICE, Running, serving
from wire import (
    CALM,
    CANCEL,
    Wire,
    connected,
    data,
    settings,
    to_client,
    to_server,
    window,
)

from penstock.pki.crl import CrlError, load_crl
from penstock.rpc import health, reflection
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from penstock.rpc.channel import Channel
from penstock.rpc.grpc_server import Peer
from penstock.rpc.http2.connection import Connection
from penstock.rpc.limit_parser import limits_from
from penstock.rpc.limits import CLIENT_DEFAULTS, SERVER_DEFAULTS, Rate
from penstock.rpc.tls.contexts import server_ssl_context
from penstock.rpc.tls.transport import TlsTransport


async def none_left(running: Running) -> None:
    """Returns when the server has noticed that its connections are gone."""
    while running.server.statistics().connections:  # noqa: ASYNC110 - nothing tells of it
        await trio.lowlevel.checkpoint()


async def echo(channel: Channel) -> BytesValue:
    return await channel.unary(SERVICE, "Echo", BytesValue(value=b"x"), BytesValue)


async def test_connections_per_client() -> None:
    """One more than allowed is told so and closed; another client is not concerned."""
    async with serving(shared_pki(), connections_per_client=2) as running:
        async with connected(running) as first, connected(running):
            async with connected(running, greet=False) as third:
                frame = await third.expect(GoAwayFrame)
                assert frame.error_code == CALM
                assert b"too many connections" in frame.additional_data
            await first.lives()
            async with running.channel("bob") as channel:
                await echo(channel)
        assert running.server.statistics().refused["connections_per_client"] == 1
        await none_left(running)
        async with connected(running) as again:
            await again.lives()


async def test_refused_connections_are_counted_while_they_linger() -> None:
    """So that one client cannot have any number of them; beyond the cap they are closed."""
    async with (
        serving(shared_pki(), connections_per_client=1, lingering=2, linger_s=60.0) as running,
        connected(running) as first,
        AsyncExitStack() as stack,
    ):
        wires = [await stack.enter_async_context(connected(running, greet=False)) for _ in range(5)]
        for wire in wires:
            await wire.expect(GoAwayFrame)
        for wire in wires[2:]:
            assert await wire.next() is None
        assert running.server.statistics().lingering == 2
        await first.lives()


async def test_streams_per_client_count_over_its_connections() -> None:
    """RESOURCE_EXHAUSTED for one more, on whatever connection; room comes back with each end."""
    async with serving(shared_pki(), streams_per_client=2) as running:
        async with connected(running) as first, connected(running) as second:
            await first.send(first.call(1, "/toy.Toy/Wait"))
            await first.lives()
            await second.send(second.call(1, "/toy.Toy/Wait"), second.call(3))
            assert await second.status(3) == EXHAUSTED
            async with running.channel("bob") as channel:
                await echo(channel)
            await first.send(RstStreamFrame(1, CANCEL))
            await first.lives()
            await second.send(second.call(5))
            assert await second.status(5) == "0"
        assert running.server.statistics().refused["streams_per_client"] == 1


async def hold(wire: Wire, stream_id: int, size: int) -> None:
    """``size`` bytes of a message that does not end."""
    fields = [(n, "/toy.Toy/TotalLater" if n == ":path" else v) for n, v in GRPC_HEADERS]
    await wire.send(wire.headers(stream_id, fields))
    rest = message(bytes(1_000_000))[:size]
    while rest:
        await wire.send(data(stream_id, rest[:16_000]))
        rest = rest[16_000:]
    await wire.lives()


EXHAUSTED = str(StatusCode.RESOURCE_EXHAUSTED.value)


@pytest.mark.parametrize("limit", ["unfinished_bytes_per_client", "unfinished_bytes_in_all"])
async def test_unfinished_messages_are_bounded_over_connections(limit: str) -> None:
    """Of one client, and of all; a connection may hold a little whatever others do."""
    limits: dict[str, Any] = {limit: 200_000}
    async with (
        serving(shared_pki(), **limits) as running,
        connected(running) as first,
        connected(running, who="alice" if "client" in limit else "bob") as second,
        connected(running, who="carol") as third,
    ):
        await hold(first, 1, 150_000)
        await hold(second, 1, 60_000)
        fields = [(n, "/toy.Toy/Total" if n == ":path" else v) for n, v in GRPC_HEADERS]
        await second.send(second.headers(3, fields), data(3, message(bytes(100_000))[:16_000]))
        assert await second.status(3) == EXHAUSTED
        if limit == "unfinished_bytes_in_all":
            await hold(third, 1, 60_000)
        else:
            await hold(third, 1, 150_000)
        await third.send(third.call(3))
        assert await third.status(3) == "0"
        await first.send(RstStreamFrame(1, CANCEL))
        await first.lives()
        await hold(second, 5, 100_000)  # what was held has been given back
        assert second.seen
        (total,) = {link.held[2].size for link in running.server._links}
        assert total == sum(link.held[0].size for link in running.server._links)
    await none_left(running)
    assert running.server._shared.held.size == 0


async def test_small_messages_within_the_windows_are_not_refused() -> None:
    """Two streams, full to their windows with empty messages that nobody reads yet."""
    async with to_server(stream_window_bytes=200_000, unfinished_bytes=400_000) as wire:
        fields = [(n, "/toy.Toy/TotalLater" if n == ":path" else v) for n, v in GRPC_HEADERS]
        for stream_id in (1, 3):
            await wire.send(wire.headers(stream_id, fields))
            for _ in range(200_000 // 16_000):
                await wire.send(data(stream_id, bytes(16_000)))
        await wire.lives()
        assert not [each for each in wire.seen if isinstance(each, RstStreamFrame)]


async def test_a_silent_client_is_asked_and_then_left() -> None:
    """A PING while a call runs; a client that does not answer it loses its connection."""
    async with serving(shared_pki(), keepalive_s=0.05, keepalive_timeout_s=0.05) as running:
        async with connected(running) as wire:
            await wire.send(wire.call(1, "/toy.Toy/Wait"))
            await wire.expect(PingFrame)  # not answered
            while await wire.next() is not None:
                pass
        await running.toy.ended.wait()
        await none_left(running)
        assert running.server.statistics().ended == {"keepalive": 1}


async def test_a_client_that_answers_stays() -> None:
    """Rounds of PING and answer, and the call still runs."""
    async with to_server(keepalive_s=0.01, keepalive_timeout_s=1) as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"))
        for _ in range(2):
            ping = await wire.expect(PingFrame, lambda each: "ACK" not in each.flags)
            await wire.send(PingFrame(0, ping.opaque_data, flags=("ACK",)))
            await wire.lives()
        assert not [each for each in wire.seen if isinstance(each, GoAwayFrame)]


async def test_a_server_that_is_silent_is_found_out() -> None:
    """The channel's calls fail, although the connection looks open."""
    limits = CLIENT_DEFAULTS._replace(keepalive_s=0.05, keepalive_timeout_s=0.05)
    async with to_client(limits=limits) as (_, channel):
        with pytest.raises(ConnectionLost) as caught:
            await echo(channel)
        assert "does not answer" in caught.value.message


def test_limits_from_a_table() -> None:
    """Every kind of value; what is not named stays."""
    table = {"streams": 50, "idle_s": 1, "resets": {"burst": 5, "per_s": 0.5}}
    limits = limits_from(table, SERVER_DEFAULTS)
    assert (limits.streams, limits.idle_s, limits.resets) == (50, 1, Rate(5, 0.5))
    assert limits.message_bytes == SERVER_DEFAULTS.message_bytes


def test_every_mistake_in_a_table_is_named() -> None:
    """At once, with its key and what would be right."""
    table = {
        "stream": 5,
        "frame_bytes": 1000,
        "idle_s": "long",
        "streams": True,
        "pings": 7,
        "resets": {"burst": 0, "per_s": -1},
    }
    with pytest.raises(ValueError, match="stream: unknown key; did you mean 'streams'") as caught:
        limits_from(table, SERVER_DEFAULTS)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "stream",
        "frame_bytes",
        "idle_s",
        "streams",
        "pings",
        "resets.burst",
        "resets.per_s",
    ]


async def test_new_certificates_without_dropping_connections(tmp_path: Path) -> None:
    """A connection of before goes on; a new one needs the new CA."""
    other = make_pki(tmp_path)
    async with serving(shared_pki()) as running, running.channel() as channel:
        running.server.use_ssl_context(other.server_context())
        await echo(channel)
        with pytest.raises(HandshakeFailed):
            async with running.channel("bob"):
                pass
        renewed = replace(running, pki=other)
        async with renewed.channel("bob") as after:
            await echo(after)


async def test_a_handshake_ends_with_the_certificates_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C33: the server's are replaced in its middle; the next one that begins has the new ones.

    Whether the client is let in is judged by the new ones, too, which have its CA as well here
    (tests/rpc/test_refused_certificates.py has the others).
    """
    other = make_pki(tmp_path)
    both = tmp_path / "both.crt"
    both.write_bytes(shared_pki().ca.read_bytes() + other.ca.read_bytes())
    replaced = server_ssl_context(other.server.certificate, other.server.key, both)
    handshake = TlsTransport.handshake
    begun: list[TlsTransport] = []

    async def replaced_meanwhile(self: TlsTransport, turns: trio.Lock) -> None:
        if self._tls.server_side and not begun:
            begun.append(self)
            running.server.use_ssl_context(replaced)
        await handshake(self, turns)

    monkeypatch.setattr(TlsTransport, "handshake", replaced_meanwhile)
    async with serving(shared_pki()) as running, running.channel("alice") as channel:
        assert begun
        await echo(channel)
        with pytest.raises(HandshakeFailed):
            async with running.channel("bob"):
                pass
        async with replace(running, pki=other).channel("bob") as after:
            await echo(after)


async def test_a_revoked_client_loses_its_calls(caplog: pytest.LogCaptureFixture) -> None:
    """UNAUTHENTICATED at once, and its connection, with the reason in the log; others stay."""
    caplog.set_level("INFO")
    async with serving(shared_pki()) as running:
        pem = shared_pki().clients["alice"].certificate.read_bytes()
        alice = x509.load_pem_x509_certificate(pem)

        def is_alice(peer: Peer, _: object) -> bool:
            return x509.load_der_x509_certificate(peer.certificate) == alice

        async with running.channel("alice") as channel, running.channel("bob") as other:

            async def revoke() -> None:
                await running.toy.started.wait()
                assert running.server.revoke(is_alice) == 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(revoke)
                with pytest.raises(RpcError) as caught:
                    await channel.unary(SERVICE, "Wait", StringValue(), StringValue)
            assert caught.value.code is StatusCode.UNAUTHENTICATED
            await channel.wait_unusable()
            await echo(other)
    assert [text for text in caplog.messages if text.endswith("the certificate was revoked")]


def _crl(directory: Path, *, days: int = 1) -> tuple[Pki, Path]:
    pki = make_pki(directory)
    return pki, pki.write_crl("alice", days=days)


async def test_a_revocation_list_at_the_handshake(tmp_path: Path) -> None:
    """Who is on it is refused, who is not is served."""
    pki, path = _crl(tmp_path)
    async with serving(pki) as running:
        server = pki.server
        context = server_ssl_context(server.certificate, server.key, pki.ca, crl=path)
        running.server.use_ssl_context(context)
        with pytest.raises(HandshakeFailed):
            async with running.channel("alice"):
                pass
        async with running.channel("bob") as channel:
            await echo(channel)


def test_a_revocation_list_is_read(tmp_path: Path) -> None:
    """By issuer and serial; one that is out of date, foreign or no list is refused."""
    pki, path = _crl(tmp_path)
    revocations = load_crl(str(path), str(pki.ca))
    der = {
        name: x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(
            Encoding.DER
        )
        for name, pair in pki.clients.items()
    }
    assert revocations.covers(der["alice"])
    assert not revocations.covers(der["bob"])
    with pytest.raises(CrlError, match="not signed"):
        load_crl(str(path), str(shared_pki().ca))
    with pytest.raises(CrlError, match="no CRL"):
        load_crl(str(pki.ca), str(pki.ca))
    with pytest.raises(CrlError, match="No such file"):
        load_crl(str(tmp_path / "none"), str(pki.ca))
    other = tmp_path / "old"
    other.mkdir()
    pki, path = _crl(other, days=-1)
    with pytest.raises(CrlError, match="out of date"):
        load_crl(str(path), str(pki.ca))


async def check(channel: Channel, service: str = "") -> int:
    request = health.HealthCheckRequest(service=service)
    answer = await channel.unary(health.SERVICE, "Check", request, health.HealthCheckResponse)
    return int(answer.status)


async def test_health() -> None:
    """Serving as a whole and by name; NOT_FOUND for what is not here."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        assert await check(channel) == health.SERVING
        assert await check(channel, SERVICE) == health.SERVING
        with pytest.raises(RpcError) as caught:
            await check(channel, "no.Service")
        assert caught.value.code is StatusCode.NOT_FOUND


async def test_health_while_draining() -> None:
    """A watcher hears NOT_SERVING before anything else ends, and does not hold up the drain."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        request = health.HealthCheckRequest(service="")
        heard = []
        async with (
            channel.server_stream(
                health.SERVICE, "Watch", request, health.HealthCheckResponse
            ) as states,
            trio.open_nursery() as nursery,
        ):
            heard.append((await states.__anext__()).status)
            nursery.start_soon(running.server.drain, 3600.0)
            heard.append((await states.__anext__()).status)
            with pytest.raises(RpcError) as caught:
                await states.__anext__()
        assert heard == [health.SERVING, health.NOT_SERVING]
        assert caught.value.code is StatusCode.UNAVAILABLE


async def test_who_watches_an_unknown_service_does_not_hold_up_a_drain() -> None:
    """It hears SERVICE_UNKNOWN once, and is ended with the others."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        request = health.HealthCheckRequest(service="no.Service")
        async with (
            channel.server_stream(
                health.SERVICE, "Watch", request, health.HealthCheckResponse
            ) as states,
            trio.open_nursery() as nursery,
        ):
            assert (await anext(states)).status == health.SERVICE_UNKNOWN
            nursery.start_soon(running.server.drain, 3600.0)
            with pytest.raises(RpcError) as caught:
                await anext(states)
        assert caught.value.code is StatusCode.UNAVAILABLE


async def test_health_needs_an_identity_too() -> None:
    """Who cannot be identified gets the same answer from every service."""

    def nobody(peer: Peer) -> Any:
        raise RpcError(StatusCode.UNAUTHENTICATED, "nobody")

    async with serving(shared_pki(), identify=nobody) as running, running.channel() as channel:
        with pytest.raises(RpcError) as caught:
            await check(channel)
        assert caught.value.code is StatusCode.UNAUTHENTICATED


@asynccontextmanager
async def asking(running: Running) -> AsyncIterator[Any]:
    async with (
        running.channel() as channel,
        channel.open_call(reflection.SERVICE, "ServerReflectionInfo", reflection.Response) as call,
    ):

        async def ask(**question: Any) -> Any:
            assert await call.send(reflection.Request(**question))
            return await call.__anext__()

        yield ask
        call.end()


async def test_reflection_is_off_by_default() -> None:
    """UNIMPLEMENTED, as for any service that is not here."""
    async with serving(shared_pki()) as running:
        with pytest.raises(RpcError) as caught:
            async with asking(running) as ask:
                await ask(list_services="")
        assert caught.value.code is StatusCode.UNIMPLEMENTED


async def test_reflection() -> None:
    """Services, their files by symbol and name, and nothing that is not served."""
    async with serving(shared_pki(), reflection=True) as running, asking(running) as ask:
        answer = await ask(list_services="")
        names = [each.name for each in answer.list_services_response.service]
        assert names == sorted([SERVICE, health.SERVICE, reflection.SERVICE])
        questions: tuple[dict[str, Any], ...] = (
            {"file_containing_symbol": health.SERVICE},
            {"file_containing_symbol": health.SERVICE + ".Check"},
            {"file_by_filename": "grpc/health/v1/health.proto"},
        )
        for question in questions:
            answer = await ask(**question)
            (data,) = answer.file_descriptor_response.file_descriptor_proto
            assert FileDescriptorProto.FromString(data).service[0].name == "Health"
        questions = (
            {"file_containing_symbol": "google.protobuf.FileDescriptorProto"},
            {"file_by_filename": "teleport/command.proto"},
            {"file_containing_extension": {"containing_type": "x", "extension_number": 1}},
        )
        for question in questions:
            answer = await ask(**question)
            assert answer.error_response.error_code == StatusCode.NOT_FOUND.value
        answer = await ask(all_extension_numbers_of_type="grpc.health.v1.HealthCheckRequest")
        numbers = answer.all_extension_numbers_response
        assert numbers.base_type_name == "grpc.health.v1.HealthCheckRequest"
        assert list(numbers.extension_number) == []


def test_reflection_brings_a_file_with_all_that_it_imports() -> None:
    """A client that knows nothing else can build its types; each file comes once."""
    known = reflection.Reflection(["elsewhere.Unknown"], [error_details_pb2.DESCRIPTOR])
    answer = known.answer(reflection.Request(file_containing_symbol="google.rpc.RetryInfo"))
    data = answer.file_descriptor_response.file_descriptor_proto
    names = [FileDescriptorProto.FromString(each).name for each in data]
    assert names == ["google/rpc/error_details.proto", "google/protobuf/duration.proto"]
    (imported,) = known.answer(
        reflection.Request(file_by_filename=names[1])
    ).file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(imported).name == names[1]
    services = known.answer(reflection.Request(list_services="")).list_services_response.service
    assert [each.name for each in services] == ["elsewhere.Unknown", reflection.SERVICE]


def waiting_bytes(running: Running) -> int:
    """What the one connection has ready to be written."""
    (link,) = running.server._links
    return link.connection.pending_bytes


async def test_what_waits_to_be_written_is_bounded() -> None:
    """A client that opens its windows wide, asks for an endless stream and reads nothing."""
    async with serving(shared_pki()) as running, connected(running) as wire:
        await wire.send(settings(INITIAL_WINDOW_SIZE=2**31 - 1), window(0, 2**31 - 1 - 65_535))
        for stream_id in (1, 3, 5):
            await wire.send(wire.call(stream_id, "/toy.Toy/Flood"))
        await running.toy.started.wait()
        sent = -1
        while sent != running.toy.sent_chunks:  # until the handlers are held
            sent = running.toy.sent_chunks
            await trio.sleep(0.05)
        assert waiting_bytes(running) < 2 * SERVER_DEFAULTS.outbound_bytes
        assert sent * len(CHUNK) < 32 * 2**20  # with what the kernel holds for the socket


async def test_answers_that_are_not_read_stop_the_reading() -> None:
    """Requests that are answered at once, without end, by a client that reads nothing."""
    # What the kernel would hold is megabytes, and minutes of a busy machine.
    few: dict[str, Any] = {"send_buffer_bytes": 50_000, "receive_buffer_bytes": 50_000}
    async with (
        serving(shared_pki(), outbound_bytes=20_000, **few) as running,
        connected(running, **few) as wire,
    ):
        fields = [each for each in GRPC_HEADERS if each[0] != "te"]
        most, blocked_s = 0, 0.5 * slowness()
        with trio.move_on_after(patient(10)):
            stream_id = 1
            while True:
                batch = []
                for _ in range(100):
                    batch.append(wire.headers(stream_id, fields, ("END_HEADERS", "END_STREAM")))
                    stream_id += 2
                with trio.move_on_after(blocked_s) as sending:
                    await wire.send(*batch)
                most = max(most, waiting_bytes(running))
                if sending.cancelled_caught:  # the server does not read us any more
                    break
        assert sending.cancelled_caught
        assert most < 2 * 20_000 + 16 * 1_000  # and what one slice of frames is answered


@pytest.mark.parametrize("kind", ["window", "late data", "malformed", "refused"])
async def test_resets_that_the_peer_provokes_are_counted(kind: str) -> None:
    """As many as it may send itself, then GOAWAY ENHANCE_YOUR_CALM."""
    limits: dict[str, Any] = {"resets": Rate(20, 0.0)}
    if kind == "refused":
        limits["streams"] = 1
    async with to_server(**limits) as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"))
        for stream_id in range(3, 53, 2):
            match kind:
                case "window":
                    await wire.send(wire.headers(stream_id), window(stream_id, 0))
                case "late data":
                    await wire.send(wire.call(stream_id, "/toy.Toy/Wait"), data(stream_id, b"x"))
                case "malformed":
                    await wire.send(wire.headers(stream_id, (("Upper", "x"),)))
                case _:
                    await wire.send(wire.headers(stream_id))
        await wire.goaway(CALM)
        resets = [each for each in wire.seen if isinstance(each, RstStreamFrame)]
        assert len(resets) <= 20


async def test_each_data_frame_grants_a_ping() -> None:
    """As grpc-go sends one a round trip while output comes; without output they are a flood."""
    async with to_server(pings=Rate(5, 0.0)) as wire:
        await wire.send(settings(INITIAL_WINDOW_SIZE=2**30), window(0, 2**30))
        fields = [(n, "/toy.Toy/Flood" if n == ":path" else v) for n, v in GRPC_HEADERS]
        body = message(Int64Value(value=40).SerializeToString())
        await wire.send(wire.headers(1, fields), data(1, body, end=True))
        for _ in range(40):
            await wire.expect(DataFrame)
            await wire.send(PingFrame(0, b"measured"))
        assert await wire.status(1) == "0"
        for _ in range(40):
            await wire.expect(PingFrame)
        await wire.send(*[PingFrame(0, b"measured")] * 200)
        await wire.goaway(CALM)


async def test_a_server_that_measures_our_input_is_answered() -> None:
    """A channel takes a PING for each DATA that it sends."""
    limits = CLIENT_DEFAULTS._replace(pings=Rate(1, 0.0))
    async with (
        to_client(limits=limits) as (wire, channel),
        channel.open_call(SERVICE, "Total", Int64Value) as call,
    ):
        for number in range(40):
            assert await call.send(Int64Value(value=number))
            await wire.expect(DataFrame)
            await wire.send(PingFrame(0, b"measured"))
            await wire.expect(PingFrame, lambda each: "ACK" in each.flags)
        await wire.lives()


def test_answers_to_our_own_pings_cost_nothing() -> None:
    """They were asked for."""
    connection = Connection(SERVER_DEFAULTS._replace(pings=Rate(1, 0.0)), client_side=False)
    connection.receive(PREFACE + frame(4, 0, 0))
    for _ in range(10):
        connection.ping(b"any news")
        assert connection.receive(frame(6, 1, 0, b"any news"))


async def test_goaways_are_counted() -> None:
    """One is enough for a peer; each is handled, so each costs."""
    async with to_server(settings=Rate(20, 0.0)) as wire:
        await wire.send(*[GoAwayFrame(0)] * 30)
        await wire.goaway(CALM)


async def test_a_handler_that_never_waits_lets_others_run() -> None:
    """Row 23: others get a turn at every few messages, although nothing holds the sender."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with serving(shared_pki(), sends_per_checkpoint=8) as running:
        async with connected(running) as wire, trio.open_nursery() as nursery:
            nursery.start_soon(other)
            body = Int64Value(value=2_000).SerializeToString()
            fields = [(n, "/toy.Toy/Count" if n == ":path" else v) for n, v in GRPC_HEADERS]
            await wire.send(wire.headers(1, fields))
            await wire.lives()
            before = turns
            await wire.send(data(1, message(body), end=True))
            assert await wire.status(1) == "0"
            assert turns - before > 2_000 / 8
            nursery.cancel_scope.cancel()
