"""What a client is told whose certificate a server refuses: OpenSSL's alert, and what to do."""

import dataclasses
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from patience import slowness
from pki import HOUR, Pair, Pki, make_pki, shared_pki
from toy import serving

from penstock.client import Endpoint, connect
from penstock.pki.contents import serial_of
from penstock.pki.issue import issue, make_ca, renew
from penstock.rpc.call_errors import HandshakeFailed
from penstock.rpc.tls.contexts import server_ssl_context

SERVERS = ExtendedKeyUsageOID.SERVER_AUTH
LOCAL = (x509.DNSName("localhost"),)


def with_list(pki: Pki, path: Path) -> ssl.SSLContext:
    return server_ssl_context(pki.server.certificate, pki.server.key, pki.ca, crl=path)


def for_servers(pki: Pki) -> Pair:
    return pki.authority.issue("wrong", "alice", usage=ExtendedKeyUsageOID.SERVER_AUTH)


def alice(pki: Pki) -> Pair:
    return pki.clients["alice"]


@pytest.mark.parametrize(
    ("client", "context", "says", "reason"),
    [
        (alice, lambda pki: with_list(pki, pki.write_crl("alice")), "was revoked", "REVOKED"),
        # Of its own certificate a client knows more than the server tells.
        (lambda pki: pki.expired_client, Pki.server_context, "(--cert) ended on ", "EXPIRED"),
        (
            lambda pki: pki.not_yet_client,
            Pki.server_context,
            "(--cert) is valid only from ",
            "NOT_YET_VALID",
        ),
        # The same alert as for an expired certificate.
        (
            alice,
            lambda pki: with_list(pki, pki.write_crl(days=-1)),
            "the clocks differ, or the server's revocation list is out of date",
            "REVOCATION_LIST",
        ),
        (
            lambda pki: pki.other_client,
            Pki.server_context,
            "must be of a CA that it trusts, and is of 'CN=other-ca'",
            "OTHER_CA",
        ),
        (
            for_servers,
            Pki.server_context,
            "it is not for client authentication; have one issued (penstock certs issue NAME), or "
            "this one signed again for that, as with: printf "
            r"'extendedKeyUsage=clientAuth\n' | openssl x509 -req -in wrong.csr",
            "WRONG_PURPOSE",
        ),
        (
            lambda pki: pki.authority.issue("same", "ca"),
            Pki.server_context,
            "it has the same name as its CA, 'CN=ca', so TLS takes it for self-signed",
            "OTHER_CA",
        ),
    ],
    ids=["revoked", "expired", "not yet", "list", "other CA", "other use", "the CA's name"],
)
async def test_a_refused_certificate_is_told_why(
    tmp_path: Path,
    client: Callable[[Pki], Pair],
    context: Callable[[Pki], ssl.SSLContext],
    says: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On both sides: a note at the error, which the command line prints behind it; a line of the
    server's log, and a word for its audit."""
    caplog.set_level(logging.INFO, "penstock.rpc")
    pki = make_pki(tmp_path)
    pair = client(pki)
    async with serving(pki) as running:
        running.server.use_ssl_context(context(pki))
        endpoint = Endpoint("127.0.0.1", running.port, pki.ca, pair.certificate, pair.key)
        with pytest.raises(HandshakeFailed) as caught:
            async with connect(dataclasses.replace(endpoint, server_name="localhost")):
                pass
    (note,) = caught.value.__notes__
    assert f"{pair.certificate} (--cert)" in note
    assert says in note
    ((address, word, text),) = running.refused_certificates
    assert word == reason
    assert in_words(reason) in text
    assert f"connection from {address} refused: {text}" in caplog.text


async def test_a_handshake_that_began_with_earlier_files_is_judged_by_those_of_now(
    tmp_path: Path,
) -> None:
    """OpenSSL has judged, or will, by the context with which the handshake began."""
    pki = make_pki(tmp_path)
    both = tmp_path / "both.crt"
    both.write_bytes(pki.ca.read_bytes() + pki.other_authority.certificate.read_bytes())
    async with serving(pki) as running:
        for pair, admitted in ((pki.other_client, False), (pki.clients["alice"], True)):
            running.server.use_ssl_context(
                server_ssl_context(pki.server.certificate, pki.server.key, both)
            )
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = pki.client_context(pair).wrap_bio(incoming, outgoing, server_hostname="localhost")
            async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        await stream.send_all(outgoing.read())
                        incoming.write(await stream.receive_some())
                running.server.use_ssl_context(pki.server_context())
                await stream.send_all(outgoing.read())
                told = await stream.receive_some()
                assert bool(told) == admitted
                if admitted:
                    assert running.server.statistics().connections == 1
    ((_, word, text),) = running.refused_certificates
    assert (word, "it is not of a CA in [tls] client_ca" in text) == ("OTHER_CA", True)


async def test_an_absolute_name_is_the_name_in_the_certificate() -> None:
    """A certificate has no dot at the end, and SNI must have none."""
    pki = shared_pki()
    pair = alice(pki)
    async with serving(pki) as running:
        endpoint = Endpoint(
            "127.0.0.1", running.port, pki.ca, pair.certificate, pair.key, server_name="localhost."
        )
        async with connect(endpoint):
            pass


def in_words(reason: str) -> str:
    """What the server's operator reads behind OpenSSL's words."""
    return {
        "REVOKED": "certificate revoked (it is on the list of revoked certificates",
        "EXPIRED": "certificate has expired (it has expired)",
        "NOT_YET_VALID": "(it is not valid yet by this machine's clock)",
        "REVOCATION_LIST": "CRL has expired (the list of revoked certificates ([tls] crl) is out",
        "OTHER_CA": "(it is not of a CA in [tls] client_ca)",
        "WRONG_PURPOSE": "(it is not for client authentication)",
    }[reason]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda pki: pki.other_server, "it is of a CA that the client does not trust"),
        (
            lambda pki: pki.authority.issue(
                "old", "s", usage=SERVERS, names=LOCAL, not_before=-2 * HOUR, not_after=-HOUR
            ),
            "it has expired, by the client's clock",
        ),
        (
            lambda pki: pki.authority.issue("elsewhere", "s", usage=SERVERS),
            "it does not have the name that the client expects",
        ),
        (
            lambda pki: pki.authority.issue("client", "s", names=LOCAL),
            "it is not for server authentication",
        ),
    ],
    ids=["other CA", "expired", "other name", "other use"],
)
async def test_a_server_logs_why_a_client_refuses_it(
    tmp_path: Path,
    made: Callable[[Pki], Pair],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the client's alert. That is no refused client, so there is no line of audit."""
    caplog.set_level(logging.INFO, "penstock.rpc")
    pki = make_pki(tmp_path)
    pair, own = made(pki), pki.clients["alice"]
    async with serving(pki) as running:
        context = server_ssl_context(pair.certificate, pair.key, pki.ca)
        running.server.use_ssl_context(context)
        endpoint = Endpoint("localhost", running.port, pki.ca, own.certificate, own.key)
        with pytest.raises(HandshakeFailed):
            async with connect(endpoint):
                pass
        with trio.fail_after(5 * slowness()):
            while not running.server.statistics().refused:  # noqa: ASYNC110  # it has no event
                await trio.lowlevel.checkpoint()
        assert running.refused_certificates == []
    assert f"(the client refuses this server's certificate: {says}" in caplog.text


async def test_a_renewed_certificate_is_taken_up_by_the_next_connection(tmp_path: Path) -> None:
    """Of the client, and the server's own, without a restart of either."""
    make_ca(tmp_path)
    issue(tmp_path, "alice", hours=1)
    server = issue(tmp_path, "server", server_names=["localhost"])
    pki = shared_pki()
    ca = tmp_path / "ca.crt"
    files = (ca, tmp_path / "alice.crt", tmp_path / "alice.key")
    async with serving(pki) as running:
        endpoint = Endpoint("localhost", running.port, *files)

        async def serial() -> str:
            async with connect(endpoint) as client:
                await client.channel.wait_answer()
                (peer,) = running.server.connected()
            return serial_of(x509.load_der_x509_certificate(peer.certificate))

        context = server_ssl_context(server.certificate, server.key, ca)
        running.server.use_ssl_context(context)
        before = await serial()
        renewed = renew(tmp_path, "alice")
        assert await serial() == renewed.serial != before
        other_key = renew(tmp_path, "alice", new_key=True)
        assert await serial() == other_key.serial
        renew(tmp_path, "server", new_key=True)
        context = server_ssl_context(server.certificate, server.key, ca)
        running.server.use_ssl_context(context)
        assert await serial() == other_key.serial


async def test_one_that_ended_just_now_is_told_so_by_its_own_clock(tmp_path: Path) -> None:
    """Not that it must be of another CA."""
    pki = make_pki(tmp_path)
    pair = pki.authority.issue("short", "alice", not_before=-2 * HOUR, not_after=-HOUR / 3600)
    async with serving(pki) as running:
        endpoint = Endpoint("localhost", running.port, pki.ca, pair.certificate, pair.key)
        with pytest.raises(HandshakeFailed, match="certificate expired") as caught:
            async with connect(endpoint):
                pass
    assert "(--cert) ended on" in caught.value.__notes__[0]
