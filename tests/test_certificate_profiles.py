"""certs/README.md's openssl recipe makes certificates that work here."""

import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from penstock.pki.certificate_errors import CertificateError
from penstock.pki.issue import issue, make_ca
from penstock.rpc.tls.contexts import client_ssl_context, server_ssl_context
from penstock.server.authn import identify

PROFILES = Path(__file__).resolve().parent.parent / "certs" / "profiles"


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server and alice, with RSA keys."""
    directory = tmp_path_factory.mktemp("openssl")
    request = ("req", "-newkey", "rsa:2048", "-noenc", "-config", PROFILES / "ca.cnf")
    ca = ("-keyout", directory / "ca.key", "-out", directory / "ca.crt")
    openssl(*request, "-x509", "-days", "30", "-subj", "/CN=my CA", *ca)
    authority = ("-CA", directory / "ca.crt", "-CAkey", directory / "ca.key")
    for name, profile in (("server", "server.cnf"), ("alice", "client.cnf")):
        key, csr, crt = (directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        openssl(*request, "-new", "-subj", f"/CN={name}", "-keyout", key, "-out", csr)
        profiled = ("-extfile", PROFILES / profile)
        openssl("x509", "-req", "-in", csr, *authority, "-days", "9", *profiled, "-out", crt)
    return directory


def test_the_client_profile_names_a_client(made: Path) -> None:
    """Without the setting for legacy certificates."""
    certificate = x509.load_pem_x509_certificate((made / "alice.crt").read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert identify(der, legacy_certificates=False).client_id == "alice"


def test_server_and_client_accept_each_other(made: Path) -> None:
    """A whole handshake, in memory."""
    server = server_ssl_context(made / "server.crt", made / "server.key", made / "ca.crt")
    client = client_ssl_context(made / "alice.crt", made / "alice.key", made / "ca.crt")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    unfinished = list(ends)
    for _ in range(6):
        for end in list(unfinished):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(end)
    assert not unfinished
    assert [end.version() for end in ends] == ["TLSv1.3"] * 2


def test_an_empty_passphrase_makes_no_key(tmp_path: Path) -> None:
    """Who asked for an encrypted key never gets a plain one."""
    make_ca(tmp_path)
    with pytest.raises(CertificateError, match="passphrase is empty"):
        issue(tmp_path, "alice", passphrase=b"")
    assert not (tmp_path / "alice.key").exists()
