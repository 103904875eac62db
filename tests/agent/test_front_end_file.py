"""The front end, which imports nothing: what it has by itself is what the program has."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from agents import FRONT_END, agent_place
from cli_verbs import COMMANDS
from patience import patient

from penstock import __version__
from penstock.agent import likeness, wire
from penstock.cli.ending_signals import ending_signals
from penstock.cli.verb_forms import HOSTED
from penstock.cli.verbs import VERBS


@pytest.fixture(scope="module")
def front_end() -> ModuleType:
    loader = SourceFileLoader("front_end", str(FRONT_END))
    spec = spec_from_loader("front_end", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def test_its_messages_are_the_agents(front_end: ModuleType) -> None:
    names = [name for name in vars(wire) if name.isupper() and hasattr(front_end, name)]
    assert len(names) >= 14
    for name in names:
        assert getattr(front_end, name) == getattr(wire, name), name


def test_its_version_is_that_of_the_package(front_end: ModuleType) -> None:
    """Another one is never asked."""
    assert __version__ == front_end.VERSION


def test_both_ends_have_one_likeness(front_end: ModuleType) -> None:
    """Of one process, whatever its environment."""
    environment = {b"PYTHONPATH": b"/x", b"LD_PRELOAD": b"", b"HOME": b"/root", b"SSLKEYLOG": b"f"}
    assert front_end.identity(environment) == likeness.likeness(environment)
    assert front_end.identity(environment) != front_end.identity({})
    assert front_end.identity({b"HOME": b"/"}) == front_end.identity({})


def test_both_ends_have_one_kind(front_end: ModuleType) -> None:
    """By which each finds the other: not that of another shell, but that of another version."""
    one, other = front_end.identity({}), front_end.identity({b"PYTHONPATH": b"/x"})
    assert front_end.kind(one) == likeness.kind(one)
    assert re.fullmatch("[0-9a-f]{8}", front_end.kind(one))
    assert front_end.kind(one) != front_end.kind(other)
    assert front_end.kind(one) == front_end.kind(one.replace(__version__.encode(), b"9.9"))


def test_verbs_of_the_full_program_are_the_same_in_sh_and_python(front_end: ModuleType) -> None:
    """And those that run in no host are among them."""
    lines = FRONT_END.read_text().partition("case ${XDG_RUNTIME_DIR")[2].partition("esac")[0]
    assert set(re.findall(r"\bset(\w+)", lines)) == front_end.FULL_VERBS
    alone = {name for name, verb in VERBS.items() if not getattr(verb, HOSTED, True)}
    assert alone <= front_end.FULL_VERBS


def test_it_passes_the_signals_on_that_the_program_takes(front_end: ModuleType) -> None:
    ignored = {n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN}
    assert set(ending_signals()) == signal.valid_signals() - front_end.NOT_CAUGHT - ignored


@pytest.mark.parametrize(
    ("words", "context", "name"),
    [
        (["status", "1"], "", "default"),
        (["status", "1"], "prod", "prod"),
        (["--context", "lab", "status", "1"], "prod", "lab"),
        (["--context=lab", "-o", "json", "list"], "", "lab"),
        (["--addr", "--no-agent", "list"], "", "default"),
        (["run", "--context", "lab", "ls"], "", "default"),
        (["run", "ls", "--no-agent"], "", "default"),
        (["--no-agent", "list"], "", None),
        (["-o", "json", "--no-agent", "list"], "", None),
        (["-o", "json", "agent"], "", None),  # to ask whether one runs starts none
        (["--context", "lab", "top"], "", None),
        (["--context", "../x", "list"], "", None),
        (["--context", "x" * 64, "list"], "", None),
        ([], "", None),
        (["--version"], "", None),
        (["--context"], "", None),
    ],
)
def test_which_agent_is_asked(
    front_end: ModuleType, words: list[str], context: str, name: str | None
) -> None:
    """By a look at the words before the verb; without any agent where there is no name for one."""
    environment = {b"PENSTOCK_CONTEXT": context.encode()} if context else {}
    assert front_end.chosen(words, environment) == name


def test_what_no_agent_takes_is_not_asked_for() -> None:
    """The list in the lines of sh is that of the verbs."""
    text = FRONT_END.read_text().split("\n'''\n")[0]
    listed = set(re.findall(r"\bset([a-z]+)\b", text)) - {"set"}
    taken = {name.split()[0] for name, verb in COMMANDS.items() if getattr(verb, HOSTED)}
    assert listed == VERBS.keys() - taken


def loaded(*words: str, **environment: str) -> set[str]:
    """Every module of the front end's process, however it ends."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(FRONT_END), *words],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}


def test_on_its_way_it_imports_a_socket_and_nothing_else() -> None:
    """Beyond what any Python has that starts with -I -S."""
    with agent_place() as place:
        place.begin()
        ours = loaded("status", "1", **place.environment())
        assert place.state()["served"] == 1
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", "pass"],
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=True,
    )
    known = {line.rpartition("|")[2].strip() for line in bare.stderr.splitlines() if "|" in line}
    assert ours - known <= {"_socket"}


# What /bin/sh may be.
SHELLS = (
    *(("sh",), ("dash",), ("bash", "--posix"), ("bash",), ("busybox", "sh")),
    *(("zsh", "--emulate", "sh"), ("zsh",)),
)


@pytest.fixture(params=SHELLS, ids=" ".join)
def interpreter(request: pytest.FixtureRequest) -> Sequence[str]:
    """One of them, which reads the front end's first lines."""
    shell: Sequence[str] = request.param
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} here")
    return shell


