"""The recipes of docs/policy-cookbook.md, run by a real server as the page shows them."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cookbook import IS_ROOT, Kitchen, Session
from escapes import escapes
from running import RunningServer, running_server
from this_run import own_directory, visible_directory

from penstock.client import Client, connect
from penstock.operate.full_check import check_files
from penstock.operate.verb_table import call_verb
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Kitchen]:
    if not IS_ROOT:
        with own_directory("cookbook") as directory:
            found = Kitchen(directory)
            found.fill()
            yield found
        return
    directory = visible_directory("cookbook")
    try:
        found = Kitchen(directory)
        found.fill()
        yield found
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def server(kitchen: Kitchen) -> Iterator[RunningServer]:
    with running_server(kitchen.policy()) as server:
        ci = server.pki.authority.issue("ci", "ci")
        server.pki.clients["ci"] = ci
        yield server


def test_the_cookbooks_policy_has_no_mistake_and_gives_no_shell(server: RunningServer) -> None:
    _, report = check_files(str(server.directory / "penstockd.toml"))
    assert report.mistakes == []
    assert [each for each in report.warnings if each.key.startswith("commands.")] == []


def test_its_cases_hold(
    kitchen: Kitchen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each grant of the page has a case that makes use of it."""
    policy, cases = tmp_path / "policy.toml", tmp_path / "cases"
    policy.write_text(kitchen.policy())
    cases.write_text(kitchen.cases())
    assert call_verb(["policy", "test", str(policy), str(cases)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(" cases, all as expected")


async def test_what_the_page_shows_is_what_a_client_sees(
    kitchen: Kitchen, server: RunningServer
) -> None:
    """Every session but that with input, to the letter; and what the jobs leave behind."""
    sessions = [each for each in kitchen.sessions() if not each.stdin]
    assert len(sessions) >= 12
    for session in sessions:
        async with connect(server.endpoint(session.client)) as client:
            job, output = await ran(client, session)
        assert job.end.exit_code == 0, (session, output)
        if not session.kept:
            assert output == session.shown
        if session.words[0] == "dump":
            assert "open sesame" not in output
            assert "--no-password" in job.argv
    with tarfile.open(kitchen.directory / "srv/backup/site.tar.gz") as archive:
        assert "./index.html" in archive.getnames()
    assert (kitchen.directory / "srv/app/current").resolve().name == "v1.12.0"


async def ran(client: Client, session: Session) -> tuple[pb.Job, str]:
    job = await client.start(session.words[0], session.words[1:])
    output = b""
    async with client.stream(job.handle) as stream:
        async for message in stream:
            output += message.data
    return await client.wait(job.handle), output.decode()


def test_the_import_takes_what_is_sent(kitchen: Kitchen, server: RunningServer) -> None:
    """By the real command line, whose standard input it is; nothing sent replaces nothing."""
    (session,) = [each for each in kitchen.sessions() if each.stdin]
    command = [sys.executable, "-m", "penstock.cli", "run", "--stdin", *session.words]
    with open(kitchen.directory / session.stdin, "rb") as stdin:
        done = subprocess.run(
            command,
            env=server.environment(session.client),
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == session.shown, done.stderr
    command.remove("--stdin")
    again = subprocess.run(
        command,
        env=server.environment(session.client),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert "nothing was sent" in again.stderr
    assert (kitchen.directory / "srv/orders/current").read_text() == "1\n2\n3\n"


async def test_all_eight_ways_out_are_refused(server: RunningServer, tmp_path: Path) -> None:
    """By a real server, and nothing has run."""
    mark = tmp_path / "mark"
    async with connect(server.endpoint("bob")) as bob:
        for escape in escapes(tmp_path, mark):
            with pytest.raises(RpcError) as caught:
                await bob.start(escape.command, escape.words)
            assert caught.value.code == StatusCode.PERMISSION_DENIED
        assert await bob.jobs() == []
    assert not mark.exists()
