"""penstock certs issue: what is made is what a server and a policy accept, or nothing is."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from json_schema import mistakes
from patience import patient

from penstock.cli.json_schemas import schema_of
from penstock.pki.certificate_errors import CertificateError, NameRefused
from penstock.pki.issue import issue, make_ca, renew
from penstock.pki.key_mode import KeyModeError
from penstock.pki.names import general_name
from penstock.server.authn import AuthenticationError, identify


def penstock(directory: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", "certs", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def identity_in(path: Path) -> str:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return identify(certificate.public_bytes(serialization.Encoding.DER)).client_id


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    make_ca(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("alice", "alice"),
        ("a" * 63, "a" * 63),
        ("spiffe://example.org/ci/deploy", "example.org-ci-deploy"),
    ],
)
def test_the_server_reads_the_id_that_was_asked_for(ca: Path, name: str, file: str) -> None:
    """A plain name as common name, a SPIFFE id as the one URI."""
    issued = issue(ca, name)
    assert issued.certificate == ca / f"{file}.crt"
    assert identity_in(issued.certificate) == name
    assert issued.key.exists()


@pytest.mark.parametrize(
    "name",
    ["Alice", "a" * 64, "", "-a", "a b", "a/b", "../a", "ä", "a\n", "spiffe://", "spiffe://a/../b"],
)
def test_a_name_that_is_no_client_id_is_refused(ca: Path, name: str) -> None:
    """Nothing is made, and the text says what an id is."""
    before = sorted(ca.iterdir())
    with pytest.raises(NameRefused, match="is no client id: lower-case"):
        issue(ca, name)
    assert sorted(ca.iterdir()) == before


@given(name=st.text(max_size=70) | st.from_regex(r"\A[a-zA-Z0-9._/:-]{1,70}\Z"))
def test_whatever_is_issued_is_accepted(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Or refused before anything is made."""
    directory = tmp_path_factory.mktemp("ca")
    make_ca(directory)
    try:
        issued = issue(directory, name)
    except CertificateError:
        return
    try:
        assert identity_in(issued.certificate) == name
    except AuthenticationError as error:
        raise AssertionError(name) from error


@pytest.mark.parametrize("text", ["localhost", "a.example.org", "*.example.org", "::1", "10.0.0.1"])
def test_names_of_servers(text: str) -> None:
    """DNS names, wildcards, addresses."""
    assert str(general_name(text).value) == text


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a..b", "-a", "a-", "a_b", "ä.org", "1.2.3", "1.2.3.256", "[::1]", "host:443",
     "https://a", "*.", "*.org", "a.*.b", "fe80::1%eth0", "a.", "x" * 64, "a." * 127 + "b"],
)  # fmt: skip
def test_what_no_server_can_be_called(ca: Path, text: str) -> None:
    """TLS would never match it."""
    with pytest.raises(NameRefused, match="is no name of a server"):
        issue(ca, "server", server_names=["localhost", text])
    assert not (ca / "server.crt").exists()


