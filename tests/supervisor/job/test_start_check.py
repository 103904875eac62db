"""What a START has to be, field by field, and what is granted of one that is well-formed.

The supervisor decides this again for itself: the server that asks may have been taken over.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.policy.decision import MAX_COMMAND_LINE_BYTES
from penstock.policy.policy_file import parse_policy
from penstock.supervisor.files.executables import Executable, ExecutableError, open_executable
from penstock.supervisor.files.program_files import ProgramFiles
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_server import Start
from penstock.supervisor.ipc.from_supervisor import RefusedMessage
from penstock.supervisor.ipc.message_record import read_record
from penstock.supervisor.job.start_check import Refusal, StartCheck
from penstock.supervisor.users.command_users import CommandUsers

# Whoever owns the directories above a temporary one may be anybody.
EVERYBODY = frozenset({0, os.geteuid()})
START: dict[str, Any] = {
    "type": "START",
    "id": "0123456789abcdef" * 2,
    "opaque": "alice",
    "client": "alice",
    "policy": "hash",
    "command": "show",
    "arguments": ["file"],
    "env": {"COLUMNS": "80"},
    "timeout_s": None,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root with a file, and a program."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").touch()
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and the rest")
    program.chmod(0o755)
    return tmp_path


def executable(path: Path) -> Executable:
    """As open_executable makes it, whoever owns the directories above."""
    status = path.stat()
    found = (status.st_dev, status.st_ino, status.st_uid, status.st_gid, status.st_mode)
    return Executable(str(path), -1, (*found, status.st_size, status.st_ctime_ns))


def grants(place: Path, clients: str = '[clients.alice]\ncommands = ["show"]\n') -> StartCheck:
    text = f"""
[classes.free]
needs = {{ all = "best_effort" }}
[commands.show]
path = "{place}/program"
class = "free"
env_allowed = ["COLUMNS"]
timeout = "10s"
arguments = [
    {{ path = {{ root = "{place}/root" }} }},
    {{ repeat = {{ slot = {{ pattern = "x{{0,255}}" }}, max = 511 }} }},
]
[commands.other]
path = "{place}/program"
class = "free"
stdin = true
{clients}"""
    policy = parse_policy(text.encode())
    programs = {name: executable(place / "program") for name in policy.commands}
    return StartCheck(
        *(policy, policy.hash, ProgramFiles(programs, EVERYBODY), CommandUsers()),
        standalone=not clients,
    )


def start(of: StartCheck, **changed: Any) -> Start:
    return read_record(Start, START | {"policy": of.policy.hash} | changed)


def refused(of: StartCheck, **changed: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        of.check(start(of, **changed))
    return caught.value


def test_what_is_granted_is_run_with_its_paths_resolved(place: Path) -> None:
    """The shorter of both bounds of time counts, and the command's where none was asked for."""
    found = grants(place)
    grant = found.check(start(found, arguments=["./file"]))
    assert grant.effective.argv == [f"{place}/program", f"{place}/root/file"]
    assert grant.effective.command.name == "show"
    assert grant.client.id == "alice"
    assert grant.env == {"COLUMNS": "80"}
    assert grant.effective.user is None
    assert grant.effective.timeout_s == 10.0
    assert found.check(start(found, timeout_s=2.5)).effective.timeout_s == 2.5
    assert found.check(start(found, timeout_s=99.0)).effective.timeout_s == 10.0


@pytest.mark.parametrize(
    ("changed", "fault", "text"),
    [
        ({"policy": "another"}, protocol.STALE_POLICY, "has just been replaced"),
        ({"arguments": ["a\0b"]}, protocol.INVALID, "NUL"),
        ({"env": {"COLUMNS": "\0"}}, protocol.INVALID, "NUL"),
        ({"arguments": ["\ud800"]}, protocol.INVALID, "lone surrogate"),
        ({"client": "mallory"}, protocol.DENIED, "mallory is no client of this server"),
        ({"command": "other", "arguments": []}, protocol.DENIED, "'other' is not granted"),
        ({"command": "c" * 300}, protocol.DENIED, f"{'c' * 64!r}... is not granted to alice"),
        ({"command": ""}, protocol.INVALID, "command is empty"),
        ({"env": {"A=B": "1"}}, protocol.INVALID, "environment key 'A=B' is not a name"),
        ({"env": {"K" * 129: "1"}}, protocol.INVALID, "is not a name"),
        ({"timeout_s": 31_536_001.0}, protocol.INVALID, "timeout_s is 31536001.0"),
        ({"env": {"LINES": "1"}}, protocol.DENIED, "key 'LINES' is not granted"),
        ({"stdin": True}, protocol.DENIED, "input is not granted for command 'show'"),
        ({"arguments": []}, protocol.DENIED, ""),
        ({"arguments": ["../program"]}, protocol.DENIED, ""),
        ({"arguments": ["missing"]}, protocol.DENIED, "missing: No such file"),
        ({"arguments": ["file", *["x" * 255] * 511]}, protocol.INVALID, "at most"),
        ({"env": {"COLUMNS": "\x01" * 30_000}}, protocol.INVALID, "bytes as JSON; at most"),
    ],
)
def test_what_is_not_granted(place: Path, changed: dict[str, Any], fault: str, text: str) -> None:
    """Each with its fault, and nothing of it is ever a Grant."""
    error = refused(grants(place), **changed)
    assert error.fault == fault
    assert text in str(error)
    assert error.message("a" * 32) == RefusedMessage("a" * 32, fault, "check", 0, str(error))


