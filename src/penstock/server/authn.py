"""A client's identity: the id in a certificate that TLS has already verified (pure).

The id is the one ``spiffe://`` URI among the subject alternative names; a certificate
without any URI there is named by its common name. Everything that could make two
readers disagree about the id is refused: several URIs, several common names, NUL
bytes, other case, look-alike letters. Ids from a common name can never equal ids from
a URI, because a common name cannot hold a colon.
"""

import contextlib
import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..pki.contents import serial_of
from ..pki.issue import UNREADABLE
from ..pki.openssl_commands import client_signed_again
from ..policy.client_ids import valid_client_id


class AuthenticationError(Exception):
    """The certificate names no client. The text is for the log and for the client."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A client by its certificate. ``serial`` and ``fingerprint``, the SHA-256 of its DER form, are
    lower-case hexadecimal.

    ``not_after``: when the certificate ends. The server then closes a connection that is still
    open, see admission.
    """

    client_id: str
    issuer: str
    serial: str
    not_after: datetime
    fingerprint: str = ""


def identify(certificate_der: bytes, *, legacy_certificates: bool = False) -> Identity:
    """The identity in a verified leaf certificate. Raises AuthenticationError.

    Extended key usage must list client authentication: without it a server's
    certificate of the same CA would pass as a client. ``legacy_certificates`` admits
    certificates that have no such extension at all, as the plain openssl recipe makes
    them; one that has the extension and does not list it is refused always. So are a CA's
    certificate, and one whose key usage is there and is a CA's or lacks digital signature.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        fingerprint = hashlib.sha256(certificate_der).hexdigest()
        return replace(_identity(certificate, legacy_certificates), fingerprint=fingerprint)
    except UNREADABLE as error:
        raise AuthenticationError(f"the certificate cannot be read: {error}") from None


def serial_in(certificate_der: bytes) -> str:
    """The serial number, for a line about a certificate that names no client; "" if it cannot be
    read."""
    try:
        return serial_of(x509.load_der_x509_certificate(certificate_der))
    except UNREADABLE:
        return ""


def _identity(certificate: x509.Certificate, legacy_certificates: bool) -> Identity:
    extensions = certificate.extensions
    _check_is_leaf(extensions)
    client_id = _client_id(certificate.subject, extensions)
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        if not legacy_certificates:
            raise AuthenticationError(
                "the certificate has no extended key usage; have it issued for client "
                f"authentication: {client_signed_again()} ; or the server's configuration admits "
                "it with legacy_certificates = true under [tls]"
            ) from None
    else:
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
            raise AuthenticationError(
                "the certificate is not for client authentication; have it issued for that: "
                + client_signed_again()
            )
    return Identity(
        client_id=client_id,
        issuer=certificate.issuer.rfc4514_string(),
        serial=format(certificate.serial_number, "x"),
        not_after=certificate.not_valid_after_utc.astimezone(UTC),
    )


def _check_is_leaf(extensions: x509.Extensions) -> None:
    """Checks that it is no CA's and may sign the handshake (RFC 5280 4.2.1.3 and 4.2.1.9).

    Needed because OpenSSL takes a CA's own certificate for a client's. The holder of a CA's key
    can issue any certificate, but then the audit names the one that was issued.
    """
    with contextlib.suppress(x509.ExtensionNotFound):
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise AuthenticationError("the certificate is a CA's; a client needs one of its own")
    with contextlib.suppress(x509.ExtensionNotFound):
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        if usage.key_cert_sign or usage.crl_sign:
            raise AuthenticationError(
                "the certificate's key usage is a CA's; a client needs one of its own"
            )
        if not usage.digital_signature:
            raise AuthenticationError(
                "the certificate's key usage lacks digital signature, which TLS 1.3 needs of a "
                "client; issue one that has it"
            )


def _client_id(subject: x509.Name, extensions: x509.Extensions) -> str:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if len(uris) > 1:
        raise AuthenticationError("the certificate has more than one URI in its alternative names")
    if uris:
        if not (uris[0].startswith("spiffe://") and valid_client_id(uris[0])):
            raise AuthenticationError("the URI in the certificate is not a spiffe:// id")
        return uris[0]
    common_names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common_names) != 1:
        raise AuthenticationError("the certificate must have exactly one common name or URI")
    name = common_names[0].value
    # Because valid_client_id would take a URI too, and a CN that spells one must not become
    # that id.
    if not isinstance(name, str) or "/" in name or not valid_client_id(name):
        raise AuthenticationError(
            "the common name in the certificate is not an id: lower-case letters, digits, "
            "'.', '_' and '-', at most 63, beginning with a letter or digit"
        )
    return name
