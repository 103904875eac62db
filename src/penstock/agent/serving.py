"""The agent's life: it listens, attends to each front end, and ends when unused for long.

It ends, too, when it is told to (``penstock agent stop``, TERM), when its socket is gone, and when
another version has been installed in its place: once what runs has ended, and taking nothing new.
"""

import gc
import json
import os
import resource
import signal
import time
from typing import Any, Final

import trio

from .. import __version__
from ..cli.handed_output import HandedOutput
from ..cli.lazy import load
from . import wire
from .agent_address import AgentAddress, Listening, peer_uid
from .attending import Asked, Attended
from .failure_log import FailureLog
from .front_end_link import FrontEndGone, FrontEndLink
from .lent_connections import LentConnections
from .likeness import InstalledCode, is_of_another_version, likeness
from .passphrase_memory import PassphraseMemory

IDLE_S: Final = 600.0
MOST_FRONT_ENDS: Final = 256
"""At once; more run the full program."""
MOST_WRITES: Final = 32
"""Writes that go on though their front ends have ended: each is a thread and a descriptor that
stay until the reader goes on or leaves. With more of them front ends run the full program."""
_OWN_DESCRIPTORS: Final = 64
_DESCRIPTORS_EACH: Final = 6
"""Of a front end: its socket, the four that it hands over, and its share of connections."""
_ASKING_S: Final = 5.0
_LOOK_S: Final = 30.0
# What the verbs of everyday need: loaded before the first of them comes.
_VERBS: Final = (
    *("root", "control", "job_list", "running", "starting", "stream", "attaching", "sending"),
    *("killing", "watching", "whoami", "commands", "can", "status_watch"),
)


