"""What a file holds, for the message that it is the wrong one."""

from pathlib import Path
from typing import Final

_MARK: Final = b"-----BEGIN "


def pem_kinds(path: Path) -> str:
    """What PEM blocks are in a file, for people."""
    kinds = []
    for line in path.read_bytes().splitlines():
        if line.startswith(_MARK):
            kinds.append(line.removeprefix(_MARK).rstrip(b"- ").decode("ascii", "replace").lower())
    return f"it holds: {', '.join(kinds[:4])}" if kinds else "it holds nothing in PEM form"
