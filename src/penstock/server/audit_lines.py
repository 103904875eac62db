"""What one line of the audit log holds, at a bounded length (pure).

What a client writes into a request comes into its lines, at six bytes a character where JSON has
to escape it. Of a text that is too long the line has the beginning, the length and a digest of the
whole, so that an auditor who has the whole elsewhere (the job's record, the client's own log) can
show that it is the same.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_LINE_BYTES: Final = 16 * 1024
MAX_VALUE_BYTES: Final = 2048
# A line of so many fields that it is too long all the same. Its fields are ours, so some dozens.
_LESS: Final = (MAX_VALUE_BYTES, 256, 64)


def line_of(fields: Mapping[str, object]) -> bytes:
    """One line of plain ASCII with its end, at most MAX_LINE_BYTES for up to 50 fields.

    No byte of a client's text can end a line or look like another one. Values are as JSON has
    them; each that is too long is as ``bounded`` says.
    """
    line = b""
    for most in _LESS:
        line = (_json(bounded(fields, most)) + "\n").encode("ascii")
        if len(line) <= MAX_LINE_BYTES:
            break
    return line


def bounded(fields: Mapping[str, object], most_bytes: int = MAX_VALUE_BYTES) -> dict[str, Any]:
    """The fields, none of them longer than ``most_bytes`` as JSON.

    A text is cut, a list of texts ends early; then ``<key>_bytes`` is the length of the whole in
    UTF-8, ``<key>_sha256`` its digest, and ``<key>_count`` of a list the number of its elements,
    each followed by a NUL in length and digest. Anything else is its JSON, as a text.
    """
    found: dict[str, object] = {}
    for key, value in fields.items():
        if isinstance(value, str):
            found |= _text(key, value, most_bytes)
        elif isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            found |= _texts(key, value, most_bytes)
        elif value is None or isinstance(value, bool | int | float) or _size(value) <= most_bytes:
            found[key] = value
        else:
            found |= _text(key, _json(value), most_bytes)
    return found


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _size(value: object) -> int:
    return len(_json(value))


def _text(key: str, text: str, most_bytes: int) -> dict[str, object]:
    if len(text) <= most_bytes and _size(text) <= most_bytes:
        return {key: text}
    data = _utf_8(text)
    return {
        key: _beginning(text, most_bytes),
        f"{key}_bytes": len(data),
        f"{key}_sha256": hashlib.sha256(data).hexdigest(),
    }


def _texts(key: str, texts: Sequence[str], most_bytes: int) -> dict[str, object]:
    kept: list[str] = []
    room = most_bytes - 1  # its brackets, less the comma that the last one does not have
    for text in texts:
        cut = text[:most_bytes]
        room -= _size(cut) + 1
        if room < 0:
            begun = _beginning(text, room + _size(cut))
            if begun:
                kept.append(begun)
            break
        kept.append(text)
    if kept == list(texts):
        return {key: kept}
    data = _utf_8("\0".join((*texts, "")))  # one digest call, because there may be thousands
    return {
        key: kept,
        f"{key}_count": len(texts),
        f"{key}_bytes": len(data),
        f"{key}_sha256": hashlib.sha256(data).hexdigest(),
    }


def _beginning(text: str, most_bytes: int) -> str:
    """As much of it as fits, in JSON and with its quotes."""
    fits, fails = 0, max(0, most_bytes) + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _size(text[:middle]) <= most_bytes:
            fits = middle
        else:
            fails = middle
    return text[:fits]


def _utf_8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
