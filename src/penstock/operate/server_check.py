"""What the server will read, looked at as the server would: ``[tls]``, ``[transport]``, ``listen``.

With the rights of the server's user, where the caller can have them, because a key that only root
can read is a mistake that no other look finds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from ..pki.certificate_findings import mistakes_of_certificate
from ..pki.contents import moment
from ..pki.crl import pem_lists
from ..pki.signing import UNREADABLE
from ..policy.configuration import Config
from ..policy.toml_tables import MAX_FILE_BYTES
from ..server.credentials import CredentialsError, load_credentials
from ..server.transport_settings import TransportError, transport_limits
from ..supervisor.client_listeners import address_mistakes
from ..supervisor.files.executables import ExecutableError
from ..supervisor.files.file_access import files_as
from ..supervisor.files.script_files import check_script
from ..supervisor.kernel.bounded_read import read_file
from ..supervisor.ports_in_use import in_use
from ..supervisor.standpoint import Standpoint
from ..supervisor.users.user_names import User
from .findings import Findings

_CAP_NET_BIND_SERVICE: Final = 10  # linux/capability.h
_TLS_FILES: Final = ("certificate", "key", "key_passphrase_file", "client_ca", "crl")
_LEAST_LEFT: Final = 0.1  # of a certificate's life
_LIST_LEFT: Final = timedelta(days=3)
_WITHOUT_USAGE: Final = "has no extended key usage"


def check_server(
    config: Config, user: User | None, found: Findings, standpoint: Standpoint
) -> None:
    """Adds what the server would refuse. ``user`` is its own, None if that is not known."""
    as_user = user if standpoint.own and standpoint.root else None
    _check_credentials(config, as_user, found, standpoint)
    try:
        transport_limits(config)
    except TransportError as error:
        found.wrong(*str(error).split("\n"))
    if user is not None:  # whose files these may be is not known without it
        found.warn(*_writable_by_others(config, standpoint.owners | {user.uid}, standpoint))


def check_addresses(config: Config, found: Findings, standpoint: Standpoint) -> None:
    """Adds addresses that penstockd could not listen on; a warning where another program does.

    ``running`` is left to the caller: a penstockd that runs uses its own.
    """
    any_port = not standpoint.own or _may_bind_any_port()
    found.wrong(*address_mistakes(config, may_take_any_port=any_port))


def warn_of_ports(config: Config, found: Findings) -> None:
    """Adds a warning for each address that has a listener. Not beside a penstockd that runs with
    this configuration, whose they are."""
    found.warn(
        *(
            f"listen: {address} is in use now; stop the program that has it (ss -ltnp shows which) "
            "unless it is systemd, for penstockd.socket, or name another port"
            for address in config.listen
            if in_use(address)
        )
    )


def _check_credentials(
    config: Config, as_user: User | None, found: Findings, standpoint: Standpoint
) -> None:
    paths = _paths(config)
    hidden = {key for key, path in paths.items() if standpoint.cannot_read(path)}
    found.unchecked(
        *(f"[tls] {key}: {paths[key]} cannot be read by this user" for key in sorted(hidden))
    )
    try:
        with files_as(as_user):
            untimely = load_credentials(config).untimely
    except CredentialsError as error:
        found.wrong(*(text for text in error.mistakes if _key(text) not in hidden))
        return
    if untimely is not None:
        found.wrong(f"[tls] certificate: {untimely}")
    else:
        found.warn(*_doubts(config), *_list_ends_soon(config))


def _key(text: str) -> str:
    """Of ``[tls] key: ...``."""
    return text.removeprefix("[tls] ").partition(":")[0]


def _paths(config: Config) -> dict[str, str]:
    found = {key: getattr(config, f"tls_{key}") for key in _TLS_FILES}
    return {key: path for key, path in found.items() if path}


def _doubts(config: Config) -> Iterator[str]:
    """Of certificates that a server takes, why clients may not get in, or not for long."""
    for key, role in (("certificate", "server"), ("client_ca", "ca")):
        path = getattr(config, f"tls_{key}")
        try:
            found = x509.load_pem_x509_certificates(read_file(path, MAX_FILE_BYTES))
        except (OSError, *UNREADABLE):
            continue
        for each in found[:1] if role == "server" else found:
            yield from (f"[tls] {key}: {path} {text}" for text in _of_one(each, role, config))


def _of_one(certificate: x509.Certificate, role: str, config: Config) -> Iterator[str]:
    for text in mistakes_of_certificate(certificate, role=role):
        if not (config.legacy_certificates and text.startswith(_WITHOUT_USAGE)):
            yield text
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.now(UTC)
    if now < end < now + (end - begin) * _LEAST_LEFT:
        what = "no client can connect" if role == "server" else "no client of this CA gets in"
        yield f"expires on {moment(end)}, and {what} from then on; issue a new one"


def _list_ends_soon(config: Config) -> Iterator[str]:
    """It would lock every client out."""
    if not config.tls_crl:
        return
    try:
        lists = read_file(config.tls_crl, MAX_FILE_BYTES)
        ends = [each.next_update_utc for each in map(x509.load_pem_x509_crl, pem_lists(lists))]
    except (OSError, *UNREADABLE):
        return
    for end in (each for each in ends if each is not None):
        if end - datetime.now(UTC) < _LIST_LEFT:
            yield (
                f"[tls] crl: {config.tls_crl} is out of date at {end}, and servers refuse every "
                "client then; write it anew: penstock certs crl"
            )


def _writable_by_others(
    config: Config, owners: frozenset[int], standpoint: Standpoint
) -> Iterator[str]:
    for key, path in _paths(config).items():
        if standpoint.cannot_see(path):
            continue
        try:
            check_script(path, owners)
        except ExecutableError as error:
            if not str(error).endswith("No such file or directory"):
                yield f"[tls] {key}: {error}"


def _may_bind_any_port() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        masks = (line.split()[1] for line in file if line.startswith("CapEff:"))
        return any(int(mask, 16) >> _CAP_NET_BIND_SERVICE & 1 for mask in masks)
