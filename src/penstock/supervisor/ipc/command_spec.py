"""What is to be run (pure): the one record that library, START and database have of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from .message_forms import above_zero, flag, list_of, mapping, or_null, text
from .message_record import Wire


def _seconds(told: float | None) -> float | None:
    return None if told is None else float(told)


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What a caller asks to be run; ``arguments`` do not include argv[0].

    Raises TypeError for arguments that are one text: its characters would each become one.
    """

    command: Annotated[str, Wire(text)]
    arguments: Annotated[tuple[str, ...], Wire(list_of(text), tuple, list)] = ()
    env: Annotated[Mapping[str, str], Wire(mapping(text), None, dict)] = field(default_factory=dict)
    timeout_s: Annotated[float | None, Wire(or_null(above_zero), _seconds)] = None
    stdin: Annotated[bool, Wire(flag, optional=True)] = False

    def __post_init__(self) -> None:
        if isinstance(self.arguments, str | bytes):
            raise TypeError(f"arguments is one text; write ({self.arguments!r},)")
