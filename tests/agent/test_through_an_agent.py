"""Many front ends through one agent, and what each of them may meet meanwhile."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import trio
from agents import AgentPlace, until
from fake_service import HANDLE, FakeServer, FakeService, chunk, fake_server, finished
from pki import shared_pki
from process_counts import open_files

from penstock.agent.lent_connections import MOST_BORROWERS
from penstock.proto import command_pb2 as pb


def a_service() -> FakeService:
    """Job 5 has a status; a stream shows a line and goes on."""
    service = FakeService()
    service.statuses["5"] = pb.StatusResponse(status="Job 5 is running.", job=service.job)
    service.messages = [chunk(b"hello\n")]
    service.stream_may_end = trio.Event()
    return service


async def wait_running(agent: AgentPlace, count: int) -> None:
    """Until so many command lines are under way."""
    await until(agent, lambda state: state["running"] == count)


@pytest.mark.timeout(90)
async def test_fifty_front_ends_and_three_that_stand_in_the_way(agent: AgentPlace) -> None:
    """C67, C71: one is stopped, one is killed, one is behind a full pipe: the others get their
    answers, over few connections."""
    service = a_service()
    filler = b"x" * 65536
    service.messages += [chunk(filler, offset=6 + number * len(filler)) for number in range(60)]
    full, theirs = os.pipe()
    answered = 0
    async with fake_server(service) as server:
        async with (
            server.cli("stream", "--raw", HANDLE, out=theirs),
            server.cli("stream", "-q", "--no-timestamps", HANDLE) as stopped,
            server.cli("run", "ls") as killed,
        ):
            await stopped.wait_for(b"hello")
            await killed.wait_for(b"hello")
            stopped.process.send_signal(signal.SIGSTOP)
            killed.process.kill()

            async def one() -> None:
                nonlocal answered
                done = await server.run_cli("status", "5")
                assert (done.code, done.err) == (0, b""), done
                assert b"is running" in done.out
                answered += 1

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            await wait_running(agent, 2)
            state = agent.state()
            stopped.process.send_signal(signal.SIGCONT)
        await wait_running(agent, 0)
    os.close(full)
    assert answered == 50
    assert service.stops == []  # whoever is killed leaves its job alone
    assert state["served"] == 53
    assert len(state["connections"]) <= 53 // MOST_BORROWERS + 1


@pytest.mark.parametrize(
    ("words", "code"),
    [(["run", "ls"], 125), (["stream", "--raw", HANDLE], 1), (["-o", "json", "attach", "5"], 125)],
)
async def test_an_agent_that_is_killed(agent: AgentPlace, words: list[str], code: int) -> None:
    """C69: the front end says what is known, and fails; the next one runs by itself."""
    service = a_service()
    service.jobs = [service.job]
    async with fake_server(service) as server:
        async with server.cli(*words) as cli:
            await service.stream_read.wait()
            assert agent.process is not None
            agent.process.kill()
            await cli.process.wait()
        done = await cli.done()
        assert (await server.run_cli("status", "5")).code == 0
    assert done.code == code
    if "json" in words:
        error = json.loads(done.err)["error"]
        assert (error["reason"], error["exit_status"]) == ("AGENT_ENDED", code)
    else:
        assert done.err.decode().startswith("Error: the agent has ended in the middle")


async def test_an_agent_that_stands_still_starts_nothing_later(agent: AgentPlace) -> None:
    """C69: the front end runs the full program after 3 s; what it has given up is not begun when
    the agent goes on."""
    service = FakeService()
    async with fake_server(service) as server:
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        done = await server.run_cli("start", "ls")
        assert (done.code, len(service.starts)) == (0, 1)
        agent.process.send_signal(signal.SIGCONT)
        assert (await server.run_cli("start", "ls")).code == 0
        await wait_running(agent, 0)
    assert len(service.starts) == 2


async def test_an_interrupt_of_an_agent_that_stands_still(agent: AgentPlace) -> None:
    """C67, C69: the second, a second later, ends the front end, which says what is known."""
    service = a_service()
    async with fake_server(service) as server:
        async with server.cli("run", "ls") as cli:
            await cli.wait_for(b"hello")
            assert agent.process is not None
            agent.process.send_signal(signal.SIGSTOP)
            cli.process.send_signal(signal.SIGINT)
            await trio.sleep(1.2)  # longer than ANSWER_S of the front end
            assert cli.process.returncode is None
            cli.process.send_signal(signal.SIGINT)
            assert await cli.process.wait() == 130
            agent.process.send_signal(signal.SIGCONT)
        done = await cli.done()
        await wait_running(agent, 0)
    assert b"Error: the agent has ended in the middle" in done.err


async def test_a_front_end_that_is_killed_leaves_its_job(agent: AgentPlace) -> None:
    """C67: the server hears that the client has left, and nothing is stopped."""
    service = a_service()
    async with fake_server(service) as server:
        async with server.cli("run", "ls") as cli:
            await cli.wait_for(b"hello")
            await wait_running(agent, 1)
            cli.process.kill()
            await cli.process.wait()
            await wait_running(agent, 0)
        connection = agent.state()["connections"]
    assert service.stops == []
    assert [each["calls"] for each in connection] == [0]


async def test_a_start_whose_front_end_is_killed_is_carried_out(agent: AgentPlace) -> None:
    """C67, as of a client that left: the request had reached the server."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with fake_server(service) as server:
        async with server.cli("start", "ls") as cli:
            await service.start_arrived.wait()
            cli.process.kill()
            await cli.process.wait()
        await wait_running(agent, 0)
        service.start_may_answer.set()
    assert len(service.starts) == 1


