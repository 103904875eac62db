"""How much output the policy keeps, for how long, and what happens when that is used up (pure)."""

from dataclasses import dataclass
from typing import Final, Literal, cast

from .limit_classes import parse_size
from .toml_tables import Table, parse_duration, show

WhenFull = Literal["drop_oldest", "drop_newest", "wait", "stop"]
WHEN_FULL: Final[tuple[WhenFull, ...]] = ("drop_oldest", "drop_newest", "wait", "stop")
UNLIMITED: Final = "unlimited"

_GIB: Final = 2**30
# A log is kept in eight segments, and segments below 16 KiB would cost more in files than they
# hold.
_LEAST_BYTES: Final = 128 * 1024
_DAY_S: Final = 86400.0
_MAX_KEEP_S: Final = 3660 * _DAY_S
_MAX_JOBS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OutputPolicy:
    """Bounds in bytes on the disk, indexes included; None is no bound.

    ``job_bytes`` and ``when_full`` are for commands that set no others. Finished jobs are kept for
    ``keep_s`` seconds, and ``keep_jobs`` of them for each client; the oldest are removed sooner
    where ``client_bytes`` or ``server_bytes`` are used up.
    """

    job_bytes: int | None = _GIB
    client_bytes: int | None = 4 * _GIB
    server_bytes: int | None = 16 * _GIB
    when_full: WhenFull = "drop_oldest"
    keep_s: float | None = 7 * _DAY_S
    keep_jobs: int = 1000


DEFAULTS: Final = OutputPolicy()


def parse_output(table: Table) -> OutputPolicy:
    """The table ``[output]``. Mistakes are recorded."""
    policy = OutputPolicy(
        job_bytes=parse_bound(table, "job", DEFAULTS.job_bytes),
        client_bytes=parse_bound(table, "client", DEFAULTS.client_bytes),
        server_bytes=parse_bound(table, "server", DEFAULTS.server_bytes),
        when_full=parse_when_full(table, DEFAULTS.when_full),
        keep_s=table.parsed(
            "keep",
            _keep,
            DEFAULTS.keep_s,
            remedy=f'write a duration, such as "7d", or "{UNLIMITED}"',
        ),
        keep_jobs=table.integer("keep_jobs", DEFAULTS.keep_jobs, 0, _MAX_JOBS),
    )
    table.finish()
    return policy


def parse_bound(table: Table, key: str, default: int | None) -> int | None:
    """A size, or ``"unlimited"``. Mistakes are recorded."""

    def parse(text: str) -> int | None:
        if text == UNLIMITED:
            return None
        size = parse_size(text)
        if size < _LEAST_BYTES:
            raise ValueError(f"{show(text)} is less than 128KiB, which no log can keep to")
        return size

    remedy = f'write a size, such as "1GiB", or "{UNLIMITED}"'
    return table.parsed(key, parse, default, remedy=remedy)


def parse_when_full(table: Table, default: WhenFull) -> WhenFull:
    """What happens when a bound is reached. Mistakes are recorded."""
    return cast(WhenFull, table.choice("when_full", WHEN_FULL, default))


def _keep(text: str) -> float | None:
    if text == UNLIMITED:
        return None
    seconds = parse_duration(text)
    if not 0 <= seconds <= _MAX_KEEP_S:
        raise ValueError(f"{show(text)} is out of range, 0 to 3660 days")
    return seconds
