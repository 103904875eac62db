"""The gate by itself: what no file can provoke, and clocks that are set."""

import dataclasses
import datetime
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from generations import in_force
from pki import shared_pki
from switching_parts import FakeServer

from penstock.pki.crl import NONE, load_crl
from penstock.policy.policy_file import parse_policy
from penstock.rpc.call_errors import Reason, RpcError
from penstock.rpc.grpc_server import Peer
from penstock.server import admission as module
from penstock.server.admission import Admission
from penstock.server.audit import AuditLog
from penstock.server.credentials import Credentials
from penstock.server.refusal_budget import RefusalBudget


class World:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit"
        self.now = datetime.datetime.now(datetime.UTC)
        self.told: list[tuple[str, int]] = []
        refusals = RefusalBudget(
            trio.current_time, lambda *what: self.told.append(what), per_minute=2
        )
        credentials = Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NONE)
        self.audit = AuditLog(str(self.path))
        self.in_force = in_force(parse_policy(b""), credentials)
        self.gate = Admission(self.in_force, self.audit, refusals, lambda: self.now)

    @property
    def credentials(self) -> Credentials:
        """Those in force."""
        return self.in_force.current.credentials

    @credentials.setter
    def credentials(self, credentials: Credentials) -> None:
        self.in_force.current = dataclasses.replace(self.in_force.current, credentials=credentials)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.audit.close()


def peer_of(name: str) -> Peer:
    pem = shared_pki().clients[name].certificate.read_text()
    return Peer("127.0.0.1:1", ssl.PEM_cert_to_DER_cert(pem))


async def test_a_certificate_that_tls_has_refused_leaves_a_line(world: World) -> None:
    """With the reason as a word; few of them, because anybody can cause them, and the rest is
    counted."""
    world.gate.refused_in_handshake(
        "127.0.0.1:1", "EXPIRED", "certificate has expired " + "x" * 999
    )
    (line,) = world.lines()
    assert (line["event"], line["address"]) == ("certificate.refused", "127.0.0.1:1")
    assert (line["reason"], len(line["message"])) == ("EXPIRED", 512)
    for _ in range(100):
        world.gate.refused_in_handshake("127.0.0.1:1", "OTHER_CA", "x")
    assert len(world.lines()) == 60


async def test_a_bug_in_an_identity_leaves_a_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transport answers INTERNAL; that somebody was refused is on record all the same."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "identify", broken)
    with pytest.raises(RuntimeError):
        world.gate.identity_of(peer_of("alice"))
    (line,) = world.lines()
    assert line["event"] == "unauthenticated"


async def test_one_certificate_cannot_fill_the_audit_log(world: World) -> None:
    """Each of its connections is refused, and its share of them recorded."""
    peer = Peer("127.0.0.1:1", b"nonsense")
    for _ in range(5):
        with pytest.raises(RpcError):
            world.gate.identity_of(peer)
    assert len(world.lines()) == 2


@pytest.mark.mock_clock
async def test_a_clock_that_is_set_ends_who_has_expired(world: World) -> None:
    """Within a second, though the certificate had a day to go when everybody went to sleep."""
    alice, bob = peer_of("alice"), peer_of("bob")
    server: Any = FakeServer(alice, bob)
    told = trio.Event()
    server.on_revoke = told.set
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.gate.end_expired, server)
        await trio.testing.wait_all_tasks_blocked()
        world.gate.identity_of(alice)
        with trio.move_on_after(100):
            await told.wait()
        assert server.revoked == []
        world.now += datetime.timedelta(days=2)
        with trio.fail_after(1):
            await told.wait()
        nursery.cancel_scope.cancel()
    assert (server.revoked, server.reasons) == ([alice], {Reason.EXPIRED})


async def test_a_certificate_that_was_revoked_during_its_handshake(world: World) -> None:
    """The handshake knew the old list; the connection is refused by the new one, and recorded."""
    revoked = peer_of("alice")
    pki = shared_pki()
    list_ = load_crl(str(pki.write_crl("alice")), str(pki.ca))
    world.credentials = Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list_)
    with pytest.raises(RpcError, match="was revoked"):
        world.gate.identity_of(revoked)
    assert world.gate.identity_of(peer_of("bob")).client_id == "bob"
    (line,) = world.lines()
    assert (line["event"], line["message"]) == ("unauthenticated", "the certificate was revoked")


@pytest.mark.parametrize("by", ["clients", "serials"])
async def test_whom_the_policy_has_revoked_does_not_get_in(world: World, by: str) -> None:
    """By id or by serial number; others do, and the refusal is on record."""
    serial = world.gate.identity_of(peer_of("alice")).serial
    text = f'[revoked]\n{by} = ["{"alice" if by == "clients" else f"00{serial.upper()}"}"]\n'
    world.in_force.current = dataclasses.replace(
        world.in_force.current, policy=parse_policy(text.encode())
    )
    what = (
        "client alice was revoked, by its id" if by == "clients" else "the certificate was revoked"
    )
    with pytest.raises(RpcError, match=what):
        world.gate.identity_of(peer_of("alice"))
    assert world.gate.identity_of(peer_of("bob")).client_id == "bob"
    (line,) = world.lines()
    assert (line["event"], line["message"], line["client"]) == ("unauthenticated", what, "alice")
    assert line["serial"] == serial
