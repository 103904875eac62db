"""penstock certs show: what is wrong with a file, in words."""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from answering import answered
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from json_schema import mistakes
from patience import patient
from pki import HOUR, Authority, Pair, make_authority

from penstock.cli.json_schemas import schema_of
from penstock.pki.inspection import ExaminedFile, WantedFor, examined, unfitting
from penstock.pki.issue import issue, make_ca
from penstock.pki.openssl_commands import server_signed_again
from penstock.pki.revocation import revoke
from penstock.pki.signing import SigningKey, key_pem

SERVERS = ExtendedKeyUsageOID.SERVER_AUTH
LOCAL = (x509.DNSName("localhost"), x509.DNSName("*.example.org"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path, "ca")


NOTHING = WantedFor()


def look(path: Path, wish: WantedFor = NOTHING, passphrase: bytes | None = None) -> ExaminedFile:
    mode = path.stat().st_mode & 0o7777
    return examined(str(path), path.read_bytes(), mode, wish, passphrase)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def odd(directory: Path, key: SigningKey, *extensions: x509.ExtensionType, name: str = "s") -> Path:
    """A certificate of another key and other extensions, signed by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 7, now - HOUR, now + timedelta(days=9)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    path = directory / "odd.crt"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("made", "wish", "says"),
    [
        (lambda by: by.issue("a", "alice"), {}, None),
        (lambda by: by.issue("a", "alice"), {"role": "client"}, None),
        (lambda by: by.issue("s", "s", usage=SERVERS, names=LOCAL), {"host": "localhost"}, None),
        (
            lambda by: by.issue("s", "s", usage=SERVERS, names=LOCAL),
            {"host": "A.Example.org"},
            None,
        ),
        (
            lambda by: by.issue("s", "s", usage=SERVERS, names=LOCAL),
            {"host": "a.b.example.org"},
            "is not for a.b.example.org, but for localhost, *.example.org: connect by one of",
        ),
        (
            lambda by: by.issue("a", "alice", not_before=-2 * HOUR, not_after=-HOUR),
            {},
            "has expired on 20",
        ),
        (lambda by: by.issue("a", "alice", not_before=HOUR), {}, "is valid only from 20"),
        (
            lambda by: by.issue("a", "alice"),
            {"role": "server"},
            "is not for server authentication, so clients refuse it; made anew: printf 'subjectAlt",
        ),
        (
            lambda by: by.issue("s", "s", usage=SERVERS, names=LOCAL),
            {"role": "client"},
            "is not for client authentication, so servers refuse it; made anew: printf 'extended",
        ),
        (
            lambda by: by.issue("s", "h.org", usage=SERVERS),
            {},
            "names no host (no subjectAltName; the common name does not count)",
        ),
        (
            lambda by: by.issue("s", "h.org", usage=SERVERS),
            {},
            r"printf 'subjectAltName=DNS:h.org\nextendedKeyUsage=serverAuth\n' | openssl x509 -req",
        ),
        (
            lambda by: by.issue("a", "alice", usage=None),
            {},
            "does not say what it is for (no extended key usage)",
        ),
        (
            lambda by: by.issue("a", "alice", usage=None),
            {"role": "client"},
            "legacy_certificates = true under [tls]; made anew: printf 'extendedKeyUsage=clientA",
        ),
        (
            lambda by: by.issue("s", "s", usage=None, names=LOCAL),
            {"role": "server"},
            r"made anew: printf 'subjectAltName=DNS:localhost,DNS:*.example.org\nextendedKeyUs",
        ),
        (lambda by: by.issue("a", "Alice"), {}, "names no client: 'Alice' is no client id"),
        (
            lambda by: by.issue(
                "a", "a", names=tuple(map(x509.UniformResourceIdentifier, ("spiffe://a", "b")))
            ),
            {},
            "has 2 URIs among its names",
        ),
        (lambda by: by.issue("a", "ca"), {}, "has the same name as its CA, 'CN=ca', so TLS takes"),
        (lambda by: by.issue("a", "alice"), {"role": "ca"}, "is no CA's: what it has signed"),
        (
            lambda by: Pair(by.certificate, by.certificate),
            {"role": "client"},
            "is a CA's, and that of a client is wanted",
        ),
        (
            lambda by: by.issue("a", "alice", curve=ec.SECP256K1),
            {},
            "TLS 1.3 has no signature for this kind of key",
        ),
        (
            lambda by: make_authority(by.directory, "other").issue("b", "bob"),
            {"by": True},
            "is not of the CA in ca.crt, but of one that calls itself 'CN=other'",
        ),
    ],
)
def test_what_is_wrong_with_a_certificate(
    authority: Authority, made: Callable[[Authority], Pair], wish: dict[str, Any], says: str | None
) -> None:
    """Nothing, or one thing; each says what to do."""
    pair = made(authority)
    by = read(authority.certificate) if wish.pop("by", None) else None
    pair.certificate.chmod(0o644)
    found = look(pair.certificate, WantedFor(**wish, authority=by, authority_path="ca.crt"))
    assert found.kind == "certificate"
    if says is None:
        assert found.wrong == []
    else:
        assert says in " ".join(found.wrong)
        # Where the other purpose is wanted there is no name, either.
        both = wish.get("role") == "server" and says.startswith("is not for")
        assert len(found.wrong) == (2 if both else 1)


@pytest.mark.parametrize(
    "name", ["a\nbasicConstraints=CA:TRUE", "a'; rm -rf /", "%n", "a,DNS:b", "$(x)", "é", ""]
)
def test_a_printed_command_has_only_names_that_a_server_can_have(name: str) -> None:
    """They may come from a certificate that nobody has verified, and somebody types the command."""
    printed = server_signed_again([name, "good.example", "::1"])
    assert printed.startswith(
        r"printf 'subjectAltName=DNS:good.example,IP:::1\nextendedKeyUsage=serverAuth\n' | openssl"
    )
    assert "subjectAltName=DNS:HOST" in server_signed_again([name])


def test_what_it_says_of_itself(authority: Authority) -> None:
    """In a line each: what an operator compares."""
    pair = authority.issue("s", "s", usage=SERVERS, names=LOCAL)
    about = look(pair.certificate).about
    certificate = read(pair.certificate)
    assert about["names"] == "localhost, *.example.org"
    assert about["is for"] == "servers"
    assert about["issued by"] == "CN=ca"
    assert about["serial"] == format(certificate.serial_number, "x")
    assert about["SHA-256"] == certificate.fingerprint(hashes.SHA256()).hex()
    assert about["key"] == "EC P-256"


def test_weak_keys_and_signatures(tmp_path: Path) -> None:
    """That TLS would refuse without saying which file it means."""
    key = rsa.generate_private_key(65537, 1024)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    (wrong,) = look(odd(tmp_path, key, usage)).wrong
    assert wrong == "its RSA key has 1024 bits, which TLS refuses: make one of 3072"
    code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    found = look(odd(tmp_path, ec.generate_private_key(ec.SECP384R1()), code))
    assert found.wrong == ["is neither for servers nor for clients (extended key usage)"]


def test_keys(tmp_path: Path) -> None:
    """Which others can read, which are encrypted, and with which passphrase."""
    path = tmp_path / "x.key"
    path.touch(0o600)
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key_pem(key, None))
    assert (look(path).kind, look(path).wrong, look(path).about["key"]) == ("key", [], "EC P-256")
    path.chmod(0o640)
    assert "others can read or write the key (mode 0640)" in look(path).wrong[0]
    path.chmod(0o600)
    path.write_bytes(key_pem(key, b"secret"))
    assert look(path).about["key"] == "encrypted"
    assert "give --passphrase-file" in look(path).notes[0]
    assert look(path, passphrase=b"secret").about["key"] == "EC P-256, encrypted"
    assert look(path, passphrase=b"other").wrong == ["the passphrase does not open it"]
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "cannot be read" in look(path).wrong[0]


def test_whose_key_it_is(authority: Authority) -> None:
    """A key that fits one certificate is not compared with the others."""
    alice, bob = authority.issue("a", "alice"), authority.issue("b", "bob")
    files = [look(alice.certificate), look(bob.certificate), look(bob.key)]
    assert [(each.path, fits) for _, each, fits in unfitting(files)] == [
        (str(bob.certificate), True)
    ]
    assert [fits for *_, fits in unfitting([look(alice.certificate), look(bob.key)])] == [False]


def test_several_certificates(authority: Authority, tmp_path: Path) -> None:
    """The first one counts; as CAs several are as good as one."""
    pair = authority.issue("a", "alice")
    both = pair.certificate.read_bytes() + authority.certificate.read_bytes()
    path = tmp_path / "both.crt"
    path.write_bytes(both)
    assert "holds 2 certificates: the first one is meant" in look(path).notes[0]
    path.write_bytes(authority.certificate.read_bytes() + pair.certificate.read_bytes())
    assert "is a CA's, and that of a client is wanted" in look(path, WantedFor("client")).wrong[0]
    assert (look(path, WantedFor("ca")).wrong, look(path, WantedFor("ca")).notes) == ([], [])


def test_what_is_no_certificate_at_all(authority: Authority, tmp_path: Path) -> None:
    """Each with what it is, and how it becomes one."""
    path = tmp_path / "x"
    certificate = read(authority.certificate)
    der = certificate.public_bytes(serialization.Encoding.DER)
    pem = authority.certificate.read_bytes()
    public = authority.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(certificate.subject)
        .sign(authority.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    for data, says in (
        (b"\n", "is empty"),
        (b"hello", "is not in PEM form, which begins"),
        (der, f"is in DER, not in PEM: openssl x509 -inform DER -in {path} -out {path}.pem"),
        (b"\x30\x82abc", "if it is PKCS 12 (.p12, .pfx): openssl pkcs12"),
        (pem[:-30], "is cut off or damaged"),
        (pem.replace(b"M", b"!", 1), "a certificate in it cannot be read"),
        (request, "is a request, which a CA has yet to sign"),
        (public, "holds neither a certificate nor a key, but: public key"),
    ):
        path.write_bytes(data)
        assert says in " ".join(look(path).wrong), data


def test_lists(authority: Authority, tmp_path: Path) -> None:
    """How many are on it, and whether servers still take it."""
    path = tmp_path / "crl.pem"
    path.write_bytes(authority.crl(authority.issue("m", "mallory")))
    found = look(path)
    assert (found.kind, found.about["revoked"], found.wrong) == ("list", "1", [])
    path.write_bytes(authority.crl(days=-1))
    assert "is out of date since 20" in look(path).wrong[0]
    path.write_bytes(authority.crl(since=HOUR))
    assert "is valid only from 20" in look(path).wrong[0]


@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_judged_without_a_traceback(authority: Authority, tmp_path: Path) -> None:
    """Every certificate cut and flipped: it is said, or it is another certificate."""
    pem = authority.issue("a", "alice", names=LOCAL).certificate.read_bytes()
    path = tmp_path / "x.crt"
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    for at in range(0, len(der), 3):
        flipped = der[:at] + bytes([der[at] ^ 0x15]) + der[at + 1 :]
        text = base64.encodebytes(flipped)
        path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n")
        found = look(path, WantedFor("client", "localhost", read(authority.certificate), "ca.crt"))
        assert found.wrong or found.about


PLAIN = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
CLI = [sys.executable, "-m", "penstock.cli", "certs"]


def certs(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *words],
        cwd=directory,
        env=PLAIN,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def test_show_looks_at_the_key_beside_it_and_at_the_index(tmp_path: Path) -> None:
    """And its exit status says whether something is wrong; the schema has its lines."""
    make_ca(tmp_path)
    issue(tmp_path, "alice")
    issue(tmp_path, "server", server_names=["localhost"])
    done = certs(tmp_path, "show", "alice.crt", "server.crt", "--ca", "ca.crt", "--dir", "x")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall("its key +(.*)", done.stdout) == ["alice.key", "server.key"]
    (tmp_path / "alice.key").write_bytes((tmp_path / "server.key").read_bytes())
    revoke(tmp_path, "alice")
    done = certs(tmp_path, "show", "-o", "json", "alice.crt", "gone", "crl.pem", ".")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        assert mistakes(line, schema_of("certs show"), {}) == []
    assert [line["kind"] for line in lines] == ["certificate", "unknown", "list", "unknown"]
    assert "was revoked" in lines[0]["wrong"][0]
    assert "the key in alice.key is not its key" in lines[0]["wrong"][1]
    assert lines[1]["wrong"] == ["cannot be read: No such file or directory"]
    done = certs(tmp_path, "show", "-o", "json", "--dir", ".")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["name"], line["kind"], line["state"]) for line in lines] == [
        ("penstock CA", "ca", "valid"),
        ("alice", "client", "revoked"),
        ("server", "server", "valid"),
    ]
    assert mistakes(lines[1], schema_of("certs show"), {}) == []


def test_revoke_prints_the_two_commands(tmp_path: Path) -> None:
    """And when the list is to be written again; what was revoked before is said on stderr."""
    make_ca(tmp_path)
    issue(tmp_path, "mallory")
    done = certs(tmp_path, "revoke", "mallory", "--dir", ".")
    assert (done.returncode, done.stderr) == (0, "")
    first, wrote, where, *commands = done.stdout.splitlines()
    assert first.startswith("Revoked the client mallory, serial ")
    assert wrote.startswith("Wrote crl.pem with 1 certificate. Servers refuse every client once")
    assert wrote.endswith("write it again before: penstock certs crl --dir .")
    assert 'under [tls] the line crl = "/etc/penstock/certs/crl.pem"' in where
    assert commands == [
        "  scp crl.pem root@SERVER:/etc/penstock/certs/crl.pem",
        "  ssh root@SERVER penstockd reload --config /etc/penstock/penstockd.toml",
    ]
    done = certs(tmp_path, "revoke", "mallory", "--dir", ".", "-o", "json")
    assert mistakes(json.loads(done.stdout), schema_of("certs revoke"), {}) == []
    done = certs(tmp_path, "revoke", "bob", "--dir", ".")
    assert done.returncode == 1
    assert done.stderr == "Error: the index of . has no certificate 'bob'; it has: mallory\n"


def test_renew_says_what_stays(tmp_path: Path) -> None:
    """The key; so there is nothing to encrypt without another one."""
    make_ca(tmp_path)
    issue(tmp_path, "alice", hours=2)
    done = certs(tmp_path, "renew", "alice", "--dir", ".", "-o", "json")
    line = json.loads(done.stdout)
    assert mistakes(line, schema_of("certs renew"), {}) == []
    assert (line["kind"], line["new_key"]) == ("client", False)
    done = certs(tmp_path, "renew", "alice", "--dir", ".", "--encrypt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give --new-key as well" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["issue", "renew"])
def test_days_and_hours_exclude_each_other(tmp_path: Path, verb: str) -> None:
    done = certs(tmp_path, verb, "alice", "--days", "1", "--hours", "1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--days and --hours exclude each other" in done.stderr


def test_a_ca_whose_key_is_encrypted_by_what_is_typed(tmp_path: Path) -> None:
    """AES-256; asked for twice, then once each time that it signs."""
    asked = [("passphrase of certs/ca.key: ", "secret"), ("once more: ", "secret")]
    made = answered([*CLI, "init", "--encrypt"], asked, directory=tmp_path, environment=PLAIN)
    assert made.status == 0, made.shown
    assert "secret" not in made.shown
    key = tmp_path / "certs" / "ca.key"
    form = subprocess.run(["openssl", "asn1parse", "-in", key], capture_output=True, check=True)
    assert b"aes-256-cbc" in form.stdout
    issued = answered(
        [*CLI, "issue", "alice", "--encrypt"],
        [
            ("New passphrase of certs/alice.key: ", "other"),
            ("once more: ", "other"),
            ("Passphrase of certs/ca.key: ", "secret"),
        ],
        directory=tmp_path,
        environment=PLAIN,
    )
    assert issued.status == 0, issued.shown
    pem = (tmp_path / "certs" / "alice.key").read_bytes()
    assert serialization.load_pem_private_key(pem, b"other")
    # As other keys' passphrases: from the environment, and never asked for without a terminal.
    for more, status in (({"PENSTOCK_CA_PASSPHRASE": "secret"}, 0), ({}, 1)):
        done = subprocess.run(
            [*CLI, "crl"],
            cwd=tmp_path,
            env=PLAIN | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )
        assert done.returncode == status
        if status:
            assert done.stderr == "Error: certs/ca.key is encrypted: give --ca-passphrase-file\n"
    differing = answered(
        [*CLI, "init", "--encrypt", "--dir", "b"],
        [("passphrase of b/ca.key: ", "one"), ("once more: ", "two")],
        directory=tmp_path,
        environment=PLAIN,
    )
    assert differing.status == 2
    assert "the two passphrases of b/ca.key differ; nothing was made" in differing.shown
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda pem: b"\xef\xbb\xbf" + pem, True),
        (lambda pem: b"a line before\n" + pem.replace(b"\n", b"\r\n"), True),
        (lambda pem: b"  " + pem.replace(b"\n", b"\n  "), False),
        (lambda pem: b"text " + pem, False),
        (lambda pem: pem.replace(b"\n", b"\r"), False),
        (lambda pem: pem.replace(b"\n", b""), False),
    ],
    ids=["byte order mark", "CRLF", "indented", "behind text", "CR", "no newlines"],
)
def test_a_block_counts_only_where_tls_finds_it(
    authority: Authority, tmp_path: Path, change: Callable[[bytes], bytes], good: bool
) -> None:
    path = tmp_path / "changed.crt"
    path.write_bytes(change(authority.certificate.read_bytes()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if good:
        context.load_verify_locations(path)
        assert look(path).wrong == []
    else:
        with pytest.raises(ssl.SSLError):
            context.load_verify_locations(path)
        (wrong,) = look(path).wrong
        assert "copy it anew" in wrong


def test_a_key_in_der_is_told_from_pkcs_12(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.der"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (wrong,) = look(path).wrong
    assert "openssl pkey -inform DER" in wrong
