"""Real shells on a pseudo-terminal, in which ``penstock`` completes, and says what it was given."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trio
from fake_service import Cli

SHELLS: Final = ("bash", "zsh", "fish")
PROMPT: Final = "READY-AT-LAST> "
# Put together by the shell, so that the echo of what is typed is not taken for the prompt.
_PROMPT_CUT: Final = "READY-AT-'LAST> '"
_TAB, _ENTER, _KILL_LINE = "\t", "\r", "\x15"
# What a user would have: nothing of this machine's set-up is read.
_COMMANDS: Final = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_SET_UP: Final = {
    "bash": f"source <(penstock completion bash); PS1={_PROMPT_CUT}",
    "zsh": "unsetopt prompt_sp; autoload -U compinit; compinit -u -D; "
    f"source <(penstock completion zsh); PS1={_PROMPT_CUT}",
    "fish": "penstock completion fish | source; set -U fish_greeting; "
    f"function fish_prompt; printf %s {_PROMPT_CUT}; end",
}
# As an installed console script; what is no question of the shell's goes to the test.
_PROGRAM: Final = """#!{python}
import json, os, sys
if sys.argv[1:2] in (["__complete"], ["completion"]):
    os.execv({python!r}, [{python!r}, "-m", "penstock.cli", *sys.argv[1:]])
with open({pipe!r}, "w") as pipe:
    pipe.write(json.dumps(sys.argv[1:]) + "\\n")
"""


def need(shell: str) -> None:
    """Skips the test where the shell is not installed; fails it there in tools/test --all."""
    if shutil.which(shell) is None:
        reason = f"NOT TESTED: no {shell} here (Debian: {shell})"
        if os.environ.get("PENSTOCK_TEST_EVERYTHING"):
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass
class ShellOnTerminal:
    """One that shows its prompt. ``shown`` is all that it has written."""

    terminal: trio.lowlevel.FdStream
    calls: trio.lowlevel.FdStream
    output: Cli
    _called: bytearray = field(default_factory=bytearray)

    @property
    def shown(self) -> str:
        return self.output.out.decode(errors="replace")

    async def type(self, text: str) -> None:
        await self.terminal.send_all(text.encode())

    async def arguments(self, line: str) -> list[str]:
        """What ``penstock`` is given when this is typed and Enter is pressed. A tab in the line
        completes, before what follows is read."""
        await self.type(line + _ENTER)
        while b"\n" not in self._called:
            self._called += await self.calls.receive_some()
        text, _, rest = bytes(self._called).partition(b"\n")
        self._called[:] = rest
        found: list[str] = json.loads(text)
        return found

    async def offered(self, line: str, *texts: str) -> str:
        """What is shown when this is typed and Tab is pressed twice, at the latest when all of
        ``texts`` are; the line is thrown away then."""
        begin = len(self.output.out)
        await self.type(line + _TAB)
        # The first Tab may have been enough: fish shows what there is at once.
        await self.type(_TAB)
        while True:
            shown = self.output.out[begin:].decode(errors="replace")
            if all(text in shown for text in texts):
                break
            assert self.output.open_streams, f"the shell has ended: {self.shown!r}"
            await self.output.grown.wait()
        await self.type("\x03" + _KILL_LINE)
        return shown


@asynccontextmanager
async def shell_on_terminal(
    shell: str, directory: Path, environment: Mapping[str, str]
) -> AsyncIterator[ShellOnTerminal]:
    """``shell`` with completion as docs/cli.md sets it up. ``directory``: an empty one for its home
    and what it runs."""
    pipe = directory / "calls"
    os.mkfifo(pipe)
    programs = directory / "bin"
    programs.mkdir()
    program = programs / "penstock"
    program.write_text(_PROGRAM.format(python=sys.executable, pipe=str(pipe)))
    program.chmod(0o755)
    variables = {
        **environment,
        "PATH": f"{programs}:{environment.get('PATH', os.environ['PATH'])}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HOME": str(directory),
        "TERM": "xterm",
        "PS1": "",
    }
    ours, theirs = os.openpty()
    calls = trio.lowlevel.FdStream(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    try:
        process = await trio.lowlevel.open_process(
            ["setsid", "--ctty", *_COMMANDS[shell]],
            env=variables,
            cwd=directory,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    output = Cli(process)
    # Of its own, because the collecting closes its one.
    terminal = trio.lowlevel.FdStream(os.dup(ours))
    async with calls, terminal, trio.open_nursery() as nursery:
        output.open_streams += 1
        nursery.start_soon(output.collect, trio.lowlevel.FdStream(ours), output.out)
        found = ShellOnTerminal(terminal, calls, output)
        try:
            await found.type(_SET_UP[shell] + _ENTER)
            await output.wait_for(PROMPT.encode())
            yield found
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()
