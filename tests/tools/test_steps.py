"""What tools/test says of its steps, and which files --quick takes: tools/_steps.py, _quick.py."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import _linters
import _quick
import _steps
import pytest
from _env import Environment
from _linters import FRONT_END
from _steps import UNDER_WAY, StepFailed, Steps
from patience import slowness
from process_state import ordinary_environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    # This process has other descendants than those of its steps, as tests/lib/forked_program.py's.
    monkeypatch.setattr(_steps, "end_descendants", lambda left: None)
    monkeypatch.setattr(_steps, "show_stacks", lambda: None)
    (tmp_path / UNDER_WAY).mkdir()
    return Steps(dict(os.environ), tmp_path)


def test_a_failure_is_kept_and_the_next_step_runs(
    steps: Steps, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both are timed; an exit status that counts as none is none."""
    steps.check("bad", "/bin/sh", "-c", "exit 3")
    steps.check("good", "/bin/true")
    steps.check("fine", "/bin/sh", "-c", "exit 5", passes=(0, 5))
    assert steps.failed == ["bad: exit status 3"]
    assert [name for name, _ in steps.seconds] == ["bad", "good", "fine"]
    assert "bad" in steps.table()


def test_a_budget_names_the_step_and_the_test_under_way(steps: Steps) -> None:
    """And nothing runs after it."""
    steps.budget_s = 0.2
    (steps.directory / UNDER_WAY / "gw0").write_text("tests/a.py::test_b")
    with pytest.raises(StepFailed) as caught:
        steps.check("long", "sleep", "1000")
    text = str(caught.value)
    assert caught.value.status == 124
    assert steps.cut
    assert text.startswith("long: not done 0.2 s after the start, as --budget asks")
    assert "s: tests/a.py::test_b" in text
    assert "tools/test --quick PATH" in text


@pytest.mark.slow
def test_only_silence_is_a_hang(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that began a moment ago is progress."""
    hang_s = slowness()
    monkeypatch.setattr(_steps, "_LOOK_EACH_S", 0.05)
    script = (
        f"for i in 1 2 3 4 5 6; do echo t$i >{steps.directory}/{UNDER_WAY}/main; sleep 0.2; done"
    )
    steps.run("slow", "/bin/sh", "-c", script, hang_s=hang_s)
    with pytest.raises(StepFailed, match="hangs: no test has begun or ended") as caught:
        steps.run("hung", "sleep", "1000", hang_s=hang_s)
    assert caught.value.status == 125


def test_children_hear_signals_that_the_starter_ignores(steps: Steps) -> None:
    """As a shell's `&` and nohup start programs, and with a signal blocked."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        steps.run("int", "/bin/sh", "-c", "kill -INT $$; exit 0", passes=(-signal.SIGINT,))
        steps.run("term", "/bin/sh", "-c", "kill -TERM $$; exit 0", passes=(-signal.SIGTERM,))
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_what_tests_inherit_is_the_same_whoever_starts_them() -> None:
    """Dispositions, mask, umask, limits; in a process of its own."""
    program = """
import os, resource, signal, sys
sys.path[:0] = sys.argv[1:]
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.umask(0o077)
resource.setrlimit(resource.RLIMIT_CPU, (100, resource.getrlimit(resource.RLIMIT_CPU)[1]))
from process_state import take_ordinary_state
take_ordinary_state()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
    assert signal.getsignal(number) == signal.SIG_DFL, number
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
assert os.umask(0) == 0o022
soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
assert soft == hard
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1024
"""
    subprocess.run([sys.executable, "-c", program, str(ROOT / "tests" / "lib")], check=True)


def test_variables_that_change_programs_are_gone() -> None:
    """Ours, and what is needed to find programs and packages, stay."""
    environ = {
        "PATH": "/bin",
        "NO_COLOR": "1",
        "COLUMNS": "40",
        "LC_ALL": "tr_TR.UTF-8",
        "PENSTOCK_ADDR": "elsewhere:1",
        "PENSTOCK_TEST_RUN": "a",
        "PIP_INDEX_URL": "x",
    }
    ordinary_environment(environ)
    kept = {"PATH": "/bin", "PENSTOCK_TEST_RUN": "a", "PIP_INDEX_URL": "x"}
    assert environ == kept | {"LANG": "C.UTF-8", "TERM": "xterm"}


@pytest.mark.slow
def test_quick_takes_the_mirror_of_a_file_or_the_tests_that_import_it() -> None:
    """Not those of whole servers and simulations, which take minutes."""
    mirror = ["tests/policy/test_grammar.py"]
    assert _quick.tests_of(ROOT / "src/penstock/policy/grammar.py") == mirror
    found = _quick.tests_of(ROOT / "src/penstock/jobs/end_record.py")
    assert "tests/jobs/test_job.py" in found
    assert not [name for name in found if name.split("/")[1] in ("system", "machines")]
    assert "tests/test_leaks.py" in _quick.tests_of(ROOT / "tests/lib/leaks.py")
    assert "tests/jobs/test_job.py" in _quick.tests_of(ROOT / "src/penstock/jobs")


class Noted(Steps):
    """Runs nothing."""

    commands: list[list[str]]

    def check(self, name: str, *command: str | Path, **_: object) -> int:
        self.commands.append([name, *map(str, command)])
        return 0


@pytest.mark.parametrize("word", [FRONT_END, f"./{FRONT_END}", str(ROOT / FRONT_END), "src"])
def test_the_front_end_is_checked_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Its name has no ending, by which others are found; by mypy alone, as its name is taken."""
    environment = Environment(Path(sys.executable), Path(sys.executable), tmp_path)
    monkeypatch.setattr(_quick, "make_source_environment", lambda: environment)
    monkeypatch.setattr(_quick, "tests_of", lambda path: [])
    quick, whole = Noted({}, tmp_path), Noted({}, tmp_path)
    quick.commands, whole.commands = [], []
    assert _quick.run_quick(quick, [word]) == 0
    _linters.run_checks(whole, environment, everything=True)
    by_name = {command[0]: command[1:] for command in quick.commands}
    assert FRONT_END in by_name["mypy --strict, the front end"]
    path = str(ROOT / ("src" if word == "src" else FRONT_END))
    assert path in by_name["ruff check"]
    assert path in by_name["ruff format"]
    assert str(ROOT / FRONT_END) not in by_name.get("mypy --strict", [])
    by_name = {command[0]: command[1:] for command in whole.commands}
    assert FRONT_END in by_name["mypy --strict, the front end"]
    assert FRONT_END in by_name["flake8-async"]


def test_ruff_reads_the_front_end_where_nothing_is_named() -> None:
    """It finds other files by their endings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert FRONT_END in settings["tool"]["ruff"]["extend-include"]
    assert (ROOT / FRONT_END).is_file()


def test_quick_takes_the_tests_of_the_front_end() -> None:
    assert "tests/agent/test_front_end_file.py" in _quick.tests_of(ROOT / FRONT_END)


@pytest.mark.parametrize("word", ["tests/jobs/test_job.py::test_x", "tests", "src/penstock/jobs"])
def test_quick_takes_what_pytest_prints(word: str) -> None:
    """A test in a file, a folder; not what only begins like a file."""
    path = _quick._named(word)
    assert path is not None
    assert _quick._below_root(word, path) == word
    assert _quick._named("-k") is None
    assert _quick._named("no/such") is None


def test_quick_without_a_file_says_how(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    assert _quick.run_quick(steps, ["-x", "no/such/file.py"]) == 2
    assert "tools/test --quick src/" in capsys.readouterr().err
