"""Environment keys that no client may set (pure).

Each of these makes some loader, interpreter, library or tool run or read what the client chooses,
or send elsewhere what it works on. They are refused, because with one of them a granted command
line would become another one. They are compared in upper case, because many tools take both
spellings (``http_proxy``, ``npm_config_registry``). environment_keys.py says which program takes
each.
"""

import re
from typing import Final

from .environment_keys import KEYS, PREFIXES, SUFFIXES

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_SETTABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

# penstock sets these for every job; a command of the policy may set them to something else, a
# request may not.
OWN_KEYS: Final = frozenset({"PATH", "HOME", "USER", "LOGNAME", "PENSTOCK_JOB"})
RESERVED_KEYS: Final = frozenset(KEYS.split())
RESERVED_PREFIXES: Final = tuple(PREFIXES.split())
RESERVED_SUFFIXES: Final = tuple(SUFFIXES.split())


def valid_key(key: str) -> bool:
    """Can this be a key at all? No ``=``, no NUL, at most 255 characters."""
    return _KEY.fullmatch(key) is not None


def settable_name(key: str) -> bool:
    """Can a request name this key? As ``valid_key``, and at most 128 characters."""
    return _SETTABLE.fullmatch(key) is not None


def reserved_key(key: str) -> bool:
    """Would setting this key change what runs, rather than what it works on?"""
    upper = key.upper()
    return (
        upper in RESERVED_KEYS
        or upper.startswith(RESERVED_PREFIXES)
        or upper.endswith(RESERVED_SUFFIXES)
    )
