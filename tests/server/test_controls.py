"""Stop, Signal, Pause, Resume, SendInput: who may, what is said of it, and who is not reached."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from google.rpc.error_details_pb2 import ErrorInfo
from service_world import World, asked_by, world

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.policy.control_policy import Control
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.parse import MAX_INPUT_BYTES
from penstock.supervisor.ipc.from_supervisor import Left

VERBS = ("stop", "signal", "pause", "resume", "send")
POLICY = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
stdin = true
[clients.alice]
commands = ["sleep"]
signals_per_minute = 4
max_streams = 1
[clients.bob]
commands = ["sleep"]
[clients.carol]
commands = ["sleep"]
verbs = ["start", "status"]
"""


class Requests:
    """These, and then the end of them."""

    def __init__(self, *messages: pb.SendInputRequest) -> None:
        self._messages = list(messages)

    def __aiter__(self) -> AsyncIterator[pb.SendInputRequest]:
        return self

    async def __anext__(self) -> pb.SendInputRequest:
        await trio.lowlevel.checkpoint()
        if not self._messages:
            raise StopAsyncIteration
        return self._messages.pop(0)


class Silent(Requests):
    """Nothing comes, and no end either."""

    async def __anext__(self) -> pb.SendInputRequest:
        await trio.sleep_forever()
        raise AssertionError


def info(error: RpcError) -> ErrorInfo:
    """What programs read of it."""
    (found,) = [detail for detail in error.details if isinstance(detail, ErrorInfo)]
    return found


def send(
    w: World, client: str, *messages: pb.SendInputRequest
) -> AsyncGenerator[pb.SendInputResponse, None]:
    return w.service.SendInput(Requests(*messages), asked_by(client))


async def ask(w: World, client: str, verb: str, pid: str) -> Any:
    """One call of this verb; its first answer."""
    match verb:
        case "stop":
            return await w.service.Stop(pb.StopRequest(pid=pid), asked_by(client))
        case "signal":
            request = pb.SignalRequest(pid=pid, signal="HUP")
            return await w.service.Signal(request, asked_by(client))
        case "pause":
            return await w.service.Pause(pb.PauseRequest(pid=pid), asked_by(client))
        case "resume":
            return await w.service.Resume(pb.ResumeRequest(pid=pid), asked_by(client))
        case _:
            async with aclosing(send(w, client, pb.SendInputRequest(pid=pid))) as answers:
                return await anext(answers)


async def refused(code: StatusCode, w: World, client: str, verb: str, pid: str) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await ask(w, client, verb, pid)
    assert caught.value.code is code, caught.value
    return caught.value


async def job_of(w: World, client: str = "alice") -> Job:
    return await w.manager.start(client, JobSpec("sleep", stdin=True))


@pytest.mark.parametrize("verb", VERBS)
async def test_others_jobs_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The same answer as for a job that never was; the job notices nothing."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        errors = [
            await refused(StatusCode.NOT_FOUND, w, "bob", verb, pid) for pid in (job.handle, "1")
        ]
        assert errors[0].message.replace(job.handle, "1") == errors[1].message
        fake = w.backend.jobs[job.id]
        assert (fake.signals, fake.paused, job.stop_asked) == ([], False, None)
        lines = w.refusals()
        assert [(line["client"], line["verb"]) for line in lines] == [("bob", verb)] * 2


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_is_granted_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Also of one's own job; without `verbs` in the policy it is granted, and recorded."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        own = await job_of(w, "carol")
        error = await refused(StatusCode.PERMISSION_DENIED, w, "carol", verb, own.handle)
        assert verb in error.message
        assert own.stop_asked is None
        job = await job_of(w, "bob")
        await ask(w, "bob", verb, job.handle)
        (denied, granted) = w.decisions()
        assert (denied["client"], denied["verb"], denied["allowed"]) == ("carol", verb, False)
        assert (granted["client"], granted["verb"], granted["allowed"]) == ("bob", verb, True)
        assert granted["handle"] == job.handle


