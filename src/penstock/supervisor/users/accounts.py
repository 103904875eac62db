"""What a job's user is called, and the entries of passwd and group that programs look for.

ssh, initdb, whoami or a library's getpwuid(3) fail for a user that has no entry there. So the files
that a job sees have one line more than the host's (isolation.account_files).
"""

import contextlib
import os
import pwd
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from ...policy.uid_range import UidRange
from .user_names import User

PASSWD: Final = "/etc/passwd"
GROUP: Final = "/etc/group"
# Ids that are given to whole containers: first id and count in the second and third field.
_SUBORDINATE: Final = ("/etc/subuid", "/etc/subgid")
_NO_SHELL: Final = "/usr/sbin/nologin"
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 ._/-]", re.ASCII)
_SHOWN_CHARACTERS: Final = 128
_MOST_SAID: Final = 3


class Account(NamedTuple):
    """``name`` is USER and LOGNAME. ``listed``: the host's own passwd knows it."""

    name: str
    listed: bool


def account_of(user: User | None) -> Account:
    """By the host's own tables, which may be a directory service; None is this process's user."""
    uid = os.geteuid() if user is None else user.uid
    try:
        return Account(pwd.getpwuid(uid).pw_name, listed=True)
    except KeyError:
        return unlisted(uid)


def unlisted(uid: int) -> Account:
    """The account of an id for which the host has no name."""
    return Account(f"job{uid}", listed=False)


def entries(
    account: Account, user: User | None, client: str, home: str
) -> tuple[tuple[str, bytes], ...]:
    """Each file of the job's view with its additional line.

    None for a user that the host lists, or where no user is changed.
    """
    if account.listed or user is None:
        return ()
    # A client's name is the policy's, and a colon or newline in it would begin another field or
    # entry.
    comment = f"penstock client {_NOT_PLAIN.sub('_', client[:_SHOWN_CHARACTERS])}"
    place = "/" if any(mark in home for mark in ":\n") else home
    fields = (account.name, "x", str(user.uid), str(user.gid), comment, place, _NO_SHELL)
    group = (account.name, "x", str(user.gid), "")
    return (PASSWD, _line(fields)), (GROUP, _line(group))


def _line(fields: Iterable[str]) -> bytes:
    return ":".join(fields).encode("utf-8", "surrogateescape") + b"\n"


def others_in(uids: UidRange) -> list[str]:
    """Mistakes: accounts, groups and subordinate ids of this host that lie in the range.

    The range is to be clients' alone. Only files are looked at, because a directory service need
    not list all that it has.
    """
    found = [
        f"{name!r} of {path} is {number}"
        for path in (PASSWD, GROUP)
        for name, number in _numbers(path)
        if number in uids
    ]
    for path in _SUBORDINATE:
        found += [
            f"{owner!r} has {first} and {count - 1} more in {path}"
            for owner, first, count in _subordinate(path)
            if first <= uids.last and first + count > uids.first
        ]
    if not found:
        return []
    more = f", and {len(found) - _MOST_SAID} more" if len(found) > _MOST_SAID else ""
    return [
        f"job_uids: {uids} is for clients alone, and {'; '.join(found[:_MOST_SAID])}{more}; "
        "name a range that is free"
    ]


def _fields(path: str) -> Iterable[list[str]]:
    with (
        contextlib.suppress(FileNotFoundError),
        open(path, encoding="utf-8", errors="surrogateescape") as file,
    ):
        yield from (line.rstrip("\n").split(":") for line in file)


def _numbers(path: str) -> Iterable[tuple[str, int]]:
    for fields in _fields(path):
        if len(fields) > 2 and fields[2].isdecimal():
            yield fields[0], int(fields[2])


def _subordinate(path: str) -> Iterable[tuple[str, int, int]]:
    for fields in _fields(path):
        if len(fields) > 2 and fields[1].isdecimal() and fields[2].isdecimal():
            yield fields[0], int(fields[1]), int(fields[2])
