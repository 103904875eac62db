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
    apt apt-get aptitude at batch capsh cargo choom chroot chrt crontab dnf docker doas dpkg editor
    env flock gem git go hg ionice ip kubectl ld less ltrace man more most nano ncat nc nice nohup
    nsenter npm npx nvim pager parallel pico pip pkexec podman prlimit rpm rsync run-parts run0
    runuser scp screen script sensible-browser sensible-editor sensible-pager setarch setpriv setsid
    sftp snap socat ssh start-stop-daemon stdbuf strace su sudo svn systemctl systemd-run taskset
    telnet time timeout tmux unshare vi view vim vimdiff watch xargs yum
    """.split()  # noqa: SIM905
)
# Run or overwrite programs when given certain options or expressions.
_OPTIONS: Final = frozenset(
    """
    c++ cc clang clang++ cp cpio cpp curl dd find g++ gcc gfortran install journalctl ln mail mount
    mv openssl sort split tar tcpdump tee unzip wget zip
    """.split()  # noqa: SIM905
)
# Options whose value is an argument of its own, which is no script: `python3 -X utf8`.
_VALUED: Final = {
    family: frozenset(options.split())
    for names, options in (
        ("python pypy", "-X -W --check-hash-based-pycs"),
        ("perl", "-I -M -m -C -x"),
        ("ruby irb", "-I -r -C -E -K"),
        ("sh ash bash dash ksh mksh rbash yash zsh", "-o +o -O +O --rcfile --init-file"),
        ("node nodejs", "-r --require --import --loader --experimental-loader -C --conditions"),
        ("awk gawk mawk nawk", "-v -F -i -l --assign --field-separator --include --load"),
        ("lua luajit", "-l"),
        ("php", "-d -c -z"),
        ("java", "-cp -classpath --class-path -p --module-path --add-modules"),
        ("make gmake", "-C -I -j -l -o -W --directory --include-dir --jobs"),
        ("psql mysql", "-d -h -p -P -u -U -v --dbname --host --port --user --username --set"),
        ("sed", "-l --line-length"),
    )
    for family in names.split()
}
# Debian's names of compilers, such as x86_64-linux-gnu-gcc-12.
_TRIPLET: Final = re.compile(r"[a-z0-9_]+-linux-[a-z0-9_]+-", re.ASCII)
_VERSION: Final = re.compile(r"[-.0-9]+\Z", re.ASCII)


def shell_warning(path: str, fixed: tuple[str, ...], grammar: Grammar) -> str | None:
    """Why this program with this grammar may give a shell, None if nothing is known.

    Text and paths are what a client chooses; literals, enums and integers are the
    administrator's own words. An interpreter is fine once its script is fixed.
    """
    base = path.rsplit("/", 1)[-1]
    plain = _TRIPLET.sub("", base, count=1) if _TRIPLET.match(base) else base
    names = {base, plain, _VERSION.sub("", plain)}
    if base.startswith("ld-"):
        names.add("ld")
    kinds = {type(slot) for slot in _leaves(grammar.slots)}
    if names & _INTERPRETERS and not _names_script(names, fixed, grammar):
        if kinds & {PatternSlot, PathSlot}:
            return f"{path} is an interpreter, and its script is not fixed"
        if not fixed and isinstance(grammar.match([]), Match):
            return f"{path} is an interpreter, and without arguments it runs what it reads"
    if names & _RUNNERS and kinds & {PatternSlot, PathSlot}:
        return f"{path} runs other programs, and a text or path of the client's can name them"
    if names & _OPTIONS and PatternSlot in kinds:
        return f"{path} has options that run or overwrite programs, and takes the client's text"
    return None


def _names_script(names: set[str], fixed: tuple[str, ...], grammar: Grammar) -> bool:
    """Is a script or program text given before anything that the client chooses?"""
    known = list(fixed)
    for slot in grammar.slots:
        if not isinstance(slot, LiteralSlot):
            break
        known.append(slot.text)
    valued = frozenset().union(*(_VALUED.get(name, ()) for name in names))
    before = ""
    for text in known:
        if text and text[0] not in "-+" and before not in valued:
            return True
        before = text
    return False


def _leaves(slots: tuple[Slot, ...]) -> Iterator[Slot]:
    for slot in slots:
        if isinstance(slot, OptionalSlot | RepeatSlot):
            yield from _leaves(slot.slots)
        else:
            yield slot
