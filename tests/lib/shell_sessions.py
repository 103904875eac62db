"""Sessions of the shell that the pages show: what is typed in them is typed, and what comes is what
they show.

A session is a block of language ``penstock``. A line behind ``> `` is typed at the prompt, the
lines below it are what is shown then. ``...`` alone stands for any lines, in a line for any text;
``^C``, and ``> ^D``, are keys; a line in parentheses is what happens to the server. Handles and
other numbers are compared as those of dialogues.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import dialogue
from documents import Block
from penstock_shell import PROMPT, ShellOnTerminal

_HANDLE = re.compile(r"PID: (\d+(?:\.\d+)?)")


@dataclass
class ShellStep:
    """What is typed, and all that is shown below it: parts between keys and events."""

    typed: str
    parts: list[list[str]] = field(default_factory=lambda: [[]])
    keys: list[str] = field(default_factory=list)
    """What happens behind each part but the last one."""


def steps(block: Block) -> Iterator[ShellStep]:
    step: ShellStep | None = None
    for line in block.text.splitlines():
        if line.startswith("> "):
            if step:
                yield step
            step = ShellStep(line[2:])
        else:
            assert step, f"{block}: output before anything is typed"
            if line == "^C" or re.fullmatch(r"\(.*\)", line):
                step.keys.append(line)
                step.parts.append([])
            else:
                step.parts[-1].append(line)
    assert step, f"{block}: nothing is typed"
    yield step


async def play(
    block: Block, shell: ShellOnTerminal, events: Mapping[str, Callable[[], Awaitable[None]]]
) -> int:
    """Types every line of a session; returns the exit status of the shell, which it leaves."""
    handles: dict[str, str] = {}
    for step in steps(block):
        begin = (await shell.idle()).row + 1
        typed = step.typed
        for shown, given in handles.items():
            typed = re.sub(rf"(?<![\w.]){re.escape(shown)}(?![\w.])", given, typed)
        shell.type("\x04" if typed == "^D" else f"{typed}\r")
        wanted: list[str] = []
        for at, part in enumerate(step.parts):
            wanted += part
            last = at == len(step.parts) - 1
            ends = last and typed in ("^D", "exit")
            lines = await _until(shell, begin, wanted, at_prompt=last and not ends, ends=ends)
            if not last:
                key = step.keys[at]
                if key == "^C":
                    wanted.append("^C")
                    shell.type("\x03")
                else:
                    await events[key]()
        shown = "\n".join(line for part in step.parts for line in part)
        handles.update(zip(_HANDLE.findall(shown), _HANDLE.findall("\n".join(lines)), strict=True))
    return await shell.end()


async def _until(
    shell: ShellOnTerminal, begin: int, wanted: list[str], *, at_prompt: bool, ends: bool
) -> list[str]:
    """What is shown from that row on, once it is as wanted; in front of the prompt if it is
    there."""
    pattern = re.compile("".join(map(_pattern, wanted)))
    while True:
        if ends and shell.process.returncode is not None:
            await shell.end()  # its last words may come after its end
        over = shell.output.open_streams == 0 or shell.complete
        screen = shell.screen
        lines = screen.lines[begin : None if ends else screen.row + 1]
        if not ends and lines and lines[-1].startswith(PROMPT):
            del lines[-1]
        elif at_prompt:
            lines = []
        while lines and not lines[-1]:
            del lines[-1]
        if pattern.fullmatch("".join(f"{dialogue._plain(line)}\n" for line in lines)):
            return lines
        assert not over, f"{shell.shown}\nis not as the page shows:\n" + "\n".join(wanted)
        await shell.output.grown.wait()


def _pattern(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*"
    parts = line.split("...")
    return ".*".join(re.escape(dialogue._plain(part)) for part in parts) + r"\n"
