"""The pages for people, and what of them can be tried."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "certs" / "README.md"])
_CODE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """Lines between two fences."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    """Of all pages; of one language, "" where none is named, or of all."""
    found = []
    for page in PAGES:
        for match in re.finditer(
            r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            line = page.read_text()[: match.start()].count("\n") + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if language in (None, block.language)]


def inline_code() -> Iterator[tuple[Path, str]]:
    """All code within the text, on a line each."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for match in _CODE.finditer(text):
            yield page, match[1]


def command_lines() -> Iterator[tuple[Path, str]]:
    """Whatever a reader may type: lines of blocks, without prompt and comment, and code within the
    text."""
    for block in blocks():
        for line in block.text.splitlines():
            yield block.page, re.sub(r"^\w+\$ ", "", line.split(" #")[0].strip())
    yield from inline_code()


def keys_of(page: str, heading: str) -> set[str]:
    """The codes in bold at the head of each entry of the first list below a heading."""
    lines = iter((ROOT / page).read_text().split(f"\n{heading}\n", 1)[1].splitlines())
    found: set[str] = set()
    for line in lines:
        if entry := re.match(r"- \*\*(.+?)\*\*", line):
            found.update(_CODE.findall(entry[1]))
        elif found and not line.startswith("  "):
            return found
    return found


def anchors(page: Path) -> set[str]:
    """Whatever a link to a part of a page may name."""
    text = page.read_text()
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-"))
    return found
