"""What a client is told whose certificate a server refuses: OpenSSL's alert, and what to do."""

import dataclasses
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import HOUR, Pair, Pki, make_pki
from toy import serving

from penstock.client import Endpoint, connect
from penstock.rpc.call_errors import HandshakeFailed
from penstock.rpc.tls.contexts import server_ssl_context


def with_list(pki: Pki, path: Path) -> ssl.SSLContext:
    return server_ssl_context(pki.server.certificate, pki.server.key, pki.ca, crl=path)


def for_servers(pki: Pki) -> Pair:
    return pki.authority.issue("wrong", "alice", usage=ExtendedKeyUsageOID.SERVER_AUTH)


def alice(pki: Pki) -> Pair:
    return pki.clients["alice"]


@pytest.mark.parametrize(
    ("client", "context", "says"),
    [
        (alice, lambda pki: with_list(pki, pki.write_crl("alice")), "was revoked"),
        # Of its own certificate a client knows more than the server tells.
        (lambda pki: pki.expired_client, Pki.server_context, "(--cert) ended on "),
        (lambda pki: pki.not_yet_client, Pki.server_context, "(--cert) is valid only from "),
        # The same alert as for an expired certificate.
        (
            alice,
            lambda pki: with_list(pki, pki.write_crl(days=-1)),
            "the clocks differ, or the server's revocation list is out of date",
        ),
        (lambda pki: pki.other_client, Pki.server_context, "must be of a CA that it trusts"),
        (for_servers, Pki.server_context, "it is not for client authentication"),
    ],
    ids=["revoked", "expired", "not yet", "list out of date", "other CA", "other use"],
)
async def test_a_refused_certificate_is_told_why(
    tmp_path: Path,
    client: Callable[[Pki], Pair],
    context: Callable[[Pki], ssl.SSLContext],
    says: str,
) -> None:
    """A note at the error, which the command line prints behind it."""
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
