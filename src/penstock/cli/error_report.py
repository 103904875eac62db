"""How a failure is told: a line for people, or under ``-o json`` one object on standard error.

The object is {"error": {...}} with ``code`` (a gRPC status's name, also where no server was asked),
``reason`` (a stable word of the server's ErrorInfo, or of ours), ``message``, ``exit_status``, and
``pid``, ``notes`` and ``details`` (google.rpc's messages) where there are any.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from .invocation import current
from .lazy import load
from .standard import complain

# In our texts: "go on with: penstock stream 48213". A server's version is "penstock 1.0".
_COMMAND_LINE: Final = re.compile(r"\bpenstock (?=[a-z])(?!context )")


def _placed(text: str) -> str:
    """A text whose command lines go to the server that ours went to: a job of that handle on
    another one would be another job. A name of our file needs no quotes; in an error about another
    one it stands as it was given."""
    context = current().form.context
    if context is None:
        return text
    return _COMMAND_LINE.sub(lambda _: f"penstock --context {context} ", text)


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether ``-o json`` stands anywhere, for mistakes in a line that cannot be parsed."""
    return "-ojson" in arguments or ("-o", "json") in pairwise(arguments)


def report_error(
    text: str,
    exit_status: int,
    error: BaseException | None = None,
    *,
    notes: Sequence[str] = (),
    pid: str = "",
    code: str = "UNKNOWN",
    reason: str = "",
) -> None:
    """Prints an error on standard error. Never fails.

    ``text`` is a line that is harmless for a terminal, ``notes`` are lines behind it. What
    ``error`` is decides ``code`` and ``reason`` if it is one of those that are expected.
    """
    text, notes = _placed(text), [_placed(note) for note in notes]
    if not current().form.json:
        complain("\n".join((f"Error: {text}", *notes)))
        return
    shown: dict[str, object] = {"code": code, "reason": reason}
    if error is not None:
        shown |= load("error_details").fields_of(error)
    shown |= {"message": text, "exit_status": int(exit_status), "pid": pid, "notes": list(notes)}
    # Left out as in protobuf's JSON, but for what every error has.
    kept = {key: value for key, value in shown.items() if value or key == "exit_status"}
    complain(load("plain_json").json_text({"error": kept}))


def report_line(
    line: str,
    exit_status: int,
    error: BaseException | None = None,
    *,
    code: str = "UNKNOWN",
    reason: str = "",
) -> None:
    """As ``report_error``, of whole lines as a verb has made them: "Error: ...", or without that
    where a signal has ended it, and further lines behind."""
    if not current().form.json:
        complain(_placed(line))
        return
    first, *notes = line.split("\n")
    # What is an exit status alone says nothing here.
    notes = [note for note in notes if note != f"Exit {exit_status}"]
    text = first.removeprefix("Error: ")
    if text == first:
        report_error(text, exit_status, notes=notes, code="CANCELLED", reason="INTERRUPTED")
    else:
        report_error(text, exit_status, error, notes=notes, code=code, reason=reason)
