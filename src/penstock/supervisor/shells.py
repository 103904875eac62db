"""Which granted programs give a shell by accident (pure).

A warning is not a refusal: whoever writes the policy may mean it. The lists hold what is
usually met, in the families of https://gtfobins.github.io; a program that is not listed
is not thereby safe.
"""

import re
from collections.abc import Iterator
from typing import Final

from .grammar import Grammar, Match
from .slots import LiteralSlot, OptionalSlot, PathSlot, PatternSlot, RepeatSlot, Slot

# Run the program text or script that they are given, or that they read from their input.
_INTERPRETERS: Final = frozenset(
    """
    ash awk bash bun busybox clojure cmake csh dash deno ed elvish emacs erl ex expect fish gawk
    gdb gmake guile irb java jjs jrunscript jshell ksh lua luajit m4 make mawk mksh mysql nawk
    ninja node nodejs octave perl php psql pwsh pypy python rbash rc Rscript ruby scala sed sh
    sqlite3 swipl tclsh toybox wish xonsh yash zsh
    """.split()  # noqa: SIM905  a list of 60 quoted names would be 60 lines
)
# Run a program that an argument or a file names.
_RUNNERS: Final = frozenset(
    """
    apt apt-get aptitude at batch cargo chroot chrt crontab dnf docker doas dpkg env flock gem git
    go hg ionice kubectl ld less ltrace man more most nano ncat nc nice nohup nsenter npm npx nvim
    parallel pico pip podman rpm rsync run-parts runuser scp screen script setarch setpriv setsid
    sftp snap socat ssh start-stop-daemon stdbuf strace su sudo svn systemctl systemd-run taskset
    telnet time timeout tmux unshare vi view vim vimdiff watch xargs yum
    """.split()  # noqa: SIM905
)
# Run or overwrite programs when given certain options or expressions.
_OPTIONS: Final = frozenset(
    """
    cp cpio curl dd find gcc install journalctl ln mail mount mv openssl sort split tar tcpdump tee
    unzip wget zip
    """.split()  # noqa: SIM905
)
_VERSION: Final = re.compile(r"[-.0-9]+\Z", re.ASCII)


def shell_warning(path: str, fixed: tuple[str, ...], grammar: Grammar) -> str | None:
    """Why this program with this grammar may give a shell, None if nothing is known.

    Text and paths are what a client chooses; literals, enums and integers are the
    administrator's own words. An interpreter is fine once its script is fixed.
    """
    base = path.rsplit("/", 1)[-1]
    names = {base, _VERSION.sub("", base)}
    if base.startswith("ld-"):
        names.add("ld")
    kinds = {type(slot) for slot in _leaves(grammar.slots)}
    if names & _INTERPRETERS and not _names_script(fixed, grammar):
        if kinds & {PatternSlot, PathSlot}:
            return f"{path} is an interpreter, and its script is not fixed"
        if not fixed and isinstance(grammar.match([]), Match):
            return f"{path} is an interpreter, and without arguments it runs what it reads"
    if names & _RUNNERS and kinds & {PatternSlot, PathSlot}:
        return f"{path} runs other programs, and a text or path of the client's can name them"
    if names & _OPTIONS and PatternSlot in kinds:
        return f"{path} has options that run or overwrite programs, and takes the client's text"
    return None


def _names_script(fixed: tuple[str, ...], grammar: Grammar) -> bool:
    """Is a script or program text given before anything that the client chooses?"""
    known = list(fixed)
    for slot in grammar.slots:
        if not isinstance(slot, LiteralSlot):
            break
        known.append(slot.text)
    return any(text and not text.startswith("-") for text in known)


def _leaves(slots: tuple[Slot, ...]) -> Iterator[Slot]:
    for slot in slots:
        if isinstance(slot, OptionalSlot | RepeatSlot):
            yield from _leaves(slot.slots)
        else:
            yield slot
