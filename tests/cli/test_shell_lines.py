"""The shell's lines: words as shlex has them, what is refused, and what the history keeps."""

import fcntl
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from patience import patient

from penstock.cli.flags import Settings
from penstock.cli.shell import line_history
from penstock.cli.shell.bottom_bar import bar_text
from penstock.cli.shell.history_file import MOST_LINES, append_lines, history_path, kept_lines
from penstock.cli.shell.line_history import LineHistory
from penstock.cli.shell.line_traits import flags_of, keeps_line, takes_terminal
from penstock.cli.shell.line_words import LineRefused, read_lines, words_before

# Without what shlex takes for a word's part and shells for an operator, and without line ends.
_TYPED = st.text(st.sampled_from("ab1=-#'\"\\ \té\u3000*~$"), max_size=12)


def words(line: str) -> list[str]:
    (read,) = read_lines(line)
    return read.texts


@given(_TYPED)
@example("a'b \"c'\"d' e\"")
@example('"\\$ \\" \\a"')
def test_words_are_those_of_shlex(typed: str) -> None:
    """In its POSIX mode, but for "#", which begins a comment at a word's begin only, and blanks."""
    typed = typed.replace("#", "_").replace("$(", "_")
    try:
        wanted: list[str] | None = shlex.split(typed)
    except ValueError:
        wanted = None
    found: list[str] | None = []
    try:
        for read in read_lines(typed):
            found = read.texts
    except LineRefused:
        found = None
    assert found == wanted


@given(_TYPED)
def test_the_word_at_the_cursor_is_the_last_one_of_shlex(typed: str) -> None:
    """Also where a quote is open: it is closed here to ask shlex, for which a backslash in front of
    that would be one more character."""
    typed = typed.replace("#", "_").replace("$(", "_").rstrip("\\")
    found = words_before(typed)
    assert found[-1].end == len(typed)
    quote = found[-1].quote
    behind = quote if quote or found[-1].begin < len(typed) else "''"
    assert [word.text for word in found] == shlex.split(typed + behind)


def test_comments_and_empty_lines_are_nothing() -> None:
    """Within a word "#" is one of its characters."""
    assert list(read_lines("")) == []
    assert list(read_lines("  \n\t\n# all of it\n")) == []
    assert words("ls a#b # the rest | of it") == ["ls", "a#b"]


def test_lines_that_are_pasted_are_taken_one_by_one() -> None:
    """But a quoted line end belongs to its word."""
    found = list(read_lines("start ls\n\n  stop 1 &\nstart echo 'a\nb'\r\n"))
    assert [(read.texts, read.beside, read.typed) for read in found] == [
        (["start", "ls"], False, "start ls"),
        (["stop", "1"], True, "stop 1 &"),
        (["start", "echo", "a\nb"], False, "start echo 'a\nb'"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("stream 1 | grep x", "no pipes: type the line into your own shell, with penstock"),
        ("stream 1 > f", "writes no files"),
        ("send 1 < f", "reads no files"),
        ("start ls; stop 1", "one command a line"),
        ("start ls && stop 1", "'&' stands at the end of a line"),
        ("start ls & stop 1", "'&' stands at the end of a line"),
        ("start ls &&", "'&' stands at the end of a line"),
        ("stop $(cat f)", "no command's output"),
        ("stop `cat f`", "no command's output"),
        ("stop a'b", "a quote is still open: '"),
        ('stop "a', 'a quote is still open: "'),
        ("stop a\\", "a quote is still open: \\"),
    ],
)
def test_what_only_a_shell_can_is_refused(line: str, says: str) -> None:
    """With what to do instead."""
    (read,) = read_lines(line)
    with pytest.raises(LineRefused) as caught:
        _ = read.texts
    assert says in str(caught.value)
    if "quote is" not in says:
        assert str(caught.value).endswith("as a part of an argument it stands in quotes")


@pytest.mark.parametrize("text", ["|", "a>b", "<", ";", "&", "`x`", "$(x)"])
def test_what_is_quoted_is_text(text: str) -> None:
    """In either quote; behind a backslash."""
    assert words(f"echo '{text}'") == ["echo", text]
    assert words(f'echo "{text}"') == ["echo", text]
    assert words("echo " + "".join(f"\\{each}" for each in text)) == ["echo", text]


