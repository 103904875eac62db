"""What a reload of many commands costs the loop, in which starts and stops of everybody wait."""

import os
from collections.abc import Callable

import pytest

from penstock.policy.patterns import Element, parse_pattern
from penstock.supervisor.files.executables import Executable, describe, identity_of
from penstock.supervisor.files.program_files import ProgramFiles, other_programs

_MANY = 500


def programs(other: str = "") -> ProgramFiles:
    """Of many commands with one program; ``other`` has a file that was replaced."""
    identity = identity_of(os.stat("/"))
    names = [f"c{number}" for number in range(_MANY)]
    return ProgramFiles(
        {
            name: Executable("/p", -1, (*identity[:-1], 1) if name == other else identity)
            for name in names
        }
    )


def counted(function: Callable[..., str]) -> tuple[Callable[..., str], list[int]]:
    calls: list[int] = []

    def counting(*arguments: object) -> str:
        calls.append(1)
        return function(*arguments)

    return counting, calls


def test_each_program_is_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each other one: 2,000 commands were two minutes in which nobody was served."""
    before, now = programs(), programs("c7")
    counting, calls = counted(describe)
    monkeypatch.setattr("penstock.supervisor.files.program_files.describe", counting)
    (line,) = other_programs(before, now)
    assert line.startswith("commands.c7: taken up is /p: inode ")
    assert len(calls) == 2 * _MANY


def test_a_pattern_is_not_asked_about_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is made, which the loop does as it is handed over; and what two have in common is there
    once."""
    asked: list[int] = []
    admits = Element.admits

    def counting(element: Element, code: int) -> bool:
        asked.append(code)
        return admits(element, code)

    monkeypatch.setattr(Element, "admits", counting)
    one, other = parse_pattern("[a-z]{1,30}-1234"), parse_pattern("[a-z]{1,30}-1235")
    assert len(asked) <= 4 * (len(one.elements) + len(other.elements))
    assert all(a is b for a, b in zip(one.elements[:-1], other.elements[:-1], strict=True))
    assert one.matches("abc-1234")
    assert not one.matches("abc-1235")
