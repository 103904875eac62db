"""What a CA has issued: a line of JSON for each certificate, the CA's own included (pure).

It is what ``certs revoke`` finds a serial number in, and what a revocation list is made of. The
file is replaced whole by each change (``ca_directory``), so it never holds half a line.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .certificate_errors import CertificateError
from .contents import (
    CLIENT_AUTH,
    SERVER_AUTH,
    common_name,
    hosts_in,
    is_authority,
    serial_of,
    uris_in,
    usages_of,
)
from .fingerprints import fingerprint_of

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class IssuedEntry:
    """One certificate. Times are RFC 3339 in UTC; ``revoked`` is "" unless it is."""

    serial: str
    name: str = ""
    kind: str = ""
    """ca, server, client; or unlisted: revoked by its serial number alone."""
    hosts: tuple[str, ...] = ()
    not_before: str = ""
    not_after: str = ""
    fingerprint: str = ""
    revoked: str = ""
    reason: str = ""

    @property
    def number(self) -> int:
        """The serial number."""
        return int(self.serial, 16)

    def has_ended(self, now: datetime) -> bool:
        """Whether it is of no use any more, revoked or not."""
        return bool(self.not_after) and time_in(self.not_after) <= now


def entry_of(certificate: x509.Certificate) -> IssuedEntry:
    """Of a certificate that was or is to be issued."""
    usages = usages_of(certificate) or frozenset()
    kind = "client" if CLIENT_AUTH in usages or SERVER_AUTH not in usages else "server"
    return IssuedEntry(
        serial=serial_of(certificate),
        name=next(iter([*uris_in(certificate), common_name(certificate)])),
        kind="ca" if is_authority(certificate) else kind,
        hosts=tuple(hosts_in(certificate)),
        not_before=written_time(certificate.not_valid_before_utc),
        not_after=written_time(certificate.not_valid_after_utc),
        fingerprint=fingerprint_of(certificate.public_bytes(Encoding.DER)),
    )


def listed_entries(revoked: x509.CertificateRevocationList) -> dict[str, IssuedEntry]:
    """What a list (CRL) has, by serial number. Raises as reading it does."""
    return {each.serial: each for each in map(_listed, revoked)}


def _listed(each: x509.RevokedCertificate) -> IssuedEntry:
    reason = "unspecified"
    try:
        flag = each.extensions.get_extension_for_class(x509.CRLReason).value.reason
        reason = flag.name.replace("_", "-")
    except x509.ExtensionNotFound:
        pass
    return IssuedEntry(
        serial=format(each.serial_number, "x"),
        kind="unlisted",
        revoked=written_time(each.revocation_date_utc),
        reason=reason,
    )


def written_time(time: datetime) -> str:
    """As the index has it."""
    return time.astimezone(UTC).strftime(_TIME)


def time_in(text: str) -> datetime:
    """Raises ValueError."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def read_index(text: str, where: str) -> list[IssuedEntry]:
    """Raises CertificateError with the first line that is none of ours."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(_entry(json.loads(line)))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CertificateError(
                f"{where} line {number} is damaged ({error}); put back a copy of the file, or move "
                "it away: the next command makes one of the certificates in the directory"
            ) from error
    return found


def written_index(entries: Iterable[IssuedEntry]) -> str:
    """The whole file. What is empty is left out."""
    lines = [{key: value for key, value in asdict(each).items() if value} for each in entries]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _entry(values: dict[str, Any]) -> IssuedEntry:
    known = {each.name for each in fields(IssuedEntry)}
    entry = IssuedEntry(**{key: value for key, value in values.items() if key in known})
    texts = {key: value for key, value in asdict(entry).items() if key != "hosts"}
    if not all(isinstance(value, str) for value in texts.values()):
        raise TypeError("a value is no text")
    for time in (entry.not_before, entry.not_after, entry.revoked):
        if time:
            time_in(time)
    if entry.number < 1:
        raise ValueError("the serial number is none")
    return replace(entry, hosts=tuple(entry.hosts))


def wanted_by(entries: Sequence[IssuedEntry], wanted: str) -> list[IssuedEntry]:
    """The certificates of this name, or the one of this serial number; none of a CA."""
    leaves = [each for each in entries if each.kind != "ca"]
    named = [each for each in leaves if each.name == wanted]
    serial = read_serial(wanted)
    return named or [each for each in leaves if each.serial == serial]


def read_serial(text: str) -> str | None:
    """A serial number as the index has it, from hexadecimal with or without colons; or None."""
    digits = text.lower().removeprefix("0x").replace(":", "").lstrip("0")
    try:
        return digits if digits and len(digits) <= 40 and int(digits, 16) else None
    except ValueError:
        return None
