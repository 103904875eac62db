"""A change of files while jobs run: what the supervisor and its server do, in which order.

Theory of operation. All or nothing, in two phases. The supervisor reads every file (in a child of
its own, with a bound), then asks the server whether it could run with the same bytes, and only when
both are ready it switches, in one step, and sends SWITCH in the same. Each state has one way on and
one bound:

    idle        ask: to reading
    reading     the files are good: to offering; mistakes: refused
    offering    PREPARED without mistakes: the switch, to confirming; with some, or nothing within
                OFFER_S: refused
    confirming  SWITCHED, the end of the server, or nothing within CONFIRM_S: done

Until the switch nothing has changed on either side, so whatever fails refuses the reload, and
ABANDON has the server forget what it has prepared. From the switch on nothing can refuse it any
more: a server that ends, or does not confirm and is killed, is followed by one that WELCOME gives
the new files. So the two never decide by different files, because a START says by which generation
it was decided (start_check.py), and a server that is asked by PREPARE has not switched before its
SWITCH.

A server that ends while it is asked is followed by another one, which is asked in its place, within
the same bound. Only a server that takes calls is asked, because one that still comes up has not
everything yet that it would have to replace. If none takes calls within the bound, and those before
have ended as they came up, the files in force may be why: a key that is gone, for example. So that
they can be replaced at all, the supervisor switches alone then, and a server that is coming up is
ended, because it has the old ones.

One at a time: whoever asks meanwhile shares the next one, which begins when this one is done. That
one reads the files anew, because what was changed by then may have been read before.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Literal

from .ipc.protocol import ProtocolError
from .ipc.reload_messages import (
    RELOAD_FILES,
    Abandon,
    Prepared,
    Switch,
    Switched,
    few_texts,
)
from .ipc.sealed_files import sealed
from .kernel.loop import Loop, Timer
from .logs.supervisor_log import log
from .reload_sides import (
    NewFiles,
    NotRead,
    OnAnswer,
    OwnSide,
    ReloadAnswer,
    ServerSide,
    SwitchRefused,
)

OFFER_S: Final = 10.0
CONFIRM_S: Final = 10.0
_SILENT: Final = f"the server did not say within {OFFER_S:g} s whether it can run with these files"
_NO_SERVER: Final = (
    f"no server took calls within {OFFER_S:g} s that could have been asked; the log says why, and "
    "the next server begins with the files as they were"
)
_ALONE: Final = (
    "no server comes up with the files that were in force, so none was asked whether it can run "
    "with these: the log says whether the next one does"
)
_STOPPING: Final = "penstockd is stopping"
# Who asks while one is under way; more than these are programs that ask and do not wait.
_MOST_WAITING: Final = 64
_MOST_NAMED: Final = 8
_TOO_MANY: Final = "too many others wait for the next reload; ask again when it is done"
_ENDED: Final = (
    "the server has ended before it confirmed the switch; the next one begins with the new files"
)
_KILLED: Final = (
    f"the server has not confirmed the switch within {CONFIRM_S:g} s: it is killed, and the next "
    "one begins with the new files"
)


@dataclass(frozen=True, slots=True)
class _Asker:
    who: str
    on_answer: OnAnswer
    may_pass: bool


class ReloadExchange:
    """The reloads of one supervisor, one after another."""

    def __init__(self, loop: Loop, own: OwnSide, server: ServerSide) -> None:
        self._loop = loop
        self._own = own
        self._server = server
        self._state: Literal["idle", "reading", "offering", "confirming"] = "idle"
        self._stopping = False
        self._number = 0
        self._asking: list[_Asker] = []
        """Those for whom the reload under way is; ``waiting`` are those of the next."""
        self._waiting: list[_Asker] = []
        self._files: NewFiles | None = None
        self._was_asked = False
        self._bound: Timer | None = None
        self._answer = ReloadAnswer()

    def ask(self, asked_by: str, on_answer: OnAnswer, may_pass: bool = False) -> None:
        """Has the files read and taken up. ``on_answer`` is called once, never from within this
        call, unless penstockd is stopping, or too many others wait.

        ``may_pass``: what the server finds wrong with its files is neither logged nor audited,
        unless somebody else has asked as well, because it may be right in a moment.
        """
        if self._stopping:
            on_answer(ReloadAnswer((_STOPPING,), generation=self._own.generation))
            return
        if len(self._waiting) == _MOST_WAITING:  # the reload that they wait for comes all the same
            on_answer(ReloadAnswer((_TOO_MANY,), generation=self._own.generation))
            return
        self._waiting.append(_Asker(asked_by, on_answer, may_pass))
        if self._state == "idle":
            self._begin()

    def serving(self) -> None:
        """A server takes calls from now on."""
        if self._state == "offering" and not self._was_asked:
            self._offer()

    def gone(self) -> None:
        """The server is gone."""
        if self._state == "offering":
            self._was_asked = False
        elif self._state == "confirming":
            self._done(_ENDED)

    def prepared(self, answer: Prepared) -> None:
        """The server's answer to PREPARE. Raises ProtocolError for one to what was not asked."""
        if not 0 < answer.number <= self._number:
            raise ProtocolError(f"PREPARED {answer.number}, which nobody has offered")
        if self._state != "offering" or answer.number != self._number or not self._was_asked:
            return  # it comes too late: ABANDON was under way
        if answer.mistakes:
            self._refuse(answer.mistakes, by_server=True)
            return
        switch = self._switch(answer.warnings)
        if switch is not None:
            self._enter("confirming", CONFIRM_S, self._not_confirmed)
            self._server.tell(switch)

    def _switch(self, warnings: Sequence[str]) -> Switch | None:
        """Switches the own side; None if that was refused."""
        assert self._files is not None
        before = self._own.generation
        try:
            switch = self._own.switch(self._files, self._number, self._asked_by)
        except SwitchRefused as error:
            self._refuse(error.mistakes, passing=True)
            return None
        self._answer = ReloadAnswer(
            changes=switch.changes,
            warnings=(*self._files.warnings, *warnings),
            generation=self._own.generation,
        )
        self._files = None
        log(f"reloaded, asked by {self._asked_by}: {before[:12]} to {self._answer.generation[:12]}")
        for text in (*switch.changes, *(f"warning: {each}" for each in self._answer.warnings)):
            log(text)
        return switch

    def switched(self, answer: Switched) -> None:
        """The server's answer to SWITCH. Raises ProtocolError for one to what was not sent."""
        if self._state != "confirming" or answer.number != self._number:
            raise ProtocolError(f"SWITCHED {answer.number}, which nobody waits for")
        self._done(*answer.changes)

    def stop(self) -> None:
        """penstockd ends: a reload under way that has not switched is refused, and no other one
        begins."""
        self._stopping = True
        if self._state == "confirming":
            self._done(_STOPPING)
        elif self._state != "idle":
            self._own.cancel()
            self._refuse([_STOPPING], passing=True)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.on_answer(ReloadAnswer((_STOPPING,), generation=self._own.generation))

    @property
    def _asked_by(self) -> str:
        names = list(dict.fromkeys(each.who for each in self._asking))
        more = len(names) - _MOST_NAMED
        return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

    def _begin(self) -> None:
        self._asking, self._waiting = self._waiting, []
        self._number += 1
        self._state = "reading"
        self._own.read(self._read)

    def _read(self, found: NewFiles | Sequence[str] | NotRead) -> None:
        if isinstance(found, NotRead):
            self._refuse([found.why], passing=True)
            return
        if isinstance(found, Sequence):
            self._refuse(found)
            return
        self._files = found
        self._was_asked = False
        self._enter("offering", OFFER_S, self._not_prepared)
        if self._server.takes_calls:
            self._offer()

    def _offer(self) -> None:
        assert self._files is not None
        self._was_asked = True
        message, files = self._files.offer(self._number, self._asked_by)
        with ExitStack() as closing:
            fds = []
            try:
                for name in RELOAD_FILES:
                    fds.append(sealed(name, files[name]))
                    closing.callback(os.close, fds[-1])
            except OSError as error:
                text = f"the files cannot be handed to the server: {error.strerror}"
                self._refuse([text], passing=True)
                return
            self._server.tell(message, fds)

    def _enter(
        self, state: Literal["offering", "confirming"], bound_s: float, over: Callable[[], None]
    ) -> None:
        if self._bound is not None:
            self._bound.cancel()
        self._state = state
        self._bound = self._loop.after(bound_s, over)

    def _not_prepared(self) -> None:
        if self._was_asked or not self._server.fails:
            self._refuse([_SILENT if self._was_asked else _NO_SERVER], passing=True)
        elif self._switch([_ALONE]) is not None:
            self._server.kill()
            self._end()

    def _not_confirmed(self) -> None:
        self._server.kill()
        self._done(_KILLED)

    def _refuse(
        self, mistakes: Sequence[str], *, by_server: bool = False, passing: bool = False
    ) -> None:
        """Nothing has changed. The server hears of it for the audit log, whether or not it was
        asked."""
        asked_by = self._asked_by
        said = () if by_server and all(each.may_pass for each in self._asking) else mistakes
        if said:
            log(f"not reloaded, asked by {asked_by}: nothing has changed, because of")
        for mistake in said:
            log(mistake)
        if self._files is not None:
            self._files.close()
            self._files = None
        if self._server.takes_calls:
            self._server.tell(Abandon(self._number, asked_by, few_texts(said)))
        self._answer = ReloadAnswer(
            tuple(mistakes),
            generation=self._own.generation,
            by_server=by_server,
            passing=passing,
        )
        self._end()

    def _done(self, *changes: str) -> None:
        for text in changes:
            log(text)
        before = self._answer
        self._answer = ReloadAnswer(
            (), (*before.changes, *changes), before.warnings, before.generation
        )
        self._end()

    def _end(self) -> None:
        if self._bound is not None:
            self._bound.cancel()
        answer, asking = self._answer, self._asking
        self._answer, self._asking = ReloadAnswer(), []
        self._state = "idle"
        for each in asking:
            each.on_answer(answer)
        # By now whoever was answered may have asked again, and so begun the next one.
        if self._waiting and self._state == "idle" and not self._stopping:
            self._begin()
