"""certs show: what is in files of certificates and keys, and what is wrong with them."""

import json
import os
import stat
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from ..pki.ca_directory import INDEX, read_entries
from ..pki.certificate_errors import CertificateError
from ..pki.certificate_index import IssuedEntry
from ..pki.inspection import ExaminedFile, WantedFor, examined, unfitting
from ..pki.signing import UNREADABLE
from .apart import apart
from .failures import Exit
from .flags import Settings, SettingsError
from .passphrases import read_passphrase
from .signal_handling import detaches
from .standard import say
from .terminal import harmless

# The largest that a server takes (server/credentials.py).
_MOST_BYTES: Final = 16 << 20
# How texts begin that have a subject of their own, which is not the file.
_OWN_SUBJECT: Final = ("others ", "its ", "the ", "a ", "TLS ")


@detaches("nothing was changed; show it again with: penstock certs show")
async def show(
    settings: Settings,
    files: tuple[str, ...],
    directory: str,
    role: str | None,
    host: str | None,
    passphrase_file: str | None,
) -> int:
    """Prints what is in each file, or without one the index of ``directory``. Returns 1 if
    something is wrong."""
    if not files:
        _say_index(settings, read_entries(Path(directory)))
        return Exit.OK
    passphrase = None
    if passphrase_file is not None:
        passphrase = await apart(read_passphrase, Path(passphrase_file), "--passphrase-file")
    found = await apart(_look, settings, files, role or "", host or "", passphrase)
    for each in found:
        _say_one(settings, each)
    return Exit.FAILURE if any(each.wrong for each in found) else Exit.OK


def _look(
    settings: Settings, files: Sequence[str], role: str, host: str, passphrase: bytes | None
) -> list[ExaminedFile]:
    authority = authority_in(settings.ca) if settings.ca else None
    asked = list(dict.fromkeys(files))
    found = []
    for path in asked:
        wish = WantedFor(role, host, authority, settings.ca or "", _revoked_beside(Path(path)))
        found.append(_file(path, wish, passphrase))
    # A certificate's key is mostly beside it, and whether it fits is what is most often wrong.
    beside = []
    if not any(each.kind == "key" for each in found):
        for each in (each for each in found if each.certificates):
            key = Path(each.path).with_suffix(".key")
            if str(key) not in asked and key.is_file():
                beside.append(_file(str(key), WantedFor(), passphrase))
    for owner, certificate, fits in unfitting([*found, *beside]):
        if fits:
            certificate.about["its key"] = owner.path
        else:
            certificate.wrong.append(
                f"the key in {owner.path} is not its key: give the pair that was made together"
            )
    return [*found, *(each for each in beside if each.wrong)]


def _file(path: str, wish: WantedFor, passphrase: bytes | None) -> ExaminedFile:
    try:
        # Not to wait for the writer of a pipe, which no signal could end.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                return ExaminedFile(path, wrong=["is no file"])
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        return ExaminedFile(path, wrong=[f"cannot be read: {error.strerror}"])
    if len(data) > _MOST_BYTES:
        return ExaminedFile(path, wrong=["is larger than 16 MiB, so penstock does not read it"])
    return examined(path, data, stat.S_IMODE(state.st_mode), wish, passphrase)


def authority_in(path: str) -> x509.Certificate:
    """The CA in a file that --ca names. Raises SettingsError, OSError."""
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except UNREADABLE as error:
        raise SettingsError(f"{path} (--ca) has no CA certificate in PEM: {error}") from error


def _revoked_beside(path: Path) -> frozenset[int]:
    """Serial numbers, where the file is in a CA's directory."""
    if not (path.parent / INDEX).exists():
        return frozenset()
    try:
        return frozenset(each.number for each in read_entries(path.parent) if each.revoked)
    except CertificateError:
        return frozenset()  # it is another file that is damaged


def _say_one(settings: Settings, found: ExaminedFile) -> None:
    if settings.json:
        about = {_json_key(key): text for key, text in found.about.items()}
        shown = {"file": found.path, "kind": found.kind or "unknown", "about": about}
        say(json.dumps(shown | {"wrong": found.wrong, "notes": found.notes}))
        return
    lines = [f"{found.path}: {found.kind or 'nothing that penstock can use'}"]
    width = max(map(len, found.about), default=0)
    lines += [f"  {key:<{width}}  {text}" for key, text in found.about.items()]
    lines += [f"  note: it {note}" for note in found.notes]
    for text in found.wrong:
        subject = "" if text.startswith(_OWN_SUBJECT) else "it "
        lines.append(f"  WRONG: {subject}{text}")
    for line in lines:
        say(harmless(line))


def _json_key(word: str) -> str:
    return word.lower().replace(" ", "_").replace("-", "")


def _say_index(settings: Settings, entries: Iterable[IssuedEntry]) -> None:
    now = datetime.now(UTC)
    rows = [("NAME", "KIND", "SERIAL", "UNTIL", "STATE")]
    for each in entries:
        state = "revoked" if each.revoked else "ended" if each.has_ended(now) else "valid"
        if settings.json:
            about = {"name": each.name, "kind": each.kind, "serial": each.serial, "state": state}
            say(json.dumps(about | {"hosts": [*each.hosts], "not_after": each.not_after}))
            continue
        until = each.not_after.replace("T", " ")[:16] or "-"
        rows.append((each.name or "-", each.kind, each.serial, until, state))
    if settings.json:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        say(harmless("  ".join(cells).rstrip()))
