"""Lists of a client's jobs: what a filter matches, in slices, whatever comes and goes meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from fake_disk import FakeDisk
from hypothesis import given
from hypothesis import strategies as st

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job import Job
from penstock.jobs.job_filter import UNFINISHED, JobFilter
from penstock.jobs.jobs_by_owner import JobsByOwner, JobWalk
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.states import JobState
from penstock.supervisor.ipc.started import NOT_STARTED

EVERY = frozenset(JobState)
names = st.sampled_from(("", "web", "web2", "db"))
labels = st.dictionaries(st.sampled_from(("team", "tier")), st.sampled_from(("a", "b")), max_size=2)
specs = st.builds(JobSpec, st.sampled_from(("show", "run")), name=names, labels=labels)
filters = st.builds(
    JobFilter,
    states=st.sampled_from(
        (EVERY, UNFINISHED, frozenset((JobState.FINISHED,)), frozenset((JobState.RUNNING,)))
    ),
    command=st.sampled_from(("", "", "show")),
    name=names,
    labels=labels,
    label_keys=st.sampled_from(((), (), ("team",), ("team", "tier"))),
    since_ns=st.sampled_from((0, 0, 3, 5)),
    prefix=st.sampled_from(("", "", "1", "w", "web2")),
)


def never_loaded() -> OutputLog:
    raise AssertionError


def made(sequence: int, spec: JobSpec, state: JobState = JobState.RUNNING) -> Job:
    job = Job(f"{sequence:032x}", sequence, "alice", spec, "", never_loaded, OutputBound())
    job.state = state
    if state is not JobState.STARTING:
        job.handle = str(sequence)
        job.started = replace(NOT_STARTED, started_ns=sequence)
    return job


def matches(wanted: JobFilter, job: Job) -> bool:
    """The filter, spelled out a second time."""
    if job.state not in wanted.states:
        return False
    if wanted.command not in ("", job.spec.command) or wanted.name not in ("", job.spec.name):
        return False
    if any(job.spec.labels.get(key) != value for key, value in wanted.labels.items()):
        return False
    if set(wanted.label_keys) - set(job.spec.labels):
        return False
    if job.handle and job.started.started_ns < wanted.since_ns:
        return False
    return any(text.startswith(wanted.prefix) for text in (job.handle, job.spec.name))


def walked(walk: JobWalk) -> list[int]:
    found = []
    while not walk.is_over:
        found += [job.sequence for job in walk.next_slice()]
    assert walk.next_slice() == []
    return found


@given(
    st.lists(st.tuples(specs, st.sampled_from(JobState)), max_size=12), filters, st.integers(0, 14)
)
def test_a_walk_finds_what_matches(
    jobs: list[tuple[JobSpec, JobState]], wanted: JobFilter, before: int
) -> None:
    """Newest first, and below a sequence if there is one: by whichever list it goes."""
    owned = JobsByOwner()
    known = [made(at, *what) for at, what in enumerate(jobs, 1)]
    for job in reversed(known):  # in any order
        owned.add(job)
    expected = [job.sequence for job in reversed(known) if matches(wanted, job)]
    assert walked(JobWalk(owned, wanted, None)) == expected
    below = [sequence for sequence in expected if sequence < before]
    assert walked(JobWalk(owned, wanted, before)) == below


@cache
def three_thousand() -> dict[int, Job]:
    """Made once, because no walk changes a job and making them is most of the time."""
    return {at: made(at, JobSpec("show", name="web" * (at % 2))) for at in range(1, 3000)}


@given(st.data())
def test_what_comes_and_goes_meanwhile(data: st.DataObject) -> None:
    """A walk finds once what is there all the time; what is gone, or came later, it need not."""
    owned, known = JobsByOwner(), three_thousand()
    for job in known.values():
        owned.add(job)
    newest, gone = len(known), set[int]()
    wanted = data.draw(st.sampled_from((JobFilter(EVERY), JobFilter(), JobFilter(name="web"))))
    walk = JobWalk(owned, wanted, None)
    found: list[int] = []
    while not walk.is_over:
        found += [job.sequence for job in walk.next_slice()]
        for at in data.draw(st.lists(st.integers(1, 2999), max_size=3)) if len(found) < 200 else ():
            if at not in gone:
                owned.discard(known[at])
                gone.add(at)
        newest += 1
        owned.add(made(newest, JobSpec("show", name="web")))
    assert found == sorted(set(found), reverse=True)
    there = {at for at, job in known.items() if at not in gone and matches(wanted, job)}
    assert there <= set(found) <= set(known)


def test_a_slice_has_a_bound() -> None:
    """Of jobs that are looked at, and fewer of those that match."""
    owned = JobsByOwner()
    looks = 0

    class Counting(JobFilter):
        __slots__ = ()

        def matches(self, job: Job) -> bool:
            nonlocal looks
            looks += 1
            return super().matches(job)

    for at in range(1, 2501):
        owned.add(made(at, JobSpec("show" if at % 500 else "rare")))
    for wanted, slices, most in (
        (Counting(command="none"), 3, 0),
        (Counting(command="rare"), 3, 2),
        (Counting(), 100, 25),
    ):
        walk, found, count = JobWalk(owned, wanted, None), 0, 0
        while not walk.is_over:
            looks = 0
            part = walk.next_slice()
            assert looks <= 1000
            assert len(part) <= max(most, 1) + 1
            found += len(part)
            count += 1
        assert (count, found) == (slices, {0: 0, 2: 5, 25: 2500}[most])


@pytest.mark.parametrize(
    ("change", "sequences"),
    [
        (lambda owned, jobs: owned.finished(jobs[1]), [1, 3]),
        (lambda owned, jobs: owned.discard(jobs[1]), [1, 3]),
        (lambda owned, jobs: [owned.discard(jobs[1]), owned.discard(jobs[1])], [1, 3]),
        (lambda owned, jobs: owned.finished(made(9, JobSpec("show"))), [1, 2, 3]),
        (lambda owned, jobs: owned.discard(made(2, JobSpec("show"))), [1, 2, 3]),
    ],
)
def test_what_leaves_the_lists(
    change: Callable[[JobsByOwner, list[Job]], object], sequences: list[int]
) -> None:
    """That very job, once."""
    owned = JobsByOwner()
    jobs = [made(at, JobSpec("show", name="web")) for at in (1, 2, 3)]
    for job in jobs:
        owned.add(job)
    change(owned, jobs)
    assert [job.sequence for job in owned.unfinished] == sequences


def test_a_name_is_forgotten_with_its_last_job() -> None:
    owned = JobsByOwner()
    job = made(1, JobSpec("show", name="web"))
    owned.add(job)
    assert owned.holder_of("web") is job
    owned.discard(job)
    assert (owned.holder_of("web"), list(owned.named("web"))) == (None, [])
    assert not owned._names


def test_a_job_that_has_ended_holds_no_name(tmp_path: Path) -> None:
    """From the moment of its end, before the history is told."""
    owned = JobsByOwner()
    log = OutputLog.create("/state/jobs/one", disk=FakeDisk())
    job = Job("a" * 32, 1, "alice", JobSpec("show", name="web"), "", log, OutputBound())
    owned.add(job)
    assert owned.holder_of("web") is job
    job.set_ended(EndRecord("exited", 1))
    assert owned.holder_of("web") is None
    assert list(owned.named("web")) == [job]
    log.finish()
