"""``penstock __complete SHELL WORD …``: what may stand at the cursor, as the shell's script
wants it.

Silent: what goes wrong (no server, a key with a passphrase, a broken setting) is no candidate.
The first line, or field, is the kind of the offer. Then

- for bash, whose words are the line up to the cursor and the part of it that readline replaces: a
  line each, quoted for the place behind what readline leaves standing;
- for zsh and fish, whose words are those of the line: separated by NUL, unquoted, because both
  quote what they insert; for zsh each with a line that shows it, for fish with a tab and what it is
  about.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from ..descriptors import OUT, OutputFailed
from ..root import root
from .candidates import Offer, about_of, offer_at, shown
from .places import find_place
from .shell_syntax import Word, inserted, read_word, split_line


def complete(arguments: Sequence[str]) -> int:
    """Prints what may stand at the cursor; returns the exit status."""
    # No question may reach the terminal, which the shell is reading from.
    sys.stdin = open(os.devnull)  # noqa: SIM115  # lives as long as the process
    match arguments:
        case ["bash", line, replaced]:
            text = _for_bash(split_line(line), replaced)
        case ["zsh", *words] if words:
            text = _for_zsh(_offer([read_word(word) for word in words]))
        case ["fish", *words, current] if words:
            typed = [Word(word, word) for word in words]  # those fish has unquoted
            text = _for_fish(_offer([*typed, read_word(current, fish=True)]), current)
        case _:
            return 2
    with suppress(OutputFailed):  # the shell wants it no more
        OUT.send(text.encode(errors="surrogateescape"))
    return 0


def _offer(words: Sequence[Word]) -> Offer:
    return offer_at(find_place(root, [word.text for word in words[1:]]))


def _for_bash(words: Sequence[Word], replaced: str) -> str:
    offer = _offer(words)
    current = words[-1]
    # What readline leaves standing of the word: up to a "=" or ":", or to a quote that is open.
    left = read_word(current.raw.removesuffix(replaced))
    texts = [
        inserted(each.value.removeprefix(left.text), left.quote, front=not left.raw)
        for each in offer.candidates
        if each.value.startswith(left.text)
    ]
    # Where readline replaces something else than we see, as in "$(penstock ", it is in another
    # quote than we know.
    known = current.raw.endswith(replaced)
    lines = [offer.kind, *(text for text in texts if known and text is not None)]
    return "".join(f"{line}\n" for line in lines)


def _for_zsh(offer: Offer) -> str:
    return "\0".join([offer.kind, *(text for pair in shown(offer.candidates) for text in pair)])


def _for_fish(offer: Offer, current: str) -> str:
    # A tab ends the value for fish, so that one with a tab cannot be offered. Nor can one be
    # that fish takes for a home directory, which it does not quote, unless its "~" is typed quoted.
    home = current in ("", "\\") or current.startswith("~")
    fields = [
        f"{each.value}\t{about_of(each)}"
        for each in offer.candidates
        if "\t" not in each.value and not (home and os.path.expanduser(each.value) != each.value)
    ]
    return "".join(f"{field}\0" for field in [offer.kind, *fields])
