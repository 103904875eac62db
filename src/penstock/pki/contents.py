"""What stands in a certificate, for people and for other judgements (pure).

No function raises for what a certificate may hold: what this library cannot read is not there.
"""

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .signing import UNREADABLE

SERVER_AUTH: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH: Final = ExtendedKeyUsageOID.CLIENT_AUTH


def hosts_in(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses among its alternative names: what clients compare."""
    names = alternatives_in(certificate)
    if names is None:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(each) for each in names.get_values_for_type(x509.IPAddress)),
    ]


def uris_in(certificate: x509.Certificate) -> list[str]:
    """The URIs among its alternative names."""
    names = alternatives_in(certificate)
    return [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)


def common_name(certificate: x509.Certificate) -> str:
    """Its first common name; "" without one."""
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNREADABLE:
        return ""
    return str(found[0].value) if found else ""


def subject_of(certificate: x509.Certificate) -> str:
    """As RFC 4514 writes it; "" if it is empty or cannot be read."""
    try:
        return certificate.subject.rfc4514_string()
    except UNREADABLE:
        return ""


def issuer_of(signed: x509.Certificate | x509.CertificateRevocationList) -> str:
    """As ``subject_of``, of who has signed it."""
    try:
        return signed.issuer.rfc4514_string()
    except UNREADABLE:
        return ""


def usages_of(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    """Its extended key usage; None if it has no such extension."""
    try:
        return frozenset(
            certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )
    except (*UNREADABLE, x509.ExtensionNotFound):
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that it is a CA's."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*UNREADABLE, x509.ExtensionNotFound):
        return False


def is_named_as_its_issuer(certificate: x509.Certificate) -> bool:
    """Whether subject and issuer have one name though another key has signed it, so that TLS takes
    it for a self-signed one, and looks for no CA."""
    try:
        if certificate.subject != certificate.issuer:
            return False
        certificate.verify_directly_issued_by(certificate)
    except Exception as error:  # of the signature, or of a kind of key that cannot sign
        return not isinstance(error, UNREADABLE)
    return False


def moment(time: datetime) -> str:
    """A time in a certificate, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def serial_of(certificate: x509.Certificate) -> str:
    """Its serial number, as the audit log has it: lower-case hexadecimal."""
    return format(certificate.serial_number, "x")


def alternatives_in(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """All of them; None without any."""
    try:
        extensions = certificate.extensions
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return None
