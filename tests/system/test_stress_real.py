"""tools/stress --real: the long form of test_histories.py, for people."""

import argparse
import subprocess
import sys
from pathlib import Path

import machines.batches
import pytest
from machines.real_search import search

_TOOL = Path(__file__).parents[2] / "tools" / "stress"


@pytest.mark.slow  # test_histories.py has a short form of it
@pytest.mark.timeout(180)
def test_programs_on_a_real_server_and_a_summary() -> None:
    """Bounded by programs; it ends with 0, and says that it was real."""
    words = ["--real", "--programs", "6", "--seed", "test"]
    done = subprocess.run(
        [sys.executable, _TOOL, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended by 6 programs: 6 programs in " in done.stdout
    assert "real, seed test" in done.stdout
    assert "1 batches on 1 penstockds, whose servers were ended 4 times" in done.stdout
    assert "start " in done.stdout.rpartition("answers: ")[2]


@pytest.mark.slow  # test_histories.py has a short form of it
@pytest.mark.timeout(180)
def test_what_is_wrong_is_saved_and_can_be_played_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the judge is told that each job wrote something else."""
    monkeypatch.setattr(machines.batches, "judge", lambda history, found: ["bytes were lost"])
    options = argparse.Namespace(
        programs=2, seconds=None, seed="test", replay_seed=None, save=tmp_path
    )
    assert search(options) == 1
    said = capsys.readouterr().out
    assert "ended by a failing example: 2 programs" in said
    assert "tools/stress --real --replay-seed test:0" in said
    text = (tmp_path / "real-test-0.txt").read_text()
    assert text.startswith("broken:\n  bytes were lost\nseed: test:0, real\n")
    assert "b0p1 Program(" in text
    assert "alice started" in text or "bob started" in text
