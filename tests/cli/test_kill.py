"""kill: each form of kill(1), of several jobs."""

import json

import pytest
from fake_service import HANDLE, FakeService, fake_server

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode


@pytest.mark.parametrize(
    ("words", "signal", "tree"),
    [
        ([HANDLE], "TERM", False),
        (["-HUP", HANDLE], "HUP", False),
        (["-SIGRTMIN+1", HANDLE], "SIGRTMIN+1", False),
        (["-9", HANDLE], "9", False),
        (["-s", "INT", "--tree", HANDLE], "INT", True),
        ([HANDLE, "--signal", "KILL"], "KILL", False),
    ],
)
async def test_the_forms_of_a_signal(words: list[str], signal: str, tree: bool) -> None:
    """The option, in front or behind, or the signal as one."""
    async with fake_server() as server:
        done = await server.run_cli("kill", *words)
        processes = "3 processes" if tree else "1 process"
        assert (done.code, done.err) == (0, b"")
        assert done.out.decode() == f"Sent {signal} to {processes} of job {HANDLE}.\n"
        assert server.service.controls == [pb.SignalRequest(pid=HANDLE, signal=signal, tree=tree)]


class SomeService(FakeService):
    """Has no job 2."""

    def _control(self, message: pb.SignalRequest | pb.PauseRequest | pb.ResumeRequest) -> None:
        super()._control(message)
        if message.pid == "2":
            raise RpcError(StatusCode.NOT_FOUND, "Job 2 not found")


async def test_several_jobs() -> None:
    """One that is not there keeps no other from it; the status is the first failure's."""
    async with fake_server(SomeService()) as server:
        done = await server.run_cli("kill", "1", "2", "3")
        assert (done.code, done.err) == (4, b"Error: Job 2 not found\n")
        assert done.out.decode().splitlines() == [
            f"Sent TERM to 1 process of job {pid}." for pid in (1, 3)
        ]
        done = await server.run_cli("-o", "json", "kill", "1", "2", "3")
        assert done.code == 4
        assert [json.loads(line) for line in done.out.splitlines()] == [{"processes": 1}] * 2
        error = json.loads(done.err)["error"]
        assert (error["code"], error["pid"], error["exit_status"]) == ("NOT_FOUND", "2", 4)
        assert len(server.service.controls) == 6


async def test_a_lost_connection_sends_nothing_twice() -> None:
    """Whether it was sent is not known then."""
    service = FakeService()
    service.control_error = RpcError(StatusCode.UNAVAILABLE, "away")
    async with fake_server(service) as server:
        done = await server.run_cli("kill", "1", "2")
        assert (done.code, done.out) == (3, b"")
        assert len(service.controls) == 1
        assert (await server.run_cli("kill")).code == 2
        assert (await server.run_cli("kill", "-x", "1")).code == 2
