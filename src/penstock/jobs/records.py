"""The end record: the one immutable account of how a job ended."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Reason = Literal[
    "exited",
    "signaled",
    "stopped",
    "out_of_memory",
    "timed_out",
    "failed_to_start",
    "output_failed",
    "lost",
]


@dataclass(frozen=True, slots=True)
class EndRecord:
    """How a job ended and what it used. Bytes, seconds, UTC nanoseconds.

    ``output_sha256`` is of the output bytes [sha256_from, sha256_to). ``exit_code`` or
    ``signal`` says how the main process ended where that is known; ``reason`` says why.
    """

    reason: Reason
    ended_ns: int
    exit_code: int | None = None
    signal: int | None = None
    stopped_by: str = ""
    stop_reason: str = ""
    escalated: bool = False
    processes_killed: int = 0
    oom_kills: int = 0
    memory_peak_bytes: int = 0
    cpu_total_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    output_bytes: int = 0
    output_sha256: str = ""
    sha256_from: int = 0
    sha256_to: int = 0
    detail: str = ""

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EndRecord":
        """What to_json gave. Raises ValueError, TypeError: the text is damaged."""
        end = cls(**json.loads(text))
        for name in ("ended_ns", "output_bytes", "sha256_from", "sha256_to"):
            if not isinstance(getattr(end, name), int):
                raise TypeError(f"{name} is {getattr(end, name)!r}")
        return end
