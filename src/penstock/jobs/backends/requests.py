"""Requests to the supervisor that it answers: how many may wait, and which answer is for which.

The supervisor answers those of one kind and job in order, so a queue for each finds the request. A
request is on its way as soon as it was asked, whether or not the caller waits for its answer.
"""

from collections import defaultdict, deque
from typing import Any, Final, Generic, TypeVar

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc.from_server import Inspect, Kill, Look, Pause, Signal
from ...supervisor.ipc.from_supervisor import Inspected, Killed, Looked, Paused, Signaled
from ...supervisor.ipc.message_base import Message
from ...supervisor.ipc.protocol import ProtocolError
from ..job_errors import SupervisorSilent, Unavailable
from .supervisor_connection import SupervisorConnection

# Requests without an answer yet, including those whose callers were cancelled. A supervisor
# answers each within a millisecond, so there are so many only when it stands still.
_MOST_UNANSWERED: Final = 1024
STANDS_STILL: Final = "the supervisor does not take requests now; nothing was done, so try again"

Request = Signal | Pause | Inspect | Look | Kill
Answer = Signaled | Paused | Inspected | Looked | Killed
AnswerType = TypeVar("AnswerType", Signaled, Paused, Inspected, Looked, Killed)


class Question(Generic[AnswerType]):
    """A request whose answer is waited for."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: AnswerType | None = None
        """None until it is ``answered``, and after that if the supervisor was gone."""

    def tell(self, answer: AnswerType | None) -> None:
        """Wakes the caller: the answer has come, or (None) never will."""
        self.answer = answer
        self.answered.set()


@uninterrupted_methods
class Requests:
    """The requests of one connection, each with the caller that waits for it."""

    def __init__(self, connection: SupervisorConnection) -> None:
        self._connection = connection
        self._asked: defaultdict[tuple[type[Message], str], deque[Question[Any]]] = defaultdict(
            deque
        )
        self._unanswered = 0

    @property
    def is_full(self) -> bool:
        """Whether so many wait that a request that may be refused must be."""
        return self._connection.is_full or self._unanswered >= _MOST_UNANSWERED

    async def wait_start(self, answered: trio.Event) -> None:
        """Waits for the answer to a START, which counts for ``is_full`` as the others do.

        Cancellation: minimum cleanup; C4.
        """
        self._unanswered += 1
        try:
            await answered.wait()
        finally:
            self._unanswered -= 1

    async def ask(
        self, request: Request, answer: type[AnswerType], *, may_be_refused: bool = False
    ) -> AnswerType | None:
        """The answer to one request; None if the supervisor is gone. Raises SupervisorSilent if it
        does not answer, and Unavailable, where it ``may_be_refused``, if it was not even asked.

        Cancellation: completes; C18, C26.
        """
        if may_be_refused and self.is_full and not self._connection.closed.is_set():
            raise Unavailable(STANDS_STILL)
        question = self.question(request, answer)
        if not await self._connection.heartbeat.answered(question.answered.wait):
            raise SupervisorSilent(
                f"the supervisor does not answer; {request.kind} is on its way to it: ask again"
            )
        return question.answer

    def question(self, request: Request, answer: type[AnswerType]) -> Question[AnswerType]:
        """Asks without waiting; answered at once if the supervisor is gone. No checkpoint."""
        question: Question[AnswerType] = Question()
        if self._connection.closed.is_set():
            question.tell(None)
        else:
            self._unanswered += 1
            self._asked[answer, request.id].append(question)
            self._connection.send(request)
        return question

    def answered(self, answer: Answer) -> None:
        """An answer has come. Raises ProtocolError if no request waits for it."""
        place = type(answer), answer.id
        waiting = self._asked.get(place)
        if not waiting:
            raise ProtocolError(f"{answer.kind}: nobody has asked for that")
        self._unanswered -= 1
        waiting.popleft().tell(answer)
        if not waiting:  # it may have come after the job was released
            del self._asked[place]

    def fail_all(self) -> None:
        """The supervisor is gone, so each waiting caller gets None instead of an answer."""
        for waiting in self._asked.values():
            while waiting:
                self._unanswered -= 1
                waiting.popleft().tell(None)
