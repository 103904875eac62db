"""Certificate revocation lists: which clients' certificates are no longer valid."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from .signing import UNREADABLE

_PEM_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL | re.ASCII
)


class CrlError(Exception):
    """The lists cannot be used; each of ``mistakes`` names the file and says what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Revocations:
    """Issuer and serial number of every revoked certificate."""

    revoked: frozenset[tuple[bytes, int]]

    def covers(self, certificate_der: bytes) -> bool:
        """Whether this certificate is revoked. Never raises.

        One that cannot be read counts as revoked, because OpenSSL admits forms that this reader
        does not, and then neither the issuer nor the number of the certificate can be known.
        """
        try:
            certificate = x509.load_der_x509_certificate(certificate_der)
            return (certificate.issuer.public_bytes(), certificate.serial_number) in self.revoked
        except UNREADABLE:
            return True


NONE = Revocations(frozenset())


def load_crl(path: str, ca_path: str) -> Revocations:
    """PEM lists, one of every CA in ``ca_path``. Raises CrlError with every mistake.

    OpenSSL judges the same files at every handshake, and refuses every client where it finds no
    list, or one whose time is not now. So all of that is a mistake here, before the files are used.
    """
    try:
        text, ca_text = Path(path).read_bytes(), Path(ca_path).read_bytes()
    except OSError as error:
        raise CrlError([f"{error.filename}: {error.strerror}"]) from error
    return read_crl(path, text, ca_path, ca_text)


def read_crl(path: str, text: bytes, ca_path: str, ca_text: bytes) -> Revocations:
    """As load_crl, for files that were read already; the paths are for mistakes."""
    try:
        authorities = x509.load_pem_x509_certificates(ca_text)
    except UNREADABLE as error:
        raise CrlError([f"{ca_path}: is no CA certificate in PEM: {error}"]) from error
    lists, mistakes = _lists_in(path, text)
    revoked: set[tuple[bytes, int]] = set()
    signers: set[x509.Certificate] = set()
    for number, crl in enumerate(lists, 1):
        where = path if len(lists) == 1 else f"{path}, list {number}"
        try:
            mistakes += [f"{where}: {text}" for text in _time_mistakes(crl)]
            found = [authority for authority in authorities if _signed(crl, authority)]
            if not found:
                mistakes.append(f"{where}: is not signed by the CA in {ca_path}; take that CA's")
            signers.update(found)
            issuer = crl.issuer.public_bytes()
            revoked.update((issuer, entry.serial_number) for entry in crl)
        except (*UNREADABLE, UnsupportedAlgorithm) as error:
            mistakes.append(f"{where}: cannot be read: {error}; have the CA make it again")
    if lists:
        mistakes += [
            f"{path}: has no list of the CA {_name(authority)!r} in {ca_path}, whose clients would "
            "all be refused; add its list, or take that CA out"
            for authority in authorities
            if authority not in signers
        ]
    mistakes += [
        f"{path}: names the CA {_name(authority)!r} in {ca_path}, but only clients' own "
        "certificates are looked for in lists, so that CA's would all get in; take that CA out"
        for authority in authorities
        if (authority.issuer.public_bytes(), authority.serial_number) in revoked
    ]
    if mistakes:
        raise CrlError(mistakes)
    return Revocations(frozenset(revoked))


def pem_lists(text: bytes) -> Iterator[bytes]:
    """Each list of a file, in PEM."""
    return (block[0] for block in _PEM_BLOCK.finditer(text) if block[1] == b"X509 CRL")


def _lists_in(path: str, text: bytes) -> tuple[list[x509.CertificateRevocationList], list[str]]:
    lists: list[x509.CertificateRevocationList] = []
    mistakes: list[str] = []
    for block in _PEM_BLOCK.finditer(text):
        kind = block[1].decode("ascii")
        if kind != "X509 CRL":
            # OpenSSL would read it as well, and would trust a certificate there as a CA.
            mistakes.append(f"{path}: holds a {kind}, which is no CRL; take it out")
            continue
        try:
            lists.append(x509.load_pem_x509_crl(block[0]))
        except UNREADABLE as error:
            mistakes.append(f"{path}: is no CRL in PEM: {error}")
    if not lists and not mistakes:
        mistakes.append(f"{path}: is no CRL in PEM; convert it: openssl crl -inform DER")
    return lists, mistakes


def _time_mistakes(crl: x509.CertificateRevocationList) -> list[str]:
    now = datetime.now(UTC)
    if crl.last_update_utc > now:
        return [
            f"is valid only from {crl.last_update_utc} on; until then every client would be "
            "refused: correct the clock here or at the CA"
        ]
    if crl.next_update_utc is not None and crl.next_update_utc <= now:
        return [f"is out of date since {crl.next_update_utc}; fetch a new one"]
    return []


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if authority.subject != crl.issuer:
        return False
    try:
        # Other kinds of keys than those that sign raise TypeError.
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _name(authority: x509.Certificate) -> str:
    try:
        return authority.subject.rfc4514_string()
    except UNREADABLE:
        return format(authority.serial_number, "x")
