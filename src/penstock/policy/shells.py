"""What a granted command gives by accident: a shell, other programs, or any file (pure).

Theory of operation. A grammar is what a client may choose: text and paths are the client's words,
while literals, enums and integers are the administrator's own. A program is dangerous where a word
of the client's reaches a place that names a program, a script or a file. So the words that stand
before the client's are walked as the program itself would read them (is the script fixed? does an
option take the next word?), and what is left to the client is held against the tables of
programs.py. A wrapper such as ``env`` or ``timeout`` is followed into the program that it runs.

The result is a warning and no refusal, because the administrator may mean it. A program that the
tables do not list is not thereby safe.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from . import programs
from .grammar import Grammar, Match
from .patterns import parse_pattern
from .prefixes import may_begin, may_leave
from .programs import EXECUTE, READ, SHELL, WRITE, Option, names_of
from .slots import (
    EnumSlot,
    Leaf,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
)

# Words that stand in place of a script and mean the standard input.
_INPUT_WORDS: Final = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_PROGRAM_DIRECTORIES: Final = frozenset({"bin", "sbin", "libexec", "games"})
_ANY_TEXT: Final = PatternSlot(parse_pattern("[^a]{1,256}"))
# A program that runs a program that runs one. No real command needs more, and without a bound a
# policy could make this walk long.
_MOST_NESTED: Final = 4
_DOES: Final = {
    SHELL: "gives a shell",
    EXECUTE: "runs a program",
    WRITE: "writes a file",
    READ: "reads a file",
}


def shell_warning(
    path: str,
    fixed: tuple[str, ...],
    grammar: Grammar,
    *,
    stdin: bool = False,
    resolved: str | None = None,
) -> str | None:
    """Why this program with this grammar may give a shell, another program or any file.

    None if nothing is known. ``stdin``: the client may send input. ``resolved``: where ``path``
    leads, if that is known, because a link of any name may lead to an interpreter.
    """
    slots = (*(LiteralSlot(text) for text in fixed), *grammar.slots)
    why = _warning(path, slots, stdin, _MOST_NESTED)
    if why or resolved in (None, path) or names_of(resolved) & programs.BY_THE_NAME:
        return why
    why = _warning(resolved, slots, stdin, _MOST_NESTED)
    return f"{path} is a link, and {why}" if why else None


def _warning(path: str, slots: tuple[Slot, ...], stdin: bool, depth: int) -> str | None:
    names = names_of(path)
    known = _known_words(slots)
    if names & programs.MULTICALL and depth:
        if known and known[0].removeprefix("--coreutils-prog=")[:1] not in ("-", ""):
            applet = known[0].removeprefix("--coreutils-prog=")
            return _warning(applet, slots[1:], stdin, depth - 1)
        if _chosen(slots):
            return f"{path} is many programs, and a text or path of the client's names which"
    if stdin and names & programs.ARGUMENTS_BY_INPUT and any(word[:1] != "-" for word in known):
        slots = (*slots, _ANY_TEXT)
    leaves = list(_leaves(slots))
    text = any(isinstance(leaf, PatternSlot) for leaf in leaves)
    chosen = _chosen(slots)
    scripted = _names_script(names, known)
    if names & (programs.SHELLS | programs.COMMAND_READERS) and not scripted:
        if chosen:
            return f"{path} is an interpreter, and its script is not fixed"
        if (stdin or not known) and isinstance(Grammar(slots[len(known) :]).match([]), Match):
            return f"{path} is an interpreter, and without arguments it runs what it reads"
    if stdin and (runs := _runs_input(names, known)):
        return f"{path} {runs}"
    if names & programs.COMMAND_READERS and text:
        return f"{path} takes commands in several ways, and a text of the client's can be one"
    if names & programs.SHELLS and scripted:
        return None  # what follows is the script's
    if names & programs.WRAPPERS and any(_is_program(word) for word in known):
        return _nested(path, slots, stdin, depth)
    if names & (programs.RUNNERS | programs.WRAPPERS) and chosen:
        return f"{path} runs other programs, and a text or path of the client's can name them"
    options = [option for name in names for option in programs.OPTIONS.get(name, ())]
    if text and any(option.gives in (SHELL, EXECUTE) for option in options):
        return f"{path} has options that run programs, and takes the client's text"
    if names & programs.WRITERS and text:
        return f"{path} writes or removes what the client's text names"
    if names & programs.READERS and any(may_leave(leaf) for leaf in leaves):
        return f"{path} reads whatever file the client's text names; grant a path instead"
    return _granted_option(path, slots, options, stdin) or _nested(path, slots, stdin, depth)


def _granted_option(
    path: str, slots: Sequence[Slot], options: Sequence[Option], stdin: bool
) -> str | None:
    """Why an option is the client's: the client chooses its value, or a text can be the option."""
    by_words = any(len(option.text) > 2 and option.text[:2].strip("-") for option in options)
    for leaf, following in _followed(slots, frozenset()):
        value_chosen = any(isinstance(each, PatternSlot | PathSlot) for each in following)
        sent = stdin and any(_INPUT_WORDS.intersection(_own_words(each)) for each in following)
        words = _own_words(leaf)
        for option in options:
            chosen = value_chosen or (sent and _lists_or_runs(option))
            taken = chosen and any(_asks(word, option.text, by_words) for word in words)
            taken |= (
                stdin
                and _lists_or_runs(option)
                and any(
                    word.startswith(f"{option.text}=") and word.partition("=")[2] in _INPUT_WORDS
                    for word in words
                )
            )
            if taken or (isinstance(leaf, PatternSlot) and may_begin(leaf, option.text)):
                return f"{path} {_DOES[option.gives]} that follows {option.text}, the client's"
    return None


