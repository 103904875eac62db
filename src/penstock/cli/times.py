"""Points in time as users write them (pure)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_NANO: Final = 1_000_000_000
_LAST_NS: Final = 2**63 - 1  # int64 in the protocol: some day in 2262
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(
    r"(?:(?P<d>[0-9]{1,9})d)?(?:(?P<h>[0-9]{1,9})h)?(?:(?P<m>[0-9]{1,9})m)?(?:(?P<s>[0-9]{1,9})s)?",
    re.ASCII,
)
# RFC 3339 5.6, with the space that its note allows.
_TIME: Final = re.compile(
    r"(?P<local>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,30}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))",
    re.ASCII,
)
_HOW: Final = (
    'write a time with its zone, as in 2026-11-23T11:21:38Z, or how long ago, as in "5m" or "1h30m"'
)


_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


def seconds_of(text: str) -> float:
    """Seconds, more than 0, of a number of them or of a duration such as "1h30m". Raises ValueError
    with the forms that are possible."""
    seconds = 0.0
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif match := _DURATION.fullmatch(text):
        seconds = float(_sum(match))
    if not seconds:
        raise ValueError(f'{text[:64]!r} is no duration: write seconds, or as in "5m" or "1h30m"')
    return seconds


def _sum(duration: re.Match[str]) -> int:
    return sum(int(duration[unit] or 0) * size for unit, size in _UNITS.items())


def since(text: str, now_ns: int) -> int:
    """UTC nanoseconds since 1970, at least 1, of an RFC 3339 time or of a duration before
    ``now_ns``. Raises ValueError with the forms that are possible."""
    if text and (match := _DURATION.fullmatch(text)):
        return max(1, now_ns - _sum(match) * _NANO)
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is no time: {_HOW}")
    try:
        time = datetime.fromisoformat(match["local"].upper()).replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time ({error}): {_HOW}") from None
    ahead_minutes = 60 * int(match["hours"] or 0) + int(match["minutes"] or 0)
    if int(match["hours"] or 0) > 23 or int(match["minutes"] or 0) > 59:
        raise ValueError(f"{text!r} has a zone that is none: {_HOW}")
    whole_s = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    whole_s -= ahead_minutes * 60 * (-1 if match["sign"] == "-" else 1)
    # Not through a float, because it has too few digits for today's nanoseconds.
    time_ns = whole_s * _NANO + int(f"{match['fraction'] or '':0<9}"[:9])
    if time_ns > _LAST_NS:
        raise ValueError(f"{text!r} is beyond what a job's times can be (the year 2262)")
    return max(1, time_ns)
