"""docs/cancellation.md: every row names tests, and they exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_row_is_shown_by_a_test_that_exists() -> None:
    """All of C1 to C20; a row without a test says so with a dash and is not built yet."""
    text = (ROOT / "docs" / "cancellation.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| C\d+ \|", line)]
    assert [row[0] for row in rows] == [f"| C{number}" for number in range(1, 21)]
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert set(named) <= tests, f"{row[0]}: {set(named) - tests}"
        assert named or "not built yet" in row[3], row[0]
