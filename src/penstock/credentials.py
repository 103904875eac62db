"""The server's certificate, key, CA and CRL: read together, all or nothing."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from .certs import KeyModeError, check_private_key_mode
from .crl import NONE, CrlError, Revocations, load_crl
from .rpc.tls import server_ssl_context
from .supervisor.config import Config


class CredentialsError(Exception):
    """They cannot be used; the text is for people and has every mistake, one a line."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What handshakes use, and whom they refuse."""

    context: ssl.SSLContext
    revocations: Revocations


def load_credentials(config: Config) -> Credentials:
    """Reads the files of ``[tls]``. Raises CredentialsError."""
    mistakes: list[str] = []
    passphrase = None
    try:
        check_private_key_mode(Path(config.tls_key))
    except (KeyModeError, OSError) as error:
        mistakes.append(f"[tls] key: {error}")
    if config.tls_key_passphrase_file:
        path = Path(config.tls_key_passphrase_file)
        try:
            check_private_key_mode(path)
            passphrase = path.read_bytes().rstrip(b"\r\n")
        except (KeyModeError, OSError) as error:
            mistakes.append(f"[tls] key_passphrase_file: {error}")
    revocations = NONE
    if config.tls_crl:
        try:
            revocations = load_crl(config.tls_crl, config.tls_client_ca)
        except CrlError as error:
            mistakes.append(f"[tls] crl: {error}")
    try:
        context = server_ssl_context(
            config.tls_certificate,
            config.tls_key,
            config.tls_client_ca,
            passphrase,
            crl=config.tls_crl or None,
        )
    except OSError as error:  # ssl.SSLError is one
        mistakes.append(f"[tls] of the configuration: {error}")
    if mistakes:
        raise CredentialsError("\n".join(mistakes))
    return Credentials(context, revocations)
