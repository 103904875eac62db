"""What a client says of a server's certificate that it refuses, and which one it takes by a pin."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from patience import slowness
from pki import HOUR, Pair, Pki, make_authority, make_pki
from toy import Running, serving

from penstock.client import Endpoint, IdentityError, connect
from penstock.pki.fingerprints import fingerprint_of, read_fingerprint
from penstock.rpc.call_errors import HandshakeFailed
from penstock.rpc.tls.contexts import server_ssl_context

SERVERS = ExtendedKeyUsageOID.SERVER_AUTH
LOCAL = (x509.DNSName("localhost"),)


def fingerprint(pair: Pair) -> str:
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    return fingerprint_of(certificate.public_bytes(Encoding.DER))


@asynccontextmanager
async def served(pki: Pki, pair: Pair) -> AsyncIterator[tuple[Running, Endpoint]]:
    """A server with this certificate, and alice's endpoint, by the name localhost."""
    alice = pki.clients["alice"]
    async with serving(pki) as running:
        running.server.use_ssl_context(server_ssl_context(pair.certificate, pair.key, pki.ca))
        at = Endpoint("127.0.0.1", running.port, pki.ca, alice.certificate, alice.key)
        yield running, dataclasses.replace(at, server_name="localhost")


async def connected(at: Endpoint) -> None:
    async with connect(at) as client:
        assert client.channel.usable


async def refused(at: Endpoint) -> str:
    """The error with its note."""
    with pytest.raises(HandshakeFailed) as caught:
        await connected(at)
    assert caught.value.certificates  # what the notes are made of
    (note,) = caught.value.__notes__
    return f"{caught.value.message}; {note}"


def without_names(pki: Pki) -> Pair:
    """As the plain openssl recipe makes it."""
    return pki.authority.issue("plain", "localhost", usage=None)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            lambda pki: pki.authority.issue(
                "old", "s", usage=SERVERS, names=LOCAL, not_before=-2 * HOUR, not_after=-HOUR
            ),
            ["certificate has expired; it ended on 20", "penstock certs renew"],
        ),
        (
            lambda pki: pki.authority.issue(
                "new", "s", usage=SERVERS, names=LOCAL, not_before=HOUR
            ),
            ["certificate is not yet valid; it is valid only from 20", "look at the clocks"],
        ),
        (
            lambda pki: pki.other_server,
            ["it is not of the CA in ", "/ca.crt (--ca): give the CA of this server"],
        ),
        (
            lambda pki: pki.authority.issue("client", "s", names=LOCAL),
            [
                "it is not for server authentication",
                "extendedKeyUsage=serverAuth",
                "| openssl x509",
            ],
        ),
        (
            lambda pki: pki.authority.issue(
                "elsewhere", "s", usage=SERVERS, names=(x509.DNSName("a.example"),)
            ),
            ["it is not for localhost: give a name that is in it (a.example) by --addr or --serv"],
        ),
        (
            without_names,
            ["it is not for localhost, because it has no subjectAltName", "'localhost' does not"],
        ),
        (
            lambda pki: pki.authority.issue("same", "ca", usage=SERVERS, names=LOCAL),
            ["it has the same name as its CA, 'CN=ca'", "another Common Name"],
        ),
    ],
    ids=["expired", "not yet", "other CA", "purpose", "other name", "no name", "the CA's name"],
)
async def test_each_reason_has_words_of_its_own(
    tmp_path: Path, made: Callable[[Pki], Pair], says: list[str]
) -> None:
    """And what to do about it."""
    pki = make_pki(tmp_path)
    async with served(pki, made(pki)) as (_, at):
        text = await refused(at)
    for part in says:
        assert part in text


async def test_what_is_said_of_one_without_names_can_be_typed(tmp_path: Path) -> None:
    """The fingerprint to pin, and the command that makes it anew with the name that we expect."""
    pki = make_pki(tmp_path)
    pair = without_names(pki)
    async with served(pki, pair) as (_, at):
        for name, kind in (("h.example", "DNS"), ("127.0.0.1", "IP")):
            text = await refused(dataclasses.replace(at, server_name=name))
            assert f"--server-fingerprint {fingerprint(pair)}," in text
            wanted = rf"printf 'subjectAltName={kind}:{name}\nextendedKeyUsage=serverAuth\n' | "
            assert wanted + "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key " in text


