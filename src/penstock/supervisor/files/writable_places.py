"""Directories that a command's jobs may write, besides their own: who could exchange them."""

import os
import stat
from collections.abc import Container

from .directory_writers import listed_writers


def check_writable(path: str, users: Container[int], groups: Container[int]) -> list[str]:
    """Mistakes of a directory that a command's jobs are to write: which other jobs' user could put
    another in its place, which would be writable then.

    ``users`` and ``groups`` are those of other jobs: nothing above may belong to such a user, or be
    writable by such a group, or by one or a user of an access list, or by everybody, unless it is
    sticky. The directory itself is whose it
    is. One that is not there is another check's.
    """
    try:
        resolved = os.path.realpath(path, strict=True)
    except OSError:
        return []
    mistakes = []
    above = resolved
    while above != "/":
        above = os.path.dirname(above)
        status = os.stat(above)
        by_group = status.st_mode & stat.S_IWGRP and status.st_gid in groups
        by_all = status.st_mode & stat.S_IWOTH
        listed_users, listed_groups = listed_writers(above)
        by_list = any(each in users for each in listed_users)
        by_list |= any(each in groups for each in listed_groups)
        shared = (by_group or by_all or by_list) and not status.st_mode & stat.S_ISVTX
        if status.st_uid in users or shared:
            mistakes.append(
                f"{path} can be replaced by other jobs' users, who can write {above}; chown root, "
                "chmod go-w"
            )
    return mistakes
