"""The messages by which server and supervisor take up changed files together (pure).

docs/protocol.md, "A reload", says which follows which, and what becomes of a reload when either
side is gone, silent, or says no.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

from .message_base import Count, Message, Text
from .message_forms import list_of, mapping, names, text
from .message_record import Wire

MOST_TEXTS: Final = 64
_MOST_CHARACTERS: Final = 500
# Of a list of texts, as escaped in a message: two of them fit one, beside its other fields.
_MOST_BYTES: Final = 50_000
RELOAD_FILES: Final = ("policy", "configuration")

FewTexts = Annotated[tuple[str, ...], Wire(list_of(text, MOST_TEXTS), tuple, list)]
_SomeTexts = Annotated[tuple[str, ...], Wire(list_of(text, MOST_TEXTS), tuple, list, optional=True)]


@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Asks the server whether it could run with these files, and to hold what it made of them
    aside. ``generation`` is the hash that names both, ``policy`` that of the policy alone;
    ``settings`` are those that penstockd would run with, as in WELCOME; ``asked_by`` is for the
    audit log. ``fds`` are the bytes of both in sealed memory files."""

    kind = "PREPARE"
    number: Count
    generation: Text
    policy: Text
    settings: Text
    asked_by: Text
    fds: Annotated[
        tuple[str, ...],
        Wire(names(frozenset(RELOAD_FILES), "policy", "configuration"), tuple, list),
    ]


@dataclass(frozen=True, slots=True)
class Switch(Message):
    """The supervisor has taken up what PREPARE of this number has named, so the server does the
    same at once. The rest is as in WELCOME, by the new files."""

    kind = "SWITCH"
    number: Count
    max_jobs: Count
    warnings: FewTexts = ()
    userless: Annotated[Mapping[str, str], Wire(mapping(text))] = field(default_factory=dict)
    changes: FewTexts = ()
    """What is different from now on, in words, for the audit log."""


@dataclass(frozen=True, slots=True)
class Abandon(Message):
    """A reload was refused, so nothing has changed on either side. The server forgets what it has
    prepared under this number, if it has, and writes the mistakes into the audit log, if there are
    any: there are none where files that do not fit yet are tried again. It may not have been asked
    at all: then the supervisor has found the mistakes."""

    kind = "ABANDON"
    number: Count
    asked_by: Text
    mistakes: FewTexts


@dataclass(frozen=True, slots=True)
class Prepared(Message):
    """The answer to PREPARE: without mistakes the server is ready. ``warnings`` are for the one who
    has asked for the reload."""

    kind = "PREPARED"
    number: Count
    mistakes: FewTexts = ()
    warnings: _SomeTexts = ()


@dataclass(frozen=True, slots=True)
class Switched(Message):
    """The answer to SWITCH. ``changes``: what became of clients and connections, in words, for the
    one who has asked."""

    kind = "SWITCHED"
    number: Count
    changes: _SomeTexts = ()


def few_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """As many as a message holds, the last of them with how many more there are; each cut off where
    it is too long."""
    shown: list[str] = []
    left = _MOST_BYTES
    for each in texts[:MOST_TEXTS]:
        text = each if len(each) <= _MOST_CHARACTERS else f"{each[: _MOST_CHARACTERS - 3]}..."
        left -= len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if left < 0:
            break
        shown.append(text)
    if len(texts) > len(shown):
        shown[-1] = f"and {len(texts) - len(shown) + 1} more, which the log of penstockd has"
    return tuple(shown)
