"""Users by name or number; a number needs no entry in passwd."""

import os
import pwd
from typing import NamedTuple


class UserError(Exception):
    """No such user. The text says which."""


class User(NamedTuple):
    """Ids to become. ``groups`` are supplementary ones: a command's, never the user's own."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def resolve_user(text: str) -> User:
    """The ids of a name or a number in decimal. Raises UserError.

    A number without an entry in passwd gets the same number as its group.
    """
    try:
        if text.isdigit():
            try:
                entry = pwd.getpwuid(int(text))
            except KeyError:
                return User(int(text), int(text))
        else:
            entry = pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise UserError(f"there is no user {text!r}; create it or name a numeric id") from None
    return User(entry.pw_uid, entry.pw_gid)


def own_user() -> User:
    """The user and group that this process runs as."""
    return User(os.geteuid(), os.getegid())
