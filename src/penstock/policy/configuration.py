"""The configuration of penstockd: where it listens, keeps its state and finds the policy (pure)."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from .addresses import Address, parse_address
from .toml_tables import Table, parse_path, read_document, show
from .uid_range import DEFAULT_JOB_UIDS, UidRange, parse_uid_range

DEFAULT_LISTEN: Final = "127.0.0.1:8443"
DEFAULT_STATE_DIR: Final = "/var/lib/penstock"
DEFAULT_RUN_DIR: Final = "/run/penstock"

_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}|\d{1,10}", re.ASCII)
_GROUP: Final = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9_.@:-]*)+", re.ASCII)
# A sockaddr_un holds 108 bytes; the socket's own name and a NUL must fit (unix(7)).
_MAX_RUN_DIR: Final = 80
_MAX_LISTEN: Final = 16


class ConfigError(Exception):
    """The configuration is refused; ``mistakes`` are for people, each with key and remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Config:
    """Paths are absolute. ``server_user`` is a name or a numeric id, None without root.

    For the library, without gRPC, ``listen`` and the ``tls_`` paths may be empty.
    """

    listen: tuple[Address, ...]
    state_dir: str
    run_dir: str
    work_root: str
    policy: str
    server_user: str | None
    supervisor_dir: str
    """Root's alone, because the server must not change what is in it. Unused without root."""
    job_uids: UidRange
    """Each client gets one of these ids, for the commands that have ``user = "auto"``."""
    cgroup_parent: str | None
    """A path below each cgroup mount; "delegated": below the group that penstockd is in; None: that
    one if systemd has delegated it, otherwise /penstock."""
    orphan_timeout_s: float
    on_shutdown: Literal["stop"]
    drain_s: float
    server_silence_s: float
    supervisor_silence_s: float
    max_jobs: int
    tls_certificate: str
    tls_key: str
    tls_key_passphrase_file: str
    tls_client_ca: str
    tls_crl: str
    legacy_certificates: bool
    allow_lockout: bool
    """SIGHUP may take files of ``[tls]`` that refuse every client that is connected now."""
    reflection: bool
    transport: dict[str, Any]
    """Limits of the transport as the file has them; the server checks them."""
    audit_log: str
    reload: Literal["off", "auto"]
    """Whether penstockd looks for changes of the files by itself."""


def parse_config(data: bytes, *, library: bool = False) -> Config:
    """The configuration in the bytes of a file. Raises ConfigError with every mistake.

    The rest is as in read_config.
    """
    config, mistakes = read_config(data, library=library)
    if mistakes:
        raise ConfigError(mistakes)
    return config


def read_config(data: bytes, *, library: bool = False) -> tuple[Config, list[str]]:
    """The configuration with every mistake of its file.

    One with mistakes must not be put into force. What it has in the place of a mistake is the
    key's default, or an empty text: enough to look for other mistakes.

    ``library``: a missing ``listen`` and ``[tls]`` are no mistake, because the library opens no
    port. Whether ``server_user`` is needed depends on the user that runs penstockd: see
    check_server_user.
    """
    mistakes: list[str] = []
    table = read_document(data, mistakes)
    state_dir = _path(table, "state_dir", DEFAULT_STATE_DIR)
    tls = table.table("tls")
    needs_tls = not library or table.has("tls")
    config = Config(
        listen=_listen(table, () if library else (DEFAULT_LISTEN,)),
        state_dir=state_dir,
        run_dir=_run_dir(table),
        work_root=_path(table, "work_root", f"{state_dir}-work"),
        policy=_path(table, "policy", "", required=True),
        server_user=_server_user(table),
        supervisor_dir=_path(table, "supervisor_dir", f"{state_dir}-root"),
        job_uids=table.parsed(
            "job_uids",
            parse_uid_range,
            DEFAULT_JOB_UIDS,
            remedy=f'write the first and the last id, such as "{DEFAULT_JOB_UIDS}"',
        ),
        cgroup_parent=_cgroup_parent(table),
        orphan_timeout_s=_seconds(table, "orphan_timeout_s", 600.0, 1.0, 86400.0),
        on_shutdown=_on_shutdown(table),
        drain_s=_seconds(table, "drain_s", 5.0, 0.0, 3600.0),
        server_silence_s=_seconds(table, "server_silence_s", 20.0, 2.0, 3600.0),
        supervisor_silence_s=_seconds(table, "supervisor_silence_s", 60.0, 2.0, 3600.0),
        max_jobs=table.integer("max_jobs", 512, 1, 100_000),
        tls_certificate=_path(tls, "certificate", "", required=needs_tls),
        tls_key=_path(tls, "key", "", required=needs_tls),
        tls_client_ca=_path(tls, "client_ca", "", required=needs_tls),
        tls_key_passphrase_file=_path(tls, "key_passphrase_file", ""),
        tls_crl=_path(tls, "crl", ""),
        allow_lockout=table.flag("allow_lockout", False),
        reflection=table.flag("reflection", False),
        transport=table.typed("transport", dict, "a table", {}, required=False),
        legacy_certificates=tls.flag("legacy_certificates", False),
        audit_log=_path(table, "audit_log", f"{state_dir}/audit.jsonl"),
        reload=_reload(table),
    )
    _check_private(table, config)
    tls.finish()
    table.finish()
    # Of a file that could not be read no key is missing.
    return config, [text for text in mistakes if text.startswith("file: ")] or mistakes


