"""What a library user has of trying again: a start, a stop and a wait over lost connections."""

import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from documents import blocks
from fake_service import HANDLE, FakeServer, FakeService, chunk, fake_server, finished

import penstock.client
from penstock.client import (
    ConnectionLost,
    Endpoint,
    Follower,
    RepeatedStart,
    RpcError,
    StatusCode,
    start_job,
    stop_job,
    wait_for_job,
)
from penstock.proto import command_pb2 as pb
from penstock.server.error_status import denied, retryable

SHUT_DOWN = RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")


def endpoint(server: FakeServer) -> Endpoint:
    pair = server.pki.clients["alice"]
    return Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)


async def cut_off_once(
    server: FakeServer,
    arrived: trio.Event,
    may_answer: trio.Event,
    call: Callable[[], Awaitable[None]],
) -> None:
    """``call``, whose connection is cut when it has arrived, and whose server comes back."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await arrived.wait()
        server.break_connections()
        may_answer.set()
        await server.serve()


async def test_a_start_is_one_job_however_often_it_is_asked_for() -> None:
    """C4: the second request is the first one, its id and all."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    jobs: list[pb.Job] = []
    async with fake_server(service) as server:

        async def start() -> None:
            jobs.append(
                await start_job(endpoint(server), "ls", ["-l"], env={"A": "b"}, timeout_s=7)
            )

        await cut_off_once(server, service.start_arrived, service.start_may_answer, start)
    assert [job.handle for job in jobs] == [HANDLE]
    first, second = service.starts
    assert first == second
    assert (first.command, list(first.argv), dict(first.env)) == ("ls", ["-l"], {"A": "b"})
    assert first.timeout_s == 7
    assert first.request_id


@pytest.mark.parametrize(
    ("errors", "unknown"),
    [
        ([SHUT_DOWN] * 9, True),
        ([RpcError(StatusCode.INTERNAL, "odd")], True),
        ([retryable(StatusCode.UNAVAILABLE, "UNAVAILABLE", "no", 1.0)], False),
        ([denied("no")], False),
    ],
)
async def test_a_start_that_may_have_happened_says_so(
    errors: Sequence[RpcError], unknown: bool
) -> None:
    """In a note of the error; a refusal has none, and is final."""
    service = FakeService()
    service.start_errors = list(errors)
    async with fake_server(service) as server:
        with pytest.raises(RpcError) as caught:
            await start_job(endpoint(server), "ls", give_up_s=0.2)
    notes = getattr(caught.value, "__notes__", [])
    assert [note.startswith("whether the job was started is not known") for note in notes] == (
        [True] if unknown else []
    )
    assert (len(service.starts) > 1) == (len(errors) > 1)


async def test_a_starts_connection_is_there_to_follow_it() -> None:
    """What its block raises is the block's, and nothing is started again for it."""
    service = FakeService()
    service.messages = [finished(3)]
    async with fake_server(service) as server:
        start, at = RepeatedStart("ls"), endpoint(server)
        follower = Follower(at, HANDLE)
        kinds: list[bool] = []

        async def follow() -> None:
            async with start.connected(at) as client:
                assert start.job is not None
                async with follower.messages(client=client) as messages:
                    kinds.extend([message.HasField("finished") async for message in messages])
                raise ConnectionLost("of the block")

        assert not start.asked
        with pytest.raises(ConnectionLost, match="of the block") as caught:
            await follow()
    assert kinds == [False, True]
    assert follower.end is not None
    assert follower.end.exit_code == 3
    assert not hasattr(caught.value, "__notes__")
    assert len(service.starts) == 1


async def test_a_stop_is_asked_for_again() -> None:
    """C6: it is the same stop, with the same words."""
    service = FakeService()
    service.stop_may_answer = trio.Event()
    answers: list[pb.StopResponse] = []
    async with fake_server(service) as server:

        async def stop() -> None:
            at = endpoint(server)
            answers.append(await stop_job(at, HANDLE, grace_s=2, reason="enough", signal="INT"))

        await cut_off_once(server, service.stop_arrived, service.stop_may_answer, stop)
    wanted = pb.StopRequest(pid=HANDLE, grace_s=2, reason="enough", signal="INT")
    assert service.stops == [wanted, wanted]
    assert [answer.result for answer in answers] == [f"Job {HANDLE} successfully stopped!"]


async def test_a_wait_goes_on_and_the_loss_is_reported() -> None:
    """C8: once a connection."""
    service = FakeService()
    service.wait_may_answer = trio.Event()
    jobs: list[pb.Job] = []
    lost: list[RpcError] = []
    async with fake_server(service) as server:

        async def wait() -> None:
            jobs.append(await wait_for_job(endpoint(server), HANDLE, on_lost=lost.append))

        await cut_off_once(server, service.wait_arrived, service.wait_may_answer, wait)
    assert [job.end.reason for job in jobs] == ["exited"]
    assert len(lost) == 1


async def test_with_no_time_to_try_again_the_first_loss_is_the_last() -> None:
    """``give_up_s`` 0 is not at all."""
    service = FakeService()
    service.start_errors = [SHUT_DOWN]
    service.stop_error = SHUT_DOWN
    async with fake_server(service) as server:
        with pytest.raises(RpcError, match="shutting down"):
            await start_job(endpoint(server), "ls", give_up_s=0)
        with pytest.raises(RpcError, match="shutting down"):
            await stop_job(endpoint(server), HANDLE, give_up_s=0)
    assert (len(service.starts), len(service.stops)) == (1, 1)


def test_every_public_name_is_there() -> None:
    """Each is found where it is defined, and is documented."""
    found = {name: getattr(penstock.client, name) for name in penstock.client.__all__}
    assert [name for name, each in found.items() if not each.__doc__] == []
    with pytest.raises(AttributeError, match="nonsense"):
        _ = penstock.client.nonsense


async def test_the_example_of_docs_embed_runs(tmp_path: Path) -> None:
    """As it stands, but for the port: a start and its output, each over a connection of its own."""
    _, program = [each.text for each in blocks("python") if each.page.name == "embed.md"]
    service = FakeService()
    service.messages = [chunk(b"a line\n"), finished()]
    async with fake_server(service) as server:
        pair = server.pki.clients["alice"]
        certs = tmp_path / "certs"
        certs.mkdir()
        shutil.copy(server.pki.ca, certs / "ca.crt")
        shutil.copy(pair.certificate, certs / "alice.crt")
        shutil.copy(pair.key, certs / "alice.key")
        done = await trio.run_process(
            [sys.executable, "-c", program.replace("8443", str(server.port))],
            cwd=tmp_path,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )
    (start,) = service.starts
    assert (start.command, list(start.argv)) == ("logs", ["-n", "20", "dpkg.log"])
    assert done.stdout.startswith(b"a line\n")
    assert b'reason: "exited"' in done.stdout
    assert b"OutputVerdict(" in done.stdout
