"""Which limits of a class the kernel does not hold, and whether the class minds."""

from typing import get_args

import pytest

from penstock.policy.limit_classes import (
    LIMIT_NAMES,
    NO_LIMITS,
    Enforcement,
    LimitClass,
    LimitName,
    Need,
    ResourceLimits,
    State,
)

ALL = ResourceLimits(
    cpu_cores=1.5,
    memory_bytes=1,
    disk_read_bytes_per_s=2,
    disk_write_bytes_per_s=3,
    processes=4,
    output_bytes_per_s=5,
    storage_bytes=6,
    files=7,
)


def of(need: Need, limits: ResourceLimits = ALL) -> LimitClass:
    return LimitClass("small", limits, dict.fromkeys(LIMIT_NAMES, need))


def told(state: State) -> list[Enforcement]:
    return [Enforcement(name, state) for name in LIMIT_NAMES]


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("need", get_args(Need))
def test_what_is_not_held_is_unmet_as_the_class_needs_it(need: Need, state: State) -> None:
    """Required: enforced alone will do; direct_io, watched: partial, too; best_effort: anything."""
    accepted = {
        "required": {"enforced"},
        "direct_io": {"enforced", "partial"},
        "watched": {"enforced", "partial"},
        "best_effort": set(get_args(State)),
    }[need]
    unmet = of(need).unmet(told(state))
    assert unmet == ([] if state in accepted else told(state))


def test_what_is_not_told_is_not_held() -> None:
    """A kernel of which nobody says that it holds a limit does not hold it."""
    assert of("required").unmet([]) == told("unavailable")


def test_a_limit_that_is_not_set_is_never_unmet() -> None:
    """A class without limits runs anywhere; one with a single limit minds that one."""
    assert NO_LIMITS.unmet(told("unavailable")) == []
    alone = of("required", ResourceLimits(processes=4))
    assert [each.limit for each in alone.unmet(told("unavailable"))] == ["processes"]


def test_every_limit_is_asked_for_by_its_name_in_the_policy() -> None:
    """In the units of Limits."""
    names: tuple[LimitName, ...] = LIMIT_NAMES
    assert {name: ALL.asked(name) for name in names} == {
        "cpu": 1.5,
        "memory": 1,
        "disk_read": 2,
        "disk_write": 3,
        "processes": 4,
        "output": 5,
        "storage": 6,
        "files": 7,
    }
