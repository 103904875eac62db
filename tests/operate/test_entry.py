"""The entry ``penstockd``: what it executes, from any directory."""

import os
import sys
from pathlib import Path

import pytest

from penstock import penstockd


@pytest.mark.parametrize(
    ("words", "executed"),
    [
        (["--config", "p.toml"], ["--config", "@/p.toml"]),
        (["run", "--config=../p.toml", "-x"], ["--config=@@/p.toml", "-x"]),
        (["--config", "/etc/p.toml"], ["--config", "/etc/p.toml"]),
        (["--config"], ["--config"]),
    ],
)
def test_the_command_line_has_the_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], executed: list[str]
) -> None:
    """So that who looks for the process from another directory finds it by its file."""
    found: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["penstockd", *words])
    monkeypatch.setattr(os, "execv", lambda path, argv: found.append(argv))
    penstockd.main()
    (argv,) = found
    assert argv[:4] == [sys.executable, "-I", "-S", "-E"]
    paths = {"@@": str(tmp_path.parent), "@": str(tmp_path)}
    expected = [each.replace("@@", paths["@@"]).replace("@", paths["@"]) for each in executed]
    assert argv[5:] == expected
