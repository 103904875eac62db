"""What an agent and a front end must have in common, so that both would run the same.

``penstock/client/identity.py`` is about certificates; this is about processes: which version, of
which installation, in which namespaces, with which groups, and what changes Python. The front end
makes the same text by itself; a test compares.
"""

import _imp
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .. import __version__

CHANGING: Final = (
    *(b"PYTHON", b"LD_", b"OPENSSL", b"SSL", b"RES_", b"HOSTALIASES", b"LOCALDOMAIN"),
)
"""How variables begin that change Python or its libraries, and not only what a verb reads."""
_PACKAGE: Final = Path(__file__).resolve().parent.parent / "__init__.py"


def likeness(environment: Mapping[bytes, bytes]) -> bytes:
    """Of this process, with these variables."""
    places = [os.stat(os.path.dirname(sys.executable) or "/"), os.stat("/")]
    spaces = [os.readlink(f"/proc/self/ns/{each}") for each in ("mnt", "net", "user")]
    groups = sorted({*os.getgroups(), os.getegid()})
    python = [(key, environment[key]) for key in sorted(environment) if key.startswith(CHANGING)]
    files = [(each.st_dev, each.st_ino) for each in places]
    return repr((__version__, files, spaces, os.geteuid(), groups, python)).encode()


def kind(identity: bytes) -> str:
    """Which agent is asked by who has this identity: one for each, of whatever version, because one
    of another version has to leave its place. Short, and no proof: the identity is compared."""
    return _imp.source_hash(0, identity.partition(b",")[2]).hex()[:8]


def is_of_another_version(identity: bytes) -> bool:
    """Whether that is what a front end of another version has; not of one of this version that
    differs otherwise, and not of what is no identity."""
    return identity.startswith(b"('") and not identity.startswith(f"({__version__!r},".encode())


class InstalledCode:
    """The files that this process was loaded from, as long as they are what is installed."""

    def __init__(self) -> None:
        self._begun = self._state()

    @property
    def replaced(self) -> bool:
        """Whether another version has been installed in its place, even of the same number."""
        return self._state() != self._begun

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = _PACKAGE.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns
