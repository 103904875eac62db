"""Completion's questions to the server: bounded, never asking the user, silent about failures."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..flags import Settings
from ..lazy import load
from .completion_cache import CompletionCache

FAILED_FRESH_S: Final = 3.0
"""For how long a server that did not answer is not asked again, because each Tab would wait."""


def jobs(settings: Settings, state: str) -> list[tuple[str, str]]:
    """Each own job that is "finished", "unfinished" or "any", newest first, by what stands for it,
    with a line about it; none if the server cannot be asked."""
    name = "jobs" if state == "unfinished" else "all jobs"
    return [
        (text, about)
        for text, about, finished in _answer(settings, name)
        if state == "any" or finished == (state == "finished")
    ]


def _answer(settings: Settings, name: str) -> list[Any]:
    """What is kept, or what the server says now, which is kept then."""
    cache = CompletionCache(settings)
    found = cache.read(name)
    if found is None and cache.read("failed", FAILED_FRESH_S) is None and _askable(settings):
        found = load("completing.questions").ask_server(settings, name)
        cache.write(*(("failed", True) if found is None else (name, found)))
    return found if isinstance(found, list) else []


def _askable(settings: Settings, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a server is configured and the files are ones whose reading cannot block, as that of
    a pipe would."""
    if not settings.configured(environment):
        return False
    paths = [
        settings.ca or environment.get("PENSTOCK_CA"),
        settings.certificate or environment.get("PENSTOCK_CERT"),
        settings.key or environment.get("PENSTOCK_KEY"),
        settings.passphrase_file or environment.get("PENSTOCK_KEY_PASSPHRASE_FILE"),
    ]
    return all(Path(path).is_file() for path in paths if path)
