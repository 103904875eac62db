"""How a verb fails by itself."""

from typing import NoReturn


class Failed(Exception):
    """A verb's own failure: the message is a whole line, the code the exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(text: str, code: int) -> NoReturn:
    """Ends the verb with a line of its own making."""
    raise Failed(text, code)
