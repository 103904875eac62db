"""What a client does to a running job, with real processes: signals, ways to stop, pause."""

import signal
import time
from collections.abc import Iterator

import pytest
import trio
from patience import patient, slowness
from restarts import connected_again, kill_server
from running import IS_ROOT, RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

# Every process of it says which signal it got; the children are in sessions of their own.
FAMILY = (
    "trap 'echo main usr1' USR1; trap 'echo main int; exit 0' INT; "
    "for name in a b; do setsid sh -c "
    "\"trap 'echo $name usr1' USR1; trap 'echo $name int; exit' INT; "
    'echo ready; while :; do sleep 0.05; done" & done; '
    "echo ready; while :; do sleep 0.05; done"
)
COUNT = "trap 'echo bye; exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"
COMMANDS = (
    script("family", FAMILY, grace="10s")
    + script("orderly", FAMILY, grace="10s")
    + 'stop_signal = "INT"\nstop_to = "tree"\n'
    + script("count", COUNT, grace="30s")
    + script("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done", grace="200ms")
    + script(
        "slow", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done", grace="60s"
    )
    + script("guarded", "echo ready; exec sleep 300")
    + 'signals = ["HUP", "USR1"]\n'
    + script("brief", "trap '' TERM; while :; do sleep 0.05; done", grace="100ms")
    + 'timeout = "600ms"\n'
)
NAMES = '["family", "orderly", "count", "deaf", "slow", "guarded", "brief"]'
CLIENTS = f"""
[clients.alice]
commands = {NAMES}
max_running = 50
[clients.bob]
commands = {NAMES}
[clients.carol]
commands = {NAMES}
verbs = ["start", "stop", "status"]
signals_per_minute = 3
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def seen(client: Client, handle: str, *texts: str) -> str:
    """The job's output, once all of these are in it."""
    data = b""
    with trio.fail_after(patient(20)):
        async with client.stream(handle) as messages:
            async for message in messages:
                data += message.data
                if all(data.count(text.encode()) for text in texts):
                    return data.decode()
    raise AssertionError(f"{texts} are not all in {data!r}")


async def ready(client: Client, handle: str, count: int = 1) -> None:
    await seen(client, handle, "ready\n" * count if count == 1 else "ready\nready\nready\n")


def refused(code: StatusCode, error: RpcError) -> None:
    assert error.code is code, error


async def test_a_signal_reaches_the_main_process_alone_or_all(server: RunningServer) -> None:
    """By name and by number; the answer counts whom it was sent to."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("family")
        await ready(client, job.handle, 3)
        assert await client.signal(job.handle, "USR1") == 1
        await seen(client, job.handle, "main usr1")
        assert await client.signal(job.handle, "10", tree=True) >= 3
        text = await seen(client, job.handle, "a usr1", "b usr1")
        assert "a usr1" in text
        await client.stop(job.handle, grace_s=0)


async def test_a_job_killed_by_signal_was_not_stopped(server: RunningServer) -> None:
    """KILL by Signal is the main process's own end; what it leaves behind goes with it."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("family")
        await ready(client, job.handle, 3)
        await client.signal(job.handle, "SIGKILL")
        end = (await client.wait(job.handle)).end
        assert (end.reason, end.signal, end.stopped_by) == ("signaled", signal.SIGKILL, "")
        assert end.processes_killed >= 2
        with pytest.raises(RpcError) as caught:
            await client.signal(job.handle, "TERM")
        refused(StatusCode.FAILED_PRECONDITION, caught.value)


