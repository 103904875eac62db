"""The gate by itself: what no file can provoke, and clocks that are set."""

import dataclasses
import datetime
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from generations import CONFIG, in_force
from pki import shared_pki
from steps import Failing, at_every, cancelled_at

from penstock.pki.crl import NONE, load_crl
from penstock.policy.policy_file import parse_policy
from penstock.rpc.call_errors import Reason, RpcError
from penstock.rpc.grpc_server import Peer
from penstock.rpc.tls.contexts import server_ssl_context
from penstock.server import admission as module
from penstock.server.admission import Admission
from penstock.server.audit import AuditError, AuditLog
from penstock.server.credentials import Credentials, CredentialsError
from penstock.server.refusal_budget import RefusalBudget


class FakeServer:
    """Remembers whom it was told to end."""

    def __init__(self, *peers: Peer) -> None:
        self.peers = peers
        self.revoked: list[Peer] = []
        self.reasons: set[Reason] = set()
        self.told = trio.Event()
        self.context: ssl.SSLContext | None = None

    def revoke(
        self, revoked: Callable[[Peer, object], bool], reason: Reason = Reason.REVOKED
    ) -> int:
        found = [peer for peer in self.peers if revoked(peer, None)]
        self.reasons.add(reason)
        self.revoked += found
        self.told.set()
        return len(found)

    def connected(self) -> list[Peer]:
        return list(self.peers)

    def use_ssl_context(self, context: ssl.SSLContext) -> None:
        self.context = context


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


async def test_a_bug_while_reloading_is_one_line_and_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next signal is heard again."""

    def broken(config: object) -> Credentials:
        raise RuntimeError("a bug")

    async def twice() -> AsyncIterator[int]:
        yield 1
        yield 1

    monkeypatch.setattr(module, "load_credentials", broken)
    server: Any = FakeServer()
    await world.gate.reload_on_signal(server, twice())
    lines = world.lines()
    assert [line["loaded"] for line in lines] == [False, False]
    assert "a bug" not in str(lines)


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
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.gate.end_expired, server)
        await trio.testing.wait_all_tasks_blocked()
        world.gate.identity_of(alice)
        with trio.move_on_after(100):
            await server.told.wait()
        assert server.revoked == []
        world.now += datetime.timedelta(days=2)
        with trio.fail_after(1):
            await server.told.wait()
        nursery.cancel_scope.cancel()
    assert (server.revoked, server.reasons) == ([alice], {Reason.EXPIRED})


async def test_a_reload_cancelled_at_every_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C16, C33: old or new, whole: the server's context and the list of the revoked are of one set,
    and whoever is on it is gone."""
    outcomes = set()
    alice = peer_of("alice")
    revoked = load_crl(str(shared_pki().write_crl("alice")), str(shared_pki().ca))
    loaded: list[Credentials] = []

    def load(config: object) -> Credentials:
        loaded.append(Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), revoked))
        return loaded[-1]

    monkeypatch.setattr(module, "load_credentials", load)

    async def attempt(step: int) -> bool:
        loaded.clear()
        before = world.credentials
        server = FakeServer(alice)
        server.context = before.context
        told = len(world.lines())

        async def hangups() -> AsyncGenerator[int, None]:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                yield 1

        async def operation() -> None:
            async with aclosing(hangups()) as signals:
                await world.gate.reload_on_signal(cast(Any, server), signals)

        reached = await cancelled_at(step, operation)
        assert world.credentials is (loaded[-1] if loaded else before)
        assert server.context is world.credentials.context
        assert len(world.lines()) - told == len(loaded)
        assert server.revoked == [alice] * len(loaded)
        outcomes.add(len(loaded))
        return reached

    assert await at_every(attempt) >= 3
    assert outcomes == {0, 1, 2, 3}