def check_server_user(config: Config, *, root: bool) -> list[str]:
    """Mistakes that depend on the user that runs penstockd.

    That a name is not another name of root is the caller's to check: it needs the user database.
    """
    if root and config.server_user is None:
        return ["server_user: is missing; name the user without privilege that the server runs as"]
    if not root and config.server_user is not None:
        return ["server_user: only root can change the user; remove it, or run penstockd as root"]
    return []


def _listen(table: Table, default: tuple[str, ...]) -> tuple[Address, ...]:
    """One address, or a list of them; for the library an empty text is none."""
    texts = default
    if table.has("listen"):
        value = table.value("listen")
        if isinstance(value, list) and not 1 <= len(value) <= _MAX_LISTEN:
            remedy = f"name from 1 to {_MAX_LISTEN}, or leave the key out"
            table.wrong("listen", f"{len(value)} addresses", remedy)
        elif isinstance(value, list):
            texts = tuple(table.texts("listen"))
        elif not isinstance(value, str):
            remedy = 'write an address and a port in quotes, such as "127.0.0.1:8443"'
            table.wrong("listen", f"{show(value)} is not a string", remedy)
            texts = ()
        elif value != "" or default:
            texts = (value,)
    addresses: list[Address] = []
    for text in texts:
        try:
            address = parse_address(text)
        except ValueError as error:
            remedy = 'write for example "127.0.0.1:8443" or "[::1]:8443"'
            table.wrong("listen", str(error), remedy)
            continue
        if address in addresses and address.port:
            table.wrong("listen", f"{address} is named twice", "name it once")
        addresses.append(address)
    return tuple(addresses)


def _path(table: Table, key: str, default: str, *, required: bool = False) -> str:
    remedy = "write an absolute path"
    return table.parsed(key, _directory, default, required=required, remedy=remedy)


def _directory(text: str) -> str:
    if parse_path(text) == "/":
        raise ValueError("'/' cannot be used for this")
    return text


def _run_dir(table: Table) -> str:
    path = _path(table, "run_dir", DEFAULT_RUN_DIR)
    if len(path.encode("utf-8", "surrogateescape")) > _MAX_RUN_DIR:
        table.wrong(
            "run_dir",
            f"{show(path)} is too long for the name of a socket",
            f"write a path of at most {_MAX_RUN_DIR} bytes",
        )
    return path


def _check_private(table: Table, config: Config) -> None:
    """Only root may be able to replace supervisor_dir, and no other user needs to pass through it.

    So it lies in no directory that the server can write, and nothing that the server uses lies
    in it.
    """
    own, elsewhere = config.supervisor_dir, "name a directory elsewhere"
    if f"{own}/".startswith(f"{config.state_dir}/"):
        what = f"{show(own)} lies within state_dir, where the server can replace it"
        table.wrong("supervisor_dir", what, elsewhere)
    for key in ("state_dir", "work_root", "run_dir", "audit_log"):
        path = getattr(config, key)
        if f"{path}/".startswith(f"{own}/") and not f"{own}/".startswith(f"{config.state_dir}/"):
            what = f"{show(path)} lies within supervisor_dir, which only root can enter"
            table.wrong(key, what, elsewhere)


def _server_user(table: Table) -> str | None:
    if not table.has("server_user"):
        return None
    user = table.text("server_user")
    if not _USER.fullmatch(user):
        table.wrong(
            "server_user", f"{show(user)} is no user", "write a name or a numeric id in quotes"
        )
    elif user == "root" or (user.isdigit() and int(user) == 0):
        table.wrong("server_user", "is root", "name a user without privilege")
    return user


def _cgroup_parent(table: Table) -> str | None:
    if not table.has("cgroup_parent"):
        return None
    parent = table.text("cgroup_parent")
    if parent != "delegated" and not _GROUP.fullmatch(parent):
        table.wrong(
            "cgroup_parent",
            f"{show(parent)} is no group",
            'write an absolute path within the cgroup mount, such as "/penstock", or "delegated"',
        )
    return parent


def _on_shutdown(table: Table) -> Literal["stop"]:
    table.choice("on_shutdown", ("stop",), "stop")
    return "stop"


def _reload(table: Table) -> Literal["off", "auto"]:
    return "auto" if table.choice("reload", ("off", "auto"), "off") == "auto" else "off"


def _seconds(table: Table, key: str, default: float, least: float, most: float) -> float:
    if not table.has(key):
        return default
    value = table.value(key)
    # NaN compares as false, so it is out of range too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        table.wrong(
            key,
            f"{show(value)} is out of range",
            f"write a number of seconds from {least:g} to {most:g}",
        )
        return default
    return float(value)
