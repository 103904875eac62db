"""An own CA and short-lived certificates: EC P-256 keys, extended key usage, files 0600."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificate_errors import CertificateError, NameRefused
from .key_mode import check_private_key_mode
from .names import check_client_id, check_file_name, general_name

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 90
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
_CLOCK_SKEW: Final = timedelta(minutes=5)


def make_ca(directory: Path, name: str = "penstock CA") -> Path:
    """Makes ``ca.crt`` and ``ca.key``; the certificate's path. Raises CertificateError."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), datetime.now(UTC) + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory / "ca.crt", certificate, directory / "ca.key", key, None)
    return directory / "ca.crt"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new pair of files, and until when the certificate is valid."""

    certificate: Path
    key: Path
    not_after: datetime
    cut_to_ca: bool
    """The CA ends before the days that were asked for, and so does this certificate."""


def issue(
    directory: Path,
    name: str,
    *,
    server_names: Sequence[str] = (),
    days: int = LEAF_DAYS,
    passphrase: bytes | None = None,
    ca_passphrase: bytes | None = None,
) -> Issued:
    """Makes a certificate and its key under the CA of ``directory``.

    With ``server_names`` (host names, addresses) it is a server's certificate, else a
    client's whose id is ``name``: a plain one as common name, a ``spiffe://`` one as URI. The
    files are called after it. It is valid for ``days``, and never longer than the CA.
    Raises NameRefused, CertificateError; KeyModeError if others can read the CA's key; TypeError
    if ``server_names`` is one text.
    """
    if isinstance(server_names, str | bytes):
        raise TypeError(f"server_names is one text; write [{server_names!r}]")
    alternatives: list[x509.GeneralName] = []
    try:
        if server_names:
            check_file_name(name)
            alternatives = [general_name(text) for text in server_names]
        else:
            check_client_id(name)
    except ValueError as error:
        raise NameRefused(str(error)) from error
    is_uri = name.startswith("spiffe://")
    if is_uri:
        alternatives = [x509.UniformResourceIdentifier(name)]
    # A common name beside a URI would be a second id to programs that read that instead.
    subject = x509.Name([] if is_uri else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ca, ca_key = _load_ca(directory, ca_passphrase)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
    wanted = datetime.now(UTC) + timedelta(days=days)
    not_after = min(wanted, ca.not_valid_after_utc)
    builder = (
        _builder(subject, ca.subject, key.public_key(), not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if alternatives:
        # RFC 5280 4.1.2.6: critical where the subject is empty.
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=is_uri)
    certificate = builder.sign(ca_key, hashes.SHA256())
    stem = name.removeprefix("spiffe://").replace("/", "-")
    issued = Issued(
        certificate=directory / f"{stem}.crt",
        key=directory / f"{stem}.key",
        not_after=certificate.not_valid_after_utc,
        cut_to_ca=not_after < wanted,
    )
    _write_pair(issued.certificate, certificate, issued.key, key, passphrase)
    return issued


def _load_ca(
    directory: Path, passphrase: bytes | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
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
    key = _load_ca_key(key_path, key_pem, passphrase)
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
    return ca, key


def _load_ca_key(path: Path, pem: bytes, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    encrypted = b"ENCRYPTED" in pem
    if encrypted and passphrase is None:
        raise CertificateError(f"{path} is encrypted: give --ca-passphrase-file")
    try:
        key = serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise CertificateError(
                f"the passphrase does not open {path}; look at --ca-passphrase-file"
            ) from error
        raise CertificateError(f"{path} is no private key in PEM form: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(
            f"{path} is no elliptic curve key; use the tool that made it, or penstock certs init "
            "in another directory"
        )
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _CLOCK_SKEW)
        .not_valid_after(not_after)
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
    try:
        _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except CertificateError:
        os.unlink(key_path)  # otherwise the next attempt would find a key without a certificate
        raise


def _write(path: Path, data: bytes, mode: int) -> None:
    """Makes a whole file, or none. Raises CertificateError."""
    made = False
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        made = True
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        if made:
            os.unlink(path)
        raise CertificateError(f"{path}: {error.strerror}") from error
