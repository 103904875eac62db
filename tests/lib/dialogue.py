"""Dialogues of the pages: what is typed in them is typed, and what comes is what they show.

A dialogue is a block of language ``console``. A line behind ``$ ``, or ``alice$ ``, is typed into
bash as that client, with everything that the block has typed before done; the lines below it are
what is printed then, on both streams. ``...`` there stands for any lines.

Handles, times and figures differ from run to run, so a handle of the page stands for the one that
was given in its place, and any other number for any number.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from documents import Block
from patience import patient

_TYPED = re.compile(r"(?:(\w+))?\$ (.*)")
_HANDLE = re.compile(r"PID: (\d+(?:\.\d+)?)")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_UNIT = re.compile(r"# ?[kMG]?(i?B|iops)\b")


@dataclass(frozen=True)
class Step:
    """One line that is typed, and the lines that the page shows below it."""

    client: str
    typed: str
    shown: tuple[str, ...]


def steps(block: Block) -> Iterator[Step]:
    """The steps of a dialogue, in order."""
    typed: tuple[str, str] | None = None
    shown: list[str] = []
    for line in block.text.splitlines():
        if match := _TYPED.fullmatch(line):
            if typed:
                yield Step(*typed, tuple(shown))
            typed, shown = (match[1] or "alice", match[2]), []
        else:
            assert typed, f"{block}: output before anything is typed"
            shown.append(line)
    assert typed, f"{block}: nothing is typed"
    yield Step(*typed, tuple(shown))


def play(block: Block, environments: Mapping[str, dict[str, str]], directory: str) -> None:
    """Types every line of a dialogue. ``environments``: by client. Raises AssertionError where
    something else is printed than the page shows."""
    handles: dict[str, str] = {}
    for step in steps(block):
        typed = step.typed
        for shown, given in handles.items():
            typed = re.sub(rf"(?<![\w.]){re.escape(shown)}(?![\w.])", given, typed)
        done = subprocess.run(
            ["bash", "-c", typed],
            env=environments[step.client],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patient(60),
            check=False,
        )
        printed = done.stdout.splitlines()
        wanted = "\n".join(map(_pattern, step.shown))
        assert re.fullmatch(wanted, "\n".join(map(_plain, printed))), (
            f"{block}: {typed}\n" + done.stdout + "\nis not as the page shows:\n" + wanted
        )
        handles.update(
            zip(_HANDLE.findall("\n".join(step.shown)), _HANDLE.findall(done.stdout), strict=True)
        )


def _plain(line: str) -> str:
    """A line without what differs from run to run."""
    plain = _NUMBER.sub("#", _TIMESTAMP.sub("TIME", line))
    return re.sub(r" +", " ", _UNIT.sub(r"# \1", plain)).rstrip()


def _pattern(line: str) -> str:
    return r"(?:.*(?:\n.*)*)" if line == "..." else re.escape(_plain(line))


def make_programs(directory: Path) -> None:
    """penstock and penstockd as this Python has them; on the source there are no scripts."""
    directory.mkdir(parents=True)
    for name, module in (("penstock", "penstock.cli"), ("penstockd", "penstock.penstockd")):
        program = directory / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