class AgentService:
    """One agent, from the moment at which it listens."""

    def __init__(
        self, place: AgentAddress, listening: Listening, *, idle_s: float = IDLE_S
    ) -> None:
        self._place = place
        self._listening = listening
        self._idle_s = idle_s
        self._likeness = likeness(os.environb)
        self._code = InstalledCode()
        self._passphrases = PassphraseMemory()
        self._since = time.time()
        self._front_ends = 0
        self._served = 0
        self._used_at = trio.current_time()
        self._leaving = False
        self._left = trio.Event()
        self._hanging: list[HandedOutput] = []
        self._log = FailureLog(place.log)

    async def serve(self) -> None:
        """Until it ends.

        Cancellation: minimum cleanup; C68, C69, C72.
        """
        # Scope K4.
        async with trio.open_nursery() as nursery:
            self._connections = LentConnections(nursery)
            nursery.start_soon(self._end_on_signals)
            nursery.start_soon(self._end_when_unused)
            nursery.start_soon(self._listen_for_front_ends, nursery)
            await self._left.wait()
            # Cancels K4.
            nursery.cancel_scope.cancel()

    def _leave(self) -> None:
        """Takes nothing new; ends at once if nothing runs, or else with the last."""
        if not self._leaving:
            self._leaving = True
            trio.lowlevel.notify_closing(self._listening.socket)
            self._listening.leave()
        self._passphrases.forget()
        if not self._front_ends:
            self._left.set()

    async def _listen_for_front_ends(self, nursery: trio.Nursery) -> None:
        self._listening.socket.setblocking(False)
        while not self._leaving:
            try:
                await trio.lowlevel.wait_readable(self._listening.socket)
                link, _ = self._listening.socket.accept()
            except trio.ClosedResourceError:  # by _leave
                return
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:  # no descriptors are left: some will be
                self._log.write(f"accept: {error}")
                await trio.sleep(1)
                continue
            if self._front_ends >= MOST_FRONT_ENDS or peer_uid(link) != os.geteuid():
                link.close()
                continue
            link.setblocking(False)
            self._front_ends += 1
            nursery.start_soon(self._attend, FrontEndLink(link))

    async def _attend(self, link: FrontEndLink) -> None:
        try:
            await self._answer(link)
        except (FrontEndGone, wire.WireError):
            pass  # the second is what no front end of ours has said, and no bug of ours
        except Exception as error:  # a bug of ours: the other front ends go on
            self._log.write_traceback(error)
        finally:
            link.close()
            self._front_ends -= 1
            if self._leaving and not self._front_ends:
                self._left.set()

    async def _answer(self, link: FrontEndLink) -> None:
        came = None
        # Scope K4.asking.
        with trio.move_on_after(_ASKING_S):
            came = await link.receive()
        if came is None:
            return
        kind, body = came
        if kind == wire.CONTROL:
            self._report(link, body)
        elif kind != wire.START or not self._takes(body):
            link.send(wire.DECLINED)
        else:
            await self._run(link, wire.decoded_request(body))

    def _takes(self, body: bytes) -> bool:
        identity = wire.identity_of(body)
        if self._code.replaced or is_of_another_version(identity):
            # So that the next front end of that version finds its own kind of agent.
            if self._front_ends == 1:
                self._leave()
            return False
        if identity != self._likeness:  # as of a shell with another LD_LIBRARY_PATH
            return False
        self._hanging = [output for output in self._hanging if output.writing]
        return not self._leaving and len(self._hanging) < MOST_WRITES and self._has_descriptors()

    def _has_descriptors(self) -> bool:
        """Whether those that a front end hands over will find room: the kernel would drop them, and
        it is too late then for the front end to run the full program."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # now: others can change it
        hanging = 3 * len(self._hanging)
        return _OWN_DESCRIPTORS + hanging + _DESCRIPTORS_EACH * self._front_ends <= most

    async def _run(self, link: FrontEndLink, request: wire.Request) -> None:
        asked = Asked(request)
        if asked.line is None:
            link.send(wire.DECLINED)
            return
        early = await asked.accept(asked.line, link)
        attended = Attended(
            link, asked, connect=self._connections.connect, passphrases=self._passphrases
        )
        self._served += 1
        try:
            await attended.run(asked.line, early)
        finally:
            self._hanging += attended.close()
            # Not where it was declined: one that is of use to no shell would otherwise stay.
            self._used_at = trio.current_time()

    def _report(self, link: FrontEndLink, word: bytes) -> None:
        self._used_at = trio.current_time()
        link.send(wire.REPORT, json.dumps(self.state()).encode())
        if word == b"stop":
            self._leave()

    def state(self) -> dict[str, Any]:
        """What ``penstock agent status`` shows."""
        now = trio.current_time()
        return {
            "name": self._place.name,
            "pid": os.getpid(),
            "version": __version__,
            "since_s": time.time() - self._since,
            "running": self._front_ends - 1,  # without the one that asks
            "served": self._served,
            "passphrases": len(self._passphrases),
            "connections": [
                {
                    "address": f"{each.where[0]}:{each.where[1]}",
                    "certificate": each.certificate,
                    "since_s": now - each.since,
                    "calls": each.borrowers,
                }
                for each in self._connections.open
            ],
        }

    async def _end_on_signals(self) -> None:
        """The first one as ``stop`` does, a second one at once."""
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
        with trio.open_signal_receiver(*wanted) as arriving:
            async for _ in arriving:
                if self._leaving:
                    self._left.set()
                    return
                self._leave()

    async def _end_when_unused(self) -> None:
        while not self._leaving:
            left_s = self._used_at + self._idle_s - trio.current_time()
            if self._front_ends:
                left_s = self._idle_s
            elif left_s <= 0:
                self._leave()
                return
            await trio.sleep(min(left_s, _LOOK_S))
            if not self._listening.in_place or self._code.replaced:
                self._leave()


def serve_here(place: AgentAddress, listening: Listening, idle_s: float | None) -> None:
    """Runs an agent to its end, in this process."""

    async def main() -> None:
        for module in _VERBS:
            load(module)
        listening.listen()
        await AgentService(place, listening, idle_s=IDLE_S if idle_s is None else idle_s).serve()

    # What is loaded stays, so that the collector need never look at it.
    gc.collect()
    gc.freeze()
    try:
        trio.run(main)
    finally:
        listening.leave()
