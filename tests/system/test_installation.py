"""A server after its installation: what it needs is made, and what is wrong is said."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import IS_ROOT, SERVER_UID, policy_text, running_server, script
from this_run import this_run

from penstock.client import connect
from penstock.policy.configuration import Config, parse_config
from penstock.supervisor.startup import StartupError, make_directories
from penstock.supervisor.users.user_names import User, own_user


async def test_a_fresh_server_makes_what_it_needs() -> None:
    """Nobody has made its directories: it starts, records, and only its user can look."""
    policy = policy_text(script("hello", "echo hello"), '[clients.alice]\ncommands = ["hello"]\n')
    with running_server(policy, fresh=True) as server:
        async with connect(server.endpoint("alice")) as alice:
            job = await alice.start("hello")
            await alice.wait(job.handle)
        assert server.audit()
        for name, mode in (("state", 0o700), ("state/audit.jsonl", 0o600)):
            status = (server.directory / name).stat()
            assert stat.S_IMODE(status.st_mode) == mode
            assert status.st_uid == (SERVER_UID if IS_ROOT else os.geteuid())


@pytest.fixture
def place() -> Iterator[Path]:
    """Not pytest's own directory, whose name is too long for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="penstock-", dir=this_run().directory) as path:
        yield Path(path)


def config(directory: Path) -> Config:
    names = ("state_dir", "run_dir", "work_root", "audit_log", "policy")
    lines = [f'{name} = "{directory}/{name}"' for name in names]
    return parse_config("\n".join(lines).encode(), library=True)


def user() -> User:
    return User(SERVER_UID, SERVER_UID) if IS_ROOT else own_user()


def make(directory: Path) -> None:
    make_directories(config(directory), user(), root=IS_ROOT, server=True)


def test_an_audit_log_elsewhere_is_the_servers(place: Path) -> None:
    """Where it could not make the file itself, as in /var/log; once there it is left alone."""
    make(place)
    log = place / "audit_log"
    assert log.stat().st_uid == user().uid
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.write_text("line\n")
    make(place)
    assert log.read_text() == "line\n"


def test_a_state_directory_that_others_can_enter_is_a_mistake(place: Path) -> None:
    """Outputs of jobs are in it."""
    (place / "state_dir").mkdir(mode=0o755)
    with pytest.raises(StartupError, match=r"state_dir: .* chmod 0700"):
        make(place)
