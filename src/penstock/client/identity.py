"""A client's CA, certificate and key: loaded, or an error that names the file and the remedy."""

import os
import ssl
from pathlib import Path
from typing import Final

from ..pki.key_mode import check_private_key_mode
from ..rpc.call_errors import HandshakeFailed
from ..rpc.tls.contexts import client_ssl_context
from .pem_kinds import pem_kinds

# X509_V_ERR_*: DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN,
# UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE, CERT_SIGNATURE_FAILURE.
_OTHER_CA: Final = frozenset({18, 19, 20, 21, 7})
_OTHER_NAME: Final = frozenset({62, 64})  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH


class IdentityError(Exception):
    """One of the files cannot be used. The text names the file, its flag and the remedy."""


def load_identity(
    ca: Path, certificate: Path, key: Path, passphrase: bytes | None
) -> ssl.SSLContext:
    """A context to connect with. Blocks for the disk. Raises IdentityError, and KeyModeError if
    others can read the key."""
    try:
        check_private_key_mode(key)
        return client_ssl_context(certificate, key, ca, passphrase)
    except (OSError, ValueError) as error:
        # OpenSSL's error ("PEM lib") names no file. We look closer only now, so that we refuse
        # nothing that OpenSSL could have used.
        for flag, path in (("--ca", ca), ("--cert", certificate), ("--key", key)):
            _check_readable(flag, path)
        found = _ca_mistake(ca)
        if found is None:
            # Imported only here, because cryptography takes longer than a short verb.
            from .certificate_hints import certificate_mistake, key_mistake

            found = certificate_mistake(certificate) or key_mistake(key, passphrase, certificate)
        raise IdentityError(
            found or f"{certificate} (--cert) and {key} (--key) cannot be used: {error}"
        ) from error


def _check_readable(flag: str, path: Path) -> None:
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise IdentityError(
            f"{path} ({flag}): {error.strerror}; give the file's path, also by {_variable(flag)}"
        ) from error


def _variable(flag: str) -> str:
    return f"PENSTOCK_{flag.removeprefix('--').upper()}"


def _ca_mistake(path: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=os.fspath(path))
    except (OSError, ValueError):
        return (
            f"{path} (--ca) has no CA certificate: {pem_kinds(path)}; give the server's CA in PEM"
        )
    return None


def handshake_hint(error: HandshakeFailed, host: str, ca: Path, certificate: Path) -> str | None:
    """Which of our files or settings to check after this failure; None if that is unknown."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__
    if cause is not None:
        if cause.verify_code in _OTHER_CA:
            return f"it is not of the CA in {ca} (--ca): give the CA of this server"
        if cause.verify_code in _OTHER_NAME:
            return f"it is not for {host}: give a name that is in it (--addr)"
        return None
    if "alert" not in error.message:
        return None
    from .certificate_hints import refused_by_server  # only here, as in load_identity

    return refused_by_server(error.message, certificate)
