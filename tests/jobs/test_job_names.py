"""Names and labels: one unfinished job of a client has a name, over restarts too."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend

from penstock.jobs.backends.base import JobSpec, StartRefused, Verdict
from penstock.jobs.job import Job
from penstock.jobs.job_errors import InvalidRequest, NameInUse, NotGranted, RequestConflict
from penstock.jobs.job_rows import read_row, spec_text
from penstock.jobs.job_spec import MAX_LABELS, mistake_in_names
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.store import Store
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.command_spec import CommandSpec
from penstock.supervisor.ipc.from_server import FROM_SERVER, Start
from penstock.supervisor.ipc.message_record import form_of, write_record

NAMED = JobSpec("sleep", name="web", labels={"team": "core", "app/tier": "front"})


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    """Whose jobs end with the test."""
    made = FakeBackend()
    yield made
    for job_id in made.jobs:
        made.release(job_id)


@asynccontextmanager
async def manager_of(tmp_path: Path, backend: FakeBackend) -> AsyncIterator[Manager]:
    """Its jobs run on when it ends."""
    async with open_manager(backend, str(tmp_path / "state")) as manager:
        yield manager
        manager.leave()


async def ended(backend: FakeBackend, job: Job) -> None:
    backend.jobs[job.id].end(Verdict("exited", 0))
    await job.wait_finished()


@pytest.mark.parametrize(
    ("name", "labels", "field", "says"),
    [
        ("1web", {}, "name", "name is '1web'; write a letter, then letters, digits and any of"),
        ("web/1", {}, "name", "name is 'web/1'"),
        ("wéb", {}, "name", "name is 'wéb'"),
        ("web\n", {}, "name", r"name is 'web\n'"),
        ("w" * 64, {}, "name", "at most 63 characters"),
        ("", {"": "x"}, "labels", "a label's key is ''"),
        ("", {"1a": "x"}, "labels", "a label's key is '1a'"),
        ("", {"a b": "x"}, "labels", "a label's key is 'a b'"),
        ("", {"k" * 64: "x"}, "labels", "at most 63 characters"),
        ("", {"key": "v" * 64}, "labels", "at most 63 printable characters"),
        ("", {"key": "\x1b[31m"}, "labels", r"label key is '\x1b[31m'"),
        ("", {"key": "\u202eevil"}, "labels", r"label key is '\u202eevil'"),
        ("", {f"k{n}": "" for n in range(MAX_LABELS + 1)}, "labels", "there are 17 labels"),
    ],
)
async def test_what_has_not_their_form_is_named(
    tmp_path: Path, name: str, labels: dict[str, str], field: str, says: str
) -> None:
    """Before anything is recorded, by its field."""
    found = mistake_in_names(name, labels)
    assert found is not None
    assert (found.field, says in found.message) == (field, True)
    async with manager_of(tmp_path, FakeBackend()) as manager:
        with pytest.raises(InvalidRequest) as caught:
            await manager.start("alice", JobSpec("sleep", name=name, labels=labels))
        assert (caught.value.field, str(caught.value)) == (field, found.message)
        assert manager.list("alice", include_finished=True) == []


def test_what_is_just_within_their_form() -> None:
    assert mistake_in_names("", {}) is None
    assert mistake_in_names("W" + "0._-" * 15 + "xy", {}) is None
    labels = {f"k{n}" + "/." * 30: "é " * 31 + "x" for n in range(MAX_LABELS)}
    assert all(len(value) == 63 for value in labels.values())
    assert mistake_in_names("w", labels | {"k0" + "/." * 30: ""}) is None


async def test_a_name_is_one_jobs_until_that_has_finished(
    tmp_path: Path, backend: FakeBackend
) -> None:
    """Not another client's, nor a nameless job's; and its request id finds it, name and all."""
    async with manager_of(tmp_path, backend) as manager:
        first = await manager.start("alice", NAMED, request_id="once")
        with pytest.raises(NameInUse, match=f"job {first.handle} has the name 'web'") as caught:
            await manager.start("alice", JobSpec("exit", ("0",), name="web"))
        assert (caught.value.name, caught.value.handle) == ("web", first.handle)
        assert await manager.start("alice", NAMED, request_id="once") is first
        with pytest.raises(RequestConflict):
            await manager.start("alice", JobSpec("sleep", name="other"), request_id="once")
        await manager.start("bob", NAMED)
        await manager.start("alice", JobSpec("sleep"))
        await manager.start("alice", JobSpec("sleep"))
        assert manager.list("alice", include_finished=True)[-1] is first
        assert len(manager.list("alice", include_finished=True)) == 3
        backend.jobs[first.id].exited.set()  # its main process alone: it has not finished
        with pytest.raises(NameInUse):
            await manager.start("alice", NAMED)
        await ended(backend, first)
        second = await manager.start("alice", NAMED)
        with pytest.raises(NameInUse, match=f"job {second.handle}"):
            await manager.start("alice", NAMED)
        manager.remove(first)  # which had the name before, and does not take it along
        with pytest.raises(NameInUse, match=f"job {second.handle}"):
            await manager.start("alice", NAMED)


async def test_two_starts_at_once_are_one_job(tmp_path: Path, backend: FakeBackend) -> None:
    """The name is taken before the supervisor is asked, and given back if it refuses."""
    backend.gate = trio.Event()
    said: list[str] = []
    async with manager_of(tmp_path, backend) as manager, trio.open_nursery() as nursery:

        async def start(command: str) -> None:
            try:
                await manager.start("alice", JobSpec(command, name="web"))
            except (NameInUse, NotGranted) as error:
                said.append(f"{type(error).__name__}: {error}")

        nursery.start_soon(start, "refused")
        await trio.testing.wait_all_tasks_blocked()
        await start("sleep")
        assert said == [
            "NameInUse: a job that is being started has the name 'web' and has not finished; take "
            "another name, or wait for its end"
        ]
        backend.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert said[1].startswith("NotGranted")
        await start("sleep")
        assert len(said) == 2
        (job,) = manager.list("alice")
        assert job.spec.name == "web"


@pytest.mark.parametrize("how", ["audit", "log", "record", "handle"])
async def test_a_start_that_fails_gives_the_name_back(
    tmp_path: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Wherever it fails."""

    def full(*what: Any) -> Any:
        raise sqlite3.OperationalError("disk is full") if how != "log" else OSError(28, "full")

    async with manager_of(tmp_path, backend) as manager:
        with monkeypatch.context() as broken:
            match how:
                case "audit":
                    broken.setattr(manager._recorder, "_audit", full)
                case "log":
                    broken.setattr(manager.history, "create_log", full)
                case "record":
                    broken.setattr(Store, "insert_starting", full)
                case "handle":
                    broken.setattr(Store, "set_running", full)
            with pytest.raises(Exception, match="server's log says why"):
                await manager.start("alice", NAMED)
        await manager.start("alice", NAMED)
        assert len(manager.list("alice", include_finished=True)) == 1


