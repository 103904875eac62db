"""What a server has answered to completion, kept for some seconds in the user's cache directory.

A file for each server and identity, readable by the user alone, because command lines are in it.
Nothing that is older than its bound is ever returned: not from a clock that was set back either.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from ..flags import Settings, SettingsError
from ..invocation import current
from ..private_file import replace_file
from ..setting_sources import setting_sources

FRESH_S: Final = 5.0
"""How old an answer may be: what a user has started in another window appears within this."""
_KEPT_S: Final = 60.0  # beyond every bound that a reader may name
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_OF_CERTIFICATE: Final = 1024 * 1024


class CompletionCache:
    """The answers for one server and identity, by a name each."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        if environment is None:
            environment = current().environment
        self._directory = _directory(environment)
        self._path = self._directory / f"completion-{_key(settings, environment)}.json"

    def read(self, name: str, fresh_s: float = FRESH_S) -> Any:  # noqa: ANN401  JSON
        """What was written under ``name`` at most ``fresh_s`` seconds ago; None without."""
        entry = self._entries().get(name)
        age_s = _age_s(entry, time.time())
        return entry[1] if entry and age_s is not None and age_s <= fresh_s else None

    def write(self, name: str, value: object) -> None:
        """Replaces what is there under ``name``. Never fails: without a cache it is only slower."""
        now = time.time()
        kept = {
            old: entry for old, entry in self._entries().items() if _age_s(entry, now) is not None
        }
        entries = kept | {name: [now, value]}
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path, json.dumps(entries).encode(), durable=False)

    def _entries(self) -> dict[str, Any]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return {}
        with open(descriptor, "rb") as file, suppress(OSError, ValueError):
            state = os.fstat(file.fileno())
            own = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()
            # One that others could write could offer anything.
            if own and not state.st_mode & 0o077:
                found = json.loads(file.read(_MOST_BYTES))
                return found if isinstance(found, dict) else {}
        return {}


def _age_s(entry: Any, now: float) -> float | None:  # noqa: ANN401  JSON of any form
    """How old an entry is; None if it is none, is from the future, or too old to be kept."""
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], int | float):
        return None
    age_s = now - float(entry[0])
    return age_s if 0 <= age_s <= _KEPT_S else None


def _directory(environment: Mapping[str, str]) -> Path:
    """As the XDG Base Directory Specification has it, which ignores relative paths."""
    base = environment.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(environment.get("HOME", "/nonexistent"), ".cache")
    return Path(base, "penstock")


def _key(settings: Settings, environment: Mapping[str, str]) -> str:
    """By all that decides which server is asked and as whom, the certificate's bytes included."""
    names = sorted(name for name in environment if name.startswith("PENSTOCK_"))
    variables = [(name, environment[name]) for name in names if name != "PENSTOCK_KEY_PASSPHRASE"]
    found: list[tuple[str, str]] = []
    content = b""
    with suppress(OSError, ValueError, SettingsError):
        values = setting_sources(settings, environment).values
        found = [(key, value.text) for key, value in sorted(values.items())]
        if "certificate" in values:
            content = _bytes_of(values["certificate"].text)
    parts = [astuple(settings), variables, found, os.getcwd(), content.decode("latin-1")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _bytes_of(path: str) -> bytes:
    """The beginning of a regular file, b"" of another: a pipe would wait for its writer, and a
    device might never end."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return b""
        return file.read(_MOST_OF_CERTIFICATE)
