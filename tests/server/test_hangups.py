"""SIGHUP in the server: the audit file anew; under an earlier supervisor certificates, whole or not
at all."""

import dataclasses
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from generations import CONFIG, in_force
from pki import shared_pki
from steps import Failing, at_every, cancelled_at
from switching_parts import Parts

from penstock.pki.crl import NONE, load_crl
from penstock.policy.policy_file import parse_policy
from penstock.rpc.grpc_server import Peer
from penstock.rpc.tls.contexts import server_ssl_context
from penstock.server import preparation as module
from penstock.server.audit import AuditError, AuditLog
from penstock.server.credentials import Credentials, CredentialsError
from penstock.server.hangups import Hangups


class World:
    """One server's."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit"
        self.audit = AuditLog(str(self.path))
        credentials = Credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), NONE)
        self.in_force = in_force(parse_policy(b""), credentials)

    def begin(self, *peers: Peer, certificates: bool = True) -> Parts:
        parts = Parts(self.in_force, self.audit, *peers)
        parts.server.context = self.credentials.context
        self.hangups = Hangups(
            self.audit, self.in_force, parts.switching, certificates=certificates
        )
        return parts

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
    world.begin()
    await world.hangups.heed(twice())
    lines = world.lines()
    assert [line["loaded"] for line in lines] == [False, False]
    assert "a bug" not in str(lines)


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
        server = world.begin(alice).server
        told = len(world.lines())

        async def hangups() -> AsyncGenerator[int, None]:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                yield 1

        async def operation() -> None:
            async with aclosing(hangups()) as signals:
                await world.hangups.heed(signals)

        reached = await cancelled_at(step, operation)
        count = len(world.lines()) - told
        # What a thread reads that nobody waits for any more is not used, of this attempt or of the
        # one before.
        assert (world.credentials is before) == (count == 0)
        assert count == 0 or any(world.credentials is each for each in loaded)
        assert server.context is world.credentials.context
        assert server.revoked == [alice] * count
        outcomes.add(count)
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
            return CredentialsError(["[tls] key: it cannot be read"])

        def full() -> Exception:
            return AuditError("the disk is full")

        async def twice() -> AsyncIterator[int]:
            for _ in range(2):
                yield 1
                assert server.context is world.credentials.context
                outcomes.append((step, world.credentials in fresh))

        server = world.begin().server
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_credentials", failing.around(load, bad_file))
            patch.setattr(world.audit, "reopen", failing.around(world.audit.reopen, full))
            patch.setattr(world.audit, "write", failing.around(world.audit.write, full))
            await world.hangups.heed(twice())
        assert world.credentials is fresh[-1]
        return failing.failed

    assert await at_every(attempt) == 6
    # Each signal reopens the audit log, reads the files and writes a line.
    assert [new for step, new in outcomes if step == 1] == [False, True]
    assert [new for step, new in outcomes if step == 4] == [True, True]


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

    server = world.begin().server
    await world.hangups.heed(once())
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

    server = world.begin().server
    await world.hangups.heed(once())
    assert world.credentials is before
    assert server.context is before.context
    (line,) = world.lines()
    assert (line["loaded"], line["message"]) == (False, "[tls] certificate: it has expired")


@pytest.mark.parametrize("here", [0, 8], ids=["thread", "loop"])
async def test_files_that_lock_out_are_refused_whoever_tries_them(
    world: World, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    """Where many are connected a thread asks OpenSSL."""
    pki = shared_pki()
    world.credentials = Credentials(pki.server_context(), NONE)
    bad = server_ssl_context(
        pki.server.certificate, pki.server.key, pki.other_authority.certificate
    )
    monkeypatch.setattr(module, "load_credentials", lambda config: Credentials(bad, NONE))
    monkeypatch.setattr(module, "_TRIED_HERE", here)

    async def twice() -> AsyncIterator[int]:
        yield 1
        assert world.credentials.context is not bad
        lenient = dataclasses.replace(CONFIG, allow_lockout=True)
        world.in_force.current = dataclasses.replace(world.in_force.current, config=lenient)
        yield 1

    server = world.begin(peer_of("alice"), peer_of("bob")).server
    await world.hangups.heed(twice())
    assert server.context is bad
    refused, taken = world.lines()
    assert "no client that is connected would get in: [tls] client_ca: " in refused["message"]
    assert refused["loaded"] is False
    assert (taken["loaded"], taken["tried"]) == (True, 2)


async def test_where_the_supervisor_offers_files_the_signal_reads_none(world: World) -> None:
    """All of a reload is taken or nothing of it, so certificates come with the rest."""
    before, old = world.in_force.current, world.path.with_suffix(".old")
    world.path.rename(old)

    async def once() -> AsyncIterator[int]:
        yield 1

    world.begin(certificates=False)
    await world.hangups.heed(once())
    world.audit.write("decision")
    assert world.in_force.current is before
    assert [line["event"] for line in world.lines()] == ["decision"]
    assert old.read_text() == ""
