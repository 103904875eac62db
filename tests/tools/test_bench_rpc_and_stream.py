"""tools/bench/rpc and stream: they measure what they say and come to an end, whatever happens."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import patient

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH / tool), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
    )


@pytest.mark.slow
@pytest.mark.alone
def test_calls_are_measured() -> None:
    """Of three servers, and the ratio that is held against --at-least."""
    done = run("rpc", "--rounds", "1", "--seconds", "0.5", "--at-least", "0", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["calls_per_s"]) == {"penstock", "purerpc", "grpc.aio"}
    assert all(rates[0] > 0 for rates in found["calls_per_s"].values())
    assert found["ratio"] > 0


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(patient(120))
def test_streams_are_measured() -> None:
    """Of each server with each number of readers, and what is measured once."""
    sizes = ("--mib", "16", "--memory-mib", "16", "--followers", "100")
    done = run("stream", "--rounds", "1", *sizes, "--json")
    assert done.returncode in (0, 1), done.stderr  # of so little the bounds say nothing
    found: dict[str, Any] = json.loads(done.stdout)
    kinds, readers = ("penstock", "naive", "tls"), (1, 4, 16, 64)
    names = {f"{kind} {count}" for kind in kinds for count in readers}
    assert set(found["bytes_per_s"]) == set(found["cpu_s_per_gb"]) == names
    assert found["single"]["penstock latency_ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["rpc", "stream", "hostile"])
def test_a_bound_in_time_is_kept(tool: str) -> None:
    """In the middle of it: it says so, and no server is left behind (the run's warden looks)."""
    done = run(tool, "--at-most", "2")
    assert done.returncode == 1
    assert "not done in 2 s" in done.stderr
