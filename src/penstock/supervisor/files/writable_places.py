"""Directories that a command's jobs may write, besides their own, and which users could exchange
them."""

import os
import stat
from collections.abc import Container

from .directory_writers import listed_writers


def check_writable(path: str, users: Container[int], groups: Container[int]) -> list[str]:
    """Mistakes of a directory that a command's jobs are to write.

    It is one if the user of another job could put another directory in its place, because that
    would be writable then. ``users`` and ``groups`` are those of other jobs. No directory above may
    belong to such a user; nor, unless it is sticky, be writable by such a group, by such a user or
    group of an access list, or by everybody. The directory itself may belong to any user. If it is
    missing, another check reports that.
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
