"""The error of a verb that fails by its own decision, with line and exit status."""

from typing import NoReturn


class Failed(Exception):
    """A verb's own failure: the message is a whole line, the code the exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(text: str, code: int) -> NoReturn:
    """Raises Failed, which ends the verb with this line and exit status."""
    raise Failed(text, code)
