"""What of a configuration that has changed takes effect when (pure)."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from .configuration import Config

# The server alone reads these, as it starts, so SIGUSR2 to penstockd is enough for them. All others
# are penstockd's own, or both read them.
_OF_SERVER: Final = frozenset(
    {
        *("tls_certificate", "tls_key", "tls_key_passphrase_file", "tls_client_ca", "tls_crl"),
        *("legacy_certificates", "reflection", "transport", "audit_log", "supervisor_silence_s"),
    }
)
# SIGHUP takes these from the file.
_READ_AGAIN: Final = frozenset({"allow_lockout"})
_OF_TLS: Final = frozenset({"legacy_certificates"})
_MOST_SHOWN: Final = 200  # of a value; a path is rarely longer
_BY_SIGUSR2: Final = "SIGUSR2 to penstockd starts the server anew with it, and jobs run on"
_BY_RESTART: Final = "it takes a restart of penstockd, which ends all jobs"


def settings(config: Config) -> dict[str, object]:
    """By the names of Config's fields, as they come out of JSON.

    Server and supervisor compare these, and one of them has had them by JSON: so a value that JSON
    does not know, such as an address, is its text on both sides.
    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    found: dict[str, object] = json.loads(json.dumps(values, default=str))
    return found


def changes(
    server: Mapping[str, object], supervisor: Mapping[str, object], fresh: Config
) -> list[str]:
    """A line for each key whose value in the file is not the one in use.

    ``server`` is what the server has read as it started, ``supervisor`` what penstockd has, both
    as ``settings``; one of an earlier version may lack some.
    """
    lines: list[str] = []
    for field, value in settings(fresh).items():
        runs = server if field in _OF_SERVER else supervisor
        if field in _READ_AGAIN or field not in runs or runs[field] == value:
            continue
        before = runs[field]
        if isinstance(before, dict) and isinstance(value, dict):
            lines += _table("[transport]", before, value)
        else:
            how = _BY_SIGUSR2 if field in _OF_SERVER else _BY_RESTART
            lines.append(_line(_key(field), before, value, how))
    return list(dict.fromkeys(lines))


def _table(name: str, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    keys = dict.fromkeys((*before, *now))
    return [
        _line(f"{name} {key}", before.get(key), now.get(key), _BY_SIGUSR2)
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _key(field: str) -> str:
    """The key's name as the file has it."""
    if field.startswith("tls_"):
        return f"[tls] {field.removeprefix('tls_')}"
    return f"[tls] {field}" if field in _OF_TLS else field


def _line(key: str, before: object, now: object, how: str) -> str:
    return f"{key} was {_shown(before)}, is {_shown(now)}, and was not read: {how}"


def _shown(value: object) -> str:
    if value in (None, "", []):
        return "not set"
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
