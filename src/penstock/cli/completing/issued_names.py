"""The names that a CA has issued for, out of its index. Without cryptography, which takes long to
load: an index is lines of JSON."""

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_MOST_BYTES: Final = 4 * 1024 * 1024


def issued_names(directory: str) -> list[tuple[str, str]]:
    """Each name once, with what it is; nothing of a directory without an index, or a damaged one.
    Never raises."""
    found: dict[str, str] = {}
    with suppress(OSError, ValueError, RecursionError):
        for line in _text(Path(directory) / "index.jsonl").splitlines():
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("kind") in ("client", "server"):
                found[str(entry.get("name", ""))] = str(entry["kind"])
    return [(name, kind) for name, kind in found.items() if name]


def _text(path: Path) -> str:
    """Of a regular file: a pipe would wait for its writer."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return ""
        return file.read(_MOST_BYTES).decode("utf-8", "replace")
