"""The directory of a CA: its files, and how several commands change them, or one that is killed.

The index (``index.jsonl``) decides what was issued. A new pair is written beside its place first
and synced (``.new-alice.key``, then ``.new-alice.crt``). Then the index with it is renamed into
place, and that is the moment at which it is issued. Then the files get their names, the certificate
last. A command that is killed leaves one of these:

- before that moment: files of ours with other names, which no program reads. The next command
  removes them.
- after it: the same files, which the next command gives their names.

So there is never half a file, nor a certificate that the index does not know, and thus could not be
revoked by name. One command at a time changes a directory (flock of ``.lock``); others wait.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from .certificate_errors import CertificateError
from .certificate_index import IssuedEntry, entry_of, listed_entries, read_index, written_index
from .fingerprints import fingerprint_of
from .signing import UNREADABLE

INDEX: Final = "index.jsonl"
LIST: Final = "crl.pem"
_LOCK: Final = ".lock"
_NEW: Final = ".new-"
# A command holds the lock for milliseconds; more is one that was stopped (^Z).
_WAIT_S: Final = 10.0
_LOOK_S: Final = 0.02


class CaDirectory:
    """One that is locked: ``entries`` is the index, and no other command changes it."""

    def __init__(self, path: Path) -> None:
        """Finishes or removes what a killed command has left. Raises CertificateError, OSError."""
        self.path = path
        self.entries: list[IssuedEntry] = []
        index = path / INDEX
        if index.exists():
            self.entries = read_index(index.read_text("utf-8", "replace"), str(index))
        else:
            self.entries = self._found()
        self._recover()

    def free(self, stem: str, remedy: str) -> None:
        """Raises CertificateError if there are files of this name, with ``remedy``."""
        for path in (self.path / f"{stem}.crt", self.path / f"{stem}.key"):
            if os.path.lexists(path):
                raise CertificateError(f"{path} is there already; {remedy}")

    def issue(self, stem: str, certificate: x509.Certificate, key: bytes | None) -> Path:
        """Takes a certificate into the index, writes it and its key if that is new, and returns its
        path. Raises OSError; then either nothing has happened, or the next command finishes it."""
        pem = certificate.public_bytes(Encoding.PEM)
        try:
            if key is not None:
                self._write(f"{_NEW}{stem}.key", key, 0o600)
            self._write(f"{_NEW}{stem}.crt", pem, 0o644)
            self.record([*self.entries, entry_of(certificate)])
        except OSError:
            # So that no key is left there until the next command; as after a kill otherwise.
            with suppress(OSError):
                self._recover()
            raise
        self._give_name(stem)
        return self.path / f"{stem}.crt"

    def record(self, entries: Sequence[IssuedEntry]) -> None:
        """Replaces the index. Raises OSError; then the old one stands."""
        self.replace(INDEX, written_index(entries).encode(), 0o644)
        self.entries = list(entries)

    def replace(self, name: str, data: bytes, mode: int) -> Path:
        """Replaces a file whole. Raises OSError; then the old one stands."""
        self._write(f"{_NEW}{name}", data, mode)
        os.rename(self.path / f"{_NEW}{name}", self.path / name)
        self._sync()
        return self.path / name

    def _give_name(self, stem: str) -> None:
        for name in (f"{stem}.key", f"{stem}.crt"):
            if (self.path / f"{_NEW}{name}").exists():
                os.rename(self.path / f"{_NEW}{name}", self.path / name)
                self._sync()  # in this order on the disk as well

    def _recover(self) -> None:
        issued = {each.fingerprint for each in self.entries}
        left = sorted(self.path.glob(f"{_NEW}*"))
        stems = [path.name[len(_NEW) : -len(".crt")] for path in left if path.suffix == ".crt"]
        for stem in stems:
            if _fingerprint_in(self.path / f"{_NEW}{stem}.crt") in issued:
                self._give_name(stem)
        for path in left:
            path.unlink(missing_ok=True)

    def _found(self) -> list[IssuedEntry]:
        """What a directory without an index holds of certificates of its CA, as those of a version
        that kept none."""
        try:
            ca = x509.load_pem_x509_certificate((self.path / "ca.crt").read_bytes())
        except (OSError, *UNREADABLE):
            return []
        found = [entry_of(ca)]
        for path in sorted(self.path.glob("*.crt")):
            try:
                each = x509.load_pem_x509_certificate(path.read_bytes())
                each.verify_directly_issued_by(ca)
            except (OSError, *UNREADABLE, InvalidSignature):
                continue
            if each != ca:
                found.append(entry_of(each))
        return self._with_revoked(found, ca)

    def _with_revoked(self, found: list[IssuedEntry], ca: x509.Certificate) -> list[IssuedEntry]:
        """With what the list beside has as revoked: the next list is written of the index, and
        without this it would admit them again. Raises CertificateError."""
        path = self.path / LIST
        try:
            listed = x509.load_pem_x509_crl(path.read_bytes())
            revoked = listed_entries(listed) if listed.issuer == ca.subject else {}
        except FileNotFoundError:
            return found
        except UNREADABLE as error:
            raise CertificateError(
                f"{path} cannot be read, and without an index only it says what was revoked: put "
                "back a copy of one of both, or move it away if nothing was"
            ) from error
        known = [
            replace(each, revoked=revoked[each.serial].revoked, reason=revoked[each.serial].reason)
            if each.serial in revoked
            else each
            for each in found
        ]
        serials = {each.serial for each in found}
        return known + [each for each in revoked.values() if each.serial not in serials]

    def _write(self, name: str, data: bytes, mode: int) -> None:
        path = self.path / name
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(fd)

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def changing(directory: Path) -> Iterator[CaDirectory]:
    """The directory, locked for as long as the block. Waits for other commands, at most 10 s.
    Raises CertificateError, and what the block raises, OSError as CertificateError."""
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_lock(lock, directory)
            yield CaDirectory(directory)
        finally:
            os.close(lock)
    except OSError as error:
        raise CertificateError(f"{error.filename or directory}: {error.strerror}") from error


def _wait_lock(lock: int, directory: Path) -> None:
    give_up_at = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise CertificateError(
                    f"{directory} is being changed by another command, for more than {_WAIT_S:g} s"
                ) from None
            time.sleep(_LOOK_S)
        else:
            return


def read_entries(directory: Path) -> list[IssuedEntry]:
    """The index without a lock, for those who only look. Raises CertificateError."""
    index = directory / INDEX
    try:
        return read_index(index.read_text("utf-8", "replace"), str(index))
    except OSError as error:
        raise CertificateError(
            f"{index}: {error.strerror}; penstock certs init makes a CA, and penstock certs crl an "
            "index for one that has none"
        ) from error


def _fingerprint_in(path: Path) -> str | None:
    """None of a file that was not finished."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except UNREADABLE:
        return None
    return fingerprint_of(certificate.public_bytes(Encoding.DER))
