"""Taking certificates back: the index says which, and the list (CRL) says so to servers."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .ca_directory import LIST, CaDirectory, changing
from .certificate_errors import CertificateError
from .certificate_index import IssuedEntry, read_serial, time_in, wanted_by, written_time
from .signing import CLOCK_SKEW, UNREADABLE, Authority, open_authority

CRL_DAYS: Final = 30
REASONS: Final = (
    *("unspecified", "key-compromise", "affiliation-changed", "superseded"),
    *("cessation-of-operation", "privilege-withdrawn"),
)
"""RFC 5280 5.3.1, those that are for good and for a leaf."""
_FLAGS: Final = {
    "key-compromise": x509.ReasonFlags.key_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list that was written: where, how many certificates are on it, and until when it counts."""

    path: Path
    count: int
    next_update: datetime
    revoked: tuple[IssuedEntry, ...] = ()
    """Those that this command has put on it."""
    before: tuple[IssuedEntry, ...] = ()
    """Of those that it was asked for, the ones that were on it already."""


def revoke(
    directory: Path,
    wanted: str,
    *,
    reason: str = "unspecified",
    days: int = CRL_DAYS,
    unlisted: bool = False,
    ca_passphrase: bytes | None = None,
) -> RevocationList:
    """Revokes every certificate of a name that has not ended, or the one of a serial number, and
    writes the list. ``unlisted``: also a serial number that the index does not know.

    Killed between both, the index has it, and ``write_list`` or this again puts it on the list.
    Raises CertificateError; KeyModeError if others can read the CA's key.
    """
    authority = open_authority(directory, ca_passphrase)
    now = datetime.now(UTC)
    with changing(directory) as place:
        found = wanted_by(place.entries, wanted)
        if not found:
            found = [_unknown(place, wanted, unlisted=unlisted)]
        new = [each for each in found if not each.revoked and not each.has_ended(now)]
        before = [each for each in found if each.revoked]
        if not new and not before:
            raise CertificateError(
                f"{wanted} has ended on {found[-1].not_after[:10]}: no server admits it any more"
            )
        marked = {
            each.serial: replace(each, revoked=written_time(now), reason=reason) for each in new
        }
        kept = [marked.get(each.serial, each) for each in place.entries]
        known = {each.serial for each in kept}
        kept += [each for each in marked.values() if each.serial not in known]
        if marked:
            place.record(kept)
        written = _write(place, authority, days)
        return replace(written, revoked=tuple(marked.values()), before=tuple(before))


def write_list(
    directory: Path, *, days: int = CRL_DAYS, ca_passphrase: bytes | None = None
) -> RevocationList:
    """Writes the list anew, for so many days. Raises as ``revoke``."""
    authority = open_authority(directory, ca_passphrase)
    with changing(directory) as place:
        if not (directory / "index.jsonl").exists():
            place.record(place.entries)
        return _write(place, authority, days)


def _unknown(place: CaDirectory, wanted: str, *, unlisted: bool) -> IssuedEntry:
    serial = read_serial(wanted)
    names = sorted({each.name for each in place.entries if each.kind != "ca"})
    if serial is None:
        known = f"it has: {', '.join(names[:8])}" if names else "it has none"
        raise CertificateError(f"the index of {place.path} has no certificate {wanted!r}; {known}")
    if not unlisted:
        raise CertificateError(
            f"the index of {place.path} has no certificate with the serial number {serial}; if "
            "this CA has issued it elsewhere, give --unlisted"
        )
    return IssuedEntry(serial=serial, name="", kind="unlisted")


def _write(place: CaDirectory, authority: Authority, days: int) -> RevocationList:
    _check_may_sign(place.path, authority)
    now = datetime.now(UTC)
    next_update = (now + timedelta(days=days)).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_SKEW)
        .next_update(next_update)
        .add_extension(authority.key_identifier, critical=False)
        .add_extension(x509.CRLNumber(_number(place.path / LIST, now)), critical=False)
    )
    revoked = [each for each in place.entries if each.revoked]
    for each in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(each.number)
            .revocation_date(time_in(each.revoked))
        )
        if (flag := _FLAGS.get(each.reason)) is not None:
            entry = entry.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    pem = authority.signed_list(builder).public_bytes(Encoding.PEM)
    path = place.replace(LIST, pem, 0o644)
    return RevocationList(path, len(revoked), next_update)


def _check_may_sign(directory: Path, authority: Authority) -> None:
    try:
        usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return
    if not usage.crl_sign:
        raise CertificateError(
            f"{directory / 'ca.crt'} may sign no lists (key usage without cRLSign), so servers "
            "would refuse every client; name the revoked in the policy instead, under [revoked]"
        )


def _number(path: Path, now: datetime) -> int:
    """Of the next list: greater than of every one before (RFC 5280 5.2.3), also where the file of
    the one before is lost."""
    last = 0
    try:
        before = x509.load_pem_x509_crl(path.read_bytes())
        last = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (OSError, *UNREADABLE, x509.ExtensionNotFound):
        pass
    return max(int(now.timestamp()), last + 1)
