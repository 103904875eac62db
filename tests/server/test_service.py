"""CommandService over the fake backend: what a call leaves behind, whoever leaves it early."""

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from google.rpc.error_details_pb2 import RetryInfo
from service_world import POLICY_TEXT, asked_by, failing, world

from penstock.jobs.backends.base import JobSpec, OnReplaced, StartedJob, StartRefused, Verdict
from penstock.jobs.job import Job
from penstock.jobs.states import JobState
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.lag import Lag
from penstock.server.convert import job_message
from penstock.server.methods import SERVICE
from penstock.server.rate_limits import COSTLY_BURST
from penstock.server.repeat_budget import MAX_KNOWN


class SlowBackend(FakeBackend):
    """Starts nothing before ``go``."""

    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str | None = None,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        await self.go.wait()
        return await super().start(
            job_id, spec, owner, generation=generation, on_replaced=on_replaced
        )


async def test_starts_that_were_left_count_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that cancels its starts does not get past max_running; a refusal is audited."""
    backend = SlowBackend()
    async with world(tmp_path, monkeypatch, backend) as w:
        for _ in range(2):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(
                        w.service.Start, pb.StartRequest(command="sleep"), asked_by("alice")
                    )
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        with pytest.raises(RpcError) as caught:
            await w.service.Start(pb.StartRequest(command="sleep"), asked_by("alice"))
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        assert [line["verb"] for line in w.refusals()] == ["start"]
        backend.go.set()
        for job in w.manager.list("alice"):
            await job.wait_begun()
        assert len(w.manager.list("alice")) == 2


async def test_an_unknown_client_cannot_fill_the_audit_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused start is one line of bounded length, whatever the request holds."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        request = pb.StartRequest(command="x" * 1_000_000)
        for client, code in (
            ("mallory", StatusCode.UNAUTHENTICATED),
            ("alice", StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(RpcError) as caught:
                await w.service.Start(request, asked_by(client))
            assert caught.value.code is code
        lines = w.audit_path.read_bytes().splitlines()
        assert [len(line) < 1000 for line in lines] == [True, True]


async def test_a_stream_that_does_not_follow_says_finished_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends with more output while such a reader is at work: no end record for it."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        job = await w.manager.start("alice", JobSpec("sleep"))
        fake = w.backend.jobs[job.id]
        fake.write(b"first")
        with job.read_output() as reader:
            await reader.__anext__()  # it is in the log now
        request = pb.StreamOutputRequest(pid=job.handle, no_follow=True, raw=True)
        async with aclosing(w.stream(request)) as messages:
            await anext(messages)  # the head: the reader has been made
            fake.write(b"second")
            fake.end(Verdict("exited", 0))
            await job.wait_finished()
            rest = [message async for message in messages]
        assert b"".join(message.data for message in rest) == b"first"
        assert not any(message.HasField("finished") for message in rest)
        async with aclosing(w.stream(request)) as messages:
            rest = [message async for message in messages]
        assert b"".join(message.data for message in rest) == b"firstsecond"
        assert rest[-1].HasField("finished")


async def test_one_stream_too_many_is_refused_and_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quota comes back when the stream ends, by whatever way."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        job = await w.manager.start("alice", JobSpec("sleep"))
        request = pb.StreamOutputRequest(pid=job.handle, raw=True)
        async with aclosing(w.service.StreamOutput(request, asked_by("alice"))) as first:
            await anext(first)
            second = w.service.StreamOutput(request, asked_by("alice"))
            with pytest.raises(RpcError) as caught:
                await anext(second)
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        assert [line["verb"] for line in w.refusals()] == ["stream"]
        async with aclosing(w.service.StreamOutput(request, asked_by("alice"))) as third:
            await anext(third)


async def test_a_refused_start_is_a_short_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters are six bytes each in JSON: argv, name and message are cut, not lost."""
    argv = ["\x01" * 130_000]
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        for request in (
            pb.StartRequest(command="sleep", argv=argv),
            pb.StartRequest(command="sleep", argv=["\x01" * 200] * 600),
            pb.StartRequest(command="\x01" * 100_000),
        ):
            with pytest.raises(RpcError) as caught:
                await w.service.Start(request, asked_by("alice"))
            assert caught.value.code is StatusCode.PERMISSION_DENIED
            assert len(caught.value.message) < 1000
        assert max(map(len, w.audit_path.read_bytes().splitlines())) < 6000
        line = w.refusals()[0]
        assert line["argv_bytes"] == 130_001
        assert line["argv_sha256"] == hashlib.sha256(b"\x01" * 130_000 + b"\0").hexdigest()