@pytest.mark.parametrize("verb", ["signal", "pause", "resume", "send"])
async def test_an_ended_job_is_said_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """FAILED_PRECONDITION, and a stop has nothing to do."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        w.backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        error = await refused(StatusCode.FAILED_PRECONDITION, w, "alice", verb, job.handle)
        assert error.message == f"job {job.handle} has ended"
        answer = await ask(w, "alice", "stop", job.handle)
        assert (answer.already_finished, answer.took_s, answer.escalated) == (True, 0.0, False)


async def test_signals_pauses_and_resumes_share_a_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past it nothing reaches the job; a stop is always possible."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        assert (await ask(w, "alice", "signal", job.handle)).processes == 1
        tree = pb.SignalRequest(pid=job.handle, signal="SIGUSR1", tree=True)
        assert (await w.service.Signal(tree, asked_by("alice"))).processes == 3
        assert (await ask(w, "alice", "pause", job.handle)).job.paused
        assert not (await ask(w, "alice", "resume", job.handle)).job.paused
        fake = w.backend.jobs[job.id]
        for verb in ("signal", "pause", "resume"):
            await refused(StatusCode.RESOURCE_EXHAUSTED, w, "alice", verb, job.handle)
        assert (fake.signals, fake.trees, fake.paused) == ([1, 10], [False, True], False)
        assert [line["verb"] for line in w.refusals()] == ["signal", "pause", "resume"]
        assert not (await ask(w, "alice", "stop", job.handle)).already_finished


@pytest.mark.parametrize("text", ["", "NOPE", "0", "65", "-1", "TERM "])
async def test_what_is_no_signal_is_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Of Signal, and of a Stop that names one; each refusal is one line."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        alice = asked_by("alice")
        calls: list[Awaitable[object]] = [
            w.service.Signal(pb.SignalRequest(pid=job.handle, signal=text), alice)
        ]
        if text:
            calls.append(w.service.Stop(pb.StopRequest(pid=job.handle, signal=text), alice))
        for call in calls:
            with pytest.raises(RpcError) as caught:
                await call
            assert caught.value.code is StatusCode.INVALID_ARGUMENT
        assert w.backend.jobs[job.id].signals == []
        assert job.stop_asked is None
        assert len(w.refusals()) == len(calls)


async def test_the_policy_s_signals_bind_a_stop_s_first_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with what is granted; a stop with the command's own is not asked."""
    backend = FakeBackend()
    backend.control = Control(stop_signal=2, signals=frozenset({1}))
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        job = await job_of(w)
        alice = asked_by("alice")
        for call in (
            w.service.Signal(pb.SignalRequest(pid=job.handle, signal="KILL"), alice),
            w.service.Stop(pb.StopRequest(pid=job.handle, signal="KILL"), alice),
        ):
            with pytest.raises(RpcError, match="granted: HUP") as caught:
                await call
            assert caught.value.code is StatusCode.PERMISSION_DENIED
        assert (backend.jobs[job.id].signals, job.stop_asked) == ([], None)
        assert [line["signal"] for line in w.refusals()] == ["KILL", "KILL"]
        answer = await w.service.Stop(pb.StopRequest(pid=job.handle, no_wait=True), alice)
        assert (answer.result, answer.already_finished) == (
            f"Job {job.handle} is being stopped.",
            False,
        )
        await backend.signaled.acquire()
        assert backend.jobs[job.id].signals == [2]
        await job.stop(by="alice", grace_s=0)


async def test_who_survives_kill_is_in_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNKILLABLE, with the processes and where they sleep, for people and for programs."""
    monkeypatch.setattr("penstock.jobs.stop.UNKILLABLE_S", 0.05)
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        fake = w.backend.jobs[job.id]
        fake.ignores_term = fake.survives = True
        fake.left = [Left(7, "dd", "D", "nfs_wait")]
        request = pb.StopRequest(pid=job.handle, grace_s=0)
        for _ in range(2):  # the second is answered with what is known
            with pytest.raises(RpcError) as caught:
                await w.service.Stop(request, asked_by("alice"))
            assert caught.value.code is StatusCode.FAILED_PRECONDITION
            about = info(caught.value)
            assert about.reason == "UNKILLABLE"
            assert about.metadata["processes"] == "7 (dd, state D in nfs_wait)"
        status = await w.service.Status(pb.StatusRequest(pid=job.handle), asked_by("alice"))
        assert status.job.state == pb.JOB_STATE_STOPPING
        fake.end(Verdict("signaled", 9))
        answer = await w.service.Stop(request, asked_by("alice"))
        assert (answer.escalated, answer.job.end.reason) == (True, "stopped")


async def test_a_pause_that_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host without cgroups."""
    backend = FakeBackend()
    backend.cannot_pause = "jobs cannot be paused on this host"
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        job = await job_of(w)
        error = await refused(StatusCode.FAILED_PRECONDITION, w, "alice", "pause", job.handle)
        assert backend.cannot_pause in error.message
        assert info(error).reason == "NOT_PAUSED"


