"""What a job sees and can change of the host: namespaces, mounts, Landlock, seccomp.

``plan`` says what a job gets, as plain data; ``apply`` is what its process does with that between
fork and exec; ``isolation_probe``, which stands above, tries at the start of penstockd what this
kernel grants. Imports ``kernel`` and ``policy``. Begin with ``plan``, then ``apply``.
"""

from .apply import STAGES, enter, leave_inherited, restrict
from .inherited import kept, leave_keyring
from .pids import await_init, fork_both
from .plan import (
    NOTHING,
    Isolation,
    Offers,
    Places,
    make_isolation,
    missing_by_default,
    needs_temporary,
    report,
    unmet,
    unmet_by,
)

__all__ = [
    "NOTHING",
    "STAGES",
    "Isolation",
    "Offers",
    "Places",
    "await_init",
    "enter",
    "fork_both",
    "kept",
    "leave_inherited",
    "leave_keyring",
    "make_isolation",
    "missing_by_default",
    "needs_temporary",
    "report",
    "restrict",
    "unmet",
    "unmet_by",
]