async def test_a_signal_is_its_owners_and_the_policys(server: RunningServer) -> None:
    """NOT_FOUND for others, as for a job that never was; a denial names what is granted; nothing
    that is no signal is sent. Each refusal is in the audit log."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("guarded")
        await ready(client, job.handle)
        async with connect(server.endpoint("bob")) as bob:
            for handle in (job.handle, "1"):
                with pytest.raises(RpcError) as caught:
                    await bob.signal(handle, "TERM")
                refused(StatusCode.NOT_FOUND, caught.value)
                assert caught.value.message == f"Job {handle} not found"
        with pytest.raises(RpcError, match="granted: HUP, USR1") as caught:
            await client.signal(job.handle, "KILL")
        refused(StatusCode.PERMISSION_DENIED, caught.value)
        with pytest.raises(RpcError) as caught:
            await client.stop(job.handle, signal="KILL")
        refused(StatusCode.PERMISSION_DENIED, caught.value)
        for text in ("", "0", "65", "NOPE"):
            with pytest.raises(RpcError) as caught:
                await client.signal(job.handle, text)
            refused(StatusCode.INVALID_ARGUMENT, caught.value)
        assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
        await client.signal(job.handle, "HUP")
        assert (await client.wait(job.handle)).end.signal == signal.SIGHUP
    lines = [line for line in server.audit() if line.get("job") and line.get("signal")]
    mine = [line for line in lines if line["handle"] == job.handle]
    assert [(line["verb"], line["signal"], line["allowed"]) for line in mine] == [
        ("signal", "KILL", False),
        ("stop", "KILL", False),
        ("signal", "HUP", True),
    ]


async def test_verbs_and_quotas_bound_a_client(server: RunningServer) -> None:
    """What is not granted is denied; and a flood ends at the quota, with when to come back."""
    async with connect(server.endpoint("carol")) as client:
        job = await client.start("guarded")
        for call in (client.signal(job.handle, "HUP"), client.pause(job.handle)):
            with pytest.raises(RpcError) as caught:
                await call
            refused(StatusCode.PERMISSION_DENIED, caught.value)
        await client.stop(job.handle)
    async with connect(server.endpoint("bob")) as client:
        job = await client.start("family")
        await ready(client, job.handle, 3)
        for _ in range(600):
            await client.signal(job.handle, "URG")
        with pytest.raises(RpcError) as caught:
            await client.signal(job.handle, "URG")
        refused(StatusCode.RESOURCE_EXHAUSTED, caught.value)
        async with connect(server.endpoint("alice")) as other:
            start = time.monotonic()
            await other.server_info()
            assert time.monotonic() - start < slowness()
        await client.stop(job.handle, grace_s=0)


async def test_a_stop_goes_to_the_tree_with_its_own_signal(server: RunningServer) -> None:
    """stop_signal and stop_to: each process of the tree says INT, and nobody needs KILL."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("orderly")
        await ready(client, job.handle, 3)
        answer = await client.stop(job.handle)
        assert not answer.escalated
        assert 0 < answer.took_s < 10
        text = await seen(client, job.handle, "main int")
        assert text.count(" int") >= 1
        again = await client.stop(job.handle)
        assert (again.already_finished, again.took_s) == (True, 0)


async def test_a_stop_says_how_it_went(server: RunningServer) -> None:
    """Time from the first request to the end, KILL or not, how many; the same to all."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("deaf")
        await ready(client, job.handle)
        answers: list[pb.StopResponse] = []

        async def stop() -> None:
            answers.append(await client.stop(job.handle))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(stop)
        assert [answer.escalated for answer in answers] == [True] * 3
        assert min(answer.took_s for answer in answers) >= 0.2
        assert max(answer.took_s for answer in answers) < 10
        assert {answer.job.end.ended_ns for answer in answers} == {answers[0].job.end.ended_ns}
        assert answers[0].processes_killed >= 1


async def test_a_stop_need_not_be_waited_for(server: RunningServer) -> None:
    """no_wait answers while the job is being stopped; the end comes by itself, also if the
    server is killed in between."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("deaf")
        await ready(client, job.handle)
        answer = await client.stop(job.handle, no_wait=True, reason="enough", grace_s=3)
        assert answer.job.state == pb.JOB_STATE_STOPPING
        assert answer.result == f"Job {job.handle} is being stopped."
    await kill_server(server)
    async with connected_again(server, "alice") as client:
        end = (await client.stop(job.handle, grace_s=0)).job.end
        assert (end.reason, end.stopped_by, end.stop_reason) == ("stopped", "alice", "enough")


async def test_a_deadline_is_shown_and_kept(server: RunningServer) -> None:
    """C17: the policy's own, and a request's that is shorter; TERM, grace, KILL."""
    async with connect(server.endpoint("alice")) as client:
        jobs = [await client.start("brief"), await client.start("deaf", timeout_s=0.3)]
        for job in jobs:
            end = (await client.wait(job.handle)).end
            assert (end.reason, end.signal) == ("timed_out", signal.SIGKILL)
            assert end.escalated
        assert [job.timeout_s for job in jobs] == [0.6, 0.3]
        status = await client.status(jobs[0].handle)
        assert "its time was up" in status.status


