"""Files that hold what people see, to the letter: tests/cli/golden/.

After a change that is meant: ``pytest --update-golden PATH`` writes them anew; read their diff.
"""

from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "cli" / "golden"


def shown(data: bytes | bytearray) -> str:
    r"""What was written, as a file of text can hold it: \e is ESC, \r a lone carriage return."""
    text = data.decode().replace("\r\n", "\n")
    return text.replace("\x1b", "\\e").replace("\r", "\\r")


def check_golden(name: str, text: str, *, update: bool) -> None:
    """Fails unless the file says the same; ``update`` writes it instead."""
    path = GOLDEN / f"{name}.txt"
    if update:
        path.write_text(text)
    assert path.exists(), f"{path} is missing: pytest --update-golden writes it"
    assert text == path.read_text()
