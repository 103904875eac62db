"""Several jobs for one verb: each is tried; the exit status is the first failure's."""

import json

import pytest
import trio
from fake_service import FakeService, fake_server

from penstock.cli.several import AT_ONCE, Several, Verb
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode


class Jobs(FakeService):
    """Jobs 1 to 4, of which 2 is not there and 3 may not be stopped."""

    def __init__(self) -> None:
        super().__init__()
        for number in "134":
            job = pb.Job(handle=number, state=pb.JOB_STATE_RUNNING)
            text = f"Job {number} is running.\n\n====\n"
            self.statuses[number] = pb.StatusResponse(status=text.rstrip(), job=job)
        self.stop_errors = {
            "2": RpcError(StatusCode.NOT_FOUND, "Job 2 not found"),
            "3": RpcError(StatusCode.PERMISSION_DENIED, "no"),
        }
        self.exit_codes = {"1": 0, "3": 7, "4": 9}


async def test_each_is_stopped() -> None:
    """Apart by an empty line; the failures are on stderr, the first one's is the status."""
    async with fake_server(Jobs()) as server:
        done = await server.run_cli("stop", "--grace", "2", "1", "2", "3", "4")
        assert done.out.decode() == (
            "Stopping 1...\nJob 1 successfully stopped!\n\n"
            "Stopping 2...\n\n"
            "Stopping 3...\n\n"
            "Stopping 4...\nJob 4 successfully stopped!\n"
        )
        assert done.err.decode() == (
            "Error: 2 could not be stopped. Job 2 not found\nError: 3 could not be stopped. no\n"
        )
        assert done.code == 4
        assert sorted(each.pid for each in server.service.stops) == ["1", "2", "3", "4"]
        assert {each.grace_s for each in server.service.stops} == {2}


async def test_each_status() -> None:
    """As one after the other, with an empty line between."""
    async with fake_server(Jobs()) as server:
        done = await server.run_cli("status", "1", "2", "3")
        assert done.out.decode() == (
            "Querying the status of 1...\nJob 1 is running.\n\n====\n\n"
            "Querying the status of 2...\n\n"
            "Querying the status of 3...\nJob 3 is running.\n\n====\n"
        )
        assert (done.code, done.err) == (4, b"Error: Job 2 not found\n")
        done = await server.run_cli("status", "-o", "json", "3", "2", "1")
        shown = [json.loads(line)["job"]["handle"] for line in done.out.splitlines()]
        error = json.loads(done.err)["error"]
        assert (error["pid"], error["code"], error["exit_status"]) == ("2", "NOT_FOUND", 4)
        assert (shown, done.code) == (["3", "1"], 4)


@pytest.mark.parametrize(
    ("words", "code"),
    [(["1", "3", "4"], 7), (["4", "3", "1"], 9), (["1", "1"], 0), (["1", "2", "3"], 127)],
)
async def test_each_is_waited_for(words: list[str], code: int) -> None:
    """The status is the first job's that is not 0, in the order named."""
    async with fake_server(Jobs()) as server:
        done = await server.run_cli("wait", *words)
    ends = {"1": 0, "3": 7, "4": 9}
    lines = [f"Job {each} exited with code {ends[each]}." for each in words if each != "2"]
    assert done.out.decode().splitlines() == lines
    assert (done.code, b"Job 2 not found" in done.err) == (code, "2" in words)


async def test_a_stop_of_several_goes_on_over_a_restart_of_the_server() -> None:
    """Those that have no answer are asked for again; what is said is said once."""
    service = Jobs()
    service.stop_may_answer = trio.Event()
    async with fake_server(service) as server:
        async with server.cli("stop", "1", "4") as cli:
            while len(service.stops) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
            server.break_connections()
            service.stop_may_answer.set()
            await server.serve()
            done = await cli.done()
    assert done.code == 0, done.err
    assert done.out.decode().count("successfully stopped!") == 2
    assert done.out.decode().count("Stopping") == 2


async def test_a_server_out_of_reach_is_said_of_each() -> None:
    """Each was to be stopped, and none was."""
    async with fake_server() as server:
        nowhere = {"PENSTOCK_ADDR": "127.0.0.1:1"}
        words = ["--connect-timeout", "0", "stop", "1", "2"]
        done = await server.run_cli(*words, environment=nowhere)
    assert done.code == 3
    first, second = done.err.decode().splitlines()
    assert first.startswith("Error: 1 could not be stopped. ")
    assert second.startswith("Error: 2 could not be stopped. ")


async def test_so_many_at_once() -> None:
    """The rest wait, and are answered all the same; one that was lost is asked for again."""
    running: set[str] = set()
    most = 0
    loses = False
    said: list[str] = []

    async def call(client: object, word: str) -> str:
        nonlocal most, loses
        running.add(word)
        most = max(most, len(running))
        try:
            await trio.testing.wait_all_tasks_blocked()
            if loses:  # whichever comes first: any sixteen may be under way at once
                loses = False
                raise ConnectionLost("gone")
            if word == "9":
                raise RpcError(StatusCode.NOT_FOUND, "9")
        finally:
            running.discard(word)
        return word

    words = [str(number) for number in range(40)]

    def report(answer: str) -> int:
        said.append(answer)
        return 0

    def report_error(word: str, error: BaseException) -> int:
        said.append(f"error {word}")
        return 4

    def begin(number: int, word: str) -> None:
        said.append(f"begin {number} {word}")

    several = Several(words, Verb(call, begin, report, report_error))
    for _ in range(2):
        loses = True
        with pytest.raises(ConnectionLost):
            await several.ask(None)  # type: ignore[arg-type]  # only its call uses it
    await several.ask(None)  # type: ignore[arg-type]
    assert (most, several.code) == (AT_ONCE, 4)
    answers = [f"error {word}" if word == "9" else word for word in words]
    begun = [f"begin {number} {number}" for number in range(40)]
    assert said == [each for pair in zip(begun, answers, strict=True) for each in pair]
