"""Exit codes, and the error of a verb that fails by its own decision, with its line and code."""

from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes of control verbs; run, wait and stream --exit-code pass the job's own through."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    DENIED = 5
    CONFLICT = 6
    EXHAUSTED = 7
    DEADLINE = 124
    INTERRUPTED = 130


class Failed(Exception):
    """A verb's own failure: the message is a whole line, the code the exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(text: str, code: int) -> NoReturn:
    """Raises Failed, which ends the verb with this line and exit status."""
    raise Failed(text, code)
