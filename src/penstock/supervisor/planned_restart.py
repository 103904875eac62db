"""SIGUSR2: the server is started anew while jobs run on, with what is in force.

The next server needs nothing of the files on the disk but those of ``[tls]``, because WELCOME
brings it the rest. So a mistake in them is no reason to keep an old server, of a version that is to
be replaced for example. But an operator who has changed the files may believe that a restart takes
them, so what is wrong with them is said. They are looked at in a child, because a disk may stand
still.
"""

import json
import signal
from collections.abc import Callable, Sequence
from typing import Final

from .examination import examine
from .files_in_force import READ_S, FilesInForce
from .ipc.server_listener import ServerListener
from .kernel.child_work import ChildWork, WorkDone
from .kernel.loop import Loop
from .logs.supervisor_log import log
from .server_process import ServerProcess

_BEGUN: Final = (
    "SIGUSR2: the server is started anew, with what is in force; jobs run on, and new clients wait"
)
_NOT_TAKEN: Final = "SIGUSR2: the files on the disk have mistakes, and are not taken"
_MOST_SAID: Final = 32


class PlannedRestarts:
    """Those of one supervisor. ``stopping``: it ends, so no server begins any more."""

    def __init__(
        self,
        loop: Loop,
        files: FilesInForce,
        server: ServerProcess,
        reception: ServerListener,
        stopping: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._files = files
        self._server = server
        self._reception = reception
        self._stopping = stopping
        self._looking: ChildWork | None = None
        self._is_looking = False

    def ask(self) -> None:
        """SIGUSR2 has come."""
        if self._stopping() or not self._reception.greeted:
            log("SIGUSR2: not now, as the server starts or ends already")
            return
        log(_BEGUN)
        self._server.restart(signal.SIGUSR2)
        self._look()

    def _look(self) -> None:
        if self._is_looking or (self._looking is not None and self._looking.is_left):
            return
        path, running = self._files.named()

        def work() -> tuple[bytes, Sequence[int]]:
            examined = examine(path, running=running)
            return json.dumps([str(each) for each in examined.mistakes]).encode(), ()

        self._is_looking = True
        self._looking = ChildWork(self._loop, work, READ_S, self._looked)

    def _looked(self, work: WorkDone) -> None:
        self._is_looking = False
        if work.failure:
            log(f"SIGUSR2: the files on the disk are not taken, nor were looked at: {work.failure}")
            return
        mistakes = json.loads(work.data)
        for mistake in mistakes[:_MOST_SAID]:
            log(f"{_NOT_TAKEN}: {mistake}")
        if len(mistakes) > _MOST_SAID:
            log(f"{_NOT_TAKEN}: and {len(mistakes) - _MOST_SAID} more; penstockd check names all")
