"""A group for each life of penstockd, above those of its clients and their jobs.

Who was given a descriptor of a group's ``cgroup.kill`` has it for as long as that process lives: a
server that stood still (SIGSTOP) while penstockd was killed and started again still holds that of
the group above all jobs, and uses it when it goes on, because it sees that its supervisor is gone.
So that group is another one in each life. Of a removed group such a descriptor gives ENODEV, and a
group that cannot be removed, because a process in it does not die, holds no job of a later life.
"""

import os
import re
from typing import Final

_NAME: Final = re.compile(r"life-[0-9a-f]{16}", re.ASCII)


def new_life() -> str:
    """A name that no other life has, in this boot of the machine or any other."""
    return f"life-{os.urandom(8).hex()}"


def is_life(name: str) -> bool:
    """Is this the directory of a life, of ours or of an earlier one?"""
    return _NAME.fullmatch(name) is not None
