"""Whether what a class requires is held for a job that is about to start."""

from collections.abc import Sequence

from ...policy.limit_classes import Enforcement, LimitClass
from ...policy.policy_file import Command
from ..ipc import protocol
from ..ipc.started import HeldLimits
from ..isolation import Offers, unmet
from .start_check import Refusal


def check_limits(held: HeldLimits, limit_class: LimitClass, totals: LimitClass) -> None:
    """Raises Refusal if a limit that its class or its client's ``totals`` require is not held."""
    _check(limit_class, held.enforcement, f"class {limit_class.name!r} requires limits")
    _check(totals, held.client_enforcement, f"client {totals.name!r} requires total limits")


def _check(limits: LimitClass, held: Sequence[Enforcement], requires: str) -> None:
    missing = limits.unmet(held)
    if missing:
        raise Refusal(
            protocol.UNENFORCED,
            f"{requires} that this host does not hold: {_listed(missing)}",
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
