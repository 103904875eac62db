"""STARTs that come to nothing: who is at fault, at which stage, and that nothing is left."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import Peer
from supervisor_process import MODE_AND_SLOW_MODE, Supervisor, command, running_supervisor, shell
from this_run import new_directory

ECHO = '{ optional = { enum = ["-n"] } }, { pattern = "[a-z]{1,8}" }'


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def root(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def programs() -> Iterator[Path]:
    """A directory where a test may put programs and files that a policy names."""
    directory = new_directory("programs")
    shutil.copy("/bin/true", directory / "program")
    (directory / "program").chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def running(root: bool, programs: Path) -> Iterator[tuple[Supervisor, Peer]]:
    (programs / "files" / "deep").mkdir(parents=True)
    (programs / "files" / "deep" / "file").write_text("content\n")
    (programs / "files" / "out").symlink_to("/etc")
    (programs / "files" / "link").symlink_to("deep/file")
    path_slot = f'arguments = [{{ path = {{ root = "{programs}/files" }} }}]\n'
    text = (
        command("echo", "/bin/echo", root=root, extra=f"arguments = [{ECHO}]\n")
        + command("cat", "/bin/cat", root=root, extra=path_slot)
        + command("program", f"{programs}/program", root=root)
        + shell("env", "env", root=root, extra='env_allowed = ["SHADE"]\n')
    )
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        yield supervisor, peer


@pytest.mark.parametrize(
    "arguments", [(), ("-e", "word"), ("WORD",), ("word", "more"), ("-rf",), ("--",), ("",)]
)
def test_arguments_that_no_slot_takes(
    running: tuple[Supervisor, Peer], arguments: tuple[str, ...]
) -> None:
    """The grammar is checked again here."""
    refused = running[1].refused("echo", *arguments)
    assert (refused["fault"], refused["stage"]) == ("denied", "check")


def test_a_command_that_the_policy_does_not_have(running: tuple[Supervisor, Peer]) -> None:
    """Neither its path nor another case is its name."""
    for name in ("/bin/echo", "Echo", "x" * 10_000):
        assert running[1].refused(name)["fault"] == "denied"
    assert running[1].refused("")["fault"] == "invalid"


def test_another_policy(running: tuple[Supervisor, Peer]) -> None:
    """A server that has read another one is told to read again."""
    assert running[1].refused("echo", "word", policy="0" * 64)["fault"] == "stale_policy"


@pytest.mark.parametrize(
    "env",
    [
        {"LD_PRELOAD": "/tmp/x.so"},
        {"PATH": "/tmp"},
        {"HOME": "/tmp"},
        {"PENSTOCK_JOB": "x"},
    ],
)
def test_environment_that_is_not_granted(
    running: tuple[Supervisor, Peer], env: dict[str, str]
) -> None:
    """Only the keys that the policy lists."""
    assert running[1].refused("env", env=env)["fault"] == "denied"


@pytest.mark.parametrize("key", ["SHADE=X", "", "1SHADE", "SH\0DE", "S" * 129])
def test_what_is_no_environment_key(running: tuple[Supervisor, Peer], key: str) -> None:
    """Whatever a policy says: as the server answers it, by the form."""
    refused = running[1].refused("env", env={key: "dark"})
    assert (refused["fault"], refused["stage"]) == ("invalid", "check")
    assert refused["message"] == f"environment key {key[:64]!r} is not a name"


def test_texts_that_no_command_line_can_hold(running: tuple[Supervisor, Peer]) -> None:
    """NUL, lone surrogates, and more than fits."""
    peer = running[1]
    assert peer.refused("echo", "wo\0rd")["fault"] == "invalid"
    assert peer.refused("env", env={"SHADE": "a\0b"})["fault"] == "invalid"
    assert peer.refused("env", env={"SHADE": "\ud800"})["fault"] == "invalid"
    assert peer.refused("env", env={"SHADE": "x" * 140_000})["fault"] == "invalid"
    # Six bytes each once it is a message, so STARTED could not carry it.
    assert peer.refused("env", env={"SHADE": "\x01" * 30_000})["fault"] == "invalid"


def test_paths_beneath_the_root(running: tuple[Supervisor, Peer], programs: Path) -> None:
    """Relative or absolute, they reach the program as absolute paths."""
    peer = running[1]
    for text in ("deep/file", f"{programs}/files/deep/file", "./deep//file"):
        job = peer.start("cat", text)
        assert job.message["argv"] == ["/bin/cat", f"{programs}/files/deep/file"]
        assert job.read() == b"content\n"
        peer.end(job)


@pytest.mark.parametrize(
    "text", ["../program", "deep/../../program", "/etc/passwd", "out/passwd", "link", "none", "-n"]
)
def test_paths_that_leave_the_root(running: tuple[Supervisor, Peer], text: str) -> None:
    """Neither by dots nor by symbolic links, nor what is not there."""
    assert running[1].refused("cat", text)["fault"] == "denied"


@pytest.mark.root
def test_paths_are_looked_for_as_the_jobs_user(programs: Path) -> None:
    """What only root can see is not told; and the supervisor is root again for the next job."""
    closed = programs / "closed"
    closed.mkdir(mode=0o700)
    (closed / "there").touch()
    (programs / "file").write_text("content\n")
    slot = f'arguments = [{{ path = {{ root = "{programs}" }} }}]\n'
    text = command("cat", "/bin/cat", root=True, extra=slot)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        there, none = (peer.refused("cat", f"closed/{name}") for name in ("there", "none"))
        assert there["message"].replace("there", "none") == none["message"]
        job = peer.start("cat", "file")
        assert job.read() == b"content\n"
        peer.end(job)


def test_an_executable_that_is_gone_or_replaced(
    running: tuple[Supervisor, Peer], programs: Path
) -> None:
    """What was checked runs, or what has passed the checks and was written down, or nothing."""
    peer = running[1]
    program = programs / "program"

    def replaced(**fields: object) -> str:
        job_id = peer.request("program", **fields)
        message = peer.wait(("STARTED", "REFUSED", "REPLACED"), job_id)
        assert message["type"] == "REPLACED", message
        (file,) = message["files"]
        assert file["path"] == str(program)
        return str(file["now"])

    peer.end(peer.start("program"))
    shutil.copy(program, programs / "other")
    (programs / "other").chmod(0o755)
    (programs / "other").rename(program)
    now = replaced()
    assert replaced(audited=["another"]) == now
    peer.end(peer.start("program", audited=[now]))
    peer.end(peer.start("program"))
    program.unlink()
    assert peer.refused("program")["fault"] == "executable"
    program.symlink_to("/bin/true")
    assert replaced(audited=[now]) != now
    program.unlink()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert peer.refused("program", audited=[now])["fault"] == "executable"


@pytest.mark.root
def test_an_executable_that_its_user_may_not_execute() -> None:
    """The error of exec comes back with stage and errno, and nothing is left."""
    directory = new_directory("private")
    try:
        shutil.copy("/bin/true", directory / "program")
        (directory / "program").chmod(0o700)
        text = command("program", f"{directory}/program", root=True)
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            peer.hello()
            refused = peer.refused("program")
            found = refused["fault"], refused["stage"], refused["errno"]
            assert found == ("executable", "exec", errno.EACCES)
            assert [path for path in supervisor.groups() if path.name == refused["id"]] == []
            assert list((supervisor.directory / "work").iterdir()) == []
    finally:
        shutil.rmtree(directory)


def test_a_program_that_is_no_program(root: bool, programs: Path) -> None:
    """A broken ELF file: ENOEXEC from exec."""
    (programs / "program").write_bytes(b"\x7fELF" + bytes(100))
    text = command("program", f"{programs}/program", root=root)
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        refused = peer.refused("program")
        found = refused["fault"], refused["stage"], refused["errno"]
        assert found == ("executable", "exec", errno.ENOEXEC)


def test_a_working_directory_that_its_user_may_not_enter(root: bool, programs: Path) -> None:
    """The stage is told."""
    closed = programs / "closed"
    closed.mkdir(mode=0o700 if root else 0)
    text = command("true", "/bin/true", root=root, extra=f'workdir = "{closed}"\n')
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        refused = peer.refused("true")
        found = refused["fault"], refused["stage"], refused["errno"]
        assert found == ("failed", "directory", errno.EACCES)
    closed.chmod(0o700)


def test_a_required_limit_that_is_not_held() -> None:
    """Without cgroups no required limit is: the job never runs."""
    text = command("true", "/bin/true", root=False, extra='class = "strict"\n')
    text = "[classes.strict]\nmemory = '1GB'\noutput = 'unlimited'\n" + text
    with running_supervisor(text, root=False) as supervisor, supervisor.connect() as peer:
        peer.hello()
        refused = peer.refused("true")
        assert refused["fault"] == "unenforced"
        assert "memory is unavailable" in refused["message"]


def test_as_many_jobs_as_configured(root: bool) -> None:
    """One more is refused, and starts once one was released."""
    text = shell("wait", "exec sleep 1000", root=root)
    with (
        running_supervisor(text, root=root, max_jobs=2) as supervisor,
        supervisor.connect() as peer,
    ):
        assert peer.hello()["max_jobs"] == 2
        jobs = [peer.start("wait"), peer.start("wait")]
        assert peer.refused("wait")["fault"] == "exhausted"
        for job in jobs:
            peer.send("KILL", id=job.id)
            peer.end(job)
        # RELEASE has no answer; its job's directory goes when it has been forgotten.
        while True:
            job_id = peer.request("wait")
            answer = peer.wait(("STARTED", "REFUSED"), job_id)
            if answer["type"] == "STARTED":
                break
            assert answer["fault"] == "exhausted"