async def test_what_only_asks_is_a_short_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """validate_only and a repeated request id take nothing from a quota."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        argv = ["x" * 250] * 100
        request = pb.StartRequest(command="print", argv=argv, validate_only=True)
        await w.service.Start(request, asked_by("alice"))
        (line,) = w.audit_path.read_bytes().splitlines()
        assert len(line) < 3000


async def test_a_client_without_a_user_is_told_so_when_it_only_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, as a start would be; of other clients nothing is said."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        request = pb.StartRequest(command="print", argv=["x"], validate_only=True)
        await w.service.Start(request, asked_by("alice"))
        w.service.starts.userless = {"alice": "job_uids: none is left"}
        with pytest.raises(RpcError, match="print could not be started: user: job_uids") as caught:
            await w.service.Start(request, asked_by("alice"))
        assert caught.value.code is StatusCode.FAILED_PRECONDITION
        assert [line["verb"] for line in w.refusals()] == ["start"]
        w.service.starts.userless = {"bob": "job_uids: none is left"}
        await w.service.Start(request, asked_by("alice"))


async def test_refusals_of_one_client_end_in_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its share a client is told when to come back, and the log has one number for the rest;
    what it is granted goes on, and others have their own share."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        codes = []
        for _ in range(8):
            with pytest.raises(RpcError) as caught:
                await w.service.Start(pb.StartRequest(command="rm"), asked_by("alice"))
            codes.append(caught.value.code)
        assert codes == [StatusCode.PERMISSION_DENIED] * 5 + [StatusCode.RESOURCE_EXHAUSTED] * 3
        assert any(isinstance(detail, RetryInfo) for detail in caught.value.details)
        assert len(w.refusals()) == 5
        await w.service.Start(pb.StartRequest(command="sleep"), asked_by("alice"))
        with pytest.raises(RpcError) as caught:
            await w.service.List(pb.ListRequest(), asked_by("mallory"))
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        w.limit.close()
        assert w.suppressed == [("alice", 3)]


async def test_what_is_answered_with_an_error_is_recorded_as_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A used request id, a bad grace, a bad page token, an offset past the end."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        alice = asked_by("alice")
        started = await w.service.Start(pb.StartRequest(command="sleep", request_id="once"), alice)
        other = pb.StartRequest(command="sleep", request_id="once", timeout_s=9)
        past = pb.StreamOutputRequest(pid=started.pid, offset=10**9)
        before = len(w.audit_path.read_bytes().splitlines())
        for code, call in (
            (StatusCode.ALREADY_EXISTS, w.service.Start(other, alice)),
            (
                StatusCode.INVALID_ARGUMENT,
                w.service.Stop(pb.StopRequest(pid=started.pid, grace_s=-1), alice),
            ),
            (StatusCode.INVALID_ARGUMENT, w.service.List(pb.ListRequest(page_token="x"), alice)),
            (StatusCode.OUT_OF_RANGE, anext(w.service.StreamOutput(past, alice))),
        ):
            with pytest.raises(RpcError) as caught:
                await call
            assert caught.value.code is code
        lines = w.audit_path.read_text().splitlines()[before:]
        assert [json.loads(line)["allowed"] for line in lines] == [False] * 4


async def test_a_page_ends_before_a_message_would_be_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By bytes as well as by count; the pages together have every job once."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        spec = JobSpec("print", ("x" * 120_000,))
        made = [await w.manager.start("alice", spec) for _ in range(30)]
        found, token, pages = [], "", 0
        while pages == 0 or token:
            request = pb.ListRequest(all=True, page_size=1000, page_token=token)
            page = await w.service.List(request, asked_by("alice"))
            assert page.ByteSize() < 1 << 21
            found += [job.handle for job in page.jobs]
            token, pages = page.next_page_token, pages + 1
        assert pages > 2
        assert found == [job.handle for job in reversed(made)]


async def test_a_page_token_outlives_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last job of a page ends before the next page is asked for."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        jobs = [await w.manager.start("alice", JobSpec("sleep")) for _ in range(3)]
        first = await w.service.List(pb.ListRequest(page_size=1), asked_by("alice"))
        await jobs[2].stop(by="alice", grace_s=0)
        request = pb.ListRequest(page_size=1, page_token=first.next_page_token)
        second = await w.service.List(request, asked_by("alice"))
        assert [job.handle for job in second.jobs] == [jobs[1].handle]


async def test_a_reader_of_one_stream_changes_nothing_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes over the other stream's bytes; whoever begins where it began has them."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        job = await w.manager.start("alice", JobSpec("sleep"))
        fake = w.backend.jobs[job.id]
        with job.read_output() as reader:
            fake.write(b"first", 2)
            await anext(reader)
            fake.write(b"second", 1)
            await anext(reader)
        fake.end(Verdict("exited", 0))
        await job.wait_finished()
        for raw in (True, False):
            found = []
            for streams in ([pb.STREAM_STDOUT], [pb.STREAM_STDERR], []):
                request = pb.StreamOutputRequest(pid=job.handle, raw=raw, streams=streams)
                async with aclosing(w.stream(request)) as messages:
                    got = [(m.offset, m.data or m.output.encode()) async for m in messages]
                found.append([each for each in got if each[1]])
            assert found == [[(5, b"second")], [(0, b"first")], [(0, b"first"), (5, b"second")]]


async def test_a_removed_job_is_gone_and_a_running_one_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the job as it was; the refusal has its word, and both are recorded."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        done = await w.manager.start("alice", JobSpec("exit", ("3",)))
        await done.wait_finished()
        runs = await w.manager.start("alice", JobSpec("sleep"))
        with pytest.raises(RpcError) as caught:
            await w.service.Remove(pb.RemoveRequest(pid=runs.handle), asked_by("alice"))
        assert caught.value.code is StatusCode.FAILED_PRECONDITION
        request = pb.RemoveRequest(pid=done.handle)
        assert (await w.service.Remove(request, asked_by("alice"))).job.end.exit_code == 3
        with pytest.raises(RpcError) as caught:
            await w.service.Remove(request, asked_by("alice"))
        assert caught.value.code is StatusCode.NOT_FOUND
        told = [(line["handle"], line["allowed"]) for line in w.decisions()]
        assert told == [(runs.handle, False), (done.handle, True), (done.handle, False)]


async def test_a_stream_begins_so_many_lines_before_the_end_or_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished job: the last line alone, and nothing at all from now on; what an earlier
    client does not set is all of it."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        job = await w.manager.start("alice", JobSpec("print", ("one\ntwo\nthree\n",)))
        await job.wait_finished()
        last = pb.StreamOutputRequest(pid=job.handle, raw=True, tail_lines=1)
        new = pb.StreamOutputRequest(pid=job.handle, raw=True, tail_lines=0)
        later = pb.StreamOutputRequest(pid=job.handle, raw=True, since_ns=2**62)
        unset = pb.StreamOutputRequest(pid=job.handle, raw=True)
        for request, expected in (
            (last, b"three\n"),
            (new, b""),
            (later, b""),
            (unset, b"one\ntwo\nthree\n"),
        ):
            async with aclosing(w.stream(request)) as messages:
                assert b"".join([each.data async for each in messages]) == expected


async def test_what_cannot_be_recorded_is_not_started_and_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start would be a thing nobody could look into; a stop must be possible always."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        job = await w.manager.start("alice", JobSpec("sleep"))
        w.audit.close()
        with pytest.raises(RpcError) as caught:
            await w.service.Start(pb.StartRequest(command="sleep"), asked_by("alice"))
        assert caught.value.code is StatusCode.UNAVAILABLE
        assert len(w.backend.jobs) == 1
        await w.service.Stop(pb.StopRequest(pid=job.handle), asked_by("alice"))
        assert job.end is not None
        assert job.end.reason == "stopped"


async def test_many_long_lists_are_made_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty at once: between two slices of any of them everybody else has a turn."""
    turns = 0
    made: Counter[int] = Counter()

    class Counting(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            nonlocal turns
            turns += 1

    def counted(job: Job) -> pb.Job:
        made[turns] += 1
        return job_message(job)

    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        jobs = [await w.manager.start("alice", JobSpec("sleep")) for _ in range(60)]
        monkeypatch.setattr("penstock.server.service_read.job_message", counted)
        instrument = Counting()
        trio.lowlevel.add_instrument(instrument)

        async def ask() -> None:
            page = await w.service.List(pb.ListRequest(), asked_by("alice"))
            assert [each.handle for each in page.jobs] == [job.handle for job in reversed(jobs)]

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        trio.lowlevel.remove_instrument(instrument)
    assert made.total() == 50 * 60
    assert max(made.values()) <= 25


async def test_the_first_stop_has_its_line_and_those_that_follow_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client has read before; what another stop asks for anew is a line, too."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        w.count_repeats()
        jobs = [await w.manager.start("alice", JobSpec("sleep")) for _ in range(MAX_KNOWN + 10)]
        for job in jobs:
            await w.service.Stop(pb.StopRequest(pid=job.handle), asked_by("alice"))
        lines = w.decisions()
        assert [line["job"] for line in lines] == [job.id for job in jobs]
        for grace_s in (None, None, 5.0, 5.0):
            request = pb.StopRequest(pid=jobs[0].handle, grace_s=grace_s)
            await w.service.Stop(request, asked_by("alice"))
        again = w.decisions()[len(jobs) :]
        assert [line.get("grace_s") for line in again] == [None, 5.0]
        assert w.repeats.close() == 0
        about = {"handle": jobs[0].handle, "job": jobs[0].id}
        assert w.repeated == [
            ("alice", "stop", about, 1),
            ("alice", "stop", about | {"grace_s": 5.0}, 1),
        ]


async def test_a_read_that_could_not_be_written_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk keeps nobody from reading; when there is room it is told."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        w.count_repeats()
        with monkeypatch.context() as full:
            full.setattr(w.audit, "write", failing)
            await w.service.List(pb.ListRequest(), asked_by("alice"))
        await w.service.List(pb.ListRequest(), asked_by("alice"))
        assert w.decisions() == []
        w.repeats.close()
        assert w.repeated == [("alice", "list", {}, 2)]


async def test_admission_asks_who_then_which_verb_then_how_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a message is there; each refusal is a line. Other services ask the policy nothing."""
    policy = POLICY_TEXT + b'verbs = ["start", "status"]\n'
    async with world(tmp_path, monkeypatch, FakeBackend(), policy) as w:

        def admitted(who: str, method: str) -> StatusCode | None:
            try:
                w.service.admit(asked_by(who).context.identity, SERVICE, method)
            except RpcError as error:
                return error.code
            return None

        assert admitted("mallory", "Start") is StatusCode.UNAUTHENTICATED
        assert admitted("mallory", "ServerInfo") is StatusCode.UNAUTHENTICATED
        assert admitted("alice", "Stop") is StatusCode.PERMISSION_DENIED
        assert [line["verb"] for line in w.refusals()] == ["start", "info", "stop"]
        assert admitted("alice", "ServerInfo") is None
        w.service.admit(asked_by("mallory").context.identity, "grpc.health.v1.Health", "Check")
        assert [admitted("alice", "Start") for _ in range(COSTLY_BURST)] == [None] * COSTLY_BURST
        assert admitted("alice", "Start") is StatusCode.RESOURCE_EXHAUSTED
        assert admitted("alice", "Status") is None
        assert len(w.refusals()) == 4


async def test_lag_is_told_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field by field, asked anew each time."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        lags = iter((Lag(7, 1, 0.5, 0.25, 0.125, 0.0625), Lag()))
        w.service.info.lag = lambda: next(lags)
        first, second = [
            (await w.service.ServerInfo(pb.ServerInfoRequest(), asked_by("alice"))).lag
            for _ in range(2)
        ]
    assert (first.turns, first.slow_turns, first.busy_s) == (7, 1, 0.5)
    assert (first.worst_s, first.worst_cpu_s, first.recent_worst_s) == (0.25, 0.125, 0.0625)
    assert second == pb.EventLoopLag()


async def test_a_start_of_thousands_is_gone_through_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task has its turns meanwhile, and nothing of the answer is different for it."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with world(tmp_path, monkeypatch, FakeBackend()) as w, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        many = pb.StartRequest(command="print", arguments=[pb.Argument(name="a", value="b")] * 4096)
        with pytest.raises(RpcError) as caught:
            await w.service.Start(many, asked_by("alice"))
        assert caught.value.code is StatusCode.PERMISSION_DENIED
        assert turns >= 3
        (refusal,) = w.refusals()
        assert (refusal["argv_count"], refusal["argv_bytes"]) == (8192, 2 * 8192)
        before = turns
        long = pb.StartRequest(command="print", argv=["a" * 255] * 200, validate_only=True)
        await w.service.Start(long, asked_by("alice"))
        assert turns >= before + 10
        few = pb.StartRequest(command="print", argv=["a"], validate_only=True)
        before = turns
        await w.service.Start(few, asked_by("alice"))
        assert turns == before  # one that is usual has no checkpoint before its decision
        both = pb.StartRequest(command="print", argv=["a"], arguments=many.arguments)
        with pytest.raises(RpcError) as caught:
            await w.service.Start(both, asked_by("alice"))
        assert caught.value.code is StatusCode.INVALID_ARGUMENT
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["wait", "status", "list", "who"])
async def test_who_leaves_a_read_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """C43: no task waits on for a caller that has left, at whichever of its steps; the job runs
    on, and the next one that asks is answered."""

    class Looking(FakeBackend):
        looks = 0
        answers = False

        def holds_limits(self) -> bool:
            return True

        async def look_at_limits(self, job_id: str) -> None:
            self.looks += 1
            if not self.answers:
                await trio.sleep_forever()

    backend = Looking()
    async with world(tmp_path, monkeypatch, backend) as w:
        jobs = [await w.manager.start("alice", JobSpec("sleep")) for _ in range(60)]
        job = jobs[0]
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "wait": lambda: w.service.Wait(pb.WaitRequest(pid=job.handle), asked_by("alice")),
            "status": lambda: w.service.Status(pb.StatusRequest(pid=job.handle), asked_by("alice")),
            "list": lambda: w.service.List(pb.ListRequest(), asked_by("alice")),
            "who": lambda: w.service.WhoAmI(pb.WhoAmIRequest(), asked_by("alice")),
        }
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for steps in range(1, 5):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(asks[what])
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            assert trio.lowlevel.current_statistics().tasks_living == before
            assert job.state is JobState.RUNNING
        assert (backend.looks > 0) is (what == "status")
        backend.answers = True
        if what == "wait":
            w.backend.jobs[job.id].end(Verdict("exited", 3))
        await asks[what]()