async def test_a_server_that_restarts(agent: AgentPlace) -> None:
    """In order and as if it were killed: each later verb finds the new one, a stream goes on."""
    service = a_service()
    service.at_stop = [finished()]
    async with fake_server(service) as server:
        async with server.cli("stream", "--raw", HANDLE) as cli:
            await cli.wait_for(b"hello")
            assert (await server.run_cli("status", "5")).code == 0
            server.restart()
            assert (await server.run_cli("status", "5")).code == 0
            server.break_connections()
            await server.serve()
            assert (await server.run_cli("status", "5")).code == 0
            service.stream_may_end.set()
            await cli.process.wait()
        done = await cli.done()
        assert len(agent.state()["connections"]) <= 1
    assert (done.code, done.out) == (0, b"hello\n")


def copied(tmp_path: Path, client: str) -> dict[str, str]:
    """That client's files under names of their own."""
    pair = shared_pki().clients[client]
    for path, name in ((pair.certificate, "me.crt"), (pair.key, "me.key")):
        shutil.copy(path, tmp_path / f"{name}.new")
        (tmp_path / f"{name}.new").chmod(0o600)
        (tmp_path / f"{name}.new").rename(tmp_path / name)
    return {
        "PENSTOCK_CERT": str(tmp_path / "me.crt"),
        "PENSTOCK_KEY": str(tmp_path / "me.key"),
    }


async def test_a_certificate_that_is_renewed(agent: AgentPlace, tmp_path: Path) -> None:
    """The next verb has a connection with the new one; the old one ends with its last call."""
    service = a_service()
    environment = copied(tmp_path, "alice")
    async with fake_server(service) as server:
        async with server.cli("stream", "--raw", HANDLE, environment=environment) as cli:
            await cli.wait_for(b"hello")
            assert (await server.run_cli("status", "5", environment=environment)).code == 0
            assert len(agent.state()["connections"]) == 1
            copied(tmp_path, "bob")
            assert (await server.run_cli("status", "5", environment=environment)).code == 0
            calls = [each["calls"] for each in agent.state()["connections"]]
            assert calls == [1, 0]
            service.stream_may_end.set()
            await cli.done()
        await until(agent, lambda state: len(state["connections"]) == 1)


