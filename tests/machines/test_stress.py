"""What tools/stress says at its end."""

import argparse
import importlib.util
import sys
from collections import Counter
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

_TOOLS = Path(__file__).parents[2] / "tools"


class _Workers:
    """Two programs were played, and the second has failed."""

    def total(self, name: str) -> float:
        return 2.0

    def counts(self, name: str) -> Counter[str]:
        return Counter()

    def broken(self) -> list[dict[str, str]]:
        return [{"seed": "0.0:1", "text": "broken"}]


@pytest.fixture
def stress(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(_TOOLS), *sys.path])
    loader = SourceFileLoader("stress", str(_TOOLS / "stress"))
    spec = importlib.util.spec_from_loader("stress", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    return module


def test_a_search_bounded_by_programs_says_that_one_has_failed(stress: Any) -> None:
    """There are no seconds then that it could have ended by."""
    options = argparse.Namespace(programs=10, seconds=None, seed="0")
    assert stress.summary(_Workers(), options, 1.0).startswith("ended by a failing example: 2 prog")
