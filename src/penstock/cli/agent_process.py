"""The agent is a program of its own, in whose place this process goes on."""

import os
import sys
from typing import NoReturn

from .flags import Settings
from .invocation import current


def agent(settings: Settings, action: str) -> NoReturn:
    """Runs it for the context that is named, or for the default one."""
    name = settings.context or current().environment.get("PENSTOCK_CONTEXT") or "default"
    form = ["--json"] if settings.json else []
    words = ["-P", "-c", "from penstock.agent import main; main()", action, name, *form]
    os.execv(sys.executable, [sys.executable, *words])