async def test_a_reload_failed_at_every_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """C16: the old certificates or the new ones, whole; and the next signal is heard."""
    outcomes: list[tuple[int, bool]] = []

    async def attempt(step: int) -> bool:
        failing = Failing(step)
        fresh: list[Credentials] = []

        def load(config: object) -> Credentials:
            fresh.append(Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NONE))
            return fresh[-1]

        def bad_file() -> Exception:
            return CredentialsError("[tls] key: it cannot be read")

        def full() -> Exception:
            return AuditError("the disk is full")

        async def twice() -> AsyncIterator[int]:
            for _ in range(2):
                yield 1
                assert server.context is world.credentials.context
                outcomes.append((step, world.credentials in fresh))

        server = FakeServer()
        server.context = world.credentials.context
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_credentials", failing.around(load, bad_file))
            patch.setattr(world.audit, "reopen", failing.around(world.audit.reopen, full))
            patch.setattr(world.audit, "write", failing.around(world.audit.write, full))
            await world.gate.reload_on_signal(cast(Any, server), twice())
        assert world.credentials is fresh[-1]
        return failing.failed

    assert await at_every(attempt) == 6
    # Each signal reopens the audit log, reads the files and writes a line.
    assert [new for step, new in outcomes if step == 1] == [False, True]
    assert [new for step, new in outcomes if step == 4] == [True, True]


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


async def test_an_audit_log_that_cannot_be_opened_anew_keeps_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificates are read all the same, and what is recorded of it is not lost."""
    fresh = Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NONE)
    monkeypatch.setattr(module, "load_credentials", lambda config: fresh)
    old = world.path.with_suffix(".old")
    world.path.rename(old)
    world.path.mkdir()

    async def once() -> AsyncIterator[int]:
        yield 1

    server = FakeServer()
    await world.gate.reload_on_signal(cast(Any, server), once())
    assert world.credentials is fresh
    assert server.context is fresh.context
    (line,) = [json.loads(each) for each in old.read_text().splitlines()]
    assert (line["event"], line["loaded"]) == ("tls.reload", True)


async def test_a_certificate_whose_time_is_not_now_is_no_better_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one stays: every client would refuse the new one."""
    before = world.credentials
    late = Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NONE, "it has expired")
    monkeypatch.setattr(module, "load_credentials", lambda config: late)

    async def once() -> AsyncIterator[int]:
        yield 1

    server = FakeServer()
    await world.gate.reload_on_signal(cast(Any, server), once())
    assert world.credentials is before
    assert server.context is None
    (line,) = world.lines()
    assert (line["loaded"], line["message"]) == (False, "[tls] certificate: it has expired")


@pytest.mark.parametrize("here", [0, 8], ids=["thread", "loop"])
async def test_files_that_lock_out_are_refused_whoever_tries_them(
    world: World, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    """Where many are connected a thread asks OpenSSL; allow_lockout of the file as it is now."""
    pki = shared_pki()
    world.credentials = Credentials(pki.server_context(), NONE)
    bad = server_ssl_context(
        pki.server.certificate, pki.server.key, pki.other_authority.certificate
    )
    monkeypatch.setattr(module, "load_credentials", lambda config: Credentials(bad, NONE))
    monkeypatch.setattr(module, "_TRIED_HERE", here)
    lenient = dataclasses.replace(CONFIG, allow_lockout=True)
    files: Any = SimpleNamespace(look=lambda: (CONFIG, ["policy: has changed"]))
    world.gate._unread = files

    async def twice() -> AsyncIterator[int]:
        yield 1
        assert world.credentials.context is not bad
        files.look = lambda: (lenient, [])
        yield 1

    server = FakeServer(peer_of("alice"), peer_of("bob"))
    await world.gate.reload_on_signal(cast(Any, server), twice())
    assert server.context is bad
    refused, taken = world.lines()
    assert "no client that is connected would get in: [tls] client_ca: " in refused["message"]
    assert (refused["loaded"], refused["not_read"]) == (False, ["policy: has changed"])
    assert (taken["loaded"], taken["tried"], "not_read" in taken) == (True, 2, False)


@pytest.mark.parametrize("by", ["clients", "serials"])
async def test_whom_the_policy_has_revoked_does_not_get_in(world: World, by: str) -> None:
    """By id or by serial number; others do, and the refusal is on record."""
    serial = world.gate.identity_of(peer_of("alice")).serial
    text = f'[revoked]\n{by} = ["{"alice" if by == "clients" else f"00{serial.upper()}"}"]\n'
    world.in_force.current = dataclasses.replace(
        world.in_force.current, policy=parse_policy(text.encode())
    )
    with pytest.raises(RpcError, match="the certificate was revoked, by the policy"):
        world.gate.identity_of(peer_of("alice"))
    assert world.gate.identity_of(peer_of("bob")).client_id == "bob"
    assert [line["event"] for line in world.lines()] == ["unauthenticated"]
