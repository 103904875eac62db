"""tools/bench/hostile: it measures what it says, stops by itself, and knows every kind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attackers import KINDS
from floods import FLOODS, FLOODS_ON_TCP
from patience import patient

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench" / "hostile"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )


def test_it_knows_every_kind() -> None:
    """Those of attackers.py, floods among them; a name of none is a mistake."""
    listed = run("--list").stdout.split()
    assert listed == list(KINDS)
    assert set(FLOODS) | set(FLOODS_ON_TCP) <= set(listed)
    done = run("--kinds", "no_such")
    assert done.returncode == 1
    assert "no attack is called no_such" in done.stderr


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("against", [["--toy"], []])
def test_it_measures(against: list[str]) -> None:
    """Calls and connections of a client beside an attack, and a time for each."""
    arguments = ["--kinds", "ping_flood", "--seconds", "1", "--at-once", "1", "--json"]
    done = run(*arguments, *against)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    assert (found["kind"], found["attackers"], found["failed"]) == ("ping_flood_unread", 1, [])
    assert found["calls"] > 3
    assert found["connections"] > 1
    # Which of them is longer, at the worst, is the machine's doing.
    assert min(found["call_ms"], found["connection_ms"]) > 0
