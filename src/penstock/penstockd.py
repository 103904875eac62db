"""``penstockd``: hands over to the supervisor, in isolated Python and nothing else in memory.

With a verb as its first word (``penstockd check``) it is a tool of the operator's instead, which
ends when it has said what it has to say: see penstock.operate.
"""

import os
import sys


def main() -> None:
    """Executes ``python -I -S -E <supervisor directory>`` with the same arguments, but with the
    absolute path of ``--config``: so the command line of the process names the file for an
    operator who looks at it, or looks for it (ps, pkill -f), from another directory. Never returns.

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
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", directory, *_absolute(words)])


def _absolute(words: list[str]) -> list[str]:
    option = "--config"
    found: list[str] = []
    for word in words:
        if found[-1:] == [option]:
            found.append(os.path.abspath(word))
        elif word.startswith(f"{option}="):
            found.append(f"{option}={os.path.abspath(word.removeprefix(f'{option}='))}")
        else:
            found.append(word)
    return found


if __name__ == "__main__":
    main()