async def test_of_many_names_some_are_said(tmp_path: Path) -> None:
    """A server may send as many as it likes."""
    pki = make_pki(tmp_path)
    names = tuple(x509.DNSName(f"a{number}.example") for number in range(99))
    async with served(pki, pki.authority.issue("many", "s", usage=SERVERS, names=names)) as (_, at):
        assert "(a0.example, a1.example, a2.example, a3.exam" in (text := await refused(at))
    assert "a7.example and 91 more) by --addr" in text


async def test_a_pin_takes_the_place_of_the_name(tmp_path: Path) -> None:
    """The CA that is given counts all the same."""
    pki = make_pki(tmp_path)
    pair = without_names(pki)
    async with served(pki, pair) as (_, at):
        pinned = dataclasses.replace(at, server_name=None, server_fingerprint=fingerprint(pair))
        await connected(pinned)
        other = dataclasses.replace(pinned, ca=pki.other_authority.certificate)
        assert "it is not of the CA in" in await refused(other)


async def test_a_pin_alone_is_enough(tmp_path: Path) -> None:
    """Without a CA; only the dates of the certificate count then, as they would with one."""
    pki = make_pki(tmp_path)
    authority = make_authority(tmp_path, "unknown")
    good = authority.issue("good", "s", usage=None)
    old = authority.issue("old", "s", usage=None, not_before=-2 * HOUR, not_after=-HOUR)
    early = authority.issue("early", "s", usage=None, not_before=HOUR)
    for pair, says in ((good, None), (old, "it ended on"), (early, "it is valid only from")):
        async with served(pki, pair) as (_, at):
            alone = dataclasses.replace(at, ca=None, server_fingerprint=fingerprint(pair))
            if says is None:
                await connected(alone)
            else:
                assert says in await refused(alone)
            with pytest.raises(IdentityError, match="neither --ca nor --server-fingerprint"):
                await connected(dataclasses.replace(at, ca=None))


@pytest.mark.parametrize("with_ca", [True, False])
async def test_another_server_than_the_pinned_one_is_sent_nothing(
    tmp_path: Path, with_ca: bool
) -> None:
    """Not even our own certificate, though TLS would accept this server."""
    pki = make_pki(tmp_path)
    async with served(pki, pki.server) as (running, at):
        ca = at.ca if with_ca else None
        other = fingerprint(pki.other_server)
        text = await refused(dataclasses.replace(at, ca=ca, server_fingerprint=other))
        assert f"is not the one that is pinned; its SHA-256 is {fingerprint(pki.server)}" in text
        assert "penstock certs trust" in text
        # A client whose certificate had come would be a connection, and be counted as ended.
        with trio.fail_after(5 * slowness()):
            while not running.server.statistics().refused:  # noqa: ASYNC110  # it has no event
                await trio.lowlevel.checkpoint()
        assert running.server.statistics().refused == {"handshake": 1}
        assert running.server.statistics().ended == {}


@pytest.mark.parametrize(
    "form",
    [
        lambda digits: digits.upper(),
        lambda digits: ":".join(digits[i : i + 2] for i in range(0, 64, 2)).upper(),
        lambda digits: f"sha256 Fingerprint={digits}",
        lambda digits: f"SHA256:{digits}\n",
        lambda digits: f"SHA-256 Fingerprint = {digits[:32]} {digits[32:]}",
    ],
)
def test_a_fingerprint_in_each_form_in_which_tools_print_it(form: Callable[[str], str]) -> None:
    digits = fingerprint_of(b"x")
    assert read_fingerprint(form(digits)) == digits


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "sha1:" + "a" * 64, "a" * 63, "a" * 65])
async def test_what_is_no_fingerprint(text: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(ValueError, match="is no SHA-256 fingerprint"):
        read_fingerprint(text)
    nowhere = Endpoint("localhost", 1, None, Path(), Path(), server_fingerprint=text)
    with pytest.raises(ValueError, match="is no SHA-256 fingerprint"):
        await connected(nowhere)
