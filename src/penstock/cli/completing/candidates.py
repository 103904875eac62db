"""What is offered at a place: names of verbs and options, choices, files, and what a server knows.

``SOURCES`` says for each parameter where its values come from; a test holds it to the declarations.
"""

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import asyncclick as click

from ..flags import Settings
from ..lazy import load
from ..terminal import harmless
from ..verbs import ALIASES, VERBS
from .granted_slots import next_texts
from .places import CursorPlace


@dataclass(frozen=True, slots=True)
class Candidate:
    """``value`` is what the whole word becomes; ``about`` is a line on it for people, or ""."""

    value: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """``kind``: what the shell does with it: "values", "files", "directories"."""

    kind: str = "values"
    candidates: list[Candidate] = field(default_factory=list)


_FILES: Final = Offer("files")
_DIRECTORIES: Final = Offer("directories")
_NOTHING: Final = Offer()

# By what a verb wants of a job: these finished ones, those unfinished ones, all others any.
_FINISHED: Final = frozenset({"rm"})
_UNFINISHED: Final = frozenset({"stop", "signal", "kill", "pause", "resume", "send", "attach"})


def _signals(place: CursorPlace) -> Offer:  # noqa: ARG001  of the table's form
    names = (each.name.removeprefix("SIG") for each in signal.Signals)
    return Offer(candidates=[Candidate(name) for name in names])


def _jobs(place: CursorPlace) -> Offer:
    verb = place.path[-1]
    state = "finished" if verb in _FINISHED else "unfinished" if verb in _UNFINISHED else "any"
    found = load("completing.live").jobs(settings_of(place), state, place.value)
    typed = place.given.get(place.wanted.name, []) if place.wanted is not None else []
    return _of_pairs((value, about) for value, about in found if value not in typed)


def _contexts(place: CursorPlace) -> Offer:
    """But where the name of a new one stands, and of certs' names, which are no contexts."""
    if place.path == ["certs", "renew"]:
        return _issued(place)
    if place.path[:1] == ["certs"] or place.path == ["context", "add"]:
        return _NOTHING
    return _of_pairs(load("completing.live").contexts())


def _issued(place: CursorPlace) -> Offer:
    directory = place.given.get("directory", ["certs"])[-1]
    return _of_pairs(load("completing.issued_names").issued_names(directory))


def _context_groups(place: CursorPlace) -> Offer:  # noqa: ARG001  of the table's form
    return _of_pairs(load("completing.live").groups())


def _of_pairs(pairs: Iterable[tuple[str, str]]) -> Offer:
    return Offer(candidates=[Candidate(value, about) for value, about in pairs])


def _commands(place: CursorPlace) -> Offer:
    found = load("completing.live").commands(settings_of(place))
    return Offer(candidates=[Candidate(name, about) for name, about, _ in found])


def _slots(place: CursorPlace) -> Offer:
    command = place.given.get("command", [""])[-1]
    texts = [
        text
        for name, _, slots in load("completing.live").commands(settings_of(place))
        if name == command
        for text in next_texts(slots, place.given.get("arguments", []))
    ]
    return Offer(candidates=[Candidate(text) for text in texts])


def _verb_names(place: CursorPlace) -> Offer:
    """Behind help: those of the group that is named so far."""
    group: click.Command | None = load("root").root
    for word in place.given.get("words", []):
        group = group.commands.get(word) if isinstance(group, click.Group) else None
    known = _of_verbs(group, place.value) if isinstance(group, click.Group) else []
    return Offer(candidates=known)


def _nothing(place: CursorPlace) -> Offer:  # noqa: ARG001
    return _NOTHING


def _verbs(place: CursorPlace) -> Offer:  # noqa: ARG001
    return Offer(candidates=[*map(Candidate, VERBS)])


