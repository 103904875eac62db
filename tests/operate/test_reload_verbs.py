"""``penstockd reload`` and ``status``, of a real supervisor whose server is in the test's hands."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from handed_server import Handed, handed_supervisor
from supervisor_process import command

from penstock.operate.verb_options import tell
from penstock.operate.verb_table import call_verb


@pytest.fixture
def handed() -> Iterator[Handed]:
    clients = '\n[clients.alice]\ncommands = ["true"]\n'
    with handed_supervisor(
        command("true", "/bin/true", root=False), root=False, clients=clients
    ) as it:
        yield it


def asked(handed: Handed, verb: str, *words: str, meanwhile: Callable[[], object]) -> int:
    """The exit status of a verb; ``meanwhile`` is what the server does."""
    found: list[int] = []
    line = [verb, "--config", str(handed.config), *words]
    thread = threading.Thread(target=lambda: found.append(call_verb(line)))
    thread.start()
    try:
        meanwhile()
    finally:
        thread.join()
    return found[0]


def test_it_says_what_is_different(handed: Handed, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was put in force, as status does."""
    server = handed.next()
    server.serve()
    with handed.policy.open("a") as file:
        file.write('\n[clients.bob]\ncommands = ["true"]\n')
    generations = []

    def take_up() -> None:
        generations.append(server.prepared()["generation"])
        server.switched("no connection has ended")

    assert asked(handed, "reload", meanwhile=take_up) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("client bob comes in")
    assert lines[1:] == [
        "no connection has ended",
        f"reloaded: {generations[0][:12]} is in force",
    ]

    def take_up_again() -> None:
        server.prepared()
        server.switched()

    assert asked(handed, "reload", meanwhile=take_up_again) == 0
    assert capsys.readouterr().out.splitlines() == [
        "nothing is different in configuration, policy and [tls]",
        f"reloaded: {generations[0][:12]} is in force",
    ]
    assert asked(handed, "status", meanwhile=lambda: None) == 0
    shown = capsys.readouterr().out
    assert f"generation   {generations[0]}" in shown
    assert f"process {server.pid}, takes calls" in shown
    assert asked(handed, "status", "-o", "json", meanwhile=lambda: None) == 0
    assert json.loads(capsys.readouterr().out)["generation"] == generations[0]
    server.kill()
    handed.next()
    assert asked(handed, "status", meanwhile=lambda: None) == 1


def test_every_mistake_is_on_stderr(handed: Handed, capsys: pytest.CaptureFixture[str]) -> None:
    """More than one message holds, the server's as well as the supervisor's."""
    server = handed.next()
    server.serve()
    good = handed.policy.read_text()
    wrong = "".join(f'\n[clients.c{n}]\ncommands = ["{"x" * 900}"]\n' for n in range(150))
    handed.policy.write_text(good + wrong)
    assert asked(handed, "reload", meanwhile=lambda: None) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(f"{handed.policy}:") == 150
    assert err.endswith("nothing has changed\n")
    handed.policy.write_text(good)
    no = "[tls] key: /k: No such file or directory"
    assert asked(handed, "reload", "-o", "json", meanwhile=lambda: server.prepared(no)) == 2
    assert json.loads(capsys.readouterr().out)["mistakes"] == [no]


def test_without_a_penstockd_it_says_where_it_has_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "penstockd.toml"
    config.write_text('run_dir = "/nonexistent"\npolicy = "/p"\n')
    for verb in ("reload", "status"):
        assert call_verb([verb, "--config", str(config)]) == 1
        assert "no penstockd runs there (/nonexistent/control.sock" in capsys.readouterr().err
    config.write_text("run_dir = \n")
    assert call_verb(["reload", "--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{config}:1: ")
    assert "read its files by SIGHUP" in err
    assert call_verb(["reload", "--config", f"{tmp_path}/none"]) == 2
    assert "name the configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ('run_dir = "/nonexistent"\npolicy = "/p"\n', 1, "no penstockd runs there"),
        ("run_dir = \n", 2, "not TOML"),
        (None, 2, "name the configuration"),
    ],
    ids=["nobody there", "no TOML", "no file"],
)
def test_a_program_reads_an_object_in_every_case(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    status: int,
    said: str,
) -> None:
    """With the mistakes, and the exit status that people have."""
    config = tmp_path / "penstockd.toml"
    if text is not None:
        config.write_text(text)
    for verb in ("reload", "status"):
        assert call_verb([verb, "--config", str(config)]) == status
        for_people = capsys.readouterr().err.splitlines()
        assert call_verb([verb, "--config", str(config), "-o", "json"]) == status
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert (found["ok"], found["mistakes"], err.splitlines()) == (False, for_people, for_people)
        assert said in found["mistakes"][0]
    assert set(found) == {"ok", "mistakes"}
    assert call_verb(["check", "--config", str(config), "-o", "json"]) == 2
    checked = json.loads(capsys.readouterr().out)
    assert (checked["ok"], checked["policy_revision"]) == (False, "")
    assert checked["mistakes"][0].keys() >= {"file", "line", "key", "what", "remedy", "text"}


def test_one_that_runs_where_the_file_does_not_say_is_found(
    handed: Handed, capsys: pytest.CaptureFixture[str]
) -> None:
    """run_dir was changed: it is a mistake that it is told, not a penstockd that does not run."""
    handed.next()  # so that it is started by the file as it was
    text = handed.config.read_text()
    used = next(line for line in text.splitlines() if line.startswith("run_dir"))
    handed.config.write_text(text.replace(used, 'run_dir = "/nonexistent"'))
    assert call_verb(["reload", "--config", str(handed.config)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{handed.config}: run_dir: a penstockd runs (process ")
    assert f"kill -HUP {handed.supervisor.process.pid}, " in err


def test_what_a_server_says_is_no_escape_and_no_line_of_ours(
    handed: Handed, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have been taken over, and it is root's terminal."""
    server = handed.next()
    server.serve()
    with handed.policy.open("a") as file:
        file.write('\n[clients.bob]\ncommands = ["true"]\n')

    def take_up() -> None:
        server.prepared()
        server.switched("\x1b[2J\rno\nreloaded: all is well")

    assert asked(handed, "reload", meanwhile=take_up) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "\\x1b[2J\\rno\\nreloaded: all is well" in out.splitlines()


def test_a_locale_without_the_character_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(data, "ascii", write_through=True))
    tell(["policy: \u00e4"])
    assert data.getvalue() == b"policy: \\xe4\n"


def test_a_penstockd_that_refuses_to_say_what_is_in_force_is_said(
    handed: Handed, capsys: pytest.CaptureFixture[str]
) -> None:
    """As to check --against-running, when many ask at once; what check finds itself is there."""
    handed.next().serve()
    many = [handed.ask() for _ in range(8)]
    try:
        call_verb(["check", "--config", str(handed.config), "--against-running"])
    finally:
        for each in many:
            each.close()
    assert "too many others ask penstockd at this moment; try again\n" in capsys.readouterr().err