def test_an_ampersand_at_the_end_runs_beside() -> None:
    """With and without a blank in front, and with a comment behind."""
    for line in ("stream 1 &", "stream 1&", "penstock stream 1 & # mine"):
        (read,) = read_lines(line)
        assert read.beside
        assert read.texts[-2:] == ["stream", "1"]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("start ls -la", True),
        (" start ls", False),
        ("\tstart ls", False),
        ("start --env TOKEN=secret ls", False),
        ("start --env=TOKEN=secret ls", False),
        ("penstock run -e TOKEN=secret ls", False),
        ("run -qeTOKEN=secret ls", False),
        ("run -e 'TOKEN=a", False),
        ("run -e TOKEN=x ls | grep", False),
        ("start grep -e pattern", True),  # the job's own
        ("start -e 'A=b\nc' ls", False),
        ("strat -e TOKEN=x ls", False),
        ("strat -qeTOKEN=x ls", False),
        ("strat --env TOKEN=x ls", False),
        ("strat --name e ls", True),
        ("nonsense 'a", True),
    ],
)
def test_what_may_be_a_secret_is_not_kept(line: str, kept: bool) -> None:
    """Nor what begins with a blank."""
    (read,) = read_lines(line)
    assert keeps_line(read) is kept


async def typed(path: Path, *lines: str) -> LineHistory:
    """A history that was read, and into which these were typed."""
    history = LineHistory(path, keeps_line)
    await history.read()
    for line in lines:
        history.append_string(line)
        await history.write()
    return history


async def test_the_history_is_the_users_alone(tmp_path: Path) -> None:
    """Newest first; a line that is not to be kept is not even in memory."""
    path = tmp_path / "state" / "penstock" / "history"
    secret = "start -e 'KEY=-----BEGIN\nsecret\n-----END' ls"
    lines = ("start ls", " secret", "start -e A=b ls", "list\nstop 1", "", "x" * 9000, secret)
    history = await typed(path, *lines, "start 'a\nb'", "wait 1\x85secret")
    assert kept_lines(path) == ["start ls", "list", "stop 1"]
    assert history.get_strings()[:3] == ["start ls", "list", "stop 1"]
    assert "start 'a\nb'" in history.get_strings()
    assert not [line for line in history.get_strings() if "-----" in line]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list((await typed(path)).load_history_strings()) == ["stop 1", "list", "start ls"]


async def test_a_history_that_stands_still_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its lock, nor a pipe in its place; what was typed meanwhile is appended later."""
    monkeypatch.setattr(line_history, "BOUND_S", 0.01)
    path = tmp_path / "history"
    path.write_text("old\n")
    path.chmod(0o600)
    with path.open("a") as held:  # noqa: ASYNC230  # a file of this test's
        fcntl.flock(held, fcntl.LOCK_EX)
        history = await typed(path, "list", "stop 1")
        assert history.get_strings() == ["list", "stop 1"]
        assert path.read_text() == "old\n"
    while len(kept_lines(path)) < 3:
        await history.write()
        await trio.lowlevel.checkpoint()
    assert kept_lines(path) == ["old", "list", "stop 1"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    history = await typed(pipe, "list")
    assert list(history.load_history_strings()) == []


def test_the_history_is_bounded(tmp_path: Path) -> None:
    """The older half goes when there are twice as many."""
    path = tmp_path / "history"
    path.write_text("".join(f"line {number}\n" for number in range(2 * MOST_LINES)))
    path.chmod(0o600)
    append_lines(path, ["one more"])
    lines = path.read_text().splitlines()
    assert len(lines) == MOST_LINES
    assert lines[0] == f"line {MOST_LINES + 1}"
    assert lines[-1] == "one more"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_history_that_others_could_write_is_not_used(tmp_path: Path) -> None:
    """Nor one that is no file: without it there are no older lines, and no error."""
    open_to_all = tmp_path / "open"
    open_to_all.write_text("start rm\n")
    open_to_all.chmod(0o666)
    link = tmp_path / "link"
    link.symlink_to(open_to_all)
    for path in (open_to_all, link, tmp_path):
        history = await typed(path, "list")
        assert list(history.load_history_strings()) == []
    assert open_to_all.read_text() == "start rm\n"


def test_a_line_without_its_end_swallows_none(tmp_path: Path) -> None:
    """As another program may have left it."""
    path = tmp_path / "history"
    path.write_text("start ls")
    path.chmod(0o600)
    append_lines(path, ["list"])
    assert kept_lines(path) == ["start ls", "list"]


_APPEND = """
import sys
from pathlib import Path
from penstock.cli.shell.history_file import append_lines
for number in range(150):
    append_lines(Path(sys.argv[1]), [f"{sys.argv[2]} {number}"])
