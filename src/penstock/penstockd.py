"""``penstockd``: hands over to the supervisor, in isolated Python and nothing else in memory.

With a verb as its first word (``penstockd check``) it is a tool of the operator's instead, which
ends when it has said what it has to say: see penstock.operate.
"""

import os
import sys


def main() -> None:
    """Executes ``python -I -S -E <supervisor directory>`` with the same arguments. Never returns.

    A process image of its own: what site-packages or the environment could have brought
    into this one is gone when the part that has privileges begins.
    """
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        words = words[1:]
    elif not words or not words[0].startswith("-") or words[0] in ("-h", "--help", "--version"):
        from penstock.operate.verb_table import call_verb

        sys.exit(call_verb(words))
    directory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supervisor")
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", directory, *words])


if __name__ == "__main__":
    main()
