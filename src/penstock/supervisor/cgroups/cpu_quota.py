"""CPU limits as the kernel takes them: microseconds in every period.

Source: Documentation/scheduler/sched-bwc.rst of the kernel.
"""

import math
import os
from typing import Final

from ...policy.limit_classes import Enforcement
from .group_files import GroupError, write

_LEAST_US: Final = 1000  # smallest quota; also the precision to which it counts as held
# The default and the longest period, because a share below 1% needs 1 ms in more than 100 ms.
_PERIODS_US: Final = (100_000, 1_000_000)


def quota_and_period_us(cores: float) -> tuple[int, int]:
    """The largest quota that is not above ``cores``. Raises GroupError below 0.001 cores.

    It is never raised to the kernel's minimum, because that would give a job more than its class.
    """
    for period_us in _PERIODS_US:
        # An addend, because of binary fractions: 0.29 * 100_000 is 28999.999999999996.
        quota_us = math.floor(cores * period_us + 1e-6)
        if quota_us >= _LEAST_US:
            return quota_us, period_us
    raise GroupError(f"{cores:g} cores: the kernel takes no CPU quota below 0.001 cores")


def judge_quota(asked_us: int, period_us: int, quota_text: str, period_text: str) -> Enforcement:
    """Whether the quota holds, by the texts read back; ``max`` and ``-1`` are no quota."""
    held = (
        quota_text.isdigit()
        and 0 < int(quota_text) <= asked_us
        and asked_us - int(quota_text) < _LEAST_US
        and period_text == str(period_us)
    )
    actual = f"{quota_text}us/{period_text}us"
    return Enforcement("cpu", "enforced" if held else "unavailable", actual)


def lift_quota(directory: str) -> None:
    """Removes the quota of a group of either version, if it has one; its period stays.

    Raises GroupError.
    """
    for name, no_quota in (("cpu.max", "max"), ("cpu.cfs_quota_us", "-1")):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            write(path, no_quota)