"""


def test_several_shells_append_at_once(tmp_path: Path) -> None:
    """None of their lines is lost or cut, also while the file is replaced by its newer half."""
    path = tmp_path / "history"
    path.write_text("".join(f"old {number}\n" for number in range(2 * MOST_LINES - 50)))
    path.chmod(0o600)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    shells = [
        subprocess.Popen([sys.executable, "-c", _APPEND, str(path), name], env=environment)
        for name in "abc"
    ]
    for shell in shells:
        assert shell.wait(patient(30)) == 0
    found = path.read_text().splitlines()
    for name in "abc":
        assert [line for line in found if line.startswith(f"{name} ")] == [
            f"{name} {number}" for number in range(150)
        ]


def test_an_append_waits_for_the_one_under_way(tmp_path: Path) -> None:
    """By a lock that every shell takes; one that has replaced the file meanwhile loses no line."""
    path = tmp_path / "history"
    path.write_text("old\n")
    path.chmod(0o600)
    with open(path, "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        shell = subprocess.Popen([sys.executable, "-c", _APPEND, str(path), "a"], env=environment)
        while f"{shell.pid}" not in _waiting_for_locks():
            assert shell.poll() is None
        new = tmp_path / "new"
        new.write_text("new\n")
        new.chmod(0o600)
        new.rename(path)
    assert shell.wait(patient(30)) == 0
    assert path.read_text().splitlines()[:2] == ["new", "a 0"]


def _waiting_for_locks() -> set[str]:
    """The pids that wait for one (proc(5))."""
    lines = Path("/proc/locks").read_text().splitlines()
    return {line.split()[5] for line in lines if "->" in line}


def test_where_the_history_is() -> None:
    """As XDG has it; nowhere where it is off."""
    home = {"HOME": "/home/alice"}
    assert history_path(home) == Path("/home/alice/.local/state/penstock/history")
    assert history_path(home | {"XDG_STATE_HOME": "/s"}) == Path("/s/penstock/history")
    assert history_path(home | {"XDG_STATE_HOME": "s"}) == history_path(home)
    assert history_path(home | {"PENSTOCK_HISTORY": "off"}) is None
    assert history_path({}) is None


def test_lines_that_have_the_terminal_as_a_whole() -> None:
    """Nothing else is shown while they run."""
    for line in ("top", "send 1", "status --watch 1", "status -w 1", "run -i cat", "attach -i 1"):
        assert takes_terminal(line.split()), line
    for line in ("stream 1", "run ls -i", "status 1", "list", "wait 1"):
        assert not takes_terminal(line.split()), line


def test_the_shells_own_flags_stand_in_front_of_each_line() -> None:
    """As they were typed when it was called."""
    settings = Settings(address="h:1", context="lab", output="json", connect_timeout_s=2)
    assert flags_of(settings) == [
        *("--addr=h:1", "--context=lab", "--connect-timeout=2", "-o", "json"),
    ]
    assert flags_of(Settings()) == ["--connect-timeout=10.0", "-o", "text"]


def test_the_bar_fits_the_terminal() -> None:
    """What is not known is left out; no text of a server's can control the terminal."""

    def bar(columns: int, client: str = "alice", running: int | None = 1, beside: int = 0) -> str:
        return bar_text(
            client_id=client,
            where="lab",
            connection="connected",
            running=running,
            beside=beside,
            columns=columns,
        )

    assert bar(80) == "alice@lab · connected · 1 job running"
    assert bar(80, running=2, beside=3) == "alice@lab · connected · 2 jobs running · 3 beside"
    assert bar(80, client="", running=None) == "lab · connected"
    assert bar(12) == "alice@lab ·…"
    assert bar(1) == "…"
    assert bar(80, client="a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc@lab · connected · 1 job running"
