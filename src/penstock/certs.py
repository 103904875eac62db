"""An own CA and short-lived certificates: EC P-256 keys, extended key usage, files 0600."""

import ipaddress
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 90
# What reading a certificate or a list raises where OpenSSL has found nothing wrong with it. Some
# parts are read only when they are asked for, so this can come late.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# A certificate must be valid on a machine whose clock is a little behind.
_CLOCK_SKEW: Final = timedelta(minutes=5)


class KeyModeError(Exception):
    """A private key that others can read; the text has the chmod to do."""


class CertificateError(Exception):
    """A certificate could not be made; the text says why."""


def check_private_key_mode(path: Path) -> None:
    """Raises KeyModeError if group or others may read or write the key, OSError if it is gone."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise KeyModeError(
            f"{path} can be read or written by others (mode {mode:04o}); run: chmod 600 {path}"
        )


def make_ca(directory: Path, name: str = "penstock CA") -> Path:
    """Makes ``ca.crt`` and ``ca.key``; the certificate's path. Raises CertificateError."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory / "ca.crt", certificate, directory / "ca.key", key, None)
    return directory / "ca.crt"


def issue(
    directory: Path,
    name: str,
    *,
    server_names: Sequence[str] = (),
    days: int = LEAF_DAYS,
    passphrase: bytes | None = None,
) -> Path:
    """Makes ``<name>.crt`` and ``<name>.key`` under the CA of ``directory``.

    With ``server_names`` (host names, addresses) it is a server's certificate, else a
    client's whose id is ``name``. Returns the certificate's path. Raises CertificateError.
    """
    try:
        ca_key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"no CA in {directory}: {error}; run: penstock certs init --dir {directory}"
        ) from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{directory / 'ca.key'} is not a CA key made by penstock")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(subject, ca.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if server_names:
        names = [_general_name(text) for text in server_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    certificate_path = directory / f"{name}.crt"
    _write_pair(certificate_path, certificate, directory / f"{name}.key", key, passphrase)
    return certificate_path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
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


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write_pair(
    certificate_path: Path,
    certificate: x509.Certificate,
    key_path: Path,
    key: ec.EllipticCurvePrivateKey,
    passphrase: bytes | None,
) -> None:
    if passphrase == b"":
        raise CertificateError("the passphrase is empty; the key would not be encrypted")
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)  # AES-256-CBC with PBKDF2
        if passphrase is not None
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    for path in (certificate_path, key_path):
        if path.exists():
            raise CertificateError(f"{path} is there already; remove it or use another directory")
    _write(key_path, pem, 0o600)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    with os.fdopen(fd, "wb") as file:
        file.write(data)