def test_a_client_without_the_verb_starts_nothing(place: Path) -> None:
    clients = '[clients.alice]\ncommands = ["show"]\nverbs = ["status"]\n'
    error = refused(grants(place, clients))
    assert (error.fault, str(error)) == (
        protocol.DENIED,
        "the verb 'start' is not granted to alice",
    )


def test_paths_count_as_long_as_they_are_once_resolved(place: Path) -> None:
    """What fits before may not fit with its root in front, and then no STARTED could bring it."""
    found = grants(place)
    argv = [f"{place}/program", "file", *["x" * 255] * 500]
    left = MAX_COMMAND_LINE_BYTES - len(json.dumps([argv, {"COLUMNS": ""}]))
    line: dict[str, Any] = {"arguments": argv[1:], "env": {"COLUMNS": "8" * left}}
    too_long = MAX_COMMAND_LINE_BYTES + len(f"{place}/root/")
    error = refused(found, **line)
    assert (error.fault, f"take {too_long} bytes" in str(error)) == (protocol.INVALID, True)
    line["env"] = {"COLUMNS": "8" * (left - len(f"{place}/root/"))}
    assert found.check(start(found, **line)).effective.argv[1] == f"{place}/root/file"


def test_input_where_the_command_takes_it(place: Path) -> None:
    found = grants(place, '[clients.alice]\ncommands = ["other"]\n')
    grant = found.check(start(found, command="other", arguments=[], env={}, stdin=True))
    assert grant.stdin
    assert grant.effective.timeout_s is None


def test_standalone_grants_every_command_to_any_owner(place: Path) -> None:
    """Of a policy that names no clients; whoever it names is all there is otherwise."""
    anybody = grants(place, "")
    assert anybody.check(start(anybody, client="me")).client.id == "me"
    named = replace(grants(place), standalone=True)
    assert refused(named, client="me").fault == protocol.DENIED


@pytest.mark.parametrize("replaced", [True, False])
def test_a_program_that_is_not_the_checked_one_any_more(place: Path, replaced: bool) -> None:
    """Replaced or gone, it is refused until the policy is read again."""
    found = grants(place)
    found.check(start(found))
    (place / "program").unlink()
    if replaced:
        (place / "program").write_bytes(b"\x7fELF of somebody else")
    error = refused(found)
    assert error.fault == protocol.EXECUTABLE
    assert "read the policy again" in str(error)


def test_a_start_of_an_earlier_version_has_no_input() -> None:
    parsed = read_record(Start, START | {"timeout_s": 3})
    assert (parsed.spec.stdin, parsed.spec.timeout_s) == (False, 3.0)
    assert isinstance(parsed.spec.timeout_s, float)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.mkdir(), "is no regular file"),
        (lambda path: (path.write_bytes(b"#!/bin/sh\n"), path.chmod(0o755)), "is no ELF file"),
        (lambda path: (path.write_bytes(b"\x7fELF"), path.chmod(0o644)), "is not executable"),
        (lambda path: (path.write_bytes(b"\x7fELF"), path.chmod(0o775)), "written by others"),
        (lambda path: (path.write_bytes(b"\x7fELF"), path.chmod(0o4755)), "is set-uid or set-gid"),
        (lambda path: None, "No such file"),
    ],
)
def test_a_program_that_is_not_run(tmp_path: Path, make: Any, text: str) -> None:
    """Each mistake by its name, and no descriptor is left of it."""
    path = tmp_path / "program"
    make(path)
    with pytest.raises(ExecutableError, match=f"{text}.*; [a-z]") as caught:
        open_executable(str(path), EVERYBODY)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_program_that_others_own_or_could_replace(tmp_path: Path) -> None:
    """Whoever owns the file, or may write to a directory above it, would decide what is run."""
    path = tmp_path / "open" / "program"
    path.parent.mkdir()
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    path.parent.chmod(0o777)
    with pytest.raises(ExecutableError) as caught:
        open_executable(str(path), EVERYBODY)
    assert f"others can replace it, as they can write {path.parent}" in str(caught.value)
    with pytest.raises(ExecutableError, match=f"belongs to user {os.geteuid()}; chown"):
        open_executable(str(path), frozenset({4242}))


def test_a_program_that_is_run(tmp_path: Path) -> None:
    """The descriptor is of the file that was checked."""
    found = open_executable("/bin/true", frozenset({0}))
    try:
        assert os.pread(found.fd, 4, 0) == b"\x7fELF"
        assert found.is_current()
    finally:
        os.close(found.fd)
