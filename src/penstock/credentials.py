"""The server's certificate, key, CA and CRL: read together, all or nothing."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certs import UNREADABLE, KeyModeError, check_private_key_mode
from .crl import NONE, CrlError, Revocations, load_crl
from .rpc.tls import server_ssl_context
from .supervisor.config import Config


class CredentialsError(Exception):
    """They cannot be used; the text is for people and has every mistake, one a line."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What handshakes use, and whom they refuse.

    ``untimely``: why every client will refuse this server, as its certificate's time is not now.
    No mistake by itself: a server that starts and says so is found sooner than one that does
    not start, and its jobs run on. A reload has a better one to keep, and refuses it.
    """

    context: ssl.SSLContext
    revocations: Revocations
    untimely: str | None = None


def load_credentials(config: Config) -> Credentials:
    """Reads the files of ``[tls]``. Raises CredentialsError."""
    mistakes: list[str] = []
    passphrase = None
    try:
        check_private_key_mode(Path(config.tls_key))
    except (KeyModeError, OSError) as error:
        mistakes.append(f"[tls] key: {error}")
    if config.tls_key_passphrase_file:
        try:
            passphrase = _passphrase(Path(config.tls_key_passphrase_file))
        except (KeyModeError, OSError, ValueError) as error:
            mistakes.append(f"[tls] key_passphrase_file: {error}")
    untimely = None
    try:
        untimely = _check_certificate(config.tls_certificate, config.legacy_certificates)
    except (OSError, *UNREADABLE) as error:
        mistakes.append(f"[tls] certificate: {error}")
    revocations = NONE
    if config.tls_crl:
        try:
            revocations = load_crl(config.tls_crl, config.tls_client_ca)
        except CrlError as error:
            mistakes += [f"[tls] crl: {text}" for text in error.mistakes]
    try:
        context = server_ssl_context(
            config.tls_certificate,
            config.tls_key,
            config.tls_client_ca,
            passphrase,
            crl=config.tls_crl or None,
        )
    # ssl.SSLError is an OSError. ValueError and TypeError are for what never reached OpenSSL, such
    # as a passphrase over 1024 bytes.
    except (OSError, ValueError, TypeError) as error:
        mistakes.append(f"[tls] of the configuration: {error}")
    if mistakes:
        raise CredentialsError("\n".join(mistakes))
    return Credentials(context, revocations, untimely)


def _passphrase(path: Path) -> bytes:
    """The first line. Raises KeyModeError, OSError, or ValueError if it is empty."""
    check_private_key_mode(path)
    line = path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise ValueError(f"{path}: its first line is empty; write the passphrase there")
    return line


def _check_certificate(path: str, legacy_certificates: bool) -> str | None:
    """Why no client will take it now, or None. Raises OSError, or UNREADABLE with what is wrong."""
    certificate = x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        for_servers = ExtendedKeyUsageOID.SERVER_AUTH in usages
    except x509.ExtensionNotFound:
        for_servers = legacy_certificates
    if not for_servers:
        raise ValueError(
            f"{path} is not for server authentication, so clients would refuse it; "
            "issue one: penstock certs issue server --host NAME"
        )
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= datetime.now(UTC):
        return f"{path} has expired at {end}, so clients refuse it; issue a new one, then SIGHUP"
    if begin > datetime.now(UTC):
        return f"{path} is valid only from {begin} on, so clients refuse it until then"
    return None
