"""New files of ``[tls]`` against those who are connected, by OpenSSL's own judgement."""

import dataclasses
import ssl
from pathlib import Path

import pytest
from lists import AUTHORITIES, LISTS, list_with
from pki import Pair, Pki, make_pki

from penstock.rpc.server_call import Peer
from penstock.rpc.tls.contexts import server_ssl_context
from penstock.server import lockout
from penstock.server.lockout import TrialResult, try_files


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path)


def peer(pair: Pair) -> Peer:
    return Peer("127.0.0.1:1", ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()))


def tried(
    pki: Pki,
    *pairs: Pair,
    crl: bytes | None = None,
    ca: bytes | None = None,
    revoked: tuple[Pair, ...] = (),
) -> TrialResult:
    """With these connected, and a new list or CA; ``revoked`` are refused after the handshake."""
    old = pki.server_context()
    path = pki.directory / "new"
    new_ca, new_crl = pki.ca, None
    if crl is not None:
        path.write_bytes(crl)
        new_crl = path
    if ca is not None:
        path.write_bytes(ca)
        new_ca = path
    new = server_ssl_context(pki.server.certificate, pki.server.key, new_ca, crl=new_crl)
    ended = {peer(pair).certificate for pair in revoked}
    return try_files(old, new, [peer(pair) for pair in pairs], ended.__contains__)


def alice_and_carol(pki: Pki) -> tuple[Pair, Pair]:
    return pki.clients["alice"], pki.clients["carol"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_refuses_everybody(pki: Pki, name: str) -> None:
    """It names the file, OpenSSL's reason and who is concerned."""
    verdict = tried(pki, *alice_and_carol(pki), crl=LISTS[name](pki))
    assert verdict.asked == 2
    assert "[tls] crl: " in verdict.lockout
    assert "CN=alice" in verdict.lockout
    assert "CN=carol" in verdict.lockout


@pytest.mark.parametrize("name", AUTHORITIES)
def test_a_ca_that_refuses_everybody(pki: Pki, name: str) -> None:
    verdict = tried(pki, *alice_and_carol(pki), ca=AUTHORITIES[name](pki))
    assert "[tls] client_ca: " in verdict.lockout


def test_one_who_gets_in_is_enough(pki: Pki) -> None:
    """Two CAs where one was, or the leaf of somebody; and with nobody there is nothing to lose."""
    both = pki.ca.read_bytes() + pki.other_authority.certificate.read_bytes()
    assert not tried(pki, *alice_and_carol(pki), ca=both).lockout
    assert not tried(
        pki, *alice_and_carol(pki), crl=pki.authority.crl(pki.clients["alice"])
    ).lockout
    assert tried(pki, ca=AUTHORITIES["a leaf"](pki)) == TrialResult(0)


def test_who_is_named_on_a_list_is_meant(pki: Pki) -> None:
    """A stolen certificate must be revocable also where nobody else is connected; it does not
    excuse a list that keeps others out."""
    alice, carol = alice_and_carol(pki)
    assert tried(pki, alice, crl=pki.authority.crl(alice)) == TrialResult(1)
    assert tried(pki, alice, carol, crl=pki.authority.crl(alice, carol)) == TrialResult(2)
    broken = LISTS["unknown critical extension"](pki)
    assert tried(pki, alice, carol, crl=broken).lockout
    assert tried(pki, alice, carol, revoked=(alice,)) == TrialResult(2)
    verdict = tried(
        pki, alice, pki.other_client, ca=AUTHORITIES["another CA"](pki), revoked=(pki.other_client,)
    )
    assert "CN=alice" in verdict.lockout
    mixed = list_with(pki.other_authority, revoked=(alice,))
    assert tried(pki, alice, carol, crl=mixed).lockout


def test_who_would_not_get_in_any_more_counts_for_nothing(pki: Pki) -> None:
    """A client whose time is over is refused by the files of now as well."""
    assert tried(pki, pki.expired_client, crl=pki.authority.crl()) == TrialResult(1)
    verdict = tried(pki, pki.expired_client, pki.clients["alice"], ca=AUTHORITIES["a leaf"](pki))
    assert "CN=alice" in verdict.lockout


def test_many_are_named_in_part_and_asked_once(pki: Pki) -> None:
    """Each certificate once, however many connections it has."""
    pairs = [pki.authority.issue(f"c{number}", f"c{number}") for number in range(5)]
    verdict = tried(pki, *pairs, *pairs, ca=AUTHORITIES["another CA"](pki))
    assert verdict.asked == 5
    assert verdict.lockout.endswith(" and 2 more)")


def test_what_a_client_has_sent_besides_is_sent_again(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a CA between would be missed, and a good file refused."""
    asked: list[tuple[bytes, ...]] = []

    def seen(context: ssl.SSLContext, chain: tuple[bytes, ...]) -> None:
        asked.append(chain)

    monkeypatch.setattr(lockout, "refusal", seen)
    sender = dataclasses.replace(peer(pki.clients["alice"]), issuers=(b"between",))
    context = pki.server_context()
    assert try_files(context, context, [sender]) == TrialResult(1)
    assert asked == [(sender.certificate, b"between")]
