"""Programs and scripts whose files were replaced: taken up when written down, or refused."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.policy.policy_file import Command, parse_policy
from penstock.supervisor.files.executables import ExecutableError, open_executable
from penstock.supervisor.files.program_files import ProgramFiles, Replaced
from penstock.supervisor.files.script_files import find_scripts

OWNERS = frozenset({0, os.geteuid()})
STRANGER = 61199


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "sh"
    path.parent.mkdir()
    return put(path)


def put(path: Path, source: str = "/bin/true") -> Path:
    """A new file at the path, as a package update makes it."""
    new = path.with_name(f"{path.name}.new")
    shutil.copy(source, new)
    new.chmod(0o755)
    new.rename(path)
    return path


def command(path: Path, rest: str = "") -> Command:
    text = f'[classes.c]\n[commands.x]\nclass = "c"\npath = "{path}"\n{rest}\n'
    return parse_policy(text.encode()).commands["x"]


@pytest.fixture
def opened() -> Iterator[Callable[[Command], ProgramFiles]]:
    """Files as they are when the policy is read; closed afterwards."""
    made: list[ProgramFiles] = []

    def make(of: Command) -> ProgramFiles:
        files = ProgramFiles({"x": open_executable(of.path, OWNERS)}, OWNERS)
        files.scripts["x"], warnings = find_scripts(of, OWNERS)
        assert warnings == []
        made.append(files)
        return files

    yield make
    for files in made:
        for each in files.executables.values():
            each.close()


def replaced(files: ProgramFiles, of: Command) -> list[str]:
    """What must be written down."""
    with pytest.raises(Replaced) as caught:
        files.current(of, [])
    return [each.now for each in caught.value.files]


Opened = Callable[[Command], ProgramFiles]


def test_a_good_file_is_taken_up_once_it_is_written_down(program: Path, opened: Opened) -> None:
    """Identical bytes are another file, too; until then nothing of it runs."""
    of = command(program)
    files = opened(of)
    before = files.current(of, [])
    put(program)
    (now,) = replaced(files, of)
    assert f"inode {program.stat().st_ino} " in now
    assert files.executables["x"] is before
    with pytest.raises(Replaced):
        files.current(of, ["something else"])
    found = files.current(of, [now])
    assert os.fstat(found.fd).st_ino == program.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(before.fd)
    assert files.current(of, []) is found
    put(program, "/bin/false")  # a line is for one file alone
    with pytest.raises(Replaced):
        files.current(of, [now])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o775), "can be written by others"),
        (lambda path: path.chmod(0o644), "is not executable"),
        (lambda path: path.write_bytes(b"#!/bin/sh\n"), "is no ELF file"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.parent.chmod(0o777), "others can replace it"),
        (lambda path: path.chmod(0o4755), "is set-uid"),
    ],
)
def test_a_bad_file_is_refused_by_both_names(
    program: Path, opened: Opened, spoil: Callable[[Path], object], why: str
) -> None:
    """Written down or not; one that is put right is taken up."""
    of = command(program)
    files = opened(of)
    before = program.stat().st_ino
    put(program)
    spoil(program)
    now = f"inode {program.stat().st_ino} " if program.exists() else "No such file"
    for audited in ([], [now]):
        with pytest.raises(ExecutableError) as caught:
            files.current(of, audited)
        for text in (why, f"inode {before} ", now, "read the policy again"):
            assert text in str(caught.value)
    program.parent.chmod(0o755)
    put(program)
    files.current(of, replaced(files, of))


@pytest.mark.root
def test_a_file_of_somebody_else_is_refused(program: Path, opened: Opened) -> None:
    """And so is a link of somebody else's, or in a directory of somebody else's."""
    of = command(program)
    files = opened(of)
    put(program)
    os.chown(program, STRANGER, 0)
    with pytest.raises(ExecutableError, match=f"belongs to user {STRANGER}"):
        files.current(of, [])
    program.unlink()
    program.symlink_to("/bin/true")
    os.chown(program, STRANGER, 0, follow_symlinks=False)
    with pytest.raises(ExecutableError, match=f"a link of user {STRANGER}'s"):
        files.current(of, [])
    os.chown(program, 0, 0, follow_symlinks=False)
    os.chown(program.parent, STRANGER, 0)
    with pytest.raises(ExecutableError, match="others can replace it"):
        files.current(of, [])
    os.chown(program.parent, 0, 0)
    files.current(of, replaced(files, of))


def test_a_link_that_leads_elsewhere(tmp_path: Path, opened: Opened) -> None:
    """As alternatives and versions do; every directory that the links lead through counts."""
    for name in ("one", "two", "open"):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "tool")
    (tmp_path / "open" / "link").symlink_to("../two/tool")
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "tool").symlink_to("one/tool")
    of = command(tmp_path / "tool")
    files = opened(of)
    (tmp_path / "tool").unlink()
    (tmp_path / "tool").symlink_to(tmp_path / "two" / "tool")
    found = files.current(of, replaced(files, of))
    assert os.fstat(found.fd).st_ino == (tmp_path / "two" / "tool").stat().st_ino
    for target in ("open/link", "two/../open/link", "loop"):
        (tmp_path / "tool").unlink()
        (tmp_path / "tool").symlink_to(target)
        (tmp_path / "loop").unlink(missing_ok=True)
        (tmp_path / "loop").symlink_to("loop")
        if target == "loop":
            with pytest.raises(ExecutableError, match="Too many levels"):
                files.current(of, [])
        else:  # the file is the one that runs already, so nothing has changed
            assert files.current(of, []) is found
            put(tmp_path / "two" / "tool")
            with pytest.raises(ExecutableError, match=f"can write {tmp_path}/open"):
                files.current(of, [])
            found = files.executables["x"]
            (tmp_path / "tool").unlink()
            (tmp_path / "tool").symlink_to("two/tool")
            found = files.current(of, replaced(files, of))


def test_a_pinned_program_is_refused(program: Path, opened: Opened) -> None:
    """Whatever takes its place, its script's as well, until the policy is read again."""
    script = program.parent / "run.sh"
    script.write_text("true\n")
    of = command(program, f'fixed = ["{script}"]\npinned = true')
    files = opened(of)
    files.current(of, [])
    for path in (script, program):
        put(path)
        with pytest.raises(ExecutableError, match=r"command x is pinned.*read the policy again"):
            files.current(of, [])


