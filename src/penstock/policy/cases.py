"""A table of cases: what a policy must grant, and what it must not (pure).

A case is a line: CLIENT, ``allow`` or ``deny``, and the command line, in a shell's quoting. Lines
are what people paste from a terminal and what shows well in a diff. A denial is easily had by a
mistake of typing, so ``deny=KEY`` also says which key of the policy is to deny it.
"""

import argparse
import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from .explanation import Explanation, TriedStart

_VERDICTS: Final = "write allow, deny, or deny=KEY of the policy"
_BLANK: Final = re.compile(r"[ \t\r]*")


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """``key``: the one that must deny it, or something below it; "" where any may."""

    line: int
    text: str
    client: str
    start: TriedStart
    granted: bool
    key: str = ""

    def holds(self, found: Explanation) -> bool:
        """Did the policy decide as the case says?"""
        if found.granted != self.granted:
            return False
        decided = {found.rule, *(use.key for use in found.open)}
        return not self.key or any(_is_at(each, self.key) for each in decided)

    @property
    def expected(self) -> str:
        """For people."""
        return "allow" if self.granted else f"deny by {self.key}" if self.key else "deny"


def parse_cases(data: bytes) -> tuple[list[PolicyCase], list[str]]:
    """The cases of a file, and the mistakes in its other lines, each as ``LINE: what; remedy``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [f"{line}: byte {error.start} is not UTF-8; save the file as UTF-8"]
    cases: list[PolicyCase] = []
    mistakes: list[str] = []
    # Not by splitlines, because an argument may hold what Unicode calls the end of a line.
    for number, each in enumerate(text.split("\n"), 1):
        try:
            words = _words(each)
            if words:
                cases.append(_case(number, words))
        except ValueError as error:
            mistakes.append(f"{number}: {error}")
    return cases, mistakes


def _words(line: str) -> list[str]:
    """The words of a line as a shell has them: ``#`` begins a comment only where a word could
    begin, so that ``a#b`` is an argument. shlex alone would cut the line there, and another command
    line would be tried than the one that was written. Raises ValueError."""
    source = io.StringIO(line)
    lexer = shlex.shlex(source, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.whitespace = True, "", " \t\r"
    words: list[str] = []
    try:
        while not line.startswith("#", _past_blanks(line, source.tell())):
            word = lexer.get_token()
            if word is None:
                break
            words.append(word)
    except ValueError as error:
        raise ValueError(f"{error}; a case is one line, quoted as in a shell") from None
    return words


def _past_blanks(line: str, start: int) -> int:
    found = _BLANK.match(line, start)
    return found.end() if found is not None else start


def _case(number: int, words: Sequence[str]) -> PolicyCase:
    if len(words) < 2:
        raise ValueError("a client alone; write CLIENT allow|deny COMMAND ...")
    client, verdict, *rest = words
    kind, equals, key = verdict.partition("=")
    if kind not in ("allow", "deny") or (equals and (kind == "allow" or not key)):
        raise ValueError(f"{verdict!r} is no verdict; {_VERDICTS}")
    start = parse_line(rest)
    return PolicyCase(number, shlex.join((client, *rest)), client, start, kind == "allow", key)


def parse_line(words: Sequence[str]) -> TriedStart:
    """A command line with the options of ``penstock start`` before it. Raises ValueError."""
    parser = _LineParser(add_help=False, allow_abbrev=False, prog="")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--stdin", action="store_true")
    parser.add_argument("line", nargs=argparse.REMAINDER)
    found = parser.parse_args(list(words))
    line = found.line[1:] if found.line[:1] == ["--"] else found.line
    if not line:
        raise ValueError("no command; write its name and its arguments")
    env = {}
    for setting in found.env:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--env {setting!r} has no value; write --env NAME=VALUE")
        env[name] = value
    return TriedStart(line[0], tuple(line[1:]), env, found.stdin)


class _LineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --env NAME=VALUE and --stdin may stand before the command")


def _is_at(key: str, wanted: str) -> bool:
    return key == wanted or key.startswith((f"{wanted}.", f"{wanted}["))
