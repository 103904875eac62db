"""Reads Limits from a configuration's table, and checks names, types and ranges (pure)."""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from .limits import Limits, Rate

_FIELDS: Final = dict(Limits.__annotations__)
# RFC 9113 6.5.2 and 6.9.1. The rest must only be positive.
_RANGES: Final = {
    "frame_bytes": (16_384, 2**24 - 1),
    "outbound_frame_bytes": (1, 2**24 - 1),
    "stream_window_bytes": (1, 2**31 - 1),
    "connection_window_bytes": (65_535, 2**31 - 1),
    "streams": (1, 2**31 - 1),
}
_MOST: Final = 2**48


def limits_from(table: Mapping[str, object], defaults: Limits) -> Limits:
    """``defaults`` with the table's values. Raises ValueError with every mistake, one a line.

    Keys are the fields of Limits; a Rate is a table of ``burst`` and ``per_s``.
    """
    mistakes: list[str] = []
    changes: dict[str, Any] = {}
    for key, value in table.items():
        kind = _FIELDS.get(key)
        if kind is None:
            close = difflib.get_close_matches(key, _FIELDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "docs/rpc.md lists the limits"
            mistakes.append(f"{key}: unknown key; {hint}")
        elif kind is Rate:
            changes[key] = _rate(key, value, mistakes)
        else:
            least, most = _RANGES.get(key, (1 if kind is int else 0.001, _MOST))
            changes[key] = _number(key, value, kind is int, least, most, mistakes)
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return defaults._replace(**changes)


def _rate(key: str, value: object, mistakes: list[str]) -> Rate | None:
    if not isinstance(value, Mapping) or set(value) != {"burst", "per_s"}:
        mistakes.append(f"{key}: is no rate; write for example {{ burst = 100, per_s = 10.0 }}")
        return None
    burst = _number(f"{key}.burst", value["burst"], True, 1, _MOST, mistakes)
    per_s = _number(f"{key}.per_s", value["per_s"], False, 0, _MOST, mistakes)
    return Rate(int(burst), float(per_s))


def _number(
    key: str, value: object, whole: bool, least: float, most: float, mistakes: list[str]
) -> float:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "an integer" if whole else "a number"
        mistakes.append(f"{key}: {value!r} is not possible; write {what} from {least} to {most}")
        return least
    return value
