"""A client's CA, certificate and key: loaded, or an error that names the file and the remedy."""

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..pki.issue import check_private_key_mode
from ..rpc.call_errors import HandshakeFailed
from ..rpc.tls.contexts import client_ssl_context

# OpenSSL's PEM_BUFSIZE, because Python's ssl refuses a longer passphrase.
_PASSPHRASE_MAX: Final = 1024
_MARK: Final = b"-----BEGIN "
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
        found = _ca_mistake(ca) or _certificate_mistake(certificate)
        found = found or _key_mistake(key, passphrase, certificate)
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


def _kinds(path: Path) -> str:
    """What PEM blocks are in a file, for people."""
    kinds = []
    for line in path.read_bytes().splitlines():
        if line.startswith(_MARK):
            kinds.append(line.removeprefix(_MARK).rstrip(b"- ").decode("ascii", "replace").lower())
    return f"it holds: {', '.join(kinds[:4])}" if kinds else "it holds nothing in PEM form"


def _ca_mistake(path: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=os.fspath(path))
    except (OSError, ValueError):
        return f"{path} (--ca) has no CA certificate: {_kinds(path)}; give the server's CA in PEM"
    return None


def _certificate_mistake(path: Path) -> str | None:
    try:
        x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return f"{path} (--cert) has no certificate: {_kinds(path)}; give your certificate in PEM"
    return None


def _key_mistake(path: Path, passphrase: bytes | None, certificate: Path) -> str | None:
    if passphrase is not None and len(passphrase) > _PASSPHRASE_MAX:
        return (
            f"the passphrase of {path} (--key) is {len(passphrase)} bytes; at most "
            f"{_PASSPHRASE_MAX} are possible: is its file the right one?"
        )
    data = path.read_bytes()
    if b"PRIVATE KEY-----" not in data:
        return f"{path} (--key) has no private key: {_kinds(path)}; give the certificate's key"
    encrypted = b"ENCRYPTED" in data
    try:
        key = serialization.load_pem_private_key(data, passphrase if encrypted else None)
    except TypeError:
        return f"{path} (--key) is encrypted: give its passphrase with --key-passphrase-file"
    except (ValueError, UnsupportedAlgorithm) as error:
        if encrypted:
            return (
                f"the passphrase does not open {path} (--key); look at --key-passphrase-file, "
                "PENSTOCK_KEY_PASSPHRASE_FILE and PENSTOCK_KEY_PASSPHRASE, in this order"
            )
        return f"{path} (--key) is damaged or of a kind that cannot be used: {error}"
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    if key.public_key() != leaf.public_key():
        return (
            f"{path} (--key) is not the key of {certificate} (--cert): give the pair that was "
            "made together"
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
    return _refused_by_server(error.message, certificate)


def _refused_by_server(alert: str, certificate: Path) -> str:
    """By the server's alert (RFC 8446 6.2), and what can be seen of the certificate from here."""
    ours = f"{certificate} (--cert)"
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    begin, end, now = leaf.not_valid_before_utc, leaf.not_valid_after_utc, datetime.now(UTC)
    if "certificate revoked" in alert:
        return f"the server says that {ours} was revoked: have another one issued"
    if end <= now:
        return f"{ours} ended on {end:%Y-%m-%d}: have another one issued"
    if begin > now:
        return f"{ours} is valid only from {begin:%Y-%m-%d %H:%M} UTC on: look at the clock here"
    if "certificate expired" in alert:
        # Two causes, because OpenSSL sends one alert for an expired certificate and for an expired
        # list of revoked ones (ssl_x509err2alert).
        return (
            f"the server says that {ours} has expired, and by this machine's clock it is valid "
            f"until {end:%Y-%m-%d}: the clocks differ, or the server's revocation list is out of "
            "date; ask who runs the server"
        )
    if "unsupported certificate" in alert:
        return f"the server does not accept {ours}: it is not for client authentication"
    if "unknown ca" in alert:
        return f"the server does not accept {ours}: it must be of a CA that it trusts"
    return f"the server does not accept {ours}; the server's log says why"
