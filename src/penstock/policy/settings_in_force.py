"""Which settings of a configuration count when, once its file has changed (pure).

While penstockd runs, most settings can be replaced with the rest of a reload. Some are a server's
for its whole life, so they count with the next one. The others are what penstockd itself holds on
to: its directories, its users, its groups. Those stay as they are until it is restarted, and a
reload says so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from .configuration import Config
from .uid_range import parse_uid_range

When = Literal["now", "next server", "restart"]

WHEN: Final[Mapping[str, When]] = {
    **dict.fromkeys(
        (
            *("state_dir", "run_dir", "work_root", "supervisor_dir", "server_user", "job_uids"),
            "cgroup_parent",
        ),
        "restart",
    ),
    **dict.fromkeys(
        ("listen", "supervisor_silence_s", "reflection", "transport", "audit_log"), "next server"
    ),
    **dict.fromkeys(
        (
            *("policy", "orphan_timeout_s", "on_shutdown", "drain_s", "server_silence_s"),
            *("max_jobs", "tls_certificate", "tls_key", "tls_key_passphrase_file"),
            *("tls_client_ca", "tls_crl", "legacy_certificates", "allow_lockout", "reload"),
        ),
        "now",
    ),
}
"""By the names of Config's fields; each of them is here."""

# By default it lies in the state directory, so it does not move without that.
_WITH_STATE_DIR: Final = "audit_log"
_TLS: Final = "tls_"
_OF_TLS: Final = frozenset({"legacy_certificates"})
_MOST_SHOWN: Final = 200  # of a value; a path is rarely longer
# Of their text, escaped once more, as in a message of 200,000 bytes beside others of its fields.
_MOST_TOGETHER: Final = 40_000
_HOW: Final[Mapping[When, str]] = {
    "now": "{key}: is now {now}; it was {before}",
    "next server": "{key}: is {now} from the next server on, which SIGUSR2 to penstockd starts "
    "while jobs run on; the one that runs has {before}",
    "restart": "{key}: needs a restart of penstockd, which ends all jobs; until then it stays "
    "{before}, and {now} is not heeded",
}


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting whose value in the file is not the one in use. ``key`` is the file's name of it."""

    key: str
    before: str
    now: str
    when: When

    def __str__(self) -> str:
        return _HOW[self.when].format(key=self.key, before=self.before, now=self.now)


def settings(config: Config) -> dict[str, object]:
    """By the names of Config's fields, as they come out of JSON.

    Server and supervisor compare these, and one of them has had them by JSON: so a value that JSON
    does not know, such as an address, is its text on both sides.
    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    found: dict[str, object] = json.loads(json.dumps(values, default=str))
    return found


def in_force(fresh: Config, running: Config) -> Config:
    """What a penstockd that runs with ``running`` has once it has taken ``fresh`` up."""
    names = [name for name in WHEN if _when(name, running.state_dir, fresh) == "restart"]
    return replace(fresh, **{name: getattr(running, name) for name in names})


def in_force_by(fresh: Config, told: Mapping[str, Any]) -> Config:
    """The same for a server, which has the settings of penstockd as WELCOME and PREPARE bring them:
    by name, as they come out of JSON. What an earlier version leaves out is the file's."""
    state_dir = told.get("state_dir", fresh.state_dir)
    kept = {n: told[n] for n in WHEN if n in told and _when(n, state_dir, fresh) == "restart"}
    if isinstance(kept.get("job_uids"), str):
        kept["job_uids"] = parse_uid_range(kept["job_uids"])
    return replace(fresh, **kept)


def settings_text(config: Config) -> str:
    """The settings as a message has them: the text of a JSON object."""
    return json.dumps(settings(config))


def unsendable(config: Config) -> list[str]:
    """A mistake if the settings cannot go from one process to the other, because they are too long,
    or are none that JSON can write. TOML itself has no such bound."""
    try:
        size = len(json.dumps(settings_text(config)))
    except RecursionError:
        return [
            "transport: tables within tables within tables; write limits as docs/rpc.md has them"
        ]
    except ValueError:  # Python writes no integer of thousands of digits in decimal
        return ["transport: a number of far too many digits; write limits as docs/rpc.md has them"]
    if size <= _MOST_TOGETHER:
        return []
    return [
        f"file: all settings together are {size} characters, and the most is {_MOST_TOGETHER}; "
        "shorten what is long: a path of [tls], or what [transport] has"
    ]


def setting_changes(running: Config, of_server: Config, fresh: Config) -> list[SettingChange]:
    """Each setting of ``fresh`` that is not the one in use: ``running`` is penstockd's, and
    ``of_server`` that with which the server that runs was started."""
    found: list[SettingChange] = []
    ours, servers, now = settings(running), settings(of_server), settings(fresh)
    for name in (field.name for field in fields(Config)):
        when = _when(name, running.state_dir, fresh)
        before = (servers if when == "next server" else ours)[name]
        if before == now[name]:
            continue
        if isinstance(before, dict) and isinstance(now[name], dict):
            found += _of_table(name, before, now[name], when)  # type: ignore[arg-type]  # it is one
        else:
            found.append(SettingChange(_key(name), _shown(before), _shown(now[name]), when))
    return found


def _when(name: str, state_dir: object, fresh: Config) -> When:
    moves = name == _WITH_STATE_DIR and state_dir != fresh.state_dir
    return "restart" if moves else WHEN[name]


def _of_table(
    name: str, before: Mapping[str, object], now: Mapping[str, object], when: When
) -> list[SettingChange]:
    return [
        SettingChange(f"[{name}] {key}", _shown(before.get(key)), _shown(now.get(key)), when)
        for key in dict.fromkeys((*before, *now))
        if before.get(key) != now.get(key)
    ]


def _key(name: str) -> str:
    """The key as the file has it."""
    if name.startswith(_TLS):
        return f"[tls] {name.removeprefix(_TLS)}"
    return f"[tls] {name}" if name in _OF_TLS else name


def _shown(value: object) -> str:
    """As the file would have it, whose strings, lists and booleans are written as JSON's."""
    if value in (None, "", []):
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
