"""Saying things on standard output and error.

A verb that acts (start, stop) reports by ``say``, which never fails, because a closed pipe must
not keep a job from being stopped. ``root`` checks the output's failure afterwards. A verb that is
about output (stream, run) uses ``writing.write``, which raises.
"""

from .invocation import current


def say(text: str) -> None:
    """Prints one line on standard output, at once even through a pipe. Never fails."""
    current().out.text.write(f"{text}\n")


def complain(text: str) -> None:
    """Prints a message of ours on standard error, on a line of its own. Never fails."""
    err = current().err
    err.text.write(f"{err.place.end_line()}{text}\n")


def encoded(text: str) -> bytes:
    """Bytes for standard output; a character that its encoding lacks is a visible escape."""
    return text.encode(current().out.text.encoding, "backslashreplace")
