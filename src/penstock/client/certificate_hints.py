"""What is wrong with a client's certificate or key: the reason of a failure, for its message.

``identity`` imports this when something has failed, because it needs cryptography.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..pki.contents import is_named_as_its_issuer, issuer_of
from ..pki.openssl_commands import client_signed_again
from .pem_kinds import pem_kinds

# OpenSSL's PEM_BUFSIZE, because Python's ssl refuses a longer passphrase.
_PASSPHRASE_MAX: Final = 1024


def certificate_mistake(path: Path) -> str | None:
    """Why this is no certificate; None if it is one."""
    try:
        x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return (
            f"{path} (--cert) has no certificate: {pem_kinds(path)}; give your certificate in PEM"
        )
    return None


def key_mistake(path: Path, passphrase: bytes | None, certificate: Path) -> str | None:
    """Why this is not the certificate's key, or cannot be opened; None if it is and can."""
    if passphrase is not None and len(passphrase) > _PASSPHRASE_MAX:
        return (
            f"the passphrase of {path} (--key) is {len(passphrase)} bytes; at most "
            f"{_PASSPHRASE_MAX} are possible: is its file the right one?"
        )
    data = path.read_bytes()
    if b"PRIVATE KEY-----" not in data:
        return f"{path} (--key) has no private key: {pem_kinds(path)}; give the certificate's key"
    encrypted = b"ENCRYPTED" in data
    try:
        key = serialization.load_pem_private_key(data, passphrase if encrypted else None)
    except TypeError:
        return f"{path} (--key) is encrypted: give its passphrase with --key-passphrase-file"
    except (ValueError, UnsupportedAlgorithm) as error:
        if encrypted:
            return (
                f"the passphrase does not open {path} (--key); if it was not typed, look at "
                "--key-passphrase-file, PENSTOCK_KEY_PASSPHRASE_FILE and "
                "PENSTOCK_KEY_PASSPHRASE, in this order"
            )
        return f"{path} (--key) is damaged or of a kind that cannot be used: {error}"
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    if key.public_key() != leaf.public_key():
        return (
            f"{path} (--key) is not the key of {certificate} (--cert): give the pair that was "
            "made together"
        )
    return None


def refused_by_server(alert: str, certificate: Path) -> str:
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
        return (
            f"the server does not accept {ours}: it is not for client authentication; have one "
            "issued (penstock certs issue NAME), or this one signed again for that, as with: "
            f"{client_signed_again(certificate.stem)}"
        )
    if "unknown ca" in alert:
        if is_named_as_its_issuer(leaf):
            return (
                f"the server does not accept {ours}: it has the same name as its CA, "
                f"{issuer_of(leaf)!r}, so TLS takes it for self-signed: make the request again "
                "with another Common Name, and have that signed"
            )
        return (
            f"the server does not accept {ours}: it must be of a CA that it trusts, and is of "
            f"{issuer_of(leaf)!r}"
        )
    return f"the server does not accept {ours}; the server's log says why"
