"""Names, labels and lists as clients have them: refused, audited, filtered, in pages and turns."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from service_world import World, asked_by, world

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.job_filter import UNFINISHED, JobFilter
from penstock.jobs.job_progress import JobProgress
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.states import JobState
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.convert import STATES
from penstock.server.methods import METHODS
from penstock.server.parse import filter_of, spec_of

MANY = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
[commands.other]
path = "/bin/true"
class = "free"
[clients.alice]
commands = ["sleep", "other"]
max_running = 20
[clients.bob]
commands = ["sleep"]
"""
LABELS = {"team": "core", "app/tier": "front end"}


def field_of(error: RpcError) -> str:
    (violations,) = [each for each in error.details if isinstance(each, BadRequest)]
    (violation,) = violations.field_violations
    return str(violation.field)


def finished(sequence: int, owner: str = "alice") -> Job:
    """A job of an earlier life, as a server has a hundred thousand of them."""

    def load() -> OutputLog:
        raise AssertionError

    job = Job(f"{sequence:032x}", sequence, owner, JobSpec("sleep"), "", load, OutputBound())
    job.handle = f"9{sequence}"
    job.state = JobState.FINISHED
    return job


async def started(w: World, **fields: Any) -> pb.Job:
    request = pb.StartRequest(**({"command": "sleep"} | fields))
    return (await w.service.Start(request, asked_by("alice"))).job


async def listed(w: World, **fields: Any) -> list[str]:
    """By all pages, each of at most two jobs."""
    found: list[str] = []
    request = pb.ListRequest(**({"page_size": 2} | fields))
    while True:
        page = await w.service.List(request, asked_by("alice"))
        assert len(page.jobs) <= 2
        found += [job.handle for job in page.jobs]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def test_a_start_has_its_name_and_labels() -> None:
    """And none where the request has none."""
    request = pb.StartRequest(command="x", name="web", labels=LABELS)
    assert spec_of(request) == JobSpec("x", name="web", labels=LABELS)
    assert spec_of(pb.StartRequest(command="x")) == JobSpec("x")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"name": "1"}, "name", "write a letter"),
        ({"labels": {"a": "\n"}}, "labels", "printable"),
        ({"labels": {f"k{n}": "" for n in range(17)}}, "labels", "at most 16"),
    ],
)
async def test_a_start_with_another_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], field: str, says: str
) -> None:
    """With a line, and the field's name."""
    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        with pytest.raises(RpcError, match=says) as caught:
            await started(w, **fields)
        assert caught.value.code is StatusCode.INVALID_ARGUMENT
        assert field_of(caught.value) == field
        assert [line["verb"] for line in w.refusals()] == ["start"]
        assert w.backend.jobs == {}


async def test_a_name_in_use_is_refused_and_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its reason; also of a start that only validates, unless that is the one that has it. No
    quota is taken for it."""
    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        job = await started(w, name="web", labels=LABELS, request_id="once")
        assert (job.name, dict(job.labels)) == ("web", LABELS)
        monkeypatch.setattr(w.service.access.quotas, "take_start", None)
        for more in ({}, {"validate_only": True}, {"request_id": "twice"}):
            with pytest.raises(RpcError, match=f"job {job.handle} has the name 'web'") as caught:
                await started(w, name="web", **more)
            assert caught.value.code is StatusCode.ALREADY_EXISTS
            (info,) = [each for each in caught.value.details if isinstance(each, ErrorInfo)]
            assert (info.reason, info.metadata["handle"]) == ("NAME_IN_USE", job.handle)
        again = await started(w, name="web", labels=LABELS, request_id="once")
        assert again.handle == job.handle
        await started(w, name="web", labels=LABELS, request_id="once", validate_only=True)
        with pytest.raises(RpcError) as caught:
            await started(w, name="web", request_id="once")  # without its labels
        (info,) = [each for each in caught.value.details if isinstance(each, ErrorInfo)]
        assert info.reason == "REQUEST_ID_REUSED"
        assert len(w.backend.jobs) == 1
        assert [line["name"] for line in w.refusals()] == ["web"] * 4


async def test_the_line_of_a_start_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a start without them has the line that it always had."""
    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        await started(w, name="web", labels=LABELS)
        await started(w)
        named, without = w.decisions()
        assert (named["name"], named["labels"]) == ("web", LABELS)
        assert named.keys() - without.keys() == {"name", "labels"}


