"""The files of ``[tls]``: read all or nothing, every mistake named."""

import dataclasses
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import HOUR, Pair, Pki, make_pki

from penstock.pki.crl import NONE
from penstock.policy.configuration import Config, parse_config
from penstock.server.authn import AuthenticationError, identify
from penstock.server.credentials import CredentialsError, load_credentials

PASSPHRASE = b"open sesame"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path)


def config(pki: Pki, **tls: str) -> Config:
    values = {
        "certificate": str(pki.server.certificate),
        "key": str(pki.server.key),
        "client_ca": str(pki.ca),
        **tls,
    }
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    return parse_config("\n".join(['policy = "/p"', "[tls]", *lines]).encode())


def encrypt(pki: Pki) -> None:
    key = serialization.load_pem_private_key(pki.server.key.read_bytes(), None)
    pki.server.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE),
        )
    )


def passphrase_file(directory: Path, text: bytes, mode: int = 0o600) -> str:
    path = directory / "passphrase"
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


def test_an_encrypted_key(pki: Pki, tmp_path: Path) -> None:
    """With its passphrase it is used, without or with another it is refused."""
    encrypt(pki)
    file = passphrase_file(tmp_path, PASSPHRASE + b"\n")
    load_credentials(config(pki, key_passphrase_file=file))
    with pytest.raises(CredentialsError, match="password is needed"):
        load_credentials(config(pki))
    file = passphrase_file(tmp_path, b"wrong")
    with pytest.raises(CredentialsError, match="of the configuration"):
        load_credentials(config(pki, key_passphrase_file=file))


def test_files_that_others_can_read(pki: Pki, tmp_path: Path) -> None:
    """Row 7: key and passphrase are refused, both at once."""
    encrypt(pki)
    pki.server.key.chmod(0o640)
    file = passphrase_file(tmp_path, PASSPHRASE, 0o644)
    with pytest.raises(CredentialsError) as caught:
        load_credentials(config(pki, key_passphrase_file=file))
    assert "[tls] key:" in str(caught.value)
    assert "[tls] key_passphrase_file:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (b"x" * 1100, "cannot be longer than 1024 bytes"),
        (b"\nopen sesame", "first line is empty"),
        (b"open sesame\nanother line\n", None),
        (b"open sesame\r\n", None),
    ],
    ids=["long", "empty", "two lines", "CRLF"],
)
def test_a_passphrase_is_the_first_line(
    pki: Pki, tmp_path: Path, text: bytes, mistake: str | None
) -> None:
    """What it cannot be is a mistake, not an exception of another kind."""
    encrypt(pki)
    wanted = config(pki, key_passphrase_file=passphrase_file(tmp_path, text))
    if mistake is None:
        load_credentials(wanted)
        return
    with pytest.raises(CredentialsError, match=mistake):
        load_credentials(wanted)


def test_the_servers_certificate_must_be_one(pki: Pki) -> None:
    """A client's is refused; one that says nothing is admitted with legacy_certificates; one
    whose time is not now is used, and said to be of no use."""
    client = pki.clients["alice"]
    with pytest.raises(CredentialsError, match="not for server authentication"):
        load_credentials(config(pki, certificate=str(client.certificate), key=str(client.key)))
    plain = pki.authority.issue("plain", "penstock", usage=None)
    wanted = config(pki, certificate=str(plain.certificate), key=str(plain.key))
    with pytest.raises(CredentialsError, match="not for server authentication") as caught:
        load_credentials(wanted)
    assert "write legacy_certificates = true under [tls], or have it signed" in str(caught.value)
    assert r"DNS:penstock\nextendedKeyUsage=serverAuth\n' | openssl x509" in str(caught.value)
    assert "-in plain.csr" in str(caught.value)
    load_credentials(dataclasses.replace(wanted, legacy_certificates=True))
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    old = pki.authority.issue("old", "s", usage=usage, not_before=-2 * HOUR, not_after=-HOUR)
    early = pki.authority.issue("early", "s", usage=usage, not_before=HOUR)
    for pair, why in ((old, "has expired"), (early, "only from"), (pki.server, None)):
        found = load_credentials(config(pki, certificate=str(pair.certificate), key=str(pair.key)))
        assert (why or "") in str(found.untimely)
        assert (found.untimely is None) is (why is None)


def test_a_pair_that_does_not_fit_names_both_files(pki: Pki) -> None:
    other = pki.clients["alice"].key
    with pytest.raises(CredentialsError) as caught:
        load_credentials(config(pki, key=str(other)))
    (mistake,) = caught.value.mistakes
    assert f"{other} is not the key of {pki.server.certificate} ([tls] certificate)" in mistake


def test_a_directory_is_told_no_mode(pki: Pki, tmp_path: Path) -> None:
    """Its mode is a directory's, and chmod 600 would mend nothing."""
    place = tmp_path / "key"
    place.mkdir(0o755)
    with pytest.raises(CredentialsError) as caught:
        load_credentials(config(pki, key=str(place)))
    assert caught.value.mistakes == [f"[tls] key: {place}: is a directory; name a regular file"]


