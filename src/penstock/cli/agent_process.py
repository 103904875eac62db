"""The agent is a program of its own, in whose place this process goes on."""

import os
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any, Final

from .apart import apart
from .failures import Exit, fail
from .flags import Settings
from .invocation import current
from .standard import complain, say

_PATIENCE_S: Final = 10.0
"""Longer than the question to an agent that does not answer takes by itself."""


def agent(settings: Settings, action: str) -> Coroutine[Any, Any, int]:
    """Runs it for the context that is named, or for the default one. Where this process has other
    lines to run, as the shell has, it is another process, which answers for this one."""
    name = settings.context or current().environment.get("PENSTOCK_CONTEXT") or "default"
    form = ["--json"] if settings.json else []
    words = ["-P", "-c", "from penstock.agent import main; main()", action, name, *form]
    if not current().hosted:
        os.execv(sys.executable, [sys.executable, *words])
    if action == "run":
        fail(
            "Error: an agent in the foreground needs a process of its own: type penstock agent run "
            "into your own shell",
            Exit.USAGE,
        )
    return _beside(words)


async def _beside(words: list[str]) -> int:
    answered = await apart(_answered, words, dict(current().environment))
    for line in answered.stderr.splitlines():
        complain(line)
    for line in answered.stdout.splitlines():
        say(line)
    return answered.returncode


def _answered(words: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Raises OSError where it cannot be started, or does not answer."""
    try:
        return subprocess.run(
            [sys.executable, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"the agent has not answered within {_PATIENCE_S:.0f} s") from error
