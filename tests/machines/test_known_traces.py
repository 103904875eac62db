"""One seed, one run: here, again, and in another process."""

import subprocess
import sys
from pathlib import Path

import pytest

from machines.programs import Seeded, make_program, make_schedule, parse
from machines.replay import main
from machines.run import run, seeded

SEEDS = [f"known:{number}" for number in range(12)]
_REPLAY = Path(__file__).with_name("replay.py")
_TRACES = (
    "import sys; sys.path[:0] = sys.argv[1:3]\n"
    "from machines.run import run, seeded\n"
    "for seed in sys.argv[3:]:\n"
    "    result = run(*seeded(seed))\n"
    "    print(result.trace, result.ticks, result.steps, len(result.timeline.lines))\n"
)


def trace(seed: str) -> str:
    result = run(*seeded(seed))
    lines = len(result.timeline.lines)
    return f"{result.trace} {result.ticks} {result.steps} {lines}"


@pytest.mark.slow
def test_a_seed_gives_one_trace_in_every_process() -> None:
    """Who ran in which tick is the same, whatever the process's hashes and addresses are."""
    here = [trace(seed) for seed in SEEDS]
    assert [trace(seed) for seed in SEEDS] == here
    places = [str(_REPLAY.parents[1]), str(_REPLAY.parents[1] / "lib")]
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _TRACES, *places, *SEEDS],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines() == here, done.stderr


def test_a_value_is_written_as_it_is_read() -> None:
    """What a failure prints can be played again."""
    for number in range(50):
        choose = Seeded(str(number))
        value = make_program(choose), make_schedule(choose)
        assert parse(repr(value)) == value
    for text in ("__import__('os')", "Program(actors=[])", "1 + 1"):
        with pytest.raises(ValueError, match="not a program"):
            parse(text)


def test_one_command_plays_it_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By the value, by the seed, from a file: the same time line."""
    told = []
    path = tmp_path / "value"
    path.write_text(repr(seeded("known:3")))
    for arguments in (["--seed", "known:3"], [path.read_text()], ["--file", str(path)]):
        assert main(arguments) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2]
    assert "server     life 0 begins" in told[0]
