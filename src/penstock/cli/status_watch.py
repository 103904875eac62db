"""status --watch: what jobs do and use, again and again, until they have ended."""

import trio

from ..client.client import Client
from ..client.resumption import HEARTBEAT_S
from ..client.retry import was_lost
from ..client.watch import MOST_HANDLES
from ..proto import command_pb2 as pb
from ..rpc.call_errors import ConnectionLost, RpcError, StatusCode
from ..text.job_text import limit_notes, sentence
from .colours import only_prints
from .connecting import asked
from .fitting import fitted
from .flags import Settings
from .invocation import current
from .job_names import on_job
from .printing import say_json
from .several import say_error
from .standard import say
from .terminal import harmless
from .writing import drain


async def watch_status(settings: Settings, pids: tuple[str, ...], interval_s: float) -> int:
    """Shows each job's status as it changes: drawn anew on a terminal; in a file or a pipe when its
    state has changed, as JSON with each look. Returns when all have ended, with the exit status of
    the first that is not known.

    Cancellation: minimum cleanup; C63.
    """
    looks = _Looks(settings, pids, interval_s)
    await asked(settings, looks.until_ended)
    return looks.code


class _Looks:
    """The jobs that are looked at, over as many connections as it takes."""

    def __init__(self, settings: Settings, words: tuple[str, ...], interval_s: float) -> None:
        self.code = 0
        self._json = settings.json
        self._words = list(words)
        self._interval_s = interval_s
        self._answers: dict[str, pb.StatusResponse] = {}
        self._draws = current().out.terminal and not only_prints(current().environment)
        self._drawn_lines = 0
        self._said: dict[str, str] = {}

    async def until_ended(self, client: Client) -> None:
        """Returns when no job is left that has not ended. Raises RpcError if the connection is
        lost; then it may be called again, with another one.

        Cancellation: minimum cleanup.
        """
        await self._look(client)
        while self._left():
            handles = [self._answers[word].job.handle for word in self._left()]
            if len(handles) > MOST_HANDLES:
                handles = []  # all of one's own, of which others are left out here
            async with client.watch(handles=handles, heartbeat_s=HEARTBEAT_S) as changes:
                look_at = trio.current_time() + self._interval_s
                while self._left():
                    change: pb.WatchResponse | None = None
                    # Scope K0.look.
                    with trio.move_on_at(look_at):
                        change = await anext(changes, None)
                        if change is None:
                            raise ConnectionLost("the server has ended the watch")
                    if change is not None and change.heartbeat:
                        continue
                    if change is not None and change.handle:
                        # Of the others nothing is new, and a question for each of them for each
                        # change would be as many as their product.
                        await self._look(client, change.handle)
                    else:  # by the time; or the begin or a resync: any may have changed before
                        await self._look(client)
                        look_at = trio.current_time() + self._interval_s

    def _left(self) -> list[str]:
        return [
            word for word in self._words if self._answers[word].job.state != pb.JOB_STATE_FINISHED
        ]

    async def _look(self, client: Client, handle: str = "") -> None:
        """Asks for all that are left, or for the one with this handle alone."""
        words = self._left() if self._answers else list(self._words)
        if handle:
            words = [word for word in words if self._answers[word].job.handle == handle]
            if not words:
                return
        for word in words:
            known = self._answers.get(word)
            try:
                if known is None:
                    answer = await on_job(client, word, client.status, reads=True)
                else:
                    answer = await client.status(known.job.handle)
            except RpcError as error:
                if was_lost(error):
                    raise
                self._words.remove(word)
                if known is None or error.code is not StatusCode.NOT_FOUND:
                    code = say_error(word, error)
                    self.code = self.code or code
                    self._drawn_lines = 0  # because a line stands below them now
            else:
                self._answers[word] = answer
                self._report(word, answer)
        if self._draws and not self._json:
            self._draw()
        await drain()

    def _report(self, word: str, answer: pb.StatusResponse) -> None:
        if self._json:
            say_json(answer)
        elif not self._draws and self._said.get(word) != sentence(answer.job):
            self._said[word] = sentence(answer.job)
            for line in _lines(answer):
                say(line)

    def _draw(self) -> None:
        """Draws all of it over what was drawn last, as far as the terminal reaches up."""
        lines = [line for word in self._words for line in _lines(self._answers[word])]
        out = current().out
        lines = [fitted(line, out.columns, "…") for line in lines[: out.lines - 1]]
        up = f"\x1b[{self._drawn_lines}F" if self._drawn_lines else ""
        say("\n".join([f"{up}\x1b[J{lines[0]}", *lines[1:]]) if lines else "")
        self._drawn_lines = len(lines)


def _lines(answer: pb.StatusResponse) -> list[str]:
    texts = [answer.status, *limit_notes(answer.job)]
    return [line for text in texts for line in harmless(text).split("\n")]
