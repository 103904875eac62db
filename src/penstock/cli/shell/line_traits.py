"""What can be told of a line of the shell before it is run: by the verbs' declarations (pure)."""

import re
from collections.abc import Sequence
from typing import Final

from ..completing.places import find_place
from ..flags import Settings
from ..root import root
from ..setting_sources import NAMES
from .line_words import LineRead

PROGRAM: Final = "penstock"
"""May stand in front of a line."""
LEAVING: Final = ("exit", "quit")
# Verbs, and flags of verbs, that have the terminal as a whole, or read it.
_WHOLE_VERBS: Final = frozenset(("top", "send", "certs"))
_WHOLE_FLAGS: Final = frozenset(("watch", "stdin"))
# "--env", or "-e", also behind other flags of one letter.
_MAY_BE_ENV: Final = re.compile(r"--env(=|$)|-[A-Za-z]*e")


def flags_of(settings: Settings) -> list[str]:
    """The global flags of these settings, as they would be typed."""
    found = {flag: getattr(settings, name) for name, flag, _ in NAMES}
    found["--context"] = settings.context
    flags = [f"{flag}={value}" for flag, value in found.items() if value is not None]
    timeout = f"--connect-timeout={settings.connect_timeout_s}"
    return [*flags, timeout, "-o", settings.output]


def takes_terminal(words: Sequence[str]) -> bool:
    """Whether this line has the terminal as a whole, so that nothing else may write there."""
    place = find_place(root, [*words, ""])
    return bool(_WHOLE_VERBS & {*place.path[:1]} or _WHOLE_FLAGS & {*place.given})


def keeps_line(read: LineRead) -> bool:
    """Whether a line may stand in the history: not behind a blank, as shells have it, and not with
    values of a job's environment, which may be secrets."""
    if read.indented:
        return False
    words = [word.text for word in read.words]
    if words[:1] == [PROGRAM]:
        del words[0]
    place = find_place(root, [*words, ""])
    if not place.path:
        # A verb that is misspelt: what its options would be is not known.
        return not any(map(_MAY_BE_ENV.match, words))
    return "env" not in place.given
