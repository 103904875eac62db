"""Plays a program again: ``python tests/machines/replay.py "(Program(...), Schedule(...))"``, or
``--seed S:N``, or ``--file PATH`` with such a value in it. Prints its timeline."""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("", "lib")]


def replay(text: str) -> int:
    """Of the value's text. Exit status: 1 if it fails (again)."""
    from machines.programs import parse
    from machines.run import run
    from machines.timeline import Broken

    program, schedule = parse(text)
    try:
        result = run(program, schedule)
    except Broken as broken:
        print(broken.text())
        return 1
    print(result.timeline.text())
    print(f"holds; trace {result.trace:08x}, {result.ticks} ticks, {result.steps} steps")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("value", nargs="?", help="a program and its schedule")
    parser.add_argument("--seed", help="of run_many: S:N")
    parser.add_argument("--file", type=Path, help="a file with the value")
    given = parser.parse_args(arguments)
    if given.seed:
        from machines.run import seeded

        return replay(repr(seeded(given.seed)))
    if given.file:
        return replay(given.file.read_text())
    if not given.value:
        parser.error("a value, --seed or --file")
    return replay(given.value)


if __name__ == "__main__":
    sys.exit(main())
