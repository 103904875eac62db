"""An end in time for a measurement whose server may not answer."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

# More than servers and their jobs take to end when they are told to.
_ENDING_S = 30.0


def end_after(seconds: float) -> None:
    """From now on; then SystemExit is raised in the main thread, so that servers end and
    directories go as on any other way out. To be called once, by the main thread.

    It may come in the very moment in which a server is started, and nobody has it in hand yet. Such
    a one is killed 30 s later, and what it left goes with the run.
    """

    def late(*_: Any) -> None:
        signal.signal(signal.SIGALRM, lambda *_: _kill_descendants(os.getpid()))
        signal.setitimer(signal.ITIMER_REAL, _ENDING_S)
        raise SystemExit(
            f"not done in {seconds:g} s: a server does not answer, or others need the "
            "machine; --at-most gives more time"
        )

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _kill_descendants(pid: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                _kill_descendants(child)
                os.kill(child, signal.SIGKILL)