async def test_a_sender_holds_one_stream_of_its_client_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back however it ends: left, refused, replaced."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        asks = pb.SendInputRequest(pid=job.handle)
        gap = pb.SendInputRequest(offset=9, data=b"x")
        for _ in range(3):
            async with aclosing(send(w, "alice", asks)) as answers:
                assert (await anext(answers)).accepted == 0
                await refused(StatusCode.RESOURCE_EXHAUSTED, w, "alice", "send", job.handle)
            async with aclosing(send(w, "alice", asks, gap)) as answers:
                await anext(answers)
                with pytest.raises(RpcError) as caught:
                    await anext(answers)
                assert caught.value.code is StatusCode.OUT_OF_RANGE
                assert info(caught.value).metadata["accepted"] == "0"
        own, job = job, await job_of(w, "bob")
        asks = pb.SendInputRequest(pid=job.handle)
        async with aclosing(send(w, "bob", asks, asks)) as first:
            await anext(first)
            async with aclosing(send(w, "bob", asks)) as second:
                await anext(second)
                with pytest.raises(RpcError) as caught:
                    await anext(first)
                assert caught.value.code is StatusCode.ABORTED
        assert own.input is not None
        assert own.input.accepted == 0


def pieces(handle: str, data: bytes, begin: int) -> list[pb.SendInputRequest]:
    """All of ``data`` from there on, in requests as large as may be."""
    return [
        pb.SendInputRequest(pid=handle, offset=at, data=data[at : at + MAX_INPUT_BYTES])
        for at in range(begin, len(data), MAX_INPUT_BYTES)
    ]


async def test_a_sender_that_waits_is_cancelled_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C19: what was accepted of the one stays, to the byte; the job reads both as one."""
    data = bytes(range(256)) * 800  # more than two pipes hold
    read = b""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await job_of(w)
        assert job.input is not None
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                async with aclosing(send(w, "alice", *pieces(job.handle, data, 0))) as answers:
                    async for _ in answers:
                        pass

            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        accepted = job.input.accepted
        assert 0 < accepted < len(data)
        async with trio.open_nursery() as nursery:

            async def job_reads() -> None:
                nonlocal read
                read = await w.backend.jobs[job.id].read_input()

            nursery.start_soon(job_reads)
            rest = pieces(job.handle, data, accepted - 100)
            rest[-1].eof = True
            async with aclosing(send(w, "alice", *rest)) as answers:
                async for each in answers:
                    answer = each
        assert (answer.accepted, answer.eof) == (len(data), True)
    assert read == data


async def test_a_first_request_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold a place without a job to hold it for."""
    monkeypatch.setattr("penstock.server.service_input._FIRST_S", 0.05)
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with aclosing(w.service.SendInput(Silent(), asked_by("alice"))) as answers:
            with pytest.raises(RpcError) as caught:
                await anext(answers)
        assert caught.value.code is StatusCode.INVALID_ARGUMENT


async def test_input_of_a_job_without_any_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started without, or ended without that any of it was accepted: a program can tell them apart,
    and neither takes the client's stream for good."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        without = await w.manager.start("alice", JobSpec("sleep"))
        error = await refused(StatusCode.FAILED_PRECONDITION, w, "alice", "send", without.handle)
        assert info(error).reason == "NO_STDIN"
        ended = await job_of(w)
        w.backend.jobs[ended.id].end(Verdict("exited", 0))
        await ended.wait_finished()
        w.backend.release(ended.id)
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        error = await refused(StatusCode.FAILED_PRECONDITION, w, "alice", "send", ended.handle)
        assert info(error).reason == "STDIN_CLOSED"
        going_on = await job_of(w)
        asked = pb.SendInputRequest(pid=going_on.handle)
        async with aclosing(send(w, "alice", asked)) as answers:
            assert (await anext(answers)).accepted == 0