async def test_nobody_gets_the_connection_of_another_identity(agent: AgentPlace) -> None:
    """Not by the same socket, and not by a file that cannot be read."""
    service = a_service()
    bob = shared_pki().clients["bob"]
    async with fake_server(service) as server:
        assert (await server.run_cli("status", "5")).code == 0
        other = {"PENSTOCK_CERT": str(bob.certificate), "PENSTOCK_KEY": str(bob.key)}
        assert (await server.run_cli("status", "5", environment=other)).code == 0
        assert len(agent.state()["connections"]) == 2
        none = await server.run_cli("status", "5", environment={"PENSTOCK_KEY": "/nowhere"})
        assert none.code == 2
        assert b"/nowhere (--key)" in none.err
        mixed = await server.run_cli(
            "status", "5", environment={"PENSTOCK_CERT": str(bob.certificate)}
        )
        assert mixed.code == 2


async def test_paths_begin_where_the_front_end_is(agent: AgentPlace, tmp_path: Path) -> None:
    """And errors show them as they were typed; the agent's own directory is /."""
    service = a_service()
    copied(tmp_path, "alice")
    words = ["--cert", "me.crt", "--key", "./me.key", "status", "5"]
    async with fake_server(service) as server:
        environment = {"PATH": os.environ["PATH"], **server.environment(), **agent.environment()}

        async def run_in(directory: Path) -> "subprocess.CompletedProcess[bytes]":
            return await trio.run_process(
                [str(agent.program), *words],
                cwd=directory,
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )

        assert (await run_in(tmp_path)).returncode == 0
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        done = await run_in(elsewhere)
        assert done.returncode == 2
        assert done.stderr.startswith(b"Error: me.crt (--cert): No such file")
        # One that was removed behind its back has no files, and no crash.
        elsewhere.rmdir()
    assert agent.state()["served"] == 2


@pytest.mark.root
async def test_no_directory_is_held_when_its_verb_has_ended(
    agent: AgentPlace, tmp_path: Path
) -> None:
    """Its file system could not be unmounted otherwise. Also not by the connection that was made
    with files of that directory. Root, because an agent's descriptors are nobody else's to see."""
    service = a_service()
    copied(tmp_path, "alice")
    assert agent.process is not None
    words = ["--cert", "me.crt", "--key", "./me.key", "status", "5"]
    async with fake_server(service) as server:
        for _ in range(5):
            done = await trio.run_process(
                [str(agent.program), *words],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], **server.environment(), **agent.environment()},
                capture_stdout=True,
            )
            assert b"is running" in done.stdout
            await wait_running(agent, 0)
            assert str(tmp_path) not in open_files(agent.process.pid)
        assert len(agent.state()["connections"]) == 1


async def test_the_environment_is_the_front_ends(agent: AgentPlace) -> None:
    service = FakeService()
    async with fake_server(service) as server:
        words = ("start", "-e", "COLOUR", "ls")
        for colour in ("red", "blue"):
            assert (await server.run_cli(*words, environment={"COLOUR": colour})).code == 0
        assert (await server.run_cli(*words)).code == 2  # it is not there: said by the program
    assert [start.env["COLOUR"] for start in service.starts] == ["red", "blue"]


async def standing(server: FakeServer, out: int) -> None:
    async with server.cli("stream", "--raw", HANDLE, out=out) as cli:
        await cli.process.wait()


async def test_output_that_nobody_reads_ends_with_its_front_end(agent: AgentPlace) -> None:
    """C71: the write that is under way stays until the reader goes; nothing else does."""
    service = a_service()
    filler = b"x" * 65536
    service.messages = [chunk(filler, offset=number * len(filler)) for number in range(60)]
    ours, theirs = os.pipe()
    async with fake_server(service) as server:
        async with server.cli("stream", "--raw", HANDLE, out=theirs) as cli:
            await wait_running(agent, 1)
            cli.process.send_signal(signal.SIGINT)
            assert await cli.process.wait() == 130
        await wait_running(agent, 0)
        assert (await server.run_cli("status", "5")).code == 0
    left = 0
    while piece := os.read(ours, 65536):  # to its end: the agent has closed it
        left += len(piece)
    os.close(ours)
    assert left <= 3 * 65536
