"""A group for each life of penstockd, above those of its clients and their jobs.

A process that was given a descriptor of a group's ``cgroup.kill`` can use it for as long as it
lives. A server that stood still (SIGSTOP) while penstockd was killed and started again still holds
that of the group above all jobs. When it continues it uses the descriptor, because it sees that its
supervisor is gone. So each life has another such group. A descriptor of a removed group gives
ENODEV, and a group that cannot be removed, because a process in it does not die, holds no job of a
later life.
"""

import os
import re
from typing import Final

_NAME: Final = re.compile(r"life-[0-9a-f]{16}", re.ASCII)


def new_life() -> str:
    """A name that no other life has, in this boot of the machine or any other."""
    return f"life-{os.urandom(8).hex()}"


def is_life(name: str) -> bool:
    """Whether ``name`` has the form of a life's directory, this life's or an earlier one's."""
    return _NAME.fullmatch(name) is not None
