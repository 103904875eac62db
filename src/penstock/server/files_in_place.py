"""Watches the files of the state directory, which others can remove under a running server."""

import logging
import os
from typing import Final

import trio

from ..jobs.manager import Manager

log = logging.getLogger("penstock.server")

# Seldom is enough, because a removed directory is made again sooner where it is written to.
_LOOK_AT_FILES_S: Final = 5.0


async def keep_files_in_place(state_dir: str, manager: Manager) -> None:
    """Logs what an operator or another process has removed of the state directory, and makes again
    what it can, until cancelled.

    Cancellation: minimum cleanup.
    """
    said = ""
    while True:
        await trio.sleep(_LOOK_AT_FILES_S)
        missing = _missing(state_dir)
        wrong = manager.keep_records_in_place()
        if missing:
            wrong = f"{wrong or 'something'}; missing: {', '.join(missing)}"
        if wrong and wrong != said:
            log.error("the state directory was changed under the running server: %s", wrong)
        said = wrong


def _missing(state_dir: str) -> list[str]:
    """The paths that a state directory must have while a server runs, and lacks."""
    names = ("lock", "penstock.db")
    paths = [state_dir, *(os.path.join(state_dir, name) for name in names)]
    return [path for path in paths if not os.path.lexists(path)]
