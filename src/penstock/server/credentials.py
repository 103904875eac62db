"""The server's certificate, key, CA and CRL: read together, all or nothing."""

import contextlib
import errno
import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from ..pki.contents import common_name, hosts_in
from ..pki.crl import NONE, CrlError, Revocations, read_crl
from ..pki.inspection import WantedFor, examined
from ..pki.issue import UNREADABLE
from ..pki.key_mode import KeyModeError, check_private_key_mode
from ..pki.openssl_commands import server_signed_again
from ..policy.configuration import Config
from ..rpc.tls.chain_trial import can_sign
from ..rpc.tls.contexts import KeyPasswordNeeded, server_ssl_context
from ..supervisor.kernel.bounded_read import read_file
from .tls_files import TlsFiles, tls_files

# A chain of ten certificates has some 20 kB, and the CAs of the whole Web have 250 kB. A revoked
# certificate takes about 50 bytes in a list.
_PAIR_BYTES: Final = 1 << 20
_AUTHORITIES_BYTES: Final = 4 << 20
_LISTS_BYTES: Final = 16 << 20
_READ_REMEDIES: Final[Mapping[int | None, str]] = {
    errno.ENOENT: "; make it (penstock certs), or name another one",
}
# Of an ssl.SSLError: which key is wrong, what is, and what to do.
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": (
        *("key", "is not the key of {certificate} ([tls] certificate)"),
        "give the pair that was made together, or issue both anew",
    ),
}


# What is to be in which file, as pki.inspection has it.
_KINDS: Final = {
    "certificate": "certificate",
    "key": "key",
    "client_ca": "certificate",
    "crl": "list",
}


class CredentialsError(Exception):
    """The files cannot be used; ``mistakes`` are an operator's to read, with key and remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What handshakes use, and which certificates they refuse.

    ``untimely``: why every client will refuse this server, because its certificate is not valid
    now. A server starts with it all the same and logs it, because its jobs run on that way. A
    reload refuses it instead, because there is an older certificate to keep.
    """

    context: ssl.SSLContext
    revocations: Revocations
    untimely: str | None = None
    files: TlsFiles | None = None


def load_credentials(config: Config) -> Credentials:
    """Reads the files of ``[tls]``, each once. Raises CredentialsError."""
    mistakes: list[str] = []
    files = {
        key: data
        for key, path, most_bytes in (
            ("certificate", config.tls_certificate, _PAIR_BYTES),
            ("key", config.tls_key, _PAIR_BYTES),
            ("key_passphrase_file", config.tls_key_passphrase_file, _PAIR_BYTES),
            ("client_ca", config.tls_client_ca, _AUTHORITIES_BYTES),
            ("crl", config.tls_crl, _LISTS_BYTES),
        )
        if path and (data := _read(key, path, most_bytes, mistakes, config.server_user)) is not None
    }
    passphrase = None
    if "key_passphrase_file" in files:
        try:
            passphrase = _passphrase(config.tls_key_passphrase_file, files["key_passphrase_file"])
        except ValueError as error:
            mistakes.append(f"[tls] key_passphrase_file: {error}")
    untimely = None
    if "certificate" in files:
        try:
            untimely = _check_certificate(
                config.tls_certificate, files["certificate"], config.legacy_certificates
            )
        except UNREADABLE as error:
            said = _content("certificate", config.tls_certificate, files["certificate"])
            mistakes.append(said or f"[tls] certificate: {error}")
    revocations = NONE
    if "crl" in files and "client_ca" in files:
        try:
            revocations = read_crl(
                config.tls_crl, files["crl"], config.tls_client_ca, files["client_ca"]
            )
        except CrlError as error:
            mistakes += [f"[tls] crl: {text}" for text in error.mistakes]
    context = None
    if files.keys() >= {"certificate", "key", "client_ca"}:
        context = _context(files, passphrase, config, mistakes)
    if mistakes or context is None:
        raise CredentialsError(mistakes)
    return Credentials(context, revocations, untimely, tls_files(files, revocations))


def _read(
    key: str, path: str, most_bytes: int, mistakes: list[str], user: str | None
) -> bytes | None:
    """None if it cannot be read, which adds a mistake; a secret that others can read adds one."""
    try:
        if key.startswith("key"):
            check_private_key_mode(Path(path))
    except KeyModeError as error:
        mistakes.append(f"[tls] {key}: {error}")
    except OSError:
        pass  # the read below fails, too, and reports it
    try:
        return read_file(path, most_bytes)
    except OSError as error:
        said = f"[tls] {key}: {path}: {error.strerror}{_remedy(error, path, user)}"
        if not stat.S_ISREG(_mode(path)):  # a directory's mode is not what is wrong with it
            mistakes[:] = [text for text in mistakes if not text.startswith(f"[tls] {key}: ")]
        mistakes.append(said)
        return None


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return stat.S_IFREG


