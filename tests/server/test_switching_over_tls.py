"""A reload of a server with real TLS connections and clients; the supervisor is played."""

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fake_backend import FakeBackend
from generations import in_force
from patience import slowness
from pki import Pki, make_pki
from switching_parts import FakeSupervisor

from penstock.client import Client, Endpoint, InputSender, connect
from penstock.jobs.backends.reloads import OfferedGeneration
from penstock.jobs.manager import open_manager
from penstock.pki.crl import NONE
from penstock.policy.policy_file import parse_policy
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from penstock.rpc.grpc_server import Server
from penstock.server.admission import Admission
from penstock.server.audit import AuditLog
from penstock.server.credentials import Credentials
from penstock.server.methods import MESSAGE_LIMITS
from penstock.server.refusal_budget import RefusalBudget
from penstock.server.service import CommandService
from penstock.server.service_info import HostInfo
from penstock.server.switching import Switching
from penstock.supervisor.ipc.reload_messages import Prepare, Switch

POLICY = """
[classes.free]
[commands.sleep]
path = "/bin/sleep"
class = "free"
stdin = true
[commands.stubborn]
path = "/bin/sleep"
class = "free"
[clients.alice]
commands = ["sleep", "stubborn"]
"""
BOB = '[clients.bob]\ncommands = ["sleep", "stubborn"]\n'
CAROL = '[clients.carol]\ncommands = ["sleep"]\n'


class Served:
    """One server, and its next generations."""

    def __init__(self, pki: Pki, port: int, server: Server, told: FakeSupervisor):
        self.pki, self.port, self.server = pki, port, server
        self._told = told
        self._number = 0

    def endpoint(self, client: str) -> Endpoint:
        pair = self.pki.clients[client]
        return Endpoint("127.0.0.1", self.port, self.pki.ca, pair.certificate, pair.key)

    async def reload(self, policy: str, **tls: str | bool) -> list[str]:
        """What the switch says; everything is in force when this returns."""
        files = {
            "certificate": str(self.pki.server.certificate),
            "key": str(self.pki.server.key),
            "client_ca": str(self.pki.ca),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in (files | tls).items()]
        configuration = "\n".join(['policy = "/p"', "[tls]", *lines]).encode()
        self._number += 1
        number, fds = self._number, ("policy", "configuration")
        about = Prepare(number, f"next {number}", "p", "{}", "root", fds)
        offered = OfferedGeneration(about, policy.encode(), configuration)
        reloads: Any = self._told.reloads
        reloads.on_prepare(offered)
        while not self._told.answers or self._told.answers[-1][0] != number:
            await trio.testing.wait_all_tasks_blocked(0.005)
        assert self._told.answers[-1][1] == []
        return list(reloads.on_switch(offered, Switch(number, 5)))