def test_scripts_are_held_to_the_same(program: Path, opened: Opened) -> None:
    """By name in ``fixed`` or as a literal; what is replaced is told of together."""
    script = program.parent / "run.sh"
    script.write_text("true\n")
    literals = f'arguments = [{{ literal = "{script}" }}, {{ pattern = "[a-z]{{1,9}}" }}]'
    for rest in (f'fixed = ["-e", "{script}"]', literals):
        of = command(program, rest)
        files = opened(of)
        script.write_text("false\n")
        os.utime(script, ns=(1, 1))
        put(program)
        program_now, script_now = replaced(files, of)
        assert str(script) in script_now
        with pytest.raises(Replaced):
            files.current(of, [program_now])
        files.current(of, [program_now, script_now])
        files.current(of, [])
        script.chmod(0o666)
        with pytest.raises(ExecutableError, match="can be written by others"):
            files.current(of, [])
        script.chmod(0o644)


def test_scripts_that_are_not_looked_at_again(program: Path) -> None:
    """Of a program that runs none; and with a warning those that others can change."""
    script = program.parent / "run.sh"
    script.write_text("true\n")
    script.chmod(0o666)
    found, (warning,) = find_scripts(command(program, f'fixed = ["{script}"]'), OWNERS)
    assert found == []
    assert f"commands.x: {script}: can be written by others" in warning
    plain = put(program.parent / "plain")
    assert find_scripts(command(plain, f'fixed = ["{script}"]'), OWNERS) == ([], [])
    assert find_scripts(command(program, 'fixed = ["/none", "-c", "true"]'), OWNERS) == ([], [])


def test_a_program_that_is_taken_away_while_it_is_checked(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a package manager that removes first: refused, and no error of the supervisor's own."""
    open_file = os.open

    def open_and_lose(path: str, flags: int) -> int:
        fd = open_file(path, flags)
        os.unlink(path)
        return fd

    monkeypatch.setattr(os, "open", open_and_lose)
    with pytest.raises(ExecutableError, match="No such file"):
        open_executable(str(program), OWNERS)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_the_way_to_a_script_is_looked_at_each_time(
    tmp_path: Path, program: Path, opened: Callable[[Command], ProgramFiles]
) -> None:
    """The very same file, which the program will open by a name that others can change now."""
    (tmp_path / "lib").mkdir()
    script = tmp_path / "lib" / "run"
    script.write_text("exit 0")
    of = command(program, f'fixed = ["{script}"]')
    files = opened(of)
    files.current(of, [])
    script.parent.chmod(0o777)
    with pytest.raises(ExecutableError, match="others can replace it, as they can write"):
        files.current(of, [])
    script.parent.rename(tmp_path / "real")
    (tmp_path / "real").chmod(0o755)
    script.parent.symlink_to("real")
    files.current(of, [])
    os.chown(script.parent, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(ExecutableError, match=f"a link of user {STRANGER}'s"):
        files.current(of, [])


def test_a_link_to_an_interpreter_has_scripts_too(tmp_path: Path, program: Path) -> None:
    """Its own name says nothing."""
    script = tmp_path / "run"
    script.write_text("exit 0")
    link = tmp_path / "report"
    link.symlink_to(program)
    found, warnings = find_scripts(command(link, f'fixed = ["{script}"]'), OWNERS)
    assert [each.path for each in found] == [str(script)]
    assert warnings == []