def test_names_are_usage_errors_in_one_line(ca: Path) -> None:
    """Exit 2, for clients, servers and the names of a server's files."""
    for arguments in (["Alice"], ["a/b", "--host", "localhost"], ["s", "--host", "a b"]):
        done = penstock(ca, "issue", "--dir", ".", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
    done = penstock(ca, "issue", "--dir", ".", b"\xff")
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr


def test_a_key_of_another_ca_is_found_out(
    ca: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Before something is signed that nobody would accept."""
    other = tmp_path_factory.mktemp("other")
    make_ca(other)
    (ca / "ca.key").write_bytes((other / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match=r"ca\.key is not the key of .*ca\.crt"):
        issue(ca, "alice")
    assert not (ca / "alice.key").exists()


def replace_ca(directory: Path, *, days: float, is_ca: bool = True) -> None:
    """The same key under a certificate that ends so many days from now."""
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    old = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_no_certificate_outlives_its_ca(ca: Path) -> None:
    """It ends with the CA, and that is said."""
    replace_ca(ca, days=10)
    done = penstock(ca, "issue", "--dir", ".", "alice")
    assert done.returncode == 0, done.stderr
    assert "when the CA ends: that is less than 90 days" in done.stdout
    ends = [
        x509.load_pem_x509_certificate((ca / name).read_bytes()).not_valid_after_utc
        for name in ("ca.crt", "alice.crt")
    ]
    assert ends[0] == ends[1]
    short = penstock(ca, "issue", "--dir", ".", "--days", "3", "bob")
    assert "CA ends" not in short.stdout


def test_a_ca_that_can_issue_nothing_is_refused(ca: Path) -> None:
    """It has ended, or it is no CA."""
    replace_ca(ca, days=-1)
    with pytest.raises(CertificateError, match=r"ca\.crt ended on .*make a new CA"):
        issue(ca, "alice")
    replace_ca(ca, days=10, is_ca=False)
    with pytest.raises(CertificateError, match="not the certificate of a CA"):
        issue(ca, "alice")


def test_an_encrypted_ca_key(ca: Path) -> None:
    """One line that names the option; with the passphrase it works."""
    key = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pkcs8 = serialization.PrivateFormat.PKCS8
    (ca / "ca.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, encryption))
    done = penstock(ca, "issue", "--dir", ".", "alice")
    assert done.returncode == 1
    assert done.stderr == "Error: ca.key is encrypted: give --ca-passphrase-file\n"
    (ca / "pass").touch(0o600)
    (ca / "pass").write_text("wrong\n")
    options = ["issue", "--dir", ".", "--ca-passphrase-file", "pass", "alice"]
    done = penstock(ca, *options)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "passphrase does not open ca.key" in done.stderr
    (ca / "pass").write_text("secret\n")
    (ca / "pass").chmod(0o604)
    done = penstock(ca, *options)
    assert (done.returncode, "run: chmod 600 pass" in done.stderr) == (2, True), done.stderr
    (ca / "pass").chmod(0o600)
    assert penstock(ca, *options).returncode == 0
    assert identity_in(ca / "alice.crt") == "alice"


def test_a_ca_key_that_others_can_read_signs_nothing(ca: Path) -> None:
    """As a client refuses to use such a key."""
    (ca / "ca.key").chmod(0o640)
    with pytest.raises(KeyModeError, match="chmod 600"):
        issue(ca, "alice")


def test_one_text_is_no_list_of_server_names(ca: Path) -> None:
    """Its letters would each be one."""
    with pytest.raises(TypeError, match=r"write \['localhost'\]"):
        issue(ca, "server", server_names="localhost")


@pytest.mark.slow
def test_what_is_in_the_files_instead(ca: Path) -> None:
    """No CA at all, rubbish, and the two swapped: a text each, never a traceback."""
    done = penstock(ca, "issue", "--dir", "nowhere", "alice")
    assert done.returncode == 1
    assert "run: penstock certs init --dir nowhere" in done.stderr
    certificate, key = (ca / "ca.crt").read_bytes(), (ca / "ca.key").read_bytes()
    for crt, secret in ((b"x", key), (certificate, b"x"), (key, certificate)):
        (ca / "ca.crt").write_bytes(crt)
        (ca / "ca.key").write_bytes(secret)
        done = penstock(ca, "issue", "--dir", ".", "alice")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "ca." in done.stderr
    assert not (ca / "alice.key").exists()


def test_json_says_what_was_made(tmp_path: Path) -> None:
    """As the schemas of both have it, with -o json in front and behind."""
    made = penstock(tmp_path, "init", "--dir", ".", "-o", "json")
    ca = json.loads(made.stdout)
    assert ca == {"kind": "ca", "certificate": "ca.crt", "key": "ca.key", "encrypted": False}
    assert mistakes(ca, schema_of("certs init"), {}) == []
    made = penstock(tmp_path, "-o", "json", "issue", "alice", "--dir", ".")
    alice = json.loads(made.stdout)
    assert mistakes(alice, schema_of("certs issue"), {}) == []
    assert alice["kind"] == "client"
    certificate = x509.load_pem_x509_certificate((tmp_path / alice["certificate"]).read_bytes())
    assert alice["not_after"] == f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert (tmp_path / alice["key"]).stat().st_mode & 0o777 == 0o600


def test_the_name_of_the_cas_own_files_is_none_of_a_certificate(ca: Path) -> None:
    """renew would send its user to move the CA away."""
    with pytest.raises(NameRefused, match="CA's own files"):
        issue(ca, "ca")
    with pytest.raises(NameRefused, match="CA's own files"):
        issue(ca, "ca", server_names=["localhost"])
    with pytest.raises(CertificateError, match="make another CA"):
        renew(ca, "ca")


@pytest.mark.parametrize(("there", "asked"), [("spiffe://td/a", "td-a"), ("td-a", "spiffe://td/a")])
def test_two_clients_with_one_file_name_are_told_apart(ca: Path, there: str, asked: str) -> None:
    issue(ca, there)
    before = (ca / "td-a.crt").read_bytes()
    with pytest.raises(CertificateError, match="is there already"):
        issue(ca, asked)
    with pytest.raises(CertificateError, match=f"of '{there}', not of '{asked}'"):
        renew(ca, asked)
    assert (ca / "td-a.crt").read_bytes() == before
    renew(ca, there)
    assert identity_in(ca / "td-a.crt") == there


def test_a_server_without_a_host_is_said_to_be_a_client(ca: Path) -> None:
    """Because it is what one types who has forgotten --host."""
    done = penstock(ca, "issue", "--dir", ".", "server")
    assert (done.returncode, "for the client server" in done.stdout) == (0, True)
    assert "It is a client's certificate" in done.stderr
    assert "--host HOST" in done.stderr
    assert penstock(ca, "issue", "--dir", ".", "alice").stderr == ""
