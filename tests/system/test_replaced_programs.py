"""A package update under a running penstockd: taken up with an audit line, and no job is ended."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import RunningServer, policy_text, running_server, script
from this_run import new_directory

from penstock.client import Client, connect
from penstock.rpc.call_errors import RpcError, StatusCode

CLIENTS = '[clients.alice]\ncommands = ["idle", "tool", "pinned", "scripted"]\n'


@pytest.fixture
def place() -> Iterator[Path]:
    """What is granted: a program, and a script."""
    path = new_directory("programs")
    update(path / "tool", b"")
    (path / "script").write_text("exit 3\n")
    yield path
    shutil.rmtree(path)


def update(path: Path, more: bytes, source: str = "/bin/true") -> None:
    """As a package manager does it: written beside, then renamed."""
    new = path.with_name("new")
    new.write_bytes(Path(source).read_bytes() + more)
    new.chmod(0o755)
    new.rename(path)


@pytest.fixture
def server(place: Path) -> Iterator[RunningServer]:
    plain = f'class = "free"\n@user\npath = "{place}/tool"\n'
    commands = (
        script("idle", "sleep 300")
        + f"[commands.tool]\n{plain}[commands.pinned]\n{plain}pinned = true\n"
        + '[commands.scripted]\nclass = "free"\n@user\npath = "/bin/sh"\nisolation = "none"\n'
        + f'fixed = ["{place}/script"]\n'
    )
    with running_server(policy_text(commands, CLIENTS)) as server:
        yield server


def replaced(server: RunningServer) -> list[dict[str, Any]]:
    return [line for line in server.audit() if line["event"] == "program.replaced"]


async def run(client: Client, command: str) -> int:
    return (await client.wait((await client.start(command)).handle)).end.exit_code


async def refused(client: Client, command: str) -> str:
    with pytest.raises(RpcError) as caught:
        await client.start(command)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    return caught.value.message


async def test_an_update_is_taken_up(server: RunningServer, place: Path) -> None:
    """The program, identical or not, and the script; a pinned one and a bad one are refused; a job
    that runs goes on."""
    tool = place / "tool"
    async with connect(server.endpoint("alice")) as client:
        idle = await client.start("idle")
        assert await run(client, "tool") == 0
        assert await run(client, "scripted") == 3
        assert replaced(server) == []
        first = f"inode {tool.stat().st_ino} "
        update(tool, b"")
        second = f"inode {tool.stat().st_ino} "
        assert first != second
        message = await refused(client, "pinned")
        assert "is pinned" in message
        assert first in message
        assert second in message
        assert await run(client, "tool") == 0
        (line,) = replaced(server)
        assert (line["owner"], line["command"], line["path"]) == ("alice", "tool", str(tool))
        assert first in line["before"]
        assert second in line["now"]
        events = [each["event"] for each in server.audit() if each.get("job") == line["job"]]
        assert events[:3] == ["job.starting", "program.replaced", "job.running"]
        assert await run(client, "tool") == 0
        assert len(replaced(server)) == 1, "once"
        update(tool, b"", "/bin/false")
        assert await run(client, "tool") == 1
        tool.chmod(0o777)
        message = await refused(client, "tool")
        assert "can be written by others" in message
        (place / "script").write_text("exit 4\n# longer\n")
        assert await run(client, "scripted") == 4
        assert [each["path"] for each in replaced(server)[2:]] == [str(place / "script")]
        end = (await client.stop(idle.handle)).job.end
        assert (end.reason, end.stopped_by) == ("stopped", "alice")