@asynccontextmanager
async def served(
    place: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> AsyncIterator[Served]:
    monkeypatch.setattr("penstock.jobs.manager.SHUTDOWN_GRACE_S", 0.1)
    pki = make_pki(place)
    audit = AuditLog(str(place / "audit"))
    told = FakeSupervisor()
    first = Credentials(pki.server_context(), NONE)
    held = in_force(parse_policy(policy.encode()), first)
    refusals = RefusalBudget(trio.current_time, lambda who, count: None)
    gate = Admission(held, audit, refusals)
    async with open_manager(FakeBackend(), str(place / "state")) as manager:
        host = HostInfo("user", "none", (), ())
        service = CommandService(manager, held, audit, host, trio.current_time, refusals)
        server = Server(
            [service.service],
            first.context,
            identify=gate.identity_of,
            client_of=lambda identity: identity.client_id,
            admit=service.admit,
            message_limits=MESSAGE_LIMITS,
        )
        supervisor: Any = told
        switching = Switching(held, server, service, manager, supervisor, audit, "/c")
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(switching.run)
            await nursery.start(server.serve, listeners)
            port = listeners[0].socket.getsockname()[1]
            yield Served(pki, port, server, told)
            nursery.cancel_scope.cancel()
    audit.close()


Call = Callable[[Client, Endpoint, str], Awaitable[object]]


async def follows(client: Client, _: Endpoint, handle: str) -> None:
    async with client.stream(handle) as messages:
        async for _message in messages:
            pass


async def watches(client: Client, _: Endpoint, __: str) -> None:
    async with client.watch() as messages:
        async for _message in messages:
            pass


async def waits(client: Client, _: Endpoint, handle: str) -> None:
    await client.wait(handle)


async def stops(client: Client, _: Endpoint, handle: str) -> None:
    await client.stop(handle, grace_s=300)


async def sends(_: Client, endpoint: Endpoint, handle: str) -> None:
    async def nothing_yet() -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    await InputSender(endpoint, handle, give_up_s=0).feed(nothing_yet)


CALLS: dict[str, Call] = {
    "stream": follows,
    "watch": watches,
    "wait": waits,
    "stop": stops,
    "send": sends,
}


@pytest.mark.parametrize("lost", ["client", "verb"])
async def test_every_kind_of_call_ends_with_the_right_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """C74: within a second, PERMISSION_DENIED; the same calls of another client go on."""
    ended: list[tuple[str, str, StatusCode]] = []

    async def call(name: str, what: str, client: Client, to: Endpoint, handle: str) -> None:
        with pytest.raises(RpcError) as caught:
            await CALLS[what](client, to, handle)
        ended.append((name, what, caught.value.code))

    async with served(tmp_path, monkeypatch, POLICY + BOB) as w, trio.open_nursery() as nursery:
        scopes = {name: trio.CancelScope() for name in ("alice", "bob")}

        async def client_of(name: str) -> None:
            with scopes[name]:
                endpoint = w.endpoint(name)
                async with connect(endpoint) as client, trio.open_nursery() as calls:
                    for what in CALLS:
                        # A job of its own for each, because one of them is stopped.
                        job = await client.start(
                            "stubborn" if what == "stop" else "sleep", stdin=what == "send"
                        )
                        calls.start_soon(call, name, what, client, endpoint, job.handle)

        for name in scopes:
            nursery.start_soon(client_of, name)
        while w.server.statistics().running_calls < 2 * len(CALLS):
            await trio.testing.wait_all_tasks_blocked(0.005)
        assert ended == []
        kept = f"verbs = {json.dumps(['start', 'status', 'list'])}\n"
        said = await w.reload(POLICY if lost == "client" else POLICY + BOB + kept)
        assert said[0].startswith("5 calls have ended")
        with trio.fail_after(1 * slowness()):
            while len(ended) < len(CALLS):
                await trio.testing.wait_all_tasks_blocked(0.005)
        assert sorted(ended) == [
            ("bob", what, StatusCode.PERMISSION_DENIED) for what in sorted(CALLS)
        ]
        scopes["alice"].cancel()


async def test_a_client_comes_in_on_the_connection_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes out on it: its connection stays, and each call is decided by what is in force."""
    async with served(tmp_path, monkeypatch, POLICY) as w, connect(w.endpoint("carol")) as carol:
        for inside in (False, True, False):
            await w.reload(POLICY + CAROL if inside else POLICY)
            if inside:
                assert isinstance(await carol.start("sleep"), pb.Job)
                continue
            with pytest.raises(RpcError) as caught:
                await carol.start("sleep")
            assert caught.value.code is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("by", ["clients", "serials", "crl"])
async def test_a_revoked_client_is_thrown_out_and_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """C16: by each of the three; another one notices nothing, and it comes back when that is
    taken back."""
    text = POLICY + BOB
    async with (
        served(tmp_path, monkeypatch, text) as w,
        connect(w.endpoint("alice")) as alice,
        connect(w.endpoint("bob")) as bob,
    ):
        serial = (await bob.who_am_i()).certificate.serial
        if by == "crl":
            said = await w.reload(text, crl=str(w.pki.write_crl("bob")))
        else:
            named = "bob" if by == "clients" else serial
            said = await w.reload(f'[revoked]\n{by} = ["{named}"]\n{text}')
        assert said == ["1 connection of a revoked client has ended"]
        with pytest.raises((RpcError, ConnectionLost)):
            await bob.server_info()

        async def again() -> None:
            async with connect(w.endpoint("bob")) as client:
                await client.server_info()

        with pytest.raises(RpcError) as caught:
            await again()
        if by == "crl":
            assert isinstance(caught.value, HandshakeFailed)
        else:
            assert caught.value.code is StatusCode.UNAUTHENTICATED
            assert "was revoked" in caught.value.message
        await alice.server_info()
        await w.reload(text)
        await again()


@pytest.mark.parametrize("by", ["its CA", "its form"])
async def test_whose_certificate_is_accepted_no_more_is_thrown_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """C16: its CA was taken out of the file, or a rule became stricter; another one notices
    nothing, and the line of audit has the reason."""
    text = POLICY + BOB
    async with served(tmp_path, monkeypatch, text) as w:
        other = w.pki.other_authority
        if by == "its CA":
            bob, why = other.issue("bob-2", "bob"), "it is not of a CA in [tls] client_ca"
        else:
            bob = w.pki.authority.issue("bob-2", "bob", usage=None)
            why = "the certificate has no extended key usage; have it issued for client"
        both = tmp_path / "both.crt"
        both.write_bytes(w.pki.ca.read_bytes() + other.certificate.read_bytes())
        await w.reload(text, client_ca=str(both), legacy_certificates=True)
        endpoint = Endpoint("127.0.0.1", w.port, w.pki.ca, bob.certificate, bob.key)
        async with connect(w.endpoint("alice")) as alice, connect(endpoint) as client:
            job = await client.start("sleep")
            ended = trio.Event()

            async def follow() -> None:
                with pytest.raises(RpcError) as caught:
                    await follows(client, endpoint, job.handle)
                assert caught.value.code is StatusCode.UNAUTHENTICATED
                assert caught.value.message == "the certificate is not accepted any more"
                ended.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                while not w.server.statistics().running_calls:
                    await trio.testing.wait_all_tasks_blocked(0.005)
                kept = {"client_ca": str(both)} if by == "its form" else {}
                said = await w.reload(text, **kept)
                assert said[-1] == (
                    "1 connection has ended, whose certificate is not accepted any more"
                )
                with trio.fail_after(1 * slowness()):
                    await ended.wait()
            await alice.server_info()
    lines = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    (line,) = [line for line in lines if line["event"] == "client.revoked"]
    assert (line["client"], line["connections_ended"]) == ("bob", 1)
    (reason,) = line["reasons"]
    assert reason.startswith(why)


async def test_another_certificate_of_the_server_is_for_new_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotated: who is connected stays, with a stream that does not notice."""
    async with served(tmp_path, monkeypatch, POLICY) as w, connect(w.endpoint("alice")) as alice:
        job = await alice.start("sleep")
        async with alice.stream(job.handle, heartbeat_s=0.1) as messages:
            await anext(messages)
            localhost = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            server = w.pki.authority.issue(
                "server-2", "penstock", usage=ExtendedKeyUsageOID.SERVER_AUTH, names=(localhost,)
            )
            await w.reload(POLICY, certificate=str(server.certificate), key=str(server.key))
            assert (await anext(messages)).heartbeat
            async with connect(w.endpoint("alice")) as again:
                assert (await again.status(job.handle)).job.handle == job.handle
