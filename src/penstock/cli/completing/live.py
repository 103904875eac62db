"""Completion's questions to the server: bounded, never asking the user, silent about failures."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from ..context_file import contexts_path, read_contexts
from ..flags import Settings, SettingsError
from ..lazy import load
from ..setting_sources import is_path, setting_sources
from .completion_cache import FRESH_S, CompletionCache

FAILED_FRESH_S: Final = 3.0
"""For how long a server that did not answer is not asked again, because each Tab would wait."""
COMMANDS_FRESH_S: Final = 30.0
"""How old an answer on granted commands may be: a policy changes seldom."""
MOST_JOBS: Final = 500
"""So many are kept; where there are more, those that begin with what is typed are asked for."""
Answers = Callable[[Settings, str, str], Sequence[Any]]
ANSWERS: Final[ContextVar[Answers | None]] = ContextVar("answers", default=None)
"""Gives the answers in a process that has a connection already, as the shell does."""


def jobs(settings: Settings, state: str, typed: str) -> list[tuple[str, str]]:
    """Each own job that is "finished", "unfinished" or "any", newest first, by what stands for it
    (its name and its handle), with a line about it; none if the server cannot be asked."""
    question = "jobs" if state == "unfinished" else "all jobs"
    found = _answer(settings, question)
    if typed and len(found) >= MOST_JOBS:
        found = _answer(settings, question, typed)
    return [
        (text, about)
        for names, about, finished in found
        if state == "any" or finished == (state == "finished")
        for text in names
    ]


def contexts() -> list[tuple[str, str]]:
    """Each context, with its address; none if their file has a mistake."""
    return [(name, each.values.get("address", "")) for name, each in _contexts().named.items()]


def groups() -> list[tuple[str, str]]:
    """Each group of contexts, with its members."""
    return [(name, ", ".join(members)) for name, members in _contexts().groups.items()]


def _contexts() -> Any:  # noqa: ANN401  loaded where it is needed
    path = contexts_path()
    try:
        found = read_contexts(path)
    except (SettingsError, OSError):
        found = None
    return found or load("user_contexts").Contexts(path)


def commands(settings: Settings) -> list[tuple[str, str, list[Any]]]:
    """Each granted command: its name, its usage, and its slots as protobuf's JSON has them."""
    return [
        (name, usage, slots)
        for name, usage, slots in _answer(settings, "commands", fresh_s=COMMANDS_FRESH_S)
    ]


def _answer(
    settings: Settings, question: str, about: str = "", fresh_s: float = FRESH_S
) -> list[Any]:
    """What is kept, or what the server says now, which is kept then."""
    if (answers := ANSWERS.get()) is not None:
        return list(answers(settings, question, about))
    cache = CompletionCache(settings)
    name = f"{question} {about}".rstrip()
    found = cache.read(name, fresh_s)
    if found is None and cache.read("failed", FAILED_FRESH_S) is None and _askable(settings):
        found = load("completing.questions").ask_server(settings, question, about)
        cache.write(*(("failed", True) if found is None else (name, found)))
    return found if isinstance(found, list) else []


def _askable(settings: Settings) -> bool:
    """Whether a server is configured and the files are ones whose reading cannot block, as that of
    a pipe would."""
    try:
        values = setting_sources(settings).values
    except (SettingsError, OSError):
        return False
    paths = [Path(value.text) for key, value in values.items() if is_path(key)]
    return "address" in values and all(path.is_file() for path in paths)