SOURCES: Final[dict[str, Callable[[CursorPlace], Offer]]] = {
    **dict.fromkeys(("pid", "pids"), _jobs),
    **dict.fromkeys(("ca", "certificate", "key", "passphrase_file"), lambda place: _FILES),
    **dict.fromkeys(("ca_passphrase_file",), lambda place: _FILES),
    "directory": lambda place: _DIRECTORIES,
    "signal": _signals,
    **dict.fromkeys(("context", "name", "names"), _contexts),
    "groups": _context_groups,
    "words": _verb_names,
    # What only the user knows.
    **dict.fromkeys(("address", "connect_timeout_s", "reconnect", "grace", "reason"), _nothing),
    **dict.fromkeys(("timeout_s", "env", "after", "interval", "job_name", "labels"), _nothing),
    **dict.fromkeys(("most", "named", "since_ns", "filters"), _nothing),
    **dict.fromkeys(("server_name", "server_fingerprint"), _nothing),
    "of_command": _commands,
    "verb": _verbs,
    **dict.fromkeys(("offset", "tail", "since", "hosts", "days"), _nothing),
    **dict.fromkeys(("hours", "host", "fingerprint"), _nothing),
    "wanted": _issued,
    "files": lambda place: _FILES,
    "command": _commands,
    "arguments": _slots,
}
"""By the parameter's name. One with choices needs no entry."""


def offer_at(place: CursorPlace) -> Offer:
    """What may stand there and begins with what is typed. Never raises what a server or a file of
    the user's causes."""
    if place.options:
        return _fitting(place, Offer(candidates=[*map(_of_option, place.options)]))
    if place.verbs and isinstance(place.command, click.Group):
        return _fitting(place, Offer(candidates=_of_verbs(place.command, place.value)))
    if place.wanted is None:
        return _NOTHING
    if isinstance(place.wanted.type, click.Choice):
        return _fitting(
            place, Offer(candidates=[Candidate(str(text)) for text in place.wanted.type.choices])
        )
    name = (place.wanted.name or "").removeprefix("own_")
    source = SOURCES.get(name, _nothing)
    return _fitting(place, source(place))


def _fitting(place: CursorPlace, offer: Offer) -> Offer:
    """Those that continue what is typed, each as the whole word. No word can hold a NUL, which
    would part two for the shell."""
    value = place.value
    return replace(
        offer,
        candidates=[
            replace(each, value=place.front + each.value)
            for each in offer.candidates
            if each.value.startswith(value) and "\0" not in each.value
        ],
    )


def _of_option(option: click.Option) -> Candidate:
    long = max(option.opts, key=len)
    return Candidate(long, _first_sentence(option.help or ""))


def _of_verbs(group: click.Group, typed: str) -> list[Candidate]:
    """An alias only where it is typed already, because it says nothing new."""
    return [
        Candidate(name, _first_sentence(verb.help or ""))
        for name, verb in group.commands.items()
        if (typed or name not in ALIASES) and not verb.hidden
    ]


def _first_sentence(text: str) -> str:
    first = " ".join(text.split("\n\n")[0].split())
    return first.partition(". ")[0].removesuffix(".")


def settings_of(place: CursorPlace) -> Settings:
    """The settings that are typed in front of the cursor: which server, and who we are there."""
    names = {each.name for each in fields(Settings)} - {"output", "connect_timeout_s"}
    typed: dict[str, Any] = {name: place.given[name][-1] for name in names & {*place.given}}
    return Settings(**typed)


def shown(candidates: Iterable[Candidate]) -> list[tuple[str, str]]:
    """Each value with a harmless line that shows it and what it is about, in columns."""
    lines = [(each.value, harmless(each.value).replace("\n", "\\n"), each) for each in candidates]
    width = min(30, max((len(name) for _, name, _ in lines), default=0))
    return [
        (value, f"{name:<{width}}  -- {about_of(each)}" if each.about else name)
        for value, name, each in lines
    ]


def about_of(candidate: Candidate) -> str:
    """The line on it, harmless for a terminal and without tabs and line ends."""
    return " ".join(harmless(candidate.about).split())
