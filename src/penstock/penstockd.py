"""``penstockd``: hands over to the supervisor, in isolated Python and nothing else in memory."""

import os
import sys


def main() -> None:
    """Executes ``python -I -S -E <supervisor directory>`` with the same arguments. Never returns.

    A process image of its own: what site-packages or the environment could have brought
    into this one is gone when the part that has privileges begins.
    """
    directory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supervisor")
    arguments = [sys.executable, "-I", "-S", "-E", directory, *sys.argv[1:]]
    os.execv(sys.executable, arguments)


if __name__ == "__main__":
    main()
