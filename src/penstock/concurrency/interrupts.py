"""^C reaches the caller, never the middle of the library.

Theory of operation. Python raises KeyboardInterrupt between any two lines of whatever runs as the
signal comes. In a job's task that would end the task, and with it the job's record; between two
lines that belong together it would leave one of them undone. Trio looks whether a frame of the
stack is protected, and if one is, it keeps the interrupt for the main task, which gets it at its
next checkpoint, just as it would get Cancelled. So every function that is called from outside, and
every task, is protected here; what they call is protected by that.

Two things are not protected by that, and are why there is more than one decorator below. A task
that a protected one has started is not, because its stack begins anew. A context manager of
contextlib's is not, because contextlib's own methods run before its generator does: ^C in one of
them, as the block is left, would keep it from ever being left.
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
    """Protects a function, coroutines too: KeyboardInterrupt comes into it only at a checkpoint of
    the main task.

    For functions that are started as a task, or called from outside. Returns ``function``.
    """
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise TypeError(f"{function!r} is not a function of Python's")
    trio.lowlevel.enable_ki_protection(function)
    return function


def uninterrupted_methods(cls: ClassT) -> ClassT:
    """Makes every method and property that the class itself defines ``uninterrupted``.

    Not those that another decorator has wrapped, because their code is that decorator's: these have
    to be decorated one by one.
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
    """Protects what ``asynccontextmanager`` has made, as its block is entered and left; not the
    block.

    A second ^C can still interrupt what the main task waits for as the block is left. So whatever
    must not be interrupted there has to be a task, for which the main task waits in a nursery.
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
        # The wrapped one bounds what it waits for (docs/cancellation.md).
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102
