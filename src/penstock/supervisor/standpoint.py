"""As which user penstockd runs, and whether the process that looks has that user's rights.

``penstockd check`` is run by people who may read the files without being root. They must be told
what root would find wrong, and what only root could have found out, so judgement ("whose file may
a program be?") and rights ("may I open it?") are two things here.
"""

import os
from dataclasses import dataclass

from .files.directory_writers import Trusted, trusted_here


@dataclass(frozen=True, slots=True)
class Standpoint:
    """``uid``: the user of penstockd. ``own``: this process has that user's rights."""

    uid: int
    own: bool = True

    @property
    def root(self) -> bool:
        """Does penstockd run as root?"""
        return self.uid == 0

    @property
    def owners(self) -> frozenset[int]:
        """Whose programs and files penstockd trusts."""
        return frozenset({0, self.uid})

    @property
    def trusted(self) -> Trusted:
        """Who may write directories on the way to a path argument."""
        return trusted_here() if self.own else Trusted(self.owners)

    def cannot_see(self, path: str) -> bool:
        """Has penstockd the right to look at this path, and this process not?"""
        if self.own:
            return False
        try:
            os.stat(path)
        except PermissionError:
            return True
        except OSError:
            pass  # penstockd would find the same
        return False

    def cannot_read(self, path: str) -> bool:
        """As cannot_see, of the content."""
        if self.own:
            return False
        return self.cannot_see(path) or (
            os.path.exists(path) and not os.access(path, os.R_OK, effective_ids=True)
        )


def standpoint_here() -> Standpoint:
    """That of a penstockd which is this process."""
    return Standpoint(os.geteuid())
