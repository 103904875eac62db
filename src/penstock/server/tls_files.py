"""What the files of ``[tls]`` hold, to say what a reload has changed in them (pure).

The supervisor says what it has read itself; these it does not read. Without this a rotated
certificate would be a reload in which nothing has changed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..pki.crl import Revocations
from ..pki.fingerprints import fingerprint_of

_MOST_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Fingerprints of the certificates, as ``penstock certs show`` prints them. Key, passphrase and
    list are known again by their digests, which are never printed."""

    certificate: tuple[str, ...]
    client_ca: tuple[str, ...]
    key: bytes
    crl: bytes
    revoked: int
    """How many certificates the lists name."""
    passphrase: bytes = b""
    """Empty where no file of one is named."""


def tls_files(files: Mapping[str, bytes], revocations: Revocations) -> TlsFiles:
    """Of files that were found to be good, by their keys under ``[tls]``."""
    return TlsFiles(
        *(_fingerprints(files["certificate"]), _fingerprints(files["client_ca"])),
        key=_digest(files, "key"),
        crl=_digest(files, "crl"),
        revoked=len(revocations.revoked),
        passphrase=_digest(files, "key_passphrase_file"),
    )


def tls_changes(before: TlsFiles | None, now: TlsFiles | None) -> list[str]:
    """A line for each file that holds something else; none if it is not known what it held."""
    if before is None or now is None:
        return []
    lines = [
        f"[tls] {key}: taken up is {_named(taken, left)}; before it was {_named(left, taken)}"
        for key, taken, left in (
            ("certificate", now.certificate, before.certificate),
            ("client_ca", now.client_ca, before.client_ca),
        )
        if taken != left
    ]
    if now.key != before.key:
        lines.append("[tls] key: taken up is another one")
    if now.passphrase != before.passphrase:
        what = "another content" if now.passphrase else "none"
        lines.append(f"[tls] key_passphrase_file: taken up is {what}")
    if now.crl != before.crl:
        lines.append(f"[tls] crl: taken up is {_list(now)}; before it was {_list(before)}")
    return lines


def _digest(files: Mapping[str, bytes], key: str) -> bytes:
    return hashlib.sha256(files[key]).digest() if key in files else b""


def _fingerprints(pem: bytes) -> tuple[str, ...]:
    certificates = x509.load_pem_x509_certificates(pem)
    return tuple(fingerprint_of(each.public_bytes(Encoding.DER)) for each in certificates)


def _named(these: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Of many those come first that the other file does not have."""
    ordered = sorted(these, key=lambda each: each in others)
    more = len(ordered) - _MOST_NAMED
    named = "sha256 " + ", ".join(ordered[:_MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _list(files: TlsFiles) -> str:
    return f"a list with {files.revoked} revoked" if files.crl else "none"
