"""The shell and its terminal: which other program has it, and when the prompt takes it back."""

import ast
import os
import re
import signal
import sys
import termios
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_service import HANDLE, FakeService, chunk, fake_server
from marks import SOURCE
from shell_dialogue import CTRL_D, ENDED, encrypted_key, left, shell_of


@pytest.mark.parametrize("key", ["\x03", pytest.param("\x1c", marks=pytest.mark.slow)])
async def test_a_question_that_is_interrupted_gives_the_terminal_back(
    tmp_path: Path, key: str
) -> None:
    """Before the next prompt takes it, whose keys would be echoed otherwise."""
    async with shell_of() as (server, shell):
        path = await encrypted_key(server, tmp_path)
        for number in range(1, 3):
            await shell.enter(f"--key {path} list")
            while shell.raw.count(f"Passphrase of {path}:") < number:
                await shell.output.grown.wait()
            shell.type(key)
            assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
            await shell.idle()
            assert shell.attributes() != shell.before
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_key_of_a_verb_that_has_ended_selects_nothing() -> None:
    """A ^D that was typed while a verb ran comes as a NUL."""
    async with shell_of() as (server, shell):
        await shell.idle()
        shell.type("\x00start ls\x00\r")
        await shell.wait_for(f"Success! PID: {HANDLE}")
        assert len(server.service.starts) == 1


async def test_a_shell_that_was_stopped_from_elsewhere_goes_on() -> None:
    """Whoever had the terminal meanwhile has made its mode the usual one, as shells do."""
    async with shell_of() as (server, shell):
        await shell.wait_bar("connected")
        shell.type("sta")
        await shell.idle("sta")
        os.kill(shell.process.pid, signal.SIGSTOP)
        termios.tcsetattr(shell.theirs, termios.TCSANOW, shell.before)
        os.write(shell.theirs, b"\n")
        os.kill(shell.process.pid, signal.SIGCONT)
        while shell.attributes() == shell.before:
            await shell.output.grown.wait()
        await shell.idle("sta")
        shell.type("rt ls\r")
        await shell.wait_for(f"Success! PID: {HANDLE}")
        assert len(server.service.starts) == 1
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)


_IMPATIENT = """
from penstock.cli import main
from penstock.cli.shell import interactive
interactive.GIVEN_UP_S = 0.5
main()
"""


async def test_a_terminal_that_takes_nothing_is_left() -> None:
    """C65: what is written waits in a thread, or holds up all; TERM ends the shell all the same."""
    service = FakeService()
    text = b"x" * 999 + b"\n"
    service.messages = [chunk(text * 40, offset=each * 40_000) for each in range(20)]
    service.stream_may_end = trio.Event()
    async with shell_of(service, program=(sys.executable, "-c", _IMPATIENT)) as (_server, shell):
        await shell.enter("stream -q --no-timestamps 48213 &")
        await shell.wait_for("48213: xxx")
        shell.showing.cancel()
        await trio.testing.wait_all_tasks_blocked(0.2)
        os.kill(shell.process.pid, signal.SIGTERM)
        assert await shell.end() == ENDED + signal.SIGTERM
        assert shell.attributes() == shell.before


def test_no_private_name_of_a_library_is_used() -> None:
    """prompt_toolkit may change them in any release. Attributes with an underscore are of
    ``self``, or of the same module's classes."""
    for path in sorted((SOURCE / "cli" / "shell").glob("line_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr):
                assert ast.unparse(node.value) in ("self", "super()"), f"{path}: {node.attr}"
            elif isinstance(node, ast.ImportFrom):
                assert not any(each.name.startswith("_") for each in node.names), path


@pytest.mark.parametrize("which", ["stdin", "out"])
async def test_without_a_terminal_at_both_ends_there_is_no_shell(which: str) -> None:
    """What is typed must be shown where it is typed."""
    ours, theirs = os.openpty()
    async with fake_server() as server:
        done = await server.run_cli(**{which: theirs})
    os.close(ours)
    assert done.code == 2
    assert done.err.startswith(b"Usage: penstock [OPTIONS] COMMAND")
