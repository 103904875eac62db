"""The command ``penstock``: one file per group of verbs, rendering apart from calling.

Nothing heavy is imported here or at the top of a verb's file: what a verb needs comes when
it runs, so that ``penstock --help`` costs little more than Python itself.
"""

import sys

from .standard import prepare


def main() -> None:
    """The console script."""
    prepare()
    try:
        from .root import run
    except KeyboardInterrupt:  # nothing has been done yet
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