def _remedy(error: OSError, path: str, user: str | None) -> str:
    if "; " in (error.strerror or ""):
        return ""  # of FileRefused, which says so itself
    if error.errno == errno.EACCES:
        return f"; let the server's user read it, as by: chown {user or os.geteuid()} {path}"
    return _READ_REMEDIES.get(error.errno, "; name another one")


def _context(
    files: Mapping[str, bytes], passphrase: bytes | None, config: Config, mistakes: list[str]
) -> ssl.SSLContext | None:
    """Made of copies in memory: OpenSSL wants paths, and a file opened twice could have changed
    in between, or block."""
    key_path = config.tls_key
    with contextlib.ExitStack() as stack:
        paths = {
            key: stack.enter_context(_in_memory(files[key]))
            for key in ("certificate", "key", "client_ca", "crl")
            if key in files
        }
        try:
            context = server_ssl_context(
                paths["certificate"],
                paths["key"],
                paths["client_ca"],
                passphrase,
                crl=paths.get("crl"),
            )
            if can_sign(context):
                return context
            mistakes.append(
                f"[tls] key: {key_path}: TLS 1.3 has no signature for this kind of key, so no "
                "client could connect; take one of RSA, P-256, P-384, P-521 or Ed25519"
            )
        except KeyPasswordNeeded:
            mistakes.append(
                f"[tls] key: {key_path}: the key is encrypted; a password is needed: write "
                'key_passphrase_file = "FILE" under [tls], a file of the server\'s user alone with '
                "its passphrase in the first line"
            )
        # ssl.SSLError is an OSError. ValueError and TypeError are for what never reached OpenSSL,
        # such as a passphrase over 1024 bytes.
        except (OSError, ValueError, TypeError) as error:
            openssl = isinstance(error, ssl.SSLError)
            if openssl and passphrase is not None and not _opens(passphrase, files["key"]):
                mistakes.append(
                    f"[tls] key_passphrase_file: the passphrase does not open {key_path}, the key "
                    "of the configuration; write the key's own into the file's first line"
                )
            else:
                found = _file_mistakes(error, files, config)
                mistakes += [text for text in found if text not in mistakes]
        return None


def _opens(passphrase: bytes, key: bytes) -> bool:
    if b"ENCRYPTED" not in key:
        return True
    try:
        serialization.load_pem_private_key(key, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _file_mistakes(error: Exception, files: Mapping[str, bytes], config: Config) -> list[str]:
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    if reason in _REASONS:
        key, what, remedy = _REASONS[reason]
        what = what.format(certificate=config.tls_certificate)
        return [f"[tls] {key}: {config.tls_key} {what}; {remedy}"]
    # OpenSSL does not say which file it could not read.
    said = [
        _content(key, getattr(config, f"tls_{key}"), files[key]) for key in _KINDS if key in files
    ]
    return [text for text in said if text is not None] or [
        f"[tls] of the configuration: {error}; see what is in its files: penstock certs show"
    ]


def _content(key: str, path: str, data: bytes) -> str | None:
    """The mistake of a file that is not what its key wants, or is damaged; None if it is good."""
    wanted = _KINDS[key]
    found = examined(path, data, 0o600, WantedFor())
    if found.kind != wanted:
        what = f"is a {found.kind}" if found.kind else found.wrong[0].partition(": ")[0]
        what += f", and a {wanted} is needed"
    elif damaged := [text for text in found.wrong if "cannot be read" in text]:
        what = f"is damaged: {damaged[0]}"
    else:
        return None
    return f"[tls] {key}: {path} {what}; see penstock certs show {path}"


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path that this process alone can open, for as long as the block."""
    fd = os.memfd_create("penstock-tls", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{fd}"


def _passphrase(path: str, data: bytes) -> bytes:
    """The first line. Raises ValueError if it is empty."""
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise ValueError(f"{path}: its first line is empty; write the passphrase there")
    return line


def _check_certificate(path: str, data: bytes, legacy_certificates: bool) -> str | None:
    """Why no client will take it now, or None. Raises UNREADABLE with what is wrong."""
    certificate = x509.load_pem_x509_certificates(data)[0]
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        for_servers = ExtendedKeyUsageOID.SERVER_AUTH in usages
    except x509.ExtensionNotFound:
        if not legacy_certificates:
            raise ValueError(
                f"{path} is not for server authentication, because it has no extended key usage; "
                "write legacy_certificates = true under [tls], or have it signed anew: "
                + _signed_again(certificate, path)
            ) from None
        for_servers = True
    if not for_servers:
        raise ValueError(
            f"{path} is not for server authentication, so clients would refuse it; issue one: "
            "penstock certs issue server --host NAME, or have it signed anew: "
            + _signed_again(certificate, path)
        )
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= datetime.now(UTC):
        return f"{path} has expired at {end}, so clients refuse it; renew it: penstock certs renew"
    if begin > datetime.now(UTC):
        return f"{path} is valid only from {begin} on, so clients refuse it until then"
    return None


def _signed_again(certificate: x509.Certificate, path: str) -> str:
    names = hosts_in(certificate) or [common_name(certificate) or "HOST"]
    return server_signed_again(names, Path(path).stem)