def test_who_cannot_read_is_told_the_chown(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that the configuration has."""

    def closed(path: str, most_bytes: int) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("penstock.server.credentials.read_file", closed)
    with pytest.raises(CredentialsError) as caught:
        load_credentials(dataclasses.replace(config(pki), server_user="penstock"))
    key = str(pki.server.key)
    (mistake,) = [text for text in caught.value.mistakes if text.startswith("[tls] key: ")]
    assert mistake.endswith(f"; let the server's user read it, as by: chown penstock {key}")


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca", "crl", "key_passphrase_file"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "without end"])
def test_what_is_no_file_is_a_mistake(pki: Pki, tmp_path: Path, key: str, kind: str) -> None:
    """Named by its key, and nothing is waited for: the server's one loop reads these."""
    path = tmp_path / "odd"
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "directory":
        path.mkdir(0o700)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch(0o600)
        os.truncate(path, 1 << 40)
    wanted = config(pki, **{key: str(path)})
    with pytest.raises(CredentialsError) as caught:
        load_credentials(wanted)
    words = {"fifo": "is a FIFO", "directory": "is a directory", "device": "is a device"}
    assert f"[tls] {key}: {path}: {words.get(kind, 'is longer than')}" in str(caught.value)


@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.BrainpoolP256R1, ec.SECP384R1])
def test_a_key_that_tls_cannot_sign_with(pki: Pki, curve: type[ec.EllipticCurve]) -> None:
    """OpenSSL loads it, and then refuses every handshake, as no client is offered anything."""
    usage, names = ExtendedKeyUsageOID.SERVER_AUTH, (x509.DNSName("localhost"),)
    odd = pki.authority.issue("odd", "odd", usage=usage, names=names, curve=curve)
    wanted = config(pki, certificate=str(odd.certificate), key=str(odd.key))
    if curve is ec.SECP384R1:
        assert shake_hands(load_credentials(wanted).context, pki.client_context("alice")) is None
        return
    with pytest.raises(CredentialsError) as caught:
        load_credentials(wanted)
    assert f"[tls] key: {odd.key}: TLS 1.3 has no signature for this kind" in str(caught.value)


def odd_authority(directory: Path) -> bytes:
    """A CA on a curve that OpenSSL knows and cryptography does not."""
    key, certificate = directory / "odd.key", directory / "odd.crt"
    for words in (
        ["ecparam", "-genkey", "-name", "prime239v1", "-out", str(key)],
        ["req", "-x509", "-new", "-key", str(key), "-subj", "/CN=odd", "-out", str(certificate)],
    ):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=directory)
    return certificate.read_bytes()


def test_every_ca_needs_its_list(pki: Pki, tmp_path: Path) -> None:
    """OpenSSL refuses every client of a CA whose list is not there; each list counts."""
    other = pki.other_authority
    bundle = tmp_path / "bundle.crt"
    lists = tmp_path / "lists.pem"
    wanted = config(pki, client_ca=str(bundle), crl=str(lists))
    bundle.write_bytes(pki.ca.read_bytes() + other.certificate.read_bytes())
    lists.write_bytes(pki.authority.crl())
    with pytest.raises(CredentialsError, match="has no list of the CA 'CN=other-ca'"):
        load_credentials(wanted)
    lists.write_bytes(pki.authority.crl() + other.crl(pki.other_client))
    revocations = load_credentials(wanted).revocations
    assert revocations.covers(der_of(pki.other_client))
    assert not revocations.covers(der_of(pki.clients["alice"]))
    server = load_credentials(wanted).context
    assert shake_hands(server, pki.client_context("alice")) is None
    assert "revoked" in str(shake_hands(server, pki.client_context(pki.other_client)))
    assert shake_hands(server, pki.client_context(other.issue("free", "free"))) is None
    lists.write_bytes(pki.authority.crl() + other.crl(since=HOUR) + other.crl(days=-1))
    with pytest.raises(CredentialsError) as caught:
        load_credentials(wanted)
    assert "list 2: is valid only from" in str(caught.value)
    assert "list 3: is out of date" in str(caught.value)


def test_a_ca_that_is_on_a_list(pki: Pki, tmp_path: Path) -> None:
    """Only clients' own certificates are looked for, so such a CA must not stay in client_ca."""
    between = pki.authority.issue("between", "between-ca")
    bundle, lists = tmp_path / "bundle.crt", tmp_path / "lists.pem"
    bundle.write_bytes(pki.ca.read_bytes() + between.certificate.read_bytes())
    lists.write_bytes(pki.authority.crl(between))
    with pytest.raises(CredentialsError) as caught:
        load_credentials(config(pki, client_ca=str(bundle), crl=str(lists)))
    assert f"{lists}: names the CA 'CN=between-ca' in {bundle}" in str(caught.value)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLError | None:
    """What the server has against the client."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="localhost")
    for side in (theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return error
    return None


def test_an_authority_that_cannot_be_read_is_a_mistake(pki: Pki, tmp_path: Path) -> None:
    """Its curve is unknown; without a list to check it is for OpenSSL alone."""
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(odd_authority(tmp_path) + pki.ca.read_bytes())
    load_credentials(config(pki, client_ca=str(bundle)))
    with pytest.raises(CredentialsError, match="no list of the CA 'CN=odd'"):
        load_credentials(config(pki, client_ca=str(bundle), crl=str(pki.write_crl())))


def test_a_certificate_among_the_lists_is_refused(pki: Pki) -> None:
    """OpenSSL would trust it as a CA."""
    path = pki.write_crl()
    path.write_bytes(path.read_bytes() + pki.other_authority.certificate.read_bytes())
    with pytest.raises(CredentialsError, match="holds a CERTIFICATE, which is no CRL"):
        load_credentials(config(pki, crl=str(path)))


def test_a_certificate_that_cannot_be_read_names_nobody(pki: Pki) -> None:
    """OpenSSL has admitted it; it is refused, and whether it was revoked cannot be told."""
    pair = pki.clients["alice"]
    pki.authority.disguise(pair)
    with pytest.raises(AuthenticationError, match="cannot be read"):
        identify(der_of(pair))
    assert NONE.covers(b"nonsense")


def der_of(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
