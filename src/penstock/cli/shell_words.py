"""A command line as a user would type it into a shell (pure)."""

import shlex
from collections.abc import Iterable
from typing import Final

from .terminal import escape, is_hidden

# Written as escapes, because in '...' these would be invisible, or begin another line.
_BLANK: Final = frozenset("\n\t")
_NAMED: Final = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}


def shell_line(words: Iterable[str]) -> str:
    """The words, quoted where that is needed, on one line that is harmless for a terminal."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not any(character in _BLANK or is_hidden(character) for character in word):
        return shlex.quote(word)
    # As bash, ksh, zsh and POSIX.1-2024 read it, because in '...' a user could not see it.
    return f"$'{''.join(map(_character, word))}'"


def _character(character: str) -> str:
    return _NAMED.get(character) or (escape(character) if is_hidden(character) else character)
