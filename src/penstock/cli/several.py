"""Verbs on several jobs: all are asked for at once, and reported in the order they were named."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import trio

from ..client.client import Client
from ..client.retry import was_lost
from ..rpc.call_errors import RpcError
from .error_report import report_error
from .exits import exit_code, message

AnswerT = TypeVar("AnswerT")

# Far below what a connection and a client may have at a time (rpc/limits.py), so that other
# commands of the same client are not refused meanwhile.
AT_ONCE: Final = 16


def say_error(word: str, error: BaseException) -> int:
    """What ``Verb.fails`` is where the error's own line is enough."""
    code = int(exit_code(error))
    report_error(message(error), code, error, pid=word)
    return code


@dataclass(frozen=True, slots=True)
class Verb(Generic[AnswerT]):
    """What to do for one job. ``begin`` is called before each is reported, with its place among the
    words; ``report`` and ``fails`` print its answer or error, and return the exit status that it
    gives."""

    call: Callable[[Client, str], Awaitable[AnswerT]]
    begin: Callable[[int, str], None]
    report: Callable[[AnswerT], int]
    fails: Callable[[str, BaseException], int]


class Several(Generic[AnswerT]):
    """One verb for the jobs that ``words`` stand for. ``code`` is the exit status: that of the
    first failure in their order, otherwise 0."""

    def __init__(self, words: Sequence[str], verb: Verb[AnswerT]) -> None:
        self.code = 0
        self._words = words
        self._verb = verb
        self._answers: dict[int, AnswerT] = {}
        self._errors: dict[int, BaseException] = {}
        self._reported = 0
        self._begun = False

    async def ask(self, client: Client) -> None:
        """Calls for every job that has no answer yet, and reports each as soon as those before it
        are reported.

        Raises RpcError if the connection is lost; then it may be called again, with another one.

        Cancellation: minimum cleanup.
        """
        self._report()
        lost: list[RpcError] = []
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def one(number: int) -> None:
            async with limiter:
                try:
                    self._answers[number] = await self._verb.call(client, self._words[number])
                except RpcError as error:
                    if was_lost(error) or error.not_begun:
                        lost.append(error)
                        # Cancels K0.each.
                        nursery.cancel_scope.cancel()
                        return
                    self._errors[number] = error
            self._report()

        # Scope K0.each.
        async with trio.open_nursery() as nursery:
            for number in range(len(self._words)):
                if number not in self._answers and number not in self._errors:
                    nursery.start_soon(one, number)
        if lost:
            raise lost[0]

    def fail(self, error: BaseException) -> None:
        """Reports the error for every job that has no answer."""
        for number in range(len(self._words)):
            if number not in self._answers:
                self._errors.setdefault(number, error)
        self._report()

    def _report(self) -> None:
        """Reports what can be reported in order, and begins the one after it."""
        for number, word in enumerate(self._words[self._reported :], self._reported):
            if not self._begun:
                self._verb.begin(number, word)
                self._begun = True
            if number in self._errors:
                code = self._verb.fails(word, self._errors[number])
            elif number in self._answers:
                code = self._verb.report(self._answers[number])
            else:
                return
            self.code = self.code or code
            self._reported, self._begun = number + 1, False
