"""Why we refuse a server's certificate, and what to do: the note behind TLS's one line.

Imported when a handshake has failed, because it needs cryptography.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..pki.contents import common_name, hosts_in, is_named_as_its_issuer, issuer_of, moment
from ..pki.fingerprints import fingerprint_of
from ..pki.openssl_commands import server_signed_again
from .pinning import NOT_PINNED

# X509_V_ERR_*
_OTHER_NAME: Final = frozenset({62, 64})  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
_SELF_SIGNED: Final = 18  # DEPTH_ZERO_SELF_SIGNED_CERT
_NOT_YET, _EXPIRED, _REVOKED, _PURPOSE = 9, 10, 23, 26
# EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK
_WEAK: Final = frozenset({66, 67, 68})
_SHOWN: Final = 8  # a server may send thousands of names
_RENEW: Final = "the server's operator renews it: penstock certs renew, then penstockd reload"


def why_refused(
    error: ssl.SSLCertVerificationError | None,
    message: str,
    certificates: tuple[bytes, ...],
    name: str,
    ca: Path | None,
) -> str | None:
    """``error`` is OpenSSL's, or None where the refusal is our own, whose text is ``message``;
    ``certificates`` are those that the server has sent, as far as they are known; ``name`` is the
    one that we expect."""
    leaf = _read(certificates)
    code = error.verify_code if error is not None else None
    if NOT_PINNED in message:
        return (
            "another server answers (--server-fingerprint), or its certificate was renewed: look "
            "at it there with penstock certs show, and pin the new one with penstock certs trust"
        )
    if code == _SELF_SIGNED:
        return _self_signed(leaf, ca)
    if code in _OTHER_NAME:
        return _other_name(leaf, name)
    if code == _EXPIRED or "certificate has expired" in message:
        return _ended(leaf)
    if code == _NOT_YET or "certificate is not yet valid" in message:
        begin = f" only from {moment(leaf.not_valid_before_utc)} on" if leaf else " only later"
        return f"it is valid{begin}: look at the clocks of this machine and of the server"
    if code == _REVOKED:
        return "the CA has revoked it: do not use this server before its operator has another one"
    if code == _PURPOSE:
        return (
            "it is not for server authentication; its operator has another one issued, as with: "
            + server_signed_again((hosts_in(leaf) if leaf else []) or [name])
        )
    if code in _WEAK:
        return f"its key or its signature is too weak for this machine; {_RENEW}"
    return None


def _read(certificates: tuple[bytes, ...]) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(certificates[0]) if certificates else None
    except ValueError:
        return None


def _self_signed(leaf: x509.Certificate | None, ca: Path | None) -> str:
    if leaf is not None and is_named_as_its_issuer(leaf):
        return (
            f"it has the same name as its CA, {issuer_of(leaf)!r}, so TLS takes it for "
            "self-signed: its operator makes the request again with another Common Name, and has "
            "that signed"
        )
    return (
        f"it is not of the CA in {ca} (--ca), but of none: pin it (penstock certs trust), or have "
        "it issued by that CA"
    )


def _other_name(leaf: x509.Certificate | None, name: str) -> str:
    text = f"it is not for {name}"
    if leaf is None:
        return f"{text}: give a name that is in it (--addr or --server-name)"
    if hosts := hosts_in(leaf):
        more = f" and {len(hosts) - _SHOWN} more" if len(hosts) > _SHOWN else ""
        shown = ", ".join(hosts[:_SHOWN]) + more
        return f"{text}: give a name that is in it ({shown}) by --addr or --server-name"
    fingerprint = fingerprint_of(leaf.public_bytes(Encoding.DER))
    return (
        f"{text}, because it has no subjectAltName, and its common name {common_name(leaf)[:80]!r} "
        f"does not count: pin it with --server-fingerprint {fingerprint}, if penstock certs show "
        "prints the same at the server; or its operator has it issued again with: "
        + server_signed_again([name])
    )


def _ended(leaf: x509.Certificate | None) -> str:
    if leaf is None:
        return f"it has expired; {_RENEW}"
    end = leaf.not_valid_after_utc
    if end > datetime.now(UTC):  # one of its CAs
        return "a CA in its chain has expired; give the CA's new certificate (--ca)"
    return f"it ended on {moment(end)}; {_RENEW}"