@pytest.mark.parametrize("runs", [True, False])
async def test_the_next_server_knows_them(
    tmp_path: Path, backend: FakeBackend, *, runs: bool
) -> None:
    """Whether the job runs on or has ended; and a job that has was nobody's hindrance."""
    async with manager_of(tmp_path, backend) as manager:
        await ended(backend, await manager.start("alice", NAMED))
        job = await manager.start("alice", NAMED)
        if not runs:
            await ended(backend, job)
    for _ in range(2):
        async with manager_of(tmp_path, backend) as manager:
            found = manager.get(job.handle)
            assert found.spec == NAMED
            holder = contextlib.nullcontext() if not runs else pytest.raises(NameInUse)
            with holder:
                manager.history.check_name("alice", "web")
    async with manager_of(tmp_path, backend) as manager:
        if runs:
            await ended(backend, manager.get(job.handle))
        await manager.start("alice", NAMED)


async def test_a_lost_job_gives_its_name_back(tmp_path: Path, backend: FakeBackend) -> None:
    """As if the machine had been started anew."""
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", NAMED)
    backend.release(job.id)
    async with manager_of(tmp_path, backend) as manager:
        lost = manager.get(job.handle)
        assert lost.end is not None
        assert lost.end.reason == "lost"
        await manager.start("alice", NAMED)


def test_a_supervisor_is_not_told_of_them() -> None:
    """START is what it was: one of an earlier version refuses a field that it does not know."""
    start = Start("a" * 32, "alice", "alice", "policy", NAMED)
    told = json.loads(protocol.encode(start))
    assert told.keys() == {
        *("type", "id", "opaque", "client", "policy", "audited"),
        *("command", "arguments", "env", "timeout_s", "stdin"),
    }
    assert form_of(Start).mistake(told) is not None  # for its type, which is the datagram's
    read = protocol.decode(protocol.encode(start), FROM_SERVER)
    assert isinstance(read, Start)
    assert read.spec == CommandSpec("sleep")
    assert "web" not in str(told)


def test_a_row_has_them_and_needs_none() -> None:
    """Rows of earlier versions lack them; those versions read no field that they do not know."""

    def read(text: str) -> JobSpec:
        return read_row(("a" * 32, 1, "alice", text, "", "starting", *([None] * 4))).spec

    text = spec_text(NAMED)
    assert read(text) == NAMED
    row = json.loads(text)
    assert list(row["labels"]) == sorted(NAMED.labels)
    del row["name"], row["labels"]
    assert read(json.dumps(row)) == JobSpec("sleep")
    assert row == write_record(CommandSpec("sleep"))


async def test_a_refused_start_was_never_in_the_way(tmp_path: Path, backend: FakeBackend) -> None:
    """Nor is its row, if it could not be removed then: the next start removes it."""

    async def refuses(*what: Any, **more: Any) -> StartRefused:
        await trio.lowlevel.checkpoint()
        return StartRefused("denied", "not granted")

    async with manager_of(tmp_path, backend) as manager:
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(backend, "start", refuses)

            def full(self: Store, job_id: str) -> None:
                raise sqlite3.OperationalError("disk is full")

            broken.setattr(Store, "delete", full)
            with pytest.raises(NotGranted):
                await manager.start("alice", NAMED)
        await manager.start("alice", NAMED)
    async with manager_of(tmp_path, backend) as manager:
        (job,) = manager.list("alice", include_finished=True)
        assert job.spec == NAMED
