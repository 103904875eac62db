"""An end in time for a measurement whose server may not answer."""

import signal
from typing import Any


def end_after(seconds: float) -> None:
    """From now on; then SystemExit is raised in the main thread, so that servers end and
    directories go as on any other way out. To be called once, by the main thread."""

    def late(*_: Any) -> None:
        raise SystemExit(
            f"not done in {seconds:g} s: a server does not answer, or others need the "
            "machine; --at-most gives more time"
        )

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
