"""What is in a file of certificates or keys, and what is wrong with it, in words (pure).

For those who do not know in which of five files the mistake is. ``examined`` looks at one file;
``unfitting`` at which keys are whose. Each mistake says what to do.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from .certificate_findings import about_certificate, mistakes_of_certificate, weak_key
from .contents import issuer_of, moment
from .signing import UNREADABLE

# OpenSSL finds a block only where its first and last line begin a line; a byte order mark may stand
# before the file's first one.
_BLOCK: Final = re.compile(
    rb"(?:^|\A\xef\xbb\xbf)-----BEGIN ([A-Z0-9 ]+)-----.*?^-----END \1-----",
    re.DOTALL | re.ASCII | re.MULTILINE,
)
_INDENTED: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_REQUESTS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
_FIGURES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass
class ExaminedFile:
    """One file. ``kind``: certificate, key, list, request, or "" for none of these."""

    path: str
    kind: str = ""
    about: dict[str, str] = field(default_factory=dict)
    """What it says, by a word each."""
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    certificates: list[x509.Certificate] = field(default_factory=list)
    key: object = None
    """The public half of the private key in it; None without one, and of one that is not open."""


@dataclass(frozen=True)
class WantedFor:
    """What a file is wanted for: ``role`` is server, client, ca, or "" where the certificate
    decides; ``host`` is what clients connect to, ``authority`` the CA that must have signed it,
    with the path by which it is known."""

    role: str = ""
    host: str = ""
    authority: x509.Certificate | None = None
    authority_path: str = ""
    revoked: frozenset[int] = frozenset()
    """Serial numbers that the index beside the file has as revoked."""


def examined(
    path: str, data: bytes, mode: int, wish: WantedFor, passphrase: bytes | None = None
) -> ExaminedFile:
    """Looks at a file with this content and these permissions."""
    found = ExaminedFile(path)
    blocks = [(match[1].decode("ascii"), match[0]) for match in _BLOCK.finditer(data)]
    if not blocks:
        found.wrong.append(_not_pem(path, data))
        return found
    for kind, block in blocks:
        if kind.endswith("PRIVATE KEY"):
            _take_key(found, block, mode, passphrase)
        elif kind in ("CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE"):
            _take_certificate(found, block)
        elif kind == "X509 CRL":
            _take_list(found, block)
        elif kind in _REQUESTS:
            _take_request(found, block)
        elif kind != "EC PARAMETERS":
            found.notes.append(f"holds a {kind.lower()}, which penstock does not use")
    if not found.kind and not found.wrong:
        kinds = ", ".join(dict.fromkeys(kind.lower() for kind, _ in blocks))
        found.wrong.append(f"holds neither a certificate nor a key, but: {kinds}")
    if found.certificates:
        _judge_certificates(found, mode, wish)
    return found


def unfitting(files: Sequence[ExaminedFile]) -> Iterator[tuple[ExaminedFile, ExaminedFile, bool]]:
    """Each key with each certificate that it may be meant for, and whether they fit. Where a key
    fits one, the others are not meant."""
    certificates = [each for each in files if each.certificates]
    for owner in (each for each in files if each.key is not None):
        pairs = [
            (owner, each, _public_key(each.certificates[0]) == owner.key) for each in certificates
        ]
        fitting = [pair for pair in pairs if pair[2]]
        yield from fitting or pairs


def _not_pem(path: str, data: bytes) -> str:
    if not data.strip():
        return "is empty"
    for form, load in (("x509", x509.load_der_x509_certificate), ("crl", x509.load_der_x509_crl)):
        try:
            load(data)
        except (*UNREADABLE, UnsupportedAlgorithm):
            continue
        return f"is in DER, not in PEM: openssl {form} -inform DER -in {path} -out {path}.pem"
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
        serialization.load_der_private_key(data, None)
        return f"is a key in DER, not in PEM: openssl pkey -inform DER -in {path} -out {path}.pem"
    if data.startswith(b"\x30"):
        return (
            "is not in PEM form; if it is PKCS 12 (.p12, .pfx): "
            f"openssl pkcs12 -in {path} -noenc -out {path}.pem"
        )
    if _INDENTED.search(data):
        return (
            "has -----BEGIN or -----END within a line, as where a PEM block was indented or its "
            "newlines were lost, so TLS finds nothing in it; copy it anew, each of them at the "
            "beginning of a line"
        )
    if b"-----BEGIN" in data:
        return "is cut off or damaged: a PEM block in it does not end; copy it anew"
    return "is not in PEM form, which begins with -----BEGIN"


def _take_key(found: ExaminedFile, block: bytes, mode: int, passphrase: bytes | None) -> None:
    found.kind = found.kind or "key"
    encrypted = b"ENCRYPTED" in block
    if mode & 0o077:
        found.wrong.append(
            f"others can read or write the key (mode {mode:04o}), so penstock refuses to use it: "
            f"chmod 600 {found.path}"
        )
    if encrypted and passphrase is None:
        found.about["key"] = "encrypted"
        found.notes.append(
            "is encrypted, so whether it fits was not looked at: give --passphrase-file"
        )
        return
    try:
        key = serialization.load_pem_private_key(block, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        text = "the passphrase does not open it" if encrypted else f"cannot be read: {error}"
        found.wrong.append(text)
        return
    found.key = key.public_key()
    found.about["key"] = kind_of_key(found.key) + (", encrypted" if encrypted else "")
    if (weak := weak_key(found.key)) is not None:
        found.wrong.append(weak)


def kind_of_key(key: object) -> str:
    """As people call it."""
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"EC {_FIGURES.get(key.curve.name, key.curve.name)}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _:
            return "of a kind that TLS 1.3 does not use"


def _take_certificate(found: ExaminedFile, block: bytes) -> None:
    try:
        found.certificates.append(x509.load_pem_x509_certificate(block))
        found.kind = "certificate"
    except UNREADABLE as error:
        found.wrong.append(f"a certificate in it cannot be read: {error}; have it issued anew")


def _take_list(found: ExaminedFile, block: bytes) -> None:
    try:
        crl = x509.load_pem_x509_crl(block)
        begin, end = crl.last_update_utc, crl.next_update_utc
    except (*UNREADABLE, UnsupportedAlgorithm) as error:
        found.wrong.append(f"a list in it cannot be read: {error}; have the CA write it again")
        return
    found.kind = found.kind or "list"
    found.about |= {
        "list of": issuer_of(crl),
        "revoked": f"{len(crl)}",
        "valid": f"{moment(begin)} to {moment(end) if end else 'no end'}",
    }
    now = datetime.now(UTC)
    if begin > now:
        found.wrong.append(
            f"is valid only from {moment(begin)} on: servers refuse every client until then"
        )
    if end is not None and end <= now:
        found.wrong.append(
            f"is out of date since {moment(end)}, so servers refuse every client: write it again "
            "with penstock certs crl"
        )


def _take_request(found: ExaminedFile, block: bytes) -> None:
    found.kind = found.kind or "request"
    try:
        found.about["subject"] = x509.load_pem_x509_csr(block).subject.rfc4514_string()
    except (*UNREADABLE, UnsupportedAlgorithm) as error:
        found.wrong.append(f"a request in it cannot be read: {error}")
    found.wrong.append(
        "is a request, which a CA has yet to sign; what it makes of it is the certificate"
    )


def _judge_certificates(found: ExaminedFile, mode: int, wish: WantedFor) -> None:
    first = found.certificates[0]
    found.about |= about_certificate(first)
    found.about["key"] = kind_of_key(_public_key(first))
    found.wrong += mistakes_of_certificate(
        first,
        role=wish.role,
        host=wish.host,
        authority=wish.authority,
        authority_path=wish.authority_path,
        stem=re.sub(r"\.[A-Za-z0-9]+\Z", "", found.path.rsplit("/", 1)[-1]),
    )
    if first.serial_number in wish.revoked:
        found.wrong.append("was revoked: penstock certs issue, or renew --new-key, makes another")
    if mode & 0o022:
        found.wrong.append(f"others can write it (mode {mode:04o}): chmod 644 {found.path}")
    if len(found.certificates) > 1 and wish.role != "ca":
        found.notes.append(
            f"holds {len(found.certificates)} certificates: the first one is meant, and the others "
            "are sent with it, as its chain"
        )


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (*UNREADABLE, UnsupportedAlgorithm):
        return None