def _lists_or_runs(option: Option) -> bool:
    """Does the option's file name what is run, or which files are read?

    Then input in place of that file names it as well.
    """
    return option.gives in (SHELL, EXECUTE) or "file" in option.text


def _asks(word: str, option: str, by_words: bool) -> bool:
    """Is this word the option, so that the option's value is the next word?"""
    if option.startswith("--"):  # getopt_long(3) takes any beginning that is not ambiguous
        plain = option.removesuffix("=")
        return "=" not in word and (word == plain or (len(word) > 3 and plain.startswith(word)))
    if word == option:
        return True
    # Options of one letter may be written together, and the last one takes the value: -xzf.
    cluster = len(option) == 2 and option[0] == "-" and not by_words
    return cluster and word[:1] == "-" and word[1:].isalpha() and word.endswith(option[1])


def _nested(path: str, slots: Sequence[Slot], stdin: bool, depth: int) -> str | None:
    """Why a program that stands within the administrator's own words is one to warn of.

    What comes after it is judged as that program's arguments.
    """
    for index, slot in enumerate(slots if depth else ()):
        for word in _own_words(slot):
            bare = not index and "/" not in word and bool(names_of(path) & programs.WRAPPERS)
            named = bare or _is_program(word)
            if named and names_of(word) & programs.LISTED:
                inner = _warning(word, tuple(slots[index + 1 :]), stdin, depth - 1)
                if inner is not None:
                    return f"{path} runs {word}: {inner}"
    return None


def _is_program(word: str) -> bool:
    parts = word.split("/")
    return word.startswith("/") and len(parts) > 2 and parts[-2] in _PROGRAM_DIRECTORIES


