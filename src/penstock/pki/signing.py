"""A CA that is opened: its certificate and key, and certificates that it signs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from .certificate_errors import CertificateError
from .key_mode import check_private_key_mode

# What reading a certificate or a list raises though OpenSSL has found nothing wrong with it. Some
# parts are parsed only when they are asked for, so it can be raised late.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# Certificates begin so much earlier, because they must be valid where a clock is a little behind.
CLOCK_SKEW: Final = timedelta(minutes=5)

SigningKey: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
_SIGNING: Final = (
    ec.EllipticCurvePrivateKey,
    rsa.RSAPrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)
PublicKey: TypeAlias = (
    ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA's certificate and its key, which fit each other."""

    certificate: x509.Certificate
    key: SigningKey

    def signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """The certificate that was described, signed."""
        return builder.sign(self.key, _hash_for(self.key))

    def signed_list(
        self, builder: x509.CertificateRevocationListBuilder
    ) -> x509.CertificateRevocationList:
        """The list that was described, signed."""
        return builder.sign(self.key, _hash_for(self.key))

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """By what a certificate or a list of this CA says which of its keys has signed it."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def _hash_for(key: SigningKey) -> hashes.SHA256 | None:
    """The Edwards curves have theirs built in."""
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return None if edwards else hashes.SHA256()


def open_authority(directory: Path, passphrase: bytes | None) -> Authority:
    """The CA of a directory: ``ca.crt`` and ``ca.key``, of penstock or of openssl. Raises
    CertificateError; KeyModeError if others can read the key."""
    certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
    remedy = f"run: penstock certs init --dir {directory}"
    try:
        pem = certificate_path.read_bytes()
        check_private_key_mode(key_path)
        key_pem = key_path.read_bytes()
    except OSError as error:
        raise CertificateError(
            f"no CA in {directory}: {error.filename}: {error.strerror}; {remedy}"
        ) from error
    try:
        ca = x509.load_pem_x509_certificate(pem)
        is_ca = ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*UNREADABLE, x509.ExtensionNotFound) as error:
        raise CertificateError(f"{certificate_path} is no CA certificate in PEM form") from error
    if not is_ca:
        raise CertificateError(f"{certificate_path} is not the certificate of a CA")
    key = _opened_key(key_path, key_pem, passphrase)
    if key.public_key() != ca.public_key():
        raise CertificateError(
            f"{key_path} is not the key of {certificate_path}: no peer would accept what it signs; "
            "put the pair together again that was made together"
        )
    if ca.not_valid_after_utc <= datetime.now(UTC):
        raise CertificateError(
            f"{certificate_path} ended on {ca.not_valid_after_utc:%Y-%m-%d}: make a new CA in "
            "another directory with: penstock certs init"
        )
    return Authority(ca, key)


def _opened_key(path: Path, pem: bytes, passphrase: bytes | None) -> SigningKey:
    encrypted = b"ENCRYPTED" in pem
    if encrypted and passphrase is None:
        raise CertificateError(f"{path} is encrypted: give --ca-passphrase-file")
    try:
        key = serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise CertificateError(
                f"the passphrase does not open {path}; look at --ca-passphrase-file, "
                "PENSTOCK_CA_PASSPHRASE_FILE and PENSTOCK_CA_PASSPHRASE, in this order"
            ) from error
        raise CertificateError(f"{path} is no private key in PEM form: {error}") from error
    if not isinstance(key, _SIGNING):
        raise CertificateError(
            f"{path} is of a kind that signs no certificates; use the tool that made it, or "
            "penstock certs init in another directory"
        )
    return key


def described(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, not_after: datetime
) -> x509.CertificateBuilder:
    """A certificate of version 3 from now on, with a serial number of its own."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - CLOCK_SKEW)
        .not_valid_after(not_after)
    )


def leaf(
    authority: Authority,
    subject: x509.Name,
    key: PublicKey,
    not_after: datetime,
    usages: Sequence[x509.ObjectIdentifier],
    alternatives: x509.SubjectAlternativeName | None,
) -> x509.Certificate:
    """A server's or client's certificate."""
    builder = (
        described(subject, authority.certificate.subject, key, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(authority.key_identifier, critical=False)
    )
    if alternatives is not None:
        # RFC 5280 4.1.2.6: critical where the subject is empty.
        builder = builder.add_extension(alternatives, critical=not list(subject))
    return authority.signed(builder)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """A CA signs certificates and lists, any other certificate handshakes."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: SigningKey, passphrase: bytes | None) -> bytes:
    """PKCS 8, encrypted if there is a passphrase. Raises CertificateError for an empty one."""
    if passphrase == b"":
        raise CertificateError("the passphrase is empty; the key would not be encrypted")
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)  # AES-256-CBC with PBKDF2
        if passphrase is not None
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
