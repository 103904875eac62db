"""A reload on the server's side: aside until the switch, then everything in one step."""

import hashlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.x509.oid import ExtendedKeyUsageOID
from generations import in_force
from pki import Pki, make_pki
from switching_parts import Parts

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.backends.reloads import OfferedGeneration
from penstock.jobs.end_record import BY_POLICY
from penstock.pki.crl import NONE
from penstock.policy.policy_file import parse_policy
from penstock.rpc.call_errors import Reason
from penstock.rpc.grpc_server import Peer
from penstock.server import preparation as module
from penstock.server.audit import AuditLog
from penstock.server.authn import identify
from penstock.server.credentials import Credentials, load_credentials
from penstock.server.generation import InForce
from penstock.supervisor.ipc.protocol import ProtocolError
from penstock.supervisor.ipc.reload_messages import Abandon, Prepare, Switch

BEFORE = b"""
[clients.alice]
commands = []
[clients.bob]
commands = []
"""
NOW = """
on_revoke = "stop"
[output]
keep_jobs = 3
[clients.alice]
commands = []
verbs = ["status"]
"""


class World:
    """A server's side, and what the supervisor says to it."""

    def __init__(self, place: Path, parts: Parts, held: InForce, pki: Pki) -> None:
        self.place = place
        self.parts = parts
        self.held = held
        self.pki = pki
        self.answers = parts.supervisor.answers
        self.reloads = parts.supervisor.reloads

    def configuration(self, more: str = "", **tls: str) -> bytes:
        files = {
            "certificate": str(self.pki.server.certificate),
            "key": str(self.pki.server.key),
            "client_ca": str(self.pki.ca),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in (files | tls).items()]
        return "\n".join(['policy = "/p"', more, "[tls]", *lines]).encode()

    def offer(
        self, policy: str = NOW, configuration: bytes | None = None, number: int = 1
    ) -> OfferedGeneration:
        fds = ("policy", "configuration")
        about = Prepare(number, f"next {number}", "p", '{"state_dir": "/s"}', "root", fds)
        data = self.configuration() if configuration is None else configuration
        offered = OfferedGeneration(about, policy.encode(), data)
        self.reloads.on_prepare(offered)
        return offered

    async def answered(self, number: int = 1) -> tuple[list[str], list[str]]:
        """Mistakes and warnings."""
        while not self.answers or self.answers[-1][0] != number:
            await trio.testing.wait_all_tasks_blocked(0.01)
        return self.answers[-1][1:]

    def switch(self, offered: OfferedGeneration) -> list[str]:
        message = Switch(offered.about.number, 5, ("w",), {}, ("client bob is out",))
        return list(self.reloads.on_switch(offered, message))

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.place / "audit").read_text().splitlines())
        return [line for line in lines if line.pop("event") == event and line.pop("time")]


def peer_of(pki: Pki, name: str) -> Peer:
    pem = pki.clients[name].certificate.read_text()
    return Peer("127.0.0.1:1", ssl.PEM_cert_to_DER_cert(pem))


@asynccontextmanager
async def world(place: Path, *clients: str) -> AsyncIterator[World]:
    pki = make_pki(place)
    audit = AuditLog(str(place / "audit"))
    held = in_force(parse_policy(BEFORE), Credentials(pki.server_context(), NONE))
    parts = Parts(held, audit, *(peer_of(pki, name) for name in clients))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parts.switching.run)
        yield World(place, parts, held, pki)
        nursery.cancel_scope.cancel()
    audit.close()


