"""Certificate revocation lists: which clients may not be here any more."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509


class CrlError(Exception):
    """The list cannot be used; the text names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """Issuer and serial number of every revoked certificate."""

    revoked: frozenset[tuple[bytes, int]]

    def covers(self, certificate_der: bytes) -> bool:
        """Whether this certificate is revoked."""
        certificate = x509.load_der_x509_certificate(certificate_der)
        return (certificate.issuer.public_bytes(), certificate.serial_number) in self.revoked


NONE = Revocations(frozenset())


def load_crl(path: str, ca_path: str) -> Revocations:
    """A PEM list that the CA has signed. Raises CrlError, also when it is out of date."""
    try:
        crl = x509.load_pem_x509_crl(Path(path).read_bytes())
        authorities = x509.load_pem_x509_certificates(Path(ca_path).read_bytes())
    except OSError as error:
        raise CrlError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise CrlError(f"{path}: is no CRL in PEM: {error}") from error
    if not any(_signed(crl, authority) for authority in authorities):
        raise CrlError(f"{path}: is not signed by the CA in {ca_path}")
    if crl.next_update_utc is not None and crl.next_update_utc < datetime.now(UTC):
        raise CrlError(f"{path}: is out of date since {crl.next_update_utc}; fetch a new one")
    issuer = crl.issuer.public_bytes()
    return Revocations(frozenset((issuer, entry.serial_number) for entry in crl))


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    if authority.subject != crl.issuer:
        return False
    try:
        return crl.is_signature_valid(key)  # type: ignore[arg-type]  # others raise TypeError
    except TypeError:
        return False
