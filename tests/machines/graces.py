"""When a job that is stopped must be killed: no later than its callers asked, and no sooner."""

from dataclasses import dataclass
from typing import Final

import trio

from .group import SERVER_IS_LATE_S, Group
from .programs import GRACE_S
from .world import World

# A server that has just begun hears of its jobs first, and the kernel may be slow.
_TAKES_OVER_S: Final = 5.0
# What may kill a job without a client's asking, or by a grace that none has asked for.
_UNASKED: Final = frozenset(
    (
        *("shutdown", "twice", "supervisor", "full", "eio", "short", "records", "audit"),
        *("storage", "unrecorded", "away", "reload"),
    )
)
# The clock adds small times to large ones.
_ROUNDED_S: Final = 1e-6


@dataclass(slots=True)
class Wish:
    """One request to stop a job, sent ``at``; ``grace_s`` None: by the command's own, or by that
    of a stop that is under way. ``answered_at``: it is known that it was heard."""

    at: float
    grace_s: float | None
    answered_at: float | None = None


class Graces:
    """Of all jobs of a world, by job id."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wishes: dict[str, list[Wish]] = {}
        self._heard: dict[str, list[float]] = {}

    def asking(self, job_id: str, grace_s: float | None) -> Wish:
        """Before a stop is sent."""
        wish = Wish(trio.current_time(), grace_s)
        self._wishes.setdefault(job_id, []).append(wish)
        return wish

    def heard(self, job_id: str) -> None:
        """The server has decided that somebody may stop it; it does so without a checkpoint."""
        self._heard.setdefault(job_id, []).append(trio.current_time())

    def check(self, group: Group) -> None:
        """At the end."""
        wishes = self._wishes.get(group.id, [])
        for wish in () if group.lost else wishes:
            self._check_late(group, wish, alone=len(wishes) == 1)
        self._check_without_server(group, wishes)
        self._check_early(group, wishes)

    def _check_late(self, group: Group, wish: Wish, *, alone: bool) -> None:
        """KILL is asked for once the grace is over, unless the end is known; whether the
        supervisor has answered to the first signal does not count (C26)."""
        if wish.answered_at is None or (wish.grace_s is None and not alone):
            return
        # Of several at once it is not known whose was heard when.
        times = [at for at in self._heard.get(group.id, ()) if wish.at <= at <= wish.answered_at]
        heard = max(times, default=wish.answered_at)
        due = heard + _grace_s(wish) + _ROUNDED_S
        lived = min(group.kill_asked_at, group.exit_told_at)
        if lived > due and not self._disturbed(heard - _TAKES_OVER_S, due):
            self._world.fail(
                f"job {group.id[-4:]} was not killed by {due:g}: a stop was heard at {heard:g}, "
                f"with {_grace_s(wish):g} s of grace"
            )

    def _check_without_server(self, group: Group, wishes: list[Wish]) -> None:
        """Once its supervisor has heard of a stop, that one sends KILL when the grace is over,
        whether there is a server or not (C24)."""
        world = self._world
        decided = self._heard.get(group.id, ())
        terms = [at for at in group.terms if decided and at >= decided[0]]
        if group.lost or len(wishes) != 1 or not terms:
            return
        heard = terms[0]
        # Of two signals the first may have been another one's: then that of the stop came soon.
        slack_s = 4 * world.program.kernel + _ROUNDED_S
        due = heard + _grace_s(wishes[0]) + SERVER_IS_LATE_S + slack_s
        lived = min(group.killed_at, group.main_ended_at)
        still = any(begin <= due and end > heard for begin, end in world.kernel.still)
        # One that takes it over begins the grace anew.
        taken_over = any(
            heard <= at <= due and who == "server" and "begins" in what
            for at, who, what in world.timeline.lines
        )
        if lived > due and due < world.closed_at and not (still or taken_over):
            self._world.fail(
                f"job {group.id[-4:]} was not killed by {due:g}, without a server: the supervisor "
                f"heard of its stop at {heard:g}, with {_grace_s(wishes[0]):g} s of grace"
            )

    def _disturbed(self, begin: float, end: float) -> bool:
        return any(
            begin <= at <= end and (who == "server" or "supervisor" in what)
            for at, who, what in self._world.timeline.lines
            if at > 0.0  # its first life has nothing to take over
        )

    def _check_early(self, group: Group, wishes: list[Wish]) -> None:
        program, killed = self._world.program, group.kill_asked_at
        unasked = program.output or any(fault.what in _UNASKED for fault in program.faults)
        if unasked or killed >= self._world.closed_at:
            return
        least = min((wish.at + _grace_s(wish) for wish in wishes), default=float("inf"))
        if killed < least - _ROUNDED_S:
            self._world.fail(
                f"job {group.id[-4:]} was killed at {killed:g}, and its grace was until {least:g}"
            )


def _grace_s(wish: Wish) -> float:
    return GRACE_S if wish.grace_s is None else wish.grace_s
