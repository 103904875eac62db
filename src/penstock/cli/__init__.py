"""The command ``penstock``: one file per group of verbs, rendering apart from calling.

``verbs`` is what can be typed; what a verb does is in a file of its group, which is loaded when the
verb is called (``lazy``). Begin with ``verbs`` and ``root``.
"""

import os
import sys


def main() -> None:
    """The console script.

    The three imports are its first steps: signals are ours before anything takes time, and the
    standard descriptors are whole before anything else opens one.
    """
    try:
        from .ending_signals import take_signals

        take_signals()
    except KeyboardInterrupt:  # nothing has been done yet
        os._exit(130)
    from .standard import prepare

    prepare()
    from .root import run

    sys.exit(run(sys.argv[1:]))
