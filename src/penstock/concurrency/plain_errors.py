"""Errors of a block that a nursery is hidden around: as the block raised them, and never lost.

A nursery wraps what is raised in it into a group, and where the scope around it is cancelled in
the same moment, what comes out of it may be Cancelled alone. So the block's own error goes around
the nursery: caught inside of it, raised again outside.
"""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import trio


class PlainErrors:
    """Of one nursery, and the block in it:

    errors = PlainErrors()
    with errors.outside():
        async with trio.open_nursery() as nursery:
            with errors.inside():
                yield
            nursery.cancel_scope.cancel()

    One error leaves as itself. Several (the block's, and a bug of a task beside it, or ^C as the
    nursery ends) leave as a group, so that none is lost. Cancelled leaves only where there is
    nothing else: what is raised goes through the cancelled scope just as well.
    """

    def __init__(self) -> None:
        self._of_block: BaseException | None = None

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Around the block. What it raises is kept, and the nursery goes on as if it had ended:
        tasks beside it are the caller's to cancel.

        Cancelled is not: it is the nursery's, or that of a scope around it, to catch.
        """
        try:
            yield
        # What is kept is raised by ``outside``; Cancelled alone is raised here.
        except BaseException as error:  # noqa: ASYNC103
            self._of_block = _without_cancelled(error)
            if self._of_block is None:
                raise

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Around the nursery. Raises what the block raised, and what the nursery did."""
        found: list[BaseException] = []
        try:
            yield
        # Cancelled is raised unless there is an error to take its place, below.
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
    # ^C may come twice, to the block and as the nursery ends: that is one.
    if len(found) == 1 or all(isinstance(each, KeyboardInterrupt) for each in found):
        return found[0]
    return BaseExceptionGroup("an error, and others as its block was left", found)


def _raise(error: BaseException) -> NoReturn:
    """Without the nursery's group as its context, which has the same error in it once more."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context  # a frame in its own traceback is a cycle