def fake_job(owner: str, asked: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(
        owner=owner,
        handle="7",
        spec=JobSpec("sleep"),
        stop_asked=None,
        ask_stop=lambda **how: asked.append(how),
    )


async def test_nothing_counts_before_the_switch_and_everything_after_it(tmp_path: Path) -> None:
    """C74: TLS, policy, retention, what the host is said to be; calls, connections and jobs of
    clients that have lost their rights; one line of audit, and one for each client."""
    asked: list[dict[str, Any]] = []
    async with world(tmp_path, "alice", "bob") as w:
        alice, bob = w.parts.server.peers
        w.parts.server.calls = [(alice, "StreamOutput"), (alice, "Status"), (bob, "Watch")]
        w.parts.jobs.jobs = [fake_job("bob", asked), fake_job("alice", asked)]
        before = w.held.current
        offered = w.offer()
        assert await w.answered() == ([], [])
        assert w.held.current is before
        assert (w.parts.server.ended, asked, w.lines("reload")) == ([], [], [])
        w.parts.supervisor.warnings = ["w"]
        said = w.switch(offered)
        now = w.held.current
        assert (now.hash, now.policy.on_revoke) == ("next 1", "stop")
        assert now.config.state_dir == "/s"  # as penstockd has it, whatever the file says
        assert w.parts.server.context is now.credentials.context is not before.credentials.context
        assert w.parts.jobs.kept[-1].retention.keep_jobs == 3
        assert w.parts.hosts[-1].warnings == ("w",)
        assert w.parts.server.ended == [
            (alice, "StreamOutput", "PERMISSION_DENIED: the verb 'stream' is not granted to alice"),
            (bob, "Watch", "PERMISSION_DENIED: bob is no client of this server"),
        ]
        assert (w.parts.server.revoked, len(asked), asked[0]["by"]) == ([], 1, BY_POLICY)
        assert said == [
            "2 calls have ended, whose clients have lost the right to them",
            "1 job is being stopped, whose owner has lost its rights",
        ]
        (line,) = w.lines("reload")
        assert line == {
            "before": before.hash,
            "after": "next 1",
            "asked_by": "root",
            "changes": ["client bob is out"],
            "tried": 2,
            "connections_ended": 0,
            "calls_ended": 2,
            "jobs_stopped": 1,
        }
        none = {"connections_ended": 0, "jobs_stopped": 0}
        assert w.lines("client.revoked") == [
            none | {"client": "alice", "calls_ended": 1},
            none | {"client": "bob", "calls_ended": 1, "jobs_stopped": 1},
        ]


@pytest.mark.parametrize("by", ["clients", "serials", "crl"])
async def test_connections_of_whom_a_reload_revokes_are_ended(tmp_path: Path, by: str) -> None:
    """C16: by id, by serial number or by the CA's list; others stay."""
    async with world(tmp_path, "alice", "bob") as w:
        bob = w.parts.server.peers[1]
        policy, configuration = BEFORE.decode(), w.configuration()
        if by == "crl":
            configuration = w.configuration(crl=str(w.pki.write_crl("bob")))
        else:
            serial = identify(bob.certificate).serial.upper()
            policy = f'[revoked]\n{by} = ["{"bob" if by == "clients" else serial}"]\n{policy}'
        offered = w.offer(policy, configuration)
        assert (await w.answered())[0] == []
        w.switch(offered)
        assert w.parts.server.revoked == [bob]
        reason = Reason.CLIENT_REVOKED if by == "clients" else Reason.REVOKED
        assert w.parts.server.ended_for == {reason: [bob]}
        (line,) = w.lines("client.revoked")
        assert (line["client"], line["connections_ended"]) == ("bob", 1)
        assert line["reasons"] == [
            "it was revoked, by its id" if by == "clients" else "its certificate was revoked"
        ]


async def test_who_connects_before_the_switch_is_tried_in_it(tmp_path: Path) -> None:
    """C16: after the trial, with what was in force then; and nobody is tried where the files let
    in whom they have let in before."""
    async with world(tmp_path, "alice") as w:
        both, only = tmp_path / "both.crt", tmp_path / "only.crt"
        only.write_bytes(w.pki.ca.read_bytes())
        both.write_bytes(w.pki.ca.read_bytes() + w.pki.other_authority.certificate.read_bytes())
        late = [w.pki.other_authority.issue(f"late-{n}", "bob") for n in range(2)]
        for number, ca in enumerate((both, only, only), 1):
            offered = w.offer(BEFORE.decode(), w.configuration(client_ca=str(ca)), number)
            assert (await w.answered(number))[0] == []
            pem = late[number == 3].certificate.read_text()
            bob = Peer("127.0.0.1:2", ssl.PEM_cert_to_DER_cert(pem))
            w.parts.server.peers = (w.parts.server.peers[0], bob)
            said = w.switch(offered)
            ended = "1 connection has ended, whose certificate is not accepted any more"
            assert (said[-1:] == [ended]) == (number == 2)
        assert w.parts.server.ended_for[Reason.UNACCEPTED][0].certificate != bob.certificate
        (line,) = w.lines("client.revoked")
        assert line["reasons"] == ["it is not of a CA in [tls] client_ca"]


async def test_says_which_files_of_tls_hold_something_else(tmp_path: Path) -> None:
    """To the operator and in the line of audit: certificates by their fingerprints, a list by its
    length, of a key that it is another one; nothing of files that are as they were."""
    async with world(tmp_path, "alice") as w:

        async def reloaded(number: int, crl: Path) -> list[str]:
            configuration = w.configuration(crl=str(crl))
            offered = w.offer(BEFORE.decode(), configuration, number)
            assert (await w.answered(number))[0] == []
            said = w.switch(offered)
            assert w.lines("reload")[-1]["changes"] == ["client bob is out", *said]
            return said

        def fingerprint(path: Path) -> str:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest()

        assert await reloaded(1, w.pki.write_crl()) == []  # of the first one nothing is known
        assert await reloaded(2, w.pki.write_crl()) == [
            "[tls] crl: taken up is a list with 0 revoked; before it was a list with 0 revoked"
        ]
        before, authority = fingerprint(w.pki.server.certificate), w.pki.ca.read_text()
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        renewed = w.pki.authority.issue("server", "penstock", usage=usage)
        ca = fingerprint(w.pki.ca)
        w.pki.ca.write_text(authority + authority)
        assert await reloaded(3, w.pki.write_crl("bob")) == [
            f"[tls] certificate: taken up is sha256 {fingerprint(renewed.certificate)}; before it "
            f"was sha256 {before}",
            f"[tls] client_ca: taken up is sha256 {ca}, {ca}; before it was sha256 {ca}",
            "[tls] key: taken up is another one",
            "[tls] crl: taken up is a list with 1 revoked; before it was a list with 0 revoked",
        ]
        assert await reloaded(4, w.pki.directory / "crl.pem") == []


async def test_says_that_the_passphrase_is_another_one(tmp_path: Path) -> None:
    """Where the key's file is as it was: a passphrase comes, changes and goes."""
    async with world(tmp_path) as w:
        passphrase = tmp_path / "passphrase"

        async def reloaded(number: int, **tls: str) -> list[str]:
            offered = w.offer(BEFORE.decode(), w.configuration(**tls), number)
            assert (await w.answered(number))[0] == []
            return w.switch(offered)

        passphrase.write_text("sesame\n")
        passphrase.chmod(0o600)
        named = {"key_passphrase_file": str(passphrase)}
        line = "[tls] key_passphrase_file: taken up is "
        await reloaded(1)
        assert await reloaded(2, **named) == [f"{line}another content"]
        assert await reloaded(3, **named) == []
        passphrase.write_text("open sesame\n")
        assert await reloaded(4, **named) == [f"{line}another content"]
        assert await reloaded(5) == [f"{line}none"]


async def test_every_mistake_is_named_and_nothing_changes(tmp_path: Path) -> None:
    """Of both files and of what they name, at once; as the supervisor does, or it would not ask."""
    async with world(tmp_path) as w:
        before = w.held.current
        w.pki.server.key.chmod(0o644)
        configuration = w.configuration("[transport]\nnonsense = 1\n", client_ca="/nonexistent")
        offered = w.offer("[clients.alice]\n", configuration)
        mistakes, _ = await w.answered()
        words = (
            *("policy: clients.alice.commands", "/c:3: [transport] nonsense: "),
            *("/c:7: [tls] key: ", "/c:8: [tls] client_ca: "),
        )
        for word in words:
            assert any(each.startswith(word) for each in mistakes), (word, mistakes)
        with pytest.raises(ProtocolError, match="not ready"):
            w.switch(offered)
        w.offer(configuration=b"[", number=2)
        assert "not TOML" in (await w.answered(2))[0][0]
        assert w.held.current is before
        mistakes = ["policy: x"]
        w.reloads.on_abandon(Abandon(2, "root", tuple(mistakes)))
        assert w.lines("reload.refused") == [{"asked_by": "root", "mistakes": mistakes}]


async def test_files_that_lock_out_are_refused_and_permitted(tmp_path: Path) -> None:
    """As the configuration that would be in force says, and with a warning."""
    async with world(tmp_path, "alice") as w:
        other = str(w.pki.other_authority.certificate)
        w.offer(configuration=w.configuration(client_ca=other))
        (mistake,) = (await w.answered())[0]
        assert "no client that is connected would get in" in mistake
        assert "and reload again" in mistake
        w.offer(configuration=w.configuration("allow_lockout = true", client_ca=other), number=2)
        assert (await w.answered(2))[0] == []
        assert w.answers[-1][2][0].startswith("allow_lockout: no client")


async def test_a_policy_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """An empty file is good TOML, and nobody could call anything; one that lets only others in may
    be meant."""
    async with world(tmp_path, "alice") as w:
        for number, cut in enumerate(("", '[classes.small]\nmemory = "1MB"\n'), 1):
            w.offer(cut, number=number)
            (mistake,) = (await w.answered(number))[0]
            assert mistake.startswith("policy: it names no client")
            assert "allow_lockout = true" in mistake
        carol = "[clients.carol]\ncommands = []\n"
        w.offer(f'[revoked]\nclients = ["carol"]\n{carol}', number=3)
        (mistake,) = (await w.answered(3))[0]
        assert mistake.startswith("policy: it revokes every client that it names")
        w.offer(carol, number=4)
        assert (await w.answered(4))[0] == []
        w.offer("", configuration=w.configuration("allow_lockout = true"), number=5)
        assert (await w.answered(5))[0] == []
        assert w.answers[-1][2][0].startswith("allow_lockout: policy: ")


class Gate:
    """In the place of ``load_credentials``: held, and counted."""

    def __init__(self, load: Callable[[Any], Credentials]) -> None:
        self.load = load
        self.go = threading.Event()
        self.count = 0

    def __call__(self, config: object) -> Credentials:
        self.count += 1
        assert self.go.wait(30)
        return self.load(config)


async def test_what_was_abandoned_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C75: while a disk stands still, too; the next one waits for its thread, and has its turn."""
    gate = Gate(load_credentials)
    monkeypatch.setattr(module, "load_credentials", gate)
    async with world(tmp_path) as w:
        first = w.offer(number=1)
        while not gate.count:
            await trio.testing.wait_all_tasks_blocked(0.01)
        w.reloads.on_abandon(Abandon(1, "root", ("the server did not answer",)))
        with pytest.raises(ProtocolError):
            w.switch(first)
        second = w.offer(number=2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (gate.count, w.answers) == (1, [])
        gate.go.set()
        assert (await w.answered(2))[0] == []
        assert [number for number, *_ in w.answers] == [2]
        w.switch(second)
        assert w.held.current.hash == "next 2"


async def test_what_is_tried_again_is_not_recorded(tmp_path: Path) -> None:
    """ABANDON without mistakes: files that do not fit yet may fit in a moment."""
    async with world(tmp_path) as w:
        offered = w.offer(number=1)
        assert (await w.answered(1))[0] == []
        w.reloads.on_abandon(Abandon(1, 'reload = "auto"', ()))
        with pytest.raises(ProtocolError):
            w.switch(offered)
        assert w.lines("reload.refused") == []


async def test_a_bug_is_a_mistake_of_ours_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text stays here; the next one is prepared as ever."""

    def broken(config: object) -> Credentials:
        raise RuntimeError("the secret text of a bug")

    async with world(tmp_path) as w:
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_credentials", broken)
            w.offer()
            (mistake,) = (await w.answered())[0]
        assert mistake.startswith("internal error ")
        assert "secret" not in mistake
        w.offer(number=2)
        assert (await w.answered(2))[0] == []


async def test_a_server_that_begins_does_what_its_predecessor_may_not_have_done(
    tmp_path: Path,
) -> None:
    """C75: jobs whose owners are gone are stopped, and the reload is on record."""
    asked: list[dict[str, Any]] = []
    async with world(tmp_path) as w:
        w.held.current = in_force(parse_policy(NOW.encode())).current
        w.parts.jobs.jobs = [fake_job("bob", asked), fake_job("alice", asked)]
        w.reloads.welcome.reload = {"asked_by": "SIGHUP", "before": "older"}
        w.parts.switching.begin()
        assert len(asked) == 1
        (line,) = w.lines("reload")
        assert (line["before"], line["asked_by"], line["jobs_stopped"]) == ("older", "SIGHUP", 1)
        assert [each["client"] for each in w.lines("client.revoked")] == ["bob"]
        w.reloads.welcome.reload = {}
        w.parts.jobs.jobs = []
        w.parts.switching.begin()
        assert len(w.lines("reload")) == 1
