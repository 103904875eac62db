"""Whether what a class requires is held for a job that is about to start."""

from ...policy.limit_classes import Enforcement, LimitClass
from ...policy.policy_file import Command
from ..ipc import protocol
from ..isolation import Offers, unmet
from .start_check import Refusal


def check_limits(enforcement: list[Enforcement], limit_class: LimitClass, requires: str) -> None:
    """Raises Refusal if a limit that is required is not held. ``requires`` begins its text, with
    a place for the class's name."""
    missing = limit_class.unmet(enforcement)
    if missing:
        raise Refusal(
            protocol.UNENFORCED,
            f"{requires.format(limit_class.name)} that this host does not hold: {_listed(missing)}",
            "group",
        )


def check_isolation(
    command: Command, limit_class: LimitClass, offers: Offers, *, root: bool
) -> None:
    """Raises Refusal if the job must be isolated in a way that this host does not give."""
    missing = unmet(command, limit_class, offers, root=root)
    if missing:
        raise Refusal(
            protocol.UNENFORCED,
            f"command {command.name!r} requires isolation that this host does not give: "
            f"{_listed(missing)}",
            "isolation",
        )


def _listed(missing: list[Enforcement]) -> str:
    return "; ".join(
        f"{entry.limit} is {entry.state}" + (f" ({entry.detail})" if entry.detail else "")
        for entry in missing
    )