def _runs_input(names: frozenset[str], known: Sequence[str]) -> str | None:
    """Why a program with these words runs what the client sends, even where it has a file."""
    words = _before_script(names, known)
    interactive = frozenset[str]().union(*(programs.INTERACTIVE.get(name, ()) for name in names))
    if any(_asks(word, option, False) for word in words for option in interactive):
        return "reads commands from its input"
    options = [option for name in names for option in programs.OPTIONS.get(name, ())]
    scripted = any(
        option.gives == SHELL and _asks(word, option.text, False)
        for word in known
        for option in options
    )
    if names & programs.COMMANDS_BY_INPUT and not scripted:
        return "runs commands that it reads from its input"
    shells = names & programs.SHELL_BY_DEFAULT
    if shells and not any(_is_program(word) or word == "-c" for word in known):
        return "runs a shell where it is given no program, and that reads its input"
    return None


def _before_script(names: frozenset[str], known: Sequence[str]) -> list[str]:
    """The options before an interpreter's script; all words where a program takes no script."""
    if not names & programs.SHELLS:
        return list(known)
    valued = frozenset[str]().union(*(programs.VALUED.get(name, ()) for name in names))
    found: list[str] = []
    for text in known:
        if text[:1] not in ("-", "+") and not (found and found[-1] in valued):
            break
        found.append(text)
    return found


def _names_script(names: frozenset[str], known: Sequence[str]) -> bool:
    """Is the script, or the program text, fixed before anything that the client chooses?"""
    valued = frozenset[str]().union(*(programs.VALUED.get(name, ()) for name in names))
    verbs = frozenset[str]().union(*(programs.SUBCOMMANDS.get(name, ()) for name in names))
    before = ""
    for text in known:
        if not before and text in verbs:
            continue
        if before == "-m" and names & {"python", "pypy"}:
            # Some modules run what their own arguments name.
            return text not in programs.PYTHON_MODULES
        if text in _INPUT_WORDS or (text == "-s" and "sh" in names | _ends(names)):
            return False
        if text and text[0] not in "-+" and before not in valued:
            return True
        before = text
    return False


def _ends(names: frozenset[str]) -> set[str]:
    """``sh`` for bash, zsh and their like."""
    return {name[-2:] for name in names}


def _known_words(slots: Sequence[Slot]) -> list[str]:
    """The words that the administrator fixed, up to the first slot that is anything else."""
    known = []
    for slot in slots:
        if not isinstance(slot, LiteralSlot):
            break
        known.append(slot.text)
    return known


def _own_words(slot: Slot) -> tuple[str, ...]:
    if isinstance(slot, LiteralSlot):
        return (slot.text,)
    return slot.values if isinstance(slot, EnumSlot) else ()


def _chosen(slots: Sequence[Slot]) -> bool:
    return any(isinstance(leaf, PatternSlot | PathSlot) for leaf in _leaves(slots))


def _leaves(slots: Sequence[Slot]) -> Iterator[Leaf]:
    for slot in slots:
        if isinstance(slot, OptionalSlot | RepeatSlot):
            yield from _leaves(slot.slots)
        else:
            yield slot


def _first(slots: Sequence[Slot], after: frozenset[Leaf]) -> frozenset[Leaf]:
    """The leaves that can take the first argument, if ``after`` are those behind all slots."""
    for slot in reversed(slots):
        if isinstance(slot, OptionalSlot):
            after |= _first(slot.slots, after)
        elif isinstance(slot, RepeatSlot):
            after = _first(slot.slots, after) | (after if slot.least == 0 else frozenset())
        else:
            after = frozenset({slot})
    return after


def _followed(
    slots: Sequence[Slot], after: frozenset[Leaf]
) -> Iterator[tuple[Leaf, frozenset[Leaf]]]:
    """Each leaf with the leaves that can take the argument right behind it."""
    for index, slot in enumerate(slots):
        behind = _first(slots[index + 1 :], after)
        if isinstance(slot, RepeatSlot):
            again = _first(slot.slots, frozenset()) if slot.most > 1 else frozenset()
            yield from _followed(slot.slots, behind | again)
        elif isinstance(slot, OptionalSlot):
            yield from _followed(slot.slots, behind)
        else:
            yield slot, behind
