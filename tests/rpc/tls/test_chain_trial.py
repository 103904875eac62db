"""The trial says what a real handshake with the real key says, in OpenSSL's own number."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lists import AUTHORITIES, LISTS
from pki import HOUR, Pair, Pki, make_authority, make_pki

from penstock.rpc.tls.chain_trial import TrialFailed, refusal
from penstock.rpc.tls.contexts import sent_chain, server_ssl_context


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path)


def context_of(pki: Pki, *, crl: bytes | None = None, ca: bytes | None = None) -> ssl.SSLContext:
    paths = {"crl": crl, "client_ca": ca}
    found: dict[str, Path | None] = {"crl": None, "client_ca": pki.ca}
    for name, data in paths.items():
        if data is not None:
            found[name] = pki.directory / f"trial.{name}"
            found[name].write_bytes(data)  # type: ignore[union-attr]
    server = pki.server
    assert found["client_ca"] is not None
    return server_ssl_context(server.certificate, server.key, found["client_ca"], crl=found["crl"])


def chain_of(pair: Pair) -> tuple[bytes, ...]:
    found = x509.load_pem_x509_certificates(pair.certificate.read_bytes())
    return tuple(each.public_bytes(serialization.Encoding.DER) for each in found)


def real_code(context: ssl.SSLContext, pair: Pair) -> tuple[int | None, tuple[bytes, ...]]:
    """Of a whole handshake: X509_V_ERR_*, or None; and what the client has sent."""
    ends = ssl.MemoryBIO(), ssl.MemoryBIO()
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Without the server's CA OpenSSL sends what the file has; with it, that CA, too.
    mine.check_hostname, mine.verify_mode = False, ssl.CERT_NONE
    mine.load_cert_chain(pair.certificate, pair.key)
    client = mine.wrap_bio(ends[0], ends[1], server_hostname="localhost")
    server = context.wrap_bio(ends[1], ends[0], server_side=True)
    done = set()
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_code, sent_chain(server)
    assert done == {client, server}
    return None, sent_chain(server)


def same(context: ssl.SSLContext, pair: Pair) -> int | None:
    code, sent = real_code(context, pair)
    if code is None:
        assert sent == chain_of(pair)
    error = refusal(context, chain_of(pair))
    assert (None if error is None else error.verify_code) == code
    return code


def test_of_a_refused_client_openssl_shows_nothing(pki: Pki) -> None:
    """Which is why a line ``certificate.refused`` has no serial number: see docs/operations.md. If
    this fails one day, the line can have it."""
    code, sent = real_code(context_of(pki), pki.other_client)
    assert code is not None
    assert sent == ()


def test_clients_of_every_kind(pki: Pki) -> None:
    """Good, of another CA, expired, not yet valid, and for servers."""
    context = context_of(pki)
    assert same(context, pki.clients["alice"]) is None
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    wrong = pki.authority.issue("wrong", "alice", usage=usage)
    for pair in (pki.other_client, pki.expired_client, pki.not_yet_client, wrong):
        assert same(context, pair)


@pytest.mark.parametrize("name", LISTS)
def test_lists_that_refuse_everybody(pki: Pki, name: str) -> None:
    assert same(context_of(pki, crl=LISTS[name](pki)), pki.clients["alice"])


@pytest.mark.parametrize("name", AUTHORITIES)
def test_authorities_that_refuse_everybody(pki: Pki, name: str) -> None:
    assert same(context_of(pki, ca=AUTHORITIES[name](pki)), pki.clients["alice"])


def test_a_list_that_names_one(pki: Pki) -> None:
    """23 is X509_V_ERR_CERT_REVOKED; the others get in."""
    context = context_of(pki, crl=pki.authority.crl(pki.clients["alice"]))
    assert same(context, pki.clients["alice"]) == 23
    assert same(context, pki.clients["bob"]) is None


def test_what_a_client_sends_besides_counts(pki: Pki, tmp_path: Path) -> None:
    """A CA between, which the server does not have; and many of them, in several records."""
    (tmp_path / "deep").mkdir()
    root = make_authority(tmp_path / "deep", "root")
    middle_key = make_authority(tmp_path / "deep", "middle")
    old = x509.load_pem_x509_certificate(root.certificate.read_bytes())
    middle = (
        x509.CertificateBuilder()
        .subject_name(middle_key.name)
        .issuer_name(root.name)
        .public_key(middle_key.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    pem = middle.public_bytes(serialization.Encoding.PEM)
    pair = middle_key.issue("deep", "alice")
    pair.certificate.write_bytes(pair.certificate.read_bytes() + pem)
    top = x509.CertificateBuilder().subject_name(root.name).issuer_name(root.name)
    anchor = (
        top.public_key(root.key.public_key())
        .serial_number(1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=2), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    context = context_of(pki, ca=anchor.public_bytes(serialization.Encoding.PEM))
    assert same(context, pair) is None
    assert refusal(context, chain_of(pair)[:1]) is not None
    assert refusal(context, chain_of(pair) * 40) is None


def test_a_server_with_an_rsa_key(pki: Pki) -> None:
    """The client's side admits whatever signature the server makes."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rsa")])
    old = x509.load_pem_x509_certificate(pki.server.certificate.read_bytes())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(pki.authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc - HOUR)
        .not_valid_after(old.not_valid_after_utc)
        .sign(pki.authority.key, hashes.SHA256())
    )
    pki.server.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pki.server.key.write_bytes(key.private_bytes(*encoding, serialization.NoEncryption()))
    context = context_of(pki)
    assert refusal(context, chain_of(pki.clients["alice"])) is None
    assert refusal(context, chain_of(pki.other_client)) is not None


def test_a_trial_that_does_not_come_so_far_says_nothing(pki: Pki) -> None:
    """A context without a certificate, and another group than ours."""
    with pytest.raises(TrialFailed):
        refusal(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain_of(pki.clients["alice"]))
    context = context_of(pki)
    context.set_ecdh_curve("secp384r1")
    with pytest.raises(TrialFailed):
        refusal(context, chain_of(pki.clients["alice"]))