@pytest.mark.slow
@pytest.mark.root
async def test_a_paused_job_whose_time_is_up_is_not_shown_as_paused(server: RunningServer) -> None:
    """It runs on, to heed its signal, and here does not heed it for its whole grace."""
    async with connect(server.endpoint("alice")) as client:
        # Long enough to come to the pause, also where everything takes long.
        job = await client.start("slow", timeout_s=slowness())
        await seen(client, job.handle, "ready")
        assert (await client.pause(job.handle)).paused
        await seen(client, job.handle, "asked")
        assert not (await client.status(job.handle)).job.paused
        await client.stop(job.handle, grace_s=0)


@pytest.mark.root
async def test_a_paused_job_stands_still_over_a_kill_of_the_server(server: RunningServer) -> None:
    """No line more while it is paused, by whichever server; then it goes on."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("count")
        await seen(client, job.handle, "\n20\n")
        paused = await client.pause(job.handle)
        assert paused.paused
        length = (await client.status(job.handle)).job.output_next_offset
    await kill_server(server)
    async with connected_again(server, "alice") as client:
        status = await client.status(job.handle)
        assert status.job.paused
        assert status.status.startswith(f"Job {job.handle} is paused.")
        # What the pipe held when it was paused may have been on its way still.
        await trio.sleep(0.1)
        before = (await client.status(job.handle)).job.output_next_offset
        assert before - length < 64
        await trio.sleep(0.3)  # a job that runs would have written some thirty lines
        assert (await client.status(job.handle)).job.output_next_offset == before
        assert not (await client.resume(job.handle)).paused
        with trio.fail_after(patient(20)):
            async with client.stream(job.handle, offset=before) as messages:
                async for message in messages:
                    if message.next_offset >= before + 50:
                        break
        await client.stop(job.handle)


@pytest.mark.root
async def test_a_stop_of_a_paused_job_is_heeded(server: RunningServer) -> None:
    """TERM first, then it is let go: its last word is there, no KILL."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("count")
        await seen(client, job.handle, "\n5\n")
        await client.pause(job.handle)
        answer = await client.stop(job.handle)
        assert not answer.escalated
        assert answer.job.end.exit_code == 0
        await seen(client, job.handle, "bye")
        with pytest.raises(RpcError) as caught:
            await client.pause(job.handle)
        refused(StatusCode.FAILED_PRECONDITION, caught.value)


@pytest.mark.root
async def test_a_paused_job_can_be_killed(server: RunningServer) -> None:
    """By a stop without grace, and by a signal."""
    async with connect(server.endpoint("alice")) as client:
        for by_signal in (False, True):
            job = await client.start("count")
            await client.pause(job.handle)
            if by_signal:
                await client.signal(job.handle, "KILL")
            else:
                await client.stop(job.handle, grace_s=0)
            with trio.fail_after(patient(10)):
                end = (await client.wait(job.handle)).end
            assert end.reason == ("signaled" if by_signal else "stopped")


async def test_what_this_host_can_do_is_said(server: RunningServer) -> None:
    """Pausing needs cgroups."""
    async with connect(server.endpoint("alice")) as client:
        features = set((await client.server_info()).features)
        assert features >= {"signal", "stop_options", "stdin"}
        assert ("pause" in features) == IS_ROOT
        if not IS_ROOT:
            job = await client.start("guarded")
            with pytest.raises(RpcError) as caught:
                await client.pause(job.handle)
            refused(StatusCode.FAILED_PRECONDITION, caught.value)
            await client.stop(job.handle)


@pytest.mark.slow
def test_the_words_of_the_verbs(server: RunningServer) -> None:
    """signal, pause, resume, stop --no-wait, to the letter."""
    pid = server.start("alice", "guarded")
    assert server.cli("alice", "signal", pid, "USR2").returncode == 5
    if IS_ROOT:
        paused = server.cli("alice", "pause", pid)
        assert paused.stdout == f"Job {pid} is paused.\n", paused.stderr
        assert server.cli("alice", "resume", pid).stdout == f"Job {pid} is running.\n"
    done = server.cli("alice", "signal", "--tree", pid, "HUP")
    assert done.stdout == f"Sent HUP to 1 process of job {pid}.\n"
    assert server.cli("alice", "wait", pid).returncode == 128 + signal.SIGHUP
    pid = server.start("alice", "deaf")
    done = server.cli("alice", "stop", "--no-wait", "--grace", "0", "--signal", "TERM", pid)
    assert done.stdout == f"Stopping {pid}...\nJob {pid} is being stopped.\n"
    assert server.cli("alice", "signal", pid, "NOPE").returncode == 2
    server.cli("alice", "wait", pid)
