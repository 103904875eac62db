"""What is wrong with a certificate for what it is wanted for (pure). Each text says what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding

from .contents import (
    CLIENT_AUTH,
    SERVER_AUTH,
    common_name,
    hosts_in,
    is_authority,
    is_named_as_its_issuer,
    issuer_of,
    moment,
    serial_of,
    subject_of,
    uris_in,
    usages_of,
)
from .fingerprints import fingerprint_of
from .names import check_client_id
from .openssl_commands import client_signed_again, server_signed_again
from .signing import UNREADABLE

_LEAST_RSA_BITS: Final = 2048
_SHOWN: Final = 50  # names: a server that is only looked at may send thousands
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")  # RFC 8446 4.2.3


def about_certificate(certificate: x509.Certificate) -> dict[str, str]:
    """What it says, by a word each."""
    return {
        "subject": subject_of(certificate) or "-",
        "is for": _purpose(certificate),
        "names": _listed([*hosts_in(certificate), *uris_in(certificate)]),
        "issued by": issuer_of(certificate) or "-",
        "valid": f"{moment(certificate.not_valid_before_utc)} to "
        f"{moment(certificate.not_valid_after_utc)}",
        "serial": serial_of(certificate),
        "SHA-256": fingerprint_of(certificate.public_bytes(Encoding.DER)),
    }


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "-"


def role_of(certificate: x509.Certificate) -> str:
    """ca, server or client; "" where it does not say."""
    if is_authority(certificate):
        return "ca"
    usages = usages_of(certificate) or frozenset()
    if CLIENT_AUTH in usages:
        return "client"
    return "server" if SERVER_AUTH in usages else ""


def mistakes_of_certificate(
    certificate: x509.Certificate,
    *,
    role: str = "",
    host: str = "",
    authority: x509.Certificate | None = None,
    authority_path: str = "",
    stem: str = "server",
) -> list[str]:
    """``role``: server, client, ca, or "" for what it is itself; ``host``: what clients connect to;
    ``stem``: what its files are called."""
    return [
        *_untimely(certificate),
        *_signer(certificate, authority, authority_path),
        *_of_role(certificate, role or role_of(certificate), host, stem),
        *_weak(certificate),
    ]


def weak_key(key: object) -> str | None:
    """Why TLS does not take this key; None if it does."""
    match key:
        case rsa.RSAPublicKey() if key.key_size < _LEAST_RSA_BITS:
            return f"its RSA key has {key.key_size} bits, which TLS refuses: make one of 3072"
        case rsa.RSAPublicKey() | ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return None
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return None
    return (
        "TLS 1.3 has no signature for this kind of key: take one of RSA, P-256, P-384, P-521 or "
        "Ed25519"
    )


def _purpose(certificate: x509.Certificate) -> str:
    if is_authority(certificate):
        return "a CA"
    usages = usages_of(certificate)
    if usages is None:
        return "not said (no extended key usage)"
    known = {SERVER_AUTH: "servers", CLIENT_AUTH: "clients"}
    return " and ".join(text for usage, text in known.items() if usage in usages) or "other uses"


def _untimely(certificate: x509.Certificate) -> Iterator[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.now(UTC)
    if end <= now:
        yield f"has expired on {moment(end)}: renew it, as with penstock certs renew"
    if begin > now:
        yield f"is valid only from {moment(begin)} on: look at the clock here and at the CA"


def _signer(
    certificate: x509.Certificate, authority: x509.Certificate | None, path: str
) -> Iterator[str]:
    if is_named_as_its_issuer(certificate):
        yield (
            f"has the same name as its CA, {issuer_of(certificate)!r}, so TLS takes it for "
            "self-signed: make the request again with another Common Name, and sign that"
        )
        return
    if authority is None or authority == certificate:
        return
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature, UnsupportedAlgorithm):
        yield (
            f"is not of the CA in {path}, but of one that calls itself {issuer_of(certificate)!r}: "
            "take that one's, or have it issued by this one"
        )


def _of_role(certificate: x509.Certificate, role: str, host: str, stem: str) -> Iterator[str]:
    if role == "ca":
        if not is_authority(certificate):
            yield "is no CA's: what it has signed would be refused; take the CA's own certificate"
        return
    if is_authority(certificate):
        yield (
            f"is a CA's, and that of a {role} is wanted: give the one that the CA has issued for it"
        )
        return
    if role == "client":
        yield from _of_client(certificate, stem)
    elif role == "server":
        yield from _of_server(certificate, host, stem)
    else:
        usages = usages_of(certificate)
        if usages is None:
            yield from _without_usage(certificate, host, stem)
        else:
            yield "is neither for servers nor for clients (extended key usage)"


def _of_client(certificate: x509.Certificate, stem: str) -> Iterator[str]:
    usages = usages_of(certificate)
    if usages is None:
        yield (
            "has no extended key usage, so servers refuse it unless their configuration has "
            "legacy_certificates = true under [tls]; made anew: " + client_signed_again(stem)
        )
    elif CLIENT_AUTH not in usages:
        yield (
            "is not for client authentication, so servers refuse it; made anew: "
            + client_signed_again(stem)
        )
    uris = uris_in(certificate)
    if len(uris) > 1:
        yield f"has {len(uris)} URIs among its names, and a client has one id: leave one"
        return
    name = uris[0] if uris else common_name(certificate)
    try:
        check_client_id(name)
    except ValueError as error:
        yield f"names no client: {error}"


def _of_server(certificate: x509.Certificate, host: str, stem: str) -> Iterator[str]:
    usages = usages_of(certificate)
    hosts = hosts_in(certificate)
    wanted = hosts or [host or common_name(certificate) or "HOST"]
    if usages is None:
        yield (
            "has no extended key usage, so penstockd refuses it unless the configuration has "
            "legacy_certificates = true under [tls]; made anew: "
            + server_signed_again(wanted, stem)
        )
    elif SERVER_AUTH not in usages:
        yield (
            "is not for server authentication, so clients refuse it; made anew: "
            + server_signed_again(wanted, stem)
        )
    if not hosts:
        fingerprint = fingerprint_of(certificate.public_bytes(Encoding.DER))
        yield (
            "names no host (no subjectAltName; the common name does not count), so clients refuse "
            f"it unless they pin it: --server-fingerprint {fingerprint}; made anew: "
            + server_signed_again(wanted, stem)
        )
    elif host and not any(_matches(host, each) for each in hosts):
        yield (
            f"is not for {host}, but for {_listed(hosts)}: connect by one of these, give it as "
            f"--server-name, or make it anew: {server_signed_again([host, *hosts], stem)}"
        )


def _without_usage(certificate: x509.Certificate, host: str, stem: str) -> Iterator[str]:
    """It may be meant for either: no one knows."""
    fingerprint = fingerprint_of(certificate.public_bytes(Encoding.DER))
    pin = "" if hosts_in(certificate) else f", and a client has --server-fingerprint {fingerprint}"
    yield (
        "does not say what it is for (no extended key usage), so penstockd refuses it as a "
        "client's and as its own, unless its configuration has legacy_certificates = true under "
        f"[tls]{pin}; made anew for a client: {client_signed_again(stem)} ; for a server: "
        + server_signed_again([host or common_name(certificate) or "HOST"], stem)
    )


def _weak(certificate: x509.Certificate) -> Iterator[str]:
    try:
        hashed = certificate.signature_hash_algorithm
        key: object = certificate.public_key()
    except (*UNREADABLE, UnsupportedAlgorithm) as error:
        yield f"has a key or a signature that cannot be read: {error}"
        return
    if isinstance(hashed, SHA1 | MD5):
        yield f"is signed with {hashed.name.upper()}, which TLS refuses: sign it with SHA-256"
    if (weak := weak_key(key)) is not None:
        yield weak


def _matches(host: str, name: str) -> bool:
    """As RFC 9525 has it: one label may be a star, and addresses are compared as such."""
    try:
        return ip_address(host) == ip_address(name)
    except ValueError:
        pass
    if name.startswith("*."):
        return host.lower().partition(".")[2] == name[2:].lower()
    return host.lower() == name.lower()
