"""Completion of the shell's line: what ``completing`` offers, over the shared connection."""

import os
import shlex
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Final

import trio
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from trio_asyncio import trio_as_aio

from ...client.first_connection import Endpoint
from ...concurrency.own_thread import in_own_thread
from ..completing.candidates import Candidate, Offer, about_of, offer_at
from ..completing.live import ANSWERS
from ..completing.places import find_place
from ..completing.questions import BOUND_S, QUESTIONS
from ..exits import EXPECTED
from ..fitting import one_line
from ..flags import Settings
from ..root import root
from ..terminal import is_hidden
from .line_traits import LEAVING, PROGRAM
from .line_words import words_before
from .shared_connection import SharedConnection

_FRESH_S: Final = 2.0
"""How old an answer of the server may be."""
_MOST_PATHS: Final = 1000
_MOST_ANSWERS: Final = 64


class KnownAnswers:
    """The server's answers to completion's questions, each kept for a moment; one that does not
    come in time is empty."""

    def __init__(self, shared: SharedConnection, endpoint: Endpoint) -> None:
        self._shared = shared
        self._endpoint = endpoint
        self._answers: dict[tuple[str, str], tuple[float, Sequence[Any]]] = {}
        self._missing: set[tuple[str, str]] = set()

    def answer(self, settings: Settings, question: str, about: str) -> Sequence[Any]:
        """What is known; otherwise nothing, and ``fetch`` asks for it. Nothing for a line that
        goes to another server, which would have to be connected to at a press of Tab."""
        if settings != Settings():
            return ()
        at, known = self._answers.get((question, about), (-1.0, ()))
        if trio.current_time() - at > _FRESH_S or at < 0:
            self._missing.add((question, about))
        return known

    async def fetch(self) -> bool:
        """Asks what was missing, within BOUND_S; returns whether there was anything.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        missing, self._missing = self._missing, set()
        if len(self._answers) > _MOST_ANSWERS:
            self._answers.clear()
        for question, about in missing:
            found: Sequence[Any] = ()
            # Scope K0.shell_completion.
            with trio.move_on_after(BOUND_S):
                try:
                    async with self._shared(self._endpoint, connect_timeout_s=0) as client:
                        found = await QUESTIONS[question](client, about)
                except EXPECTED:
                    pass  # what goes wrong is no candidate
            self._answers[question, about] = (trio.current_time(), found)
        return bool(missing)


class LineCompleter(Completer):
    """Offers what may stand at the cursor, each candidate as its whole word, quoted."""

    def __init__(self, known: KnownAnswers) -> None:
        self._known = known

    def get_completions(
        self,
        document: Document,  # noqa: ARG002  prompt_toolkit's
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> Iterator[Completion]:
        """None: a server may have to be asked."""
        return iter(())

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002  prompt_toolkit's
    ) -> AsyncGenerator[Completion, None]:
        """As prompt_toolkit asks for them, from asyncio.

        Cancellation: minimum cleanup.
        """
        for each in await trio_as_aio(self.completions)(document.text_before_cursor):
            yield each

    async def completions(self, text: str) -> list[Completion]:
        """What may stand at the end of this text.

        Cancellation: minimum cleanup.
        """
        words = words_before(text)
        texts = [word.text for word in words]
        if len(texts) > 1 and texts[0] == PROGRAM:
            del texts[0]
        offer = self._offer(texts)
        if await self._known.fetch():
            offer = self._offer(texts)
        candidates, behind = list(offer.candidates), " "
        if offer.kind != "values":
            candidates, behind = (
                await _paths(texts[-1], directories=offer.kind == "directories"),
                "",
            )
        if len(texts) == 1:
            candidates += [
                Candidate(name, "Leave the shell") for name in LEAVING if name.startswith(texts[0])
            ]
        begin = words[-1].begin - len(text)
        return [
            Completion(
                f"{shlex.quote(each.value)}{behind}",
                begin,
                display=one_line(each.value),
                display_meta=about_of(each),
            )
            for each in candidates
            if not any(map(is_hidden, each.value))
        ]

    def _offer(self, texts: Sequence[str]) -> Offer:
        token = ANSWERS.set(self._known.answer)
        try:
            return offer_at(find_place(root, texts))
        finally:
            ANSWERS.reset(token)


async def _paths(typed: str, *, directories: bool) -> list[Candidate]:
    """The names that continue a path, within BOUND_S: its disk may stand still."""
    # Scope K0.shell_paths.
    with trio.move_on_after(BOUND_S):
        return await in_own_thread(_paths_now, typed, directories)
    return []


def _paths_now(typed: str, directories: bool) -> list[Candidate]:
    # Of "--ca=dir/fi" and of "dir/fi" alike, because the offer's kind does not say which it is.
    option, equals, value = typed.partition("=") if typed.startswith("--") else ("", "", typed)
    front, base = os.path.split(value)
    names: list[tuple[str, bool]] = []
    try:
        with os.scandir(front or ".") as entries:
            for entry in entries:
                if entry.name.startswith(base) and (base or not entry.name.startswith(".")):
                    names.append((entry.name, entry.is_dir()))
                if len(names) >= _MOST_PATHS:
                    break
    except OSError:
        return []
    return [
        Candidate(f"{option}{equals}{os.path.join(front, name)}{'/' if is_directory else ''}")
        for name, is_directory in sorted(names)
        if is_directory or not directories
    ]
