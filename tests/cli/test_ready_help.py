"""The pages of --help that are made beforehand are those that asyncclick would make now."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from _help_pages import PAGES, help_pages
from fake_service import terminal
from patience import patient

from penstock.cli.ready_help import page_name, ready_help

MODULES = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from penstock.cli import main
main()
"""
NAMES = sorted(name.removesuffix(".txt").split(".")[1:] for name in help_pages())


def penstock(*words: str, out: int = subprocess.PIPE, **environment: str) -> tuple[int, str, str]:
    """The status, the output, and every module that was imported."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *words],
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=patient(30),
        check=False,
    )
    return done.returncode, done.stdout or "", done.stderr


def test_they_are_fresh() -> None:
    """Otherwise: tools/gen_man. No page is there of what is no verb."""
    there = {path.name: path.read_text() for path in PAGES.iterdir()}
    assert there == help_pages(), "old: run tools/gen_man"


@pytest.mark.parametrize("words", [[], ["status"], ["ps"], ["certs"], ["certs", "issue"]])
def test_they_are_what_the_parser_shows(words: list[str]) -> None:
    """An option in front of the verb is left to the parser. The page needs none."""
    assert page_name(words).removesuffix(".txt").split(".")[1:] in NAMES
    code, page, modules = penstock(*words, "--help")
    assert code == 0
    assert not {"asyncclick", "inspect", "dataclasses", "penstock.cli.verbs"} & {*modules.split()}
    code, parsed, modules = penstock("-o", "text", *words, "--help")
    assert (code, parsed) == (0, page)
    assert "asyncclick" in modules.split()
    assert penstock(*words, "-h")[1] == page


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["status"],
        ["--help", "status"],
        ["status", "1", "--help"],
        ["nonsense", "--help"],
        ["certs.issue", "--help"],
        ["..", "--help"],
        ["a\0b", "--help"],
        ["\udce9", "--help"],
        ["x" * 300, "--help"],
    ],
)
def test_other_lines_are_parsed(words: Sequence[str]) -> None:
    assert ready_help([*words]) is None


@pytest.mark.parametrize(
    ("columns", "ready"),
    [("", True), ("80", True), ("200", True), ("79", False), ("wide", False), ("9" * 5000, False)],
)
def test_columns_count_as_for_the_parser(
    monkeypatch: pytest.MonkeyPatch, columns: str, ready: bool
) -> None:
    """COLUMNS goes before the terminal, of which there is none here."""

    def none(_: int) -> None:
        raise OSError(errno.ENOTTY, "no terminal")

    monkeypatch.setattr(os, "get_terminal_size", none)
    monkeypatch.setenv("COLUMNS", columns)
    assert (ready_help(["status", "--help"]) is not None) == ready


@pytest.mark.parametrize(("columns", "parser"), [(200, False), (60, True)])
async def test_a_narrow_terminal_has_narrow_help(columns: int, parser: bool) -> None:
    async with terminal(columns) as (descriptor, shown):
        code, _, modules = penstock("run", "--help", out=descriptor)
        os.close(descriptor)
    assert code == 0
    assert ("asyncclick" in modules.split()) == parser
    lines = shown.decode().split("\r\n")
    assert max(map(len, lines)) <= min(columns, 80)
    assert lines[0].startswith("Usage: penstock run ")


def test_help_that_cannot_be_written_is_a_failure() -> None:
    """As it is for every verb: 1, and 125 of one that passes its job's status on."""
    with open("/dev/full", "wb") as full:
        for words, expected in (([], 1), (["status"], 1), (["run"], 125)):
            code, _, said = penstock(*words, "--help", out=full.fileno())
            assert code == expected
            assert "No space left on device" in said
