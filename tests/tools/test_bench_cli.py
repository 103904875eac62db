"""tools/bench/cli: it measures what it says, and the bound of a short verb holds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import patient

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench" / "cli"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.system
def test_a_short_verb_costs_little_more_than_trio_and_protobuf() -> None:
    """1.7 times their imports, and help less than three bare interpreters; the tool says so itself.
    Each command ends as it should."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--rounds", "7", "--json"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patient(300),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {"python", "trio + protobuf", "penstock status HANDLE"} <= found["cpu_ms"].keys()
    assert all(cpu_ms > 0 for cpu_ms in found["cpu_ms"].values())
    assert 1 < found["ratios"]["status"] <= 1.7
    assert 1 < found["ratios"]["help"] < 3
    assert found["missed"] == []
