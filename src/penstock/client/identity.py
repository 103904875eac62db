"""A client's CA, certificate and key: loaded, or an error that names the file and the remedy."""

import os
import ssl
from pathlib import Path
from typing import Final

from ..pki.key_mode import check_private_key_mode
from ..rpc.call_errors import HandshakeFailed
from ..rpc.tls.contexts import client_ssl_context
from .pem_kinds import pem_kinds

# X509_V_ERR_*: SELF_SIGNED_CERT_IN_CHAIN, UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
# UNABLE_TO_VERIFY_LEAF_SIGNATURE, CERT_SIGNATURE_FAILURE.
_OTHER_CA: Final = frozenset({19, 20, 21, 7})


class IdentityError(Exception):
    """One of the files cannot be used. The text names the file, its flag and the remedy."""


def load_identity(
    ca: Path | None, certificate: Path, key: Path, passphrase: bytes | None, *, pinned: bool = False
) -> ssl.SSLContext:
    """A context to connect with. Blocks for the disk. Raises IdentityError, and KeyModeError if
    others can read the key. ``pinned``: the server is known by its certificate, which the caller
    compares; only then there may be no ``ca``."""
    if ca is None and not pinned:
        raise IdentityError("neither --ca nor --server-fingerprint says which server is meant")
    try:
        check_private_key_mode(key)
        return client_ssl_context(certificate, key, ca, passphrase, pinned=pinned)
    except (OSError, ValueError) as error:
        # OpenSSL's error ("PEM lib") names no file. We look closer only now, so that we refuse
        # nothing that OpenSSL could have used.
        for flag, path in (("--ca", ca), ("--cert", certificate), ("--key", key)):
            if path is not None:
                _check_readable(flag, path)
        found = _ca_mistake(ca) if ca is not None else None
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


def handshake_hint(
    error: HandshakeFailed, name: str, ca: Path | None, certificate: Path
) -> str | None:
    """Which of our files or settings to check after this failure; None if that is unknown. ``name``
    is the one that we expect of the server."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__
    if cause is not None and cause.verify_code in _OTHER_CA:
        return f"it is not of the CA in {ca} (--ca): give the CA of this server"
    # Both are imported only here, as in load_identity.
    if cause is not None or error.certificates:
        from .server_hints import why_refused

        return why_refused(cause, error.message, error.certificates, name, ca)
    if "alert" not in error.message:
        return None
    from .certificate_hints import refused_by_server

    return refused_by_server(error.message, certificate)
