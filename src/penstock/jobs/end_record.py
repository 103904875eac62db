"""The end record: the one immutable account of how a job ended."""

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from .output.gaps import Gap

Reason = Literal[
    "exited",
    "signaled",
    "stopped",
    "revoked",
    "out_of_memory",
    "timed_out",
    "failed_to_start",
    "output_failed",
    "output_full",
    "storage_full",
    "lost",
]

BY_POLICY: Final = "the policy"
"""In ``stopped_by``, for a job whose owner has lost its rights. No client can have this id."""


@dataclass(frozen=True, slots=True)
class EndRecord:
    """How a job ended and what it used. Bytes, seconds, UTC nanoseconds.

    ``output_bytes`` is all that was produced. ``output_sha256`` is of those bytes of
    [sha256_from, sha256_to), in order, that are in no gap. ``stored_bytes`` is what the log
    took of the disk, and ``sealed`` whether its index says where it ends. ``exit_code`` or
    ``signal`` says how the main process ended where that is known; ``reason`` says why.
    ``input_bytes`` and ``input_ended`` are what was accepted of its input. Of what it used, None is
    what neither the kernel nor the supervisor has measured.
    """

    reason: Reason
    ended_ns: int
    exit_code: int | None = None
    signal: int | None = None
    stopped_by: str = ""
    stop_reason: str = ""
    escalated: bool = False
    processes_killed: int = 0
    oom_kills: int | None = None
    memory_peak_bytes: int | None = None
    cpu_total_s: float | None = None
    throttled_s: float | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    output_bytes: int = 0
    output_sha256: str = ""
    sha256_from: int = 0
    sha256_to: int = 0
    gaps: tuple[Gap, ...] = ()
    stored_bytes: int = 0
    sealed: bool = True
    detail: str = ""
    input_bytes: int = 0
    input_ended: bool = False

    def to_json(self) -> str:
        """The text that the store keeps, and that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EndRecord":
        """What to_json gave. Raises ValueError, TypeError: the text is damaged."""
        fields = json.loads(text)
        fields["gaps"] = tuple(Gap(**gap) for gap in fields.get("gaps", ()))
        end = cls(**fields)
        numbers = [end.ended_ns, end.output_bytes, end.sha256_from, end.sha256_to, end.stored_bytes]
        numbers.append(end.input_bytes)
        numbers += [number for gap in end.gaps for number in (gap.start, gap.end)]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise TypeError(f"{numbers} are not all whole numbers")
        return end