def run_sh(
    words: Sequence[str], environment: dict[str, str], program: str, shell: Sequence[str] = ()
) -> str:
    done = subprocess.run(
        [*shell, program, *words],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )
    return done.stdout + done.stderr


def test_which_python_runs_it(tmp_path: Path, interpreter: Sequence[str]) -> None:
    """By whichever shell: the one that it was installed by, also behind a link, and in a directory
    with a blank."""
    place = tmp_path / "a directory; with 'odd' $signs"
    (place / "bin").mkdir(parents=True)
    program = place / "bin" / "penstock"
    program.write_text(FRONT_END.read_text())
    program.chmod(0o755)
    told = place / "a python"
    told.write_text('#!/bin/sh\necho told "$@"\n')
    told.chmod(0o755)
    beside = place / "bin" / "python3"
    beside.write_text('#!/bin/sh\necho beside "$@"\n')
    beside.chmod(0o755)
    penstockd = place / "bin" / "penstockd"
    link = tmp_path / "penstock"
    link.symlink_to(program)
    words = ["status", "a b", "-x"]
    for each in (str(program), str(link)):
        assert run_sh(words, {}, each, interpreter).startswith("beside -P -c from penstock")
    assert run_sh(words, {}, str(program), interpreter).endswith("status a b -x\n")
    # As pip writes it where the path is long or has a blank.
    penstockd.write_text(f"#!/bin/sh\n'''exec' \"{told}\" \"$0\" \"$@\"\n' '''\n")
    assert run_sh(words, {}, str(link), interpreter).startswith("told -P -c")
    penstockd.write_text(f"#!{sys.executable} -sP\nimport sys\n")
    # On the source alone it is PYTHONPATH that leads to the package.
    path = {key: text for key, text in os.environ.items() if key == "PYTHONPATH"}
    assert run_sh(["--version"], path, str(program), interpreter) == f"penstock {__version__}\n"
    penstockd.write_text("#!/nowhere/python\n")
    assert run_sh(words, {}, str(program), interpreter).startswith("beside -P -c")
    # A virtual environment's own Python comes before all.
    penstockd.write_text(f"#!{sys.executable}\n")
    (place / "pyvenv.cfg").write_text("")
    assert run_sh(words, {}, str(program), interpreter).startswith("beside -P -c")


@pytest.mark.parametrize(
    ("environment", "asks"),
    [
        ({}, False),
        ({"XDG_RUNTIME_DIR": "/nowhere"}, False),
        ({"XDG_RUNTIME_DIR": "/nowhere", "PENSTOCK_AGENT": "on"}, True),
        ({"XDG_RUNTIME_DIR": "/nowhere", "PENSTOCK_AGENT": "off"}, False),
        ({"XDG_RUNTIME_DIR": "", "PENSTOCK_AGENT": "on"}, False),
        ({"PENSTOCK_AGENT": "on"}, False),
    ],
)
def test_when_an_agent_is_asked_without_a_terminal(
    tmp_path: Path, environment: dict[str, str], asks: bool, interpreter: Sequence[str]
) -> None:
    (tmp_path / "penstock").write_text(FRONT_END.read_text())
    (tmp_path / "penstock").chmod(0o755)
    (tmp_path / "python3").write_text('#!/bin/sh\necho "$1"\n')
    (tmp_path / "python3").chmod(0o755)
    wanted = "-I\n" if asks else "-P\n"
    program = str(tmp_path / "penstock")
    assert run_sh(["status", "1"], environment, program, interpreter) == wanted
    assert run_sh(["top"], environment, program, interpreter) == "-P\n"
    assert run_sh(["--no-agent", "status", "1"], environment, program, interpreter) == "-P\n"
    assert run_sh([], environment, program, interpreter) == "-P\n"


def reaped_by_the_kernel() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_it_can_be_started_where_children_are_not_waited_for() -> None:
    """SIGCHLD may be ignored: starting an agent is then no reason to fail."""
    with agent_place() as place:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(FRONT_END), "status", "1"],
            env={"PATH": os.environ["PATH"], **place.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(20),
            check=False,
            preexec_fn=reaped_by_the_kernel,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("Error: no server to connect to")


class Started(Exception):
    """Where the agent would be executed."""


def test_closing_takes_as_long_as_there_are_descriptors(
    front_end: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where Python has no close_range, to close all numbers takes minutes."""
    closed: list[int] = []

    def execute(*_: object) -> None:
        raise Started

    def exit_now(_: int) -> None:
        """As if it were the process's end."""

    names = ("fork", "setsid", "chdir", "umask", "dup2")
    kept = {name: getattr(os, name) for name in ("stat", "listdir")}
    fake = SimpleNamespace(
        **kept,
        **{name: lambda *_: 0 for name in names},
        geteuid=os.geteuid,
        O_RDWR=os.O_RDWR,
        open=lambda *_: 0,
        close=closed.append,
        closerange=lambda begin, end: closed.extend(range(begin, min(end, 100_000))),
        execve=execute,
        _exit=exit_now,
    )
    monkeypatch.setattr(front_end, "posix", fake)
    fd = os.open("/dev/null", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Started):
        front_end.start_agent(str(tmp_path), "default", {})
    os.close(fd)
    assert fd in closed
    assert not {0, 1, 2} & set(closed)
    assert len(closed) <= before + 2


def test_one_that_no_shell_could_continue_knows_that_it_was_not_stopped() -> None:
    """The kernel stops nothing then: it would otherwise ask for ever to be stopped, instead of
    reading, which fails."""
    code = f"__name__ = 'front_end'; exec(open({str(FRONT_END)!r}).read())"
    code += "; print(stop_here(signal.SIGTTIN))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
