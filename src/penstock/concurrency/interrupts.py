"""^C reaches the caller, never the middle of the library.

Python raises KeyboardInterrupt between any two lines of whatever runs as the signal comes. In a
job's task that would end the task, and with it the job's record; between two lines that belong
together it would leave one of them undone. Trio asks of each frame whether it is protected: below
one that is, it keeps the interrupt for the main task, which gets it at its next checkpoint, just
as it would get Cancelled. So what is called from outside, and each task, is protected here; what
they call is, too.

Trio protects no task for being started by one that is protected, and no context manager of
contextlib's: ^C as its block is left would keep it from ever being left.
"""

import functools
import types
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, TypeVar

import trio

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)
ValueT = TypeVar("ValueT")
Parameters = ParamSpec("Parameters")


def uninterrupted(function: FunctionT) -> FunctionT:
    """A function, coroutines too, into which no KeyboardInterrupt comes but at a checkpoint of the
    main task. For what is started as a task, or called from outside. Returns ``function``.
    """
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise TypeError(f"{function!r} is not a function of Python's")
    trio.lowlevel.enable_ki_protection(function)
    return function


def uninterrupted_methods(cls: ClassT) -> ClassT:
    """Every method and property that the class itself defines is ``uninterrupted``.

    Not those that another decorator has wrapped, whose code is that decorator's: they say it
    themselves.
    """
    for each in list(vars(cls).values()):
        functions = [each]
        if isinstance(each, property):
            functions = [each.fget, each.fset]
        elif isinstance(each, classmethod | staticmethod):
            functions = [each.__func__]
        for function in functions:
            if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
                uninterrupted(function)
    return cls


def uninterrupted_context(
    make: Callable[Parameters, AbstractAsyncContextManager[ValueT]],
) -> Callable[Parameters, AbstractAsyncContextManager[ValueT]]:
    """For a function that ``asynccontextmanager`` has made: its entering and leaving are
    ``uninterrupted``; the block is not.

    What waits while it is left can be interrupted all the same, in the main task: a second ^C. It
    is to be a task, which the first one waits for in a nursery.
    """
    uninterrupted(make.__wrapped__)  # type: ignore[attr-defined]

    @functools.wraps(make)
    def made(
        *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> AbstractAsyncContextManager[ValueT]:
        return _Uninterrupted(make(*args, **kwargs))

    return made


@uninterrupted_methods
class _Uninterrupted(AbstractAsyncContextManager[ValueT]):
    def __init__(self, manager: AbstractAsyncContextManager[ValueT]) -> None:
        self._manager = manager

    async def __aenter__(self) -> ValueT:
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> bool | None:
        # The wrapped one bounds what it waits for, as the table of scopes has it.
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102
