"""An own CA and short-lived certificates: EC P-256 keys, extended key usage, files 0600."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .ca_directory import CaDirectory, changing
from .certificate_errors import CertificateError, NameRefused
from .contents import (
    CLIENT_AUTH,
    SERVER_AUTH,
    alternatives_in,
    common_name,
    serial_of,
    uris_in,
    usages_of,
)
from .names import check_client_id, check_file_name, general_name
from .signing import (
    CLOCK_SKEW,
    Authority,
    PublicKey,
    described,
    key_pem,
    key_usage,
    leaf,
    open_authority,
)
from .signing import UNREADABLE as UNREADABLE

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 90
_CA_STEM: Final = "ca"


def make_ca(
    directory: Path,
    name: str = "penstock CA",
    *,
    days: int = CA_DAYS,
    passphrase: bytes | None = None,
) -> Path:
    """Makes ``ca.crt`` and ``ca.key``, encrypted with AES-256 if there is a passphrase; the
    certificate's path. Raises CertificateError."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    with changing(directory) as place:
        place.free("ca", "remove it or use another directory")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        end = datetime.now(UTC) + timedelta(days=days)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            described(subject, subject, key.public_key(), end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(ca=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        return place.issue("ca", certificate, key_pem(key, passphrase))


@dataclass(frozen=True, slots=True)
class Issued:
    """A new pair of files, and until when the certificate is valid."""

    certificate: Path
    key: Path
    not_after: datetime
    cut_to_ca: bool
    """The CA ends before the days that were asked for, and so does this certificate."""
    kind: str = "client"
    serial: str = ""
    new_key: bool = True


def issue(
    directory: Path,
    name: str,
    *,
    server_names: Sequence[str] = (),
    days: int = LEAF_DAYS,
    hours: int | None = None,
    passphrase: bytes | None = None,
    ca_passphrase: bytes | None = None,
) -> Issued:
    """Makes a certificate and its key under the CA of ``directory``.

    With ``server_names`` (host names, addresses) it is a server's certificate, else a
    client's whose id is ``name``: a plain one as common name, a ``spiffe://`` one as URI. The
    files are called after it. It is valid for ``days``, or for ``hours`` where these are given, and
    never longer than the CA. It is in the index of the directory before it is in its file.
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
    if file_stem(name) == _CA_STEM:
        raise NameRefused(f"{name!r} is what the CA's own files are called: take another name")
    is_uri = name.startswith("spiffe://")
    if is_uri:
        alternatives = [x509.UniformResourceIdentifier(name)]
    # A common name beside a URI would be a second id to programs that read that instead.
    subject = x509.Name([] if is_uri else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = SERVER_AUTH if server_names else CLIENT_AUTH
    names = x509.SubjectAlternativeName(alternatives) if alternatives else None
    authority = open_authority(directory, ca_passphrase)
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = timedelta(days=days) if hours is None else timedelta(hours=hours)
    stem = file_stem(name)
    with changing(directory) as place:
        place.free(stem, _instead_of_issuing(directory, stem, name, server_names))
        return _issued(
            place, authority, stem, subject, key.public_key(), lifetime, [usage], names,
            key_pem(key, passphrase),
        )  # fmt: skip


def renew(
    directory: Path,
    name: str,
    *,
    server_names: Sequence[str] = (),
    days: int | None = None,
    hours: int | None = None,
    new_key: bool = False,
    passphrase: bytes | None = None,
    ca_passphrase: bytes | None = None,
) -> Issued:
    """Replaces a certificate that the CA of ``directory`` has issued by one with the same names, as
    long-lived as it was, or for ``days`` or ``hours``. ``server_names`` take the place of the names
    that a server's has.

    Its key stays, which is not even read, unless ``new_key``: then there is another one, encrypted
    with ``passphrase``. A certificate with the same key is replaced in one step, so that it fits
    its key at each moment. Raises as ``issue``; CertificateError for one that was revoked, if its
    key is to stay.
    """
    try:
        names = [general_name(text) for text in server_names]
    except ValueError as error:
        raise NameRefused(str(error)) from error
    stem = file_stem(name)
    if stem == _CA_STEM:
        raise CertificateError(
            f"{directory / 'ca.crt'} is the CA's own, which is not renewed: make another CA with "
            "penstock certs init in a directory of its own, and let peers trust both for a while"
        )
    path = directory / f"{stem}.crt"
    authority = open_authority(directory, ca_passphrase)
    with changing(directory) as place:
        old = _own_certificate(path, authority, name)
        entry = next((each for each in place.entries if each.serial == serial_of(old)), None)
        if entry is not None and entry.revoked and not new_key:
            raise CertificateError(
                f"{path} was revoked, so its key may be known to others: give --new-key"
            )
        _check_is_of(old, path, name)
        usages = usages_of(old)
        if not usages:
            raise CertificateError(
                f"{path} does not say whether it is a server's or a client's (extended key usage): "
                "move the pair away, and make another one with penstock certs issue"
            )
        if names and SERVER_AUTH not in usages:
            raise CertificateError(
                f"{path} is a client's, which has no host names: leave --host out, or move the "
                f"pair away and make a server's with penstock certs issue {name} --host NAME"
            )
        lifetime = old.not_valid_after_utc - old.not_valid_before_utc - CLOCK_SKEW
        if hours is not None:
            lifetime = timedelta(hours=hours)
        elif days is not None:
            lifetime = timedelta(days=days)
        key = ec.generate_private_key(ec.SECP256R1()) if new_key else None
        public = key.public_key() if key is not None else old.public_key()
        return _issued(
            place, authority, stem, old.subject, public, lifetime, sorted(usages, key=str),  # type: ignore[arg-type]
            x509.SubjectAlternativeName(names) if names else alternatives_in(old),
            key_pem(key, passphrase) if key is not None else None,
        )  # fmt: skip


def _instead_of_issuing(directory: Path, stem: str, name: str, server_names: Sequence[str]) -> str:
    """What to do where there are files of this name."""
    again = f"renew it with penstock certs renew {name}"
    try:
        there = x509.load_pem_x509_certificate((directory / f"{stem}.crt").read_bytes())
        if bool(server_names) != (SERVER_AUTH in (usages_of(there) or ())):
            kind = "client's" if server_names else "server's"
            return f"it is a {kind}, so move the pair away, or take another name"
    except (OSError, *UNREADABLE):
        pass
    if server_names:
        again += ", with --host NAME for each name if these are to change: they are kept otherwise"
    return f"{again}; or move the pair away"


def _check_is_of(certificate: x509.Certificate, path: Path, name: str) -> None:
    """``spiffe://td/a`` and ``td-a`` are two clients whose files have one name."""
    own = next((uri for uri in uris_in(certificate) if f"{file_stem(uri)}.crt" == path.name), "")
    if own != name and (own or name.startswith("spiffe://")):
        raise CertificateError(
            f"{path} is the certificate of {own or common_name(certificate)!r}, not of {name!r}: "
            "renew it by its own name, or move the pair away and issue one for the other"
        )


def file_stem(name: str) -> str:
    """What the files of a client's id or a server's name are called."""
    return name.removeprefix("spiffe://").replace("/", "-")


def _own_certificate(path: Path, authority: Authority, name: str) -> x509.Certificate:
    remedy = f"make one with: penstock certs issue {name}"
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}; {remedy}") from error
    except UNREADABLE as error:
        raise CertificateError(f"{path} is no certificate in PEM; {remedy}") from error
    try:
        found.verify_directly_issued_by(authority.certificate)
    except (*UNREADABLE, InvalidSignature) as error:
        raise CertificateError(
            f"{path} is not of the CA in {path.parent}: renew it where its CA is"
        ) from error
    return found


def _issued(
    place: CaDirectory,
    authority: Authority,
    stem: str,
    subject: x509.Name,
    key: PublicKey,
    lifetime: timedelta,
    usages: Sequence[x509.ObjectIdentifier],
    alternatives: x509.SubjectAlternativeName | None,
    secret: bytes | None,
) -> Issued:
    wanted = datetime.now(UTC) + lifetime
    not_after = min(wanted, authority.certificate.not_valid_after_utc)
    certificate = leaf(authority, subject, key, not_after, usages, alternatives)
    path = place.issue(stem, certificate, secret)
    return Issued(
        certificate=path,
        key=place.path / f"{stem}.key",
        not_after=certificate.not_valid_after_utc,
        cut_to_ca=not_after < wanted,
        kind=place.entries[-1].kind,
        serial=place.entries[-1].serial,
        new_key=secret is not None,
    )
