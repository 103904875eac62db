"""Errors of a block that a nursery is hidden around: as the block raised them, and never lost.

A nursery wraps an error that is raised in it into a group. If the scope around it is cancelled at
the same moment, what comes out of it may be Cancelled alone, and the error is lost. So the block's
own error is led around the nursery: it is caught inside of it, and raised again outside.
"""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import trio


class PlainErrors:
    """The errors of one nursery, and of the block in it:

    errors = PlainErrors()
    with errors.outside():
        async with trio.open_nursery() as nursery:
            with errors.inside():
                yield
            nursery.cancel_scope.cancel()

    One error leaves as itself. Several (the block's, and a bug of a task beside it, or ^C as the
    nursery ends) leave as a group, so that none is lost. Cancelled leaves only if there is no
    error, because an error unwinds the stack through the cancelled scope just as well.
    """

    def __init__(self) -> None:
        self._of_block: BaseException | None = None

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Around the block. Keeps what the block raises, so that to the nursery it has just ended;
        the caller cancels the tasks beside it.

        Cancelled is not kept, because the nursery, or a scope around it, has to catch it.
        """
        try:
            yield
        # ``outside`` raises what is kept; Cancelled alone is raised again here.
        except BaseException as error:  # noqa: ASYNC103
            self._of_block = _without_cancelled(error)
            if self._of_block is None:
                raise

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Around the nursery. Raises the errors of the block and of the nursery, together."""
        found: list[BaseException] = []
        try:
            yield
        # Cancelled is raised again here, unless there is an error to take its place, below.
        except BaseException as error:  # noqa: ASYNC103
            found = _leaves(error)
            if self._of_block is None and not found:
                raise
        if self._of_block is not None:
            found.insert(0, self._of_block)
        if found:
            _raise(_together(found))


def _without_cancelled(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors that nurseries have wrapped, but Cancelled."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [] if isinstance(error, trio.Cancelled) else [error]


def _together(found: list[BaseException]) -> BaseException:
    # ^C may come twice, to the block and as the nursery ends; two of it are one interrupt.
    if len(found) == 1 or all(isinstance(each, KeyboardInterrupt) for each in found):
        return found[0]
    return BaseExceptionGroup("an error, and others as its block was left", found)


def _raise(error: BaseException) -> NoReturn:
    """Raises it without the nursery's group as its context, because that has the same error in it
    once more, and a traceback would show it twice."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context  # a frame in its own traceback is a cycle