def test_a_filter_is_what_was_asked_for() -> None:
    """Unset is any, and of states those that have not finished, or all."""
    assert filter_of(pb.ListRequest()) == JobFilter(UNFINISHED)
    assert filter_of(pb.ListRequest(all=True)) == JobFilter(frozenset(JobState))
    for everything in (False, True):
        request = pb.ListRequest(
            all=everything,
            states=[pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED, pb.JOB_STATE_RUNNING],
            command="c",
            name="n",
            labels=LABELS,
            label_keys=["k", "k"],
            since_ns=7,
            prefix="p",
        )
        states = frozenset((JobState.RUNNING, JobState.FINISHED))
        expected = JobFilter(states, "c", "n", LABELS, frozenset("k"), 7, "p")
        assert filter_of(request) == expected
    most = pb.ListRequest(labels={f"k{n}": "" for n in range(8)}, label_keys=["a"] * 8)
    assert filter_of(most).label_keys == frozenset("a")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"states": [0]}, "states", "there is no state 0; they are 1 to 5"),
        ({"states": [1, 99]}, "states", "there is no state 99"),
        ({"since_ns": -1}, "since_ns", "before 1970"),
        ({"labels": {f"k{n}": "" for n in range(17)}}, "labels", "at most 16"),
        ({"labels": LABELS, "label_keys": ["k"] * 15}, "labels", "at most 16"),
    ],
)
async def test_a_filter_with_another_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], field: str, says: str
) -> None:
    """With a line, and the field's name."""
    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        with pytest.raises(RpcError, match=says) as caught:
            await listed(w, **fields)
        assert caught.value.code is StatusCode.INVALID_ARGUMENT
        assert field_of(caught.value) == field
        assert [line["verb"] for line in w.refusals()] == ["list"]


async def test_a_list_has_what_its_filter_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each field of it, and pages that end and begin where they should."""
    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        jobs = [
            await started(
                w, command=("sleep", "other")[at % 2], name=f"n{at}", labels={"at": str(at)}
            )
            for at in range(7)
        ]
        handles = [job.handle for job in reversed(jobs)]
        for at in (1, 2):
            job = w.manager.get(jobs[at].handle)
            w.backend.jobs[job.id].end(Verdict("exited", 0))
            await job.wait_finished()
        over = [jobs[2].handle, jobs[1].handle]
        runs = [handle for handle in handles if handle not in over]
        assert await listed(w) == runs
        assert await listed(w, all=True) == handles
        assert await listed(w, states=[pb.JOB_STATE_FINISHED]) == over
        assert await listed(w, states=[pb.JOB_STATE_RUNNING], all=True) == runs
        assert await listed(w, states=[pb.JOB_STATE_STOPPING], all=True) == []
        assert await listed(w, command="other") == [jobs[5].handle, jobs[3].handle]
        assert await listed(w, name="n3") == [jobs[3].handle]
        assert await listed(w, name="n1") == []
        assert await listed(w, name="n1", all=True) == [jobs[1].handle]
        assert await listed(w, labels={"at": "4"}) == [jobs[4].handle]
        assert await listed(w, labels={"at": "4", "more": ""}) == []
        assert await listed(w, label_keys=["at"], all=True) == handles
        assert await listed(w, label_keys=["no"], all=True) == []
        assert await listed(w, prefix="n", all=True) == handles
        assert await listed(w, prefix=jobs[0].handle) == [jobs[0].handle]
        assert await listed(w, since_ns=jobs[0].started_ns, all=True) == handles
        assert await listed(w, since_ns=1 << 62, all=True) == []
        page = await w.service.List(pb.ListRequest(all=True), asked_by("bob"))
        assert list(page.jobs) == []


async def test_a_list_that_matches_nothing_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes through the client's own jobs in turns that are bounded, one at a time for all
    callers; what is not asked for, and other clients' jobs, are not even looked at."""
    looks: Counter[int] = Counter()
    turns = 0
    true = JobFilter.matches

    class Counting(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            nonlocal turns
            turns += 1

    def counted(self: JobFilter, job: JobProgress) -> bool:
        assert job.owner == "alice"
        looks[turns] += 1
        return true(self, job)  # type: ignore[arg-type]

    async with world(tmp_path, monkeypatch, FakeBackend(), MANY) as w:
        for at in range(2, 5002):
            w.manager.history.is_back(finished(at))
            w.manager.history.is_back(finished(10_000 + at, "bob"))
        runs = await started(w)
        monkeypatch.setattr(JobFilter, "matches", counted)
        instrument = Counting()
        trio.lowlevel.add_instrument(instrument)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                request = pb.ListRequest(all=True, name="", command="none")
                nursery.start_soon(w.service.List, request, asked_by("alice"))
        assert looks.total() == 4 * 5001
        assert max(looks.values()) <= 1000
        for request, count in (
            (pb.ListRequest(), 1),
            (pb.ListRequest(command="none"), 1),
            (pb.ListRequest(name="none", all=True), 0),
        ):
            looks.clear()
            page = await w.service.List(request, asked_by("alice"))
            assert [job.handle for job in page.jobs] == [runs.handle] * (not request.ByteSize())
            assert looks.total() == count
        trio.lowlevel.remove_instrument(instrument)


def test_the_longest_that_may_be_is_within_the_limits_of_a_message() -> None:
    """Of a start and of a list: sixteen labels, of four bytes a character."""
    labels = {f"k{n:02}" + "k" * 60: "\U0001f600" * 63 for n in range(16)}
    name = "n" * 63
    start = pb.StartRequest(command="sleep", name=name, labels=labels)
    spec_of(start)
    request = pb.ListRequest(labels=labels, prefix=name, name=name, states=STATES.values())
    filter_of(request)
    for method, message, fields in (("Start", start, 2 + 3 * 16), ("List", request, 7 + 3 * 16)):
        limits = METHODS[method].message
        assert limits is not None
        assert message.ByteSize() < limits.message_bytes / 2
        assert fields < limits.fields
