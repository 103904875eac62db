"""Colours for people: on a terminal alone, unless the environment says otherwise (no I/O)."""

from collections.abc import Mapping
from typing import Final, Literal

from .invocation import current

Style = Literal["bold", "red", "green", "yellow", "dim"]

# Select Graphic Rendition, ECMA-48 8.3.117: the eight colours that every terminal has.
_CODES: Final[Mapping[Style, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
}


def wants_colours(*, terminal: bool, environment: Mapping[str, str] | None = None) -> bool:
    """Whether text for a descriptor is coloured: NO_COLOR (https://no-color.org) forbids it,
    CLICOLOR_FORCE and FORCE_COLOR ask for it in a pipe, too; else a terminal that is none of the
    dumb ones has colours."""
    if environment is None:
        environment = current().environment
    if environment.get("NO_COLOR"):
        return False
    for name in ("CLICOLOR_FORCE", "FORCE_COLOR"):
        if environment.get(name, "") not in ("", "0"):
            return True
    plain = environment.get("CLICOLOR") == "0" or environment.get("TERM", "dumb") == "dumb"
    return terminal and not plain


def only_prints(environment: Mapping[str, str]) -> bool:
    """Whether the terminal is one that obeys no sequences, so that nothing can be drawn anew."""
    return environment.get("TERM") in ("dumb", "unknown")


def painted(text: str, style: Style | None) -> str:
    """The text in a style; blanks at its end stay plain."""
    shown = text.rstrip(" ")
    if style is None or not shown:
        return text
    return f"\x1b[{_CODES[style]}m{shown}\x1b[0m{text[len(shown) :]}"
