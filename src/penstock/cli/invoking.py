"""Command lines that run in a host: many at once in one Trio, each for another caller.

What of the process a verb could disturb is its ``Invocation``'s instead; what is left is here:
asyncclick prints on ``sys.stdout`` and ``sys.stderr``, so these are the invocation's while it
parses and while an error is reported, both of them between two checkpoints.
"""

from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import trio

from .apart import apart
from .ending_signals import SIGNAL_BASE
from .invocation import Invocation, current, entered
from .lazy import load
from .setting_sources import given
from .writing import drain

if TYPE_CHECKING:
    from .root import CalledLine


def hosted_line(arguments: Sequence[str], invocation: Invocation) -> "CalledLine | None":
    """The line, parsed, if its verb may run in a host beside others; None for one that needs a
    process of its own, or has a mistake in it, or asks for help. Prints nothing.

    A file of /dev or /proc needs its process: /dev/fd/63, as a shell's <(...) gives it, is a
    descriptor of the caller's, and of the host another one or none.
    """
    with entered(invocation), redirect_stdout(_Unseen()), redirect_stderr(_Unseen()):
        line: CalledLine = load("root").CalledLine(arguments)
        try:
            line.parse()
        except Exception:  # of whatever form: a process of its own reports it
            return None
        named = given(line.settings, invocation.environment).values()
        own = any(value.text.startswith(("/dev/", "/proc/")) for value in named)
        return line if line.hosted and not own else None


async def finish(line: "CalledLine", invocation: Invocation) -> int:
    """Runs it to its end; returns its exit status. Raises nothing but Cancelled and
    KeyboardInterrupt.

    Cancellation: minimum cleanup; C22.
    """
    signals = invocation.signals
    assert signals is not None, "a host gives its command lines their signals"
    code = 0
    with entered(invocation):
        # Scope K0.invoked.
        with trio.CancelScope() as scope:
            # Cancels K0.invoked.
            signals.call_at_end(scope.cancel)
            await trio.lowlevel.checkpoint()
            code = await _outcome(line)
            await drain()
            code = line.ended(code)
            await drain()
    return SIGNAL_BASE + signals.ended_by if signals.ended_by else code


async def _outcome(line: "CalledLine") -> int:
    """The exit status that the verb's end makes; reports an error."""
    try:
        if not line.parsed:
            with _streams():
                line.parse()
        if line.hosted:
            answer = line.call()
        else:
            called = await apart(_Called, line)
            answer = called.answer
        if isinstance(answer, Awaitable):
            answer = await answer
        return line.answered(answer)
    # What is no error of the verb's is raised again; Cancelled beside an error unwinds with it.
    except BaseException as error:  # noqa: ASYNC103
        reported = _of_the_verb(error)
        if reported is None:
            raise
        with _streams():
            return line.failed(reported)  # noqa: ASYNC104


class _Unseen(StringIO):
    # As of ``handed_output``'s text: otherwise asyncclick would keep each one, with its help.
    __hash__ = None  # type: ignore[assignment]


class _Called:
    """A verb that was called, and may be left before what it does is awaited."""

    def __init__(self, line: "CalledLine") -> None:
        self.answer = line.call()

    def __del__(self) -> None:
        if isinstance(answer := getattr(self, "answer", None), Coroutine):
            answer.close()  # otherwise Python would warn of it, on the host's standard error


def _of_the_verb(error: BaseException) -> BaseException | None:
    """The error without what belongs to the host; None if nothing is left."""
    theirs = (trio.Cancelled, KeyboardInterrupt, GeneratorExit)
    if isinstance(error, BaseExceptionGroup):
        if error.subgroup((KeyboardInterrupt, GeneratorExit)) is not None:
            return None
        return error.split(theirs)[1]
    return None if isinstance(error, theirs) else error


@contextmanager
def _streams() -> Iterator[None]:
    """``sys.stdout`` and ``sys.stderr`` are the invocation's. Without a checkpoint inside."""
    with redirect_stdout(current().out.text), redirect_stderr(current().err.text):
        yield
