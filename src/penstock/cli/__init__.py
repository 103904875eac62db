"""The command ``penstock``: one file per group of verbs, rendering apart from calling.

Nothing heavy is imported here or at the top of a verb's file: what a verb needs comes when
it runs, so that ``penstock --help`` costs little more than Python itself.
"""

import os
import sys


def main() -> None:
    """The console script."""
    try:
        from .ending_signals import take_signals

        take_signals()
    except KeyboardInterrupt:  # nothing has been done yet
        os._exit(130)
    from .standard import prepare

    prepare()
    from .root import run

    sys.exit(run(sys.argv[1:]))
