"""Watch over the fake backend: what a watcher gets, when it is told to list, what it costs."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from service_world import World, asked_by, world

from penstock.jobs import change_table
from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.store import Store
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server import service_watch
from penstock.server.parse import WatchWish

POLICY = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
[commands.other]
path = "/bin/echo"
class = "free"
[clients.alice]
commands = ["sleep", "other"]
max_running = 10000
starts_per_minute = 10000
max_streams = 2
[clients.bob]
commands = ["sleep"]
[clients.carol]
commands = ["sleep"]
verbs = ["list", "start"]
"""
RUNNING, STOPPING, FINISHED = (
    pb.JOB_STATE_RUNNING,
    pb.JOB_STATE_STOPPING,
    pb.JOB_STATE_FINISHED,
)


@asynccontextmanager
async def watched(w: World, client: str = "alice", **fields: Any) -> AsyncIterator[Any]:
    """The messages of a watch."""
    request = pb.WatchRequest(**fields)
    async with aclosing(w.service.Watch(request, asked_by(client))) as messages:
        yield messages


async def ended(w: World, owner: str = "alice", command: str = "sleep", **names: Any) -> Job:
    """A job that has run and ended."""
    job = await w.manager.start(owner, JobSpec(command, **names))
    w.backend.jobs[job.id].end(Verdict("exited", 0))
    await job.wait_finished()
    return job


async def all_of(w: World, after: int | None, client: str = "alice", **fields: Any) -> list[Any]:
    """What a watch of all behind ``after`` brings until nothing comes any more."""
    found = []
    async with watched(w, client, after=after, **fields) as messages:
        with trio.move_on_after(0.2):
            async for message in messages:
                found.append(message)
    return found


async def test_a_watcher_gets_each_change_of_its_own_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they happen, with the job, or with its handle alone once it is gone."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        before = await ended(w)
        async with watched(w) as messages:
            begin = await anext(messages)
            assert begin == pb.WatchResponse(sequence=begin.sequence)
            assert begin.sequence > 0
            await ended(w, "bob")
            w.manager.remove(before)
            job = await w.manager.start("alice", JobSpec("sleep"))
            removed, running = await anext(messages), await anext(messages)
            assert (removed.handle, removed.removed) == (before.handle, True)
            assert (removed.state, removed.HasField("job")) == (FINISHED, False)
            assert (running.handle, running.state, running.removed) == (job.handle, RUNNING, False)
            assert (running.job.handle, running.job.state) == (job.handle, RUNNING)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: job.stop(by="alice", grace_s=5))
                stopping, finished = await anext(messages), await anext(messages)
            assert (stopping.state, finished.state) == (STOPPING, FINISHED)
            assert finished.job.end.reason == "stopped"
            numbers = [each.sequence for each in (begin, removed, running, stopping, finished)]
            assert numbers == sorted(set(numbers))
            assert abs(finished.time_ns - finished.job.ended_ns) < 60 * 10**9


async def test_pause_and_resume_are_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the caller has its answer; also those that could not be recorded at once, and
    those that the next server finds."""
    seen: list[tuple[str, bool | None]] = []

    def note(message: pb.WatchResponse) -> None:
        assert message.state == RUNNING
        seen.append((message.handle, message.paused if message.HasField("paused") else None))

    backend = FakeBackend()
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        async with watched(w) as messages:
            begin = (await anext(messages)).sequence
            job = await w.manager.start("alice", JobSpec("sleep"))
            for paused in (True, True, False):
                await job.set_paused(paused)
            with monkeypatch.context() as full:
                full.setattr(Store, "set_paused", failing_store)
                await job.set_paused(True)
            assert w.manager.keep_records_in_place() == ""
            assert w.manager.keep_records_in_place() == ""
            for _ in range(4):
                note(await anext(messages))
        assert seen == [(job.handle, paused) for paused in (None, True, False, True)]
        w.manager.leave()
    backend.jobs[job.id].paused = False  # while no server is there
    seen.clear()
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        for message in (await all_of(w, begin))[1:]:
            note(message)
        assert seen == [(job.handle, paused) for paused in (None, True, False, True, False)]


def failing_store(*args: object) -> None:
    """In the place of a transaction, on a full disk."""
    raise sqlite3.OperationalError("database or disk is full")


async def test_watch_list_and_apply_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens between the first message and the list is in both, and that is no harm."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            await anext(messages)
            job = await ended(w)
            listed = await w.service.List(pb.ListRequest(all=True), asked_by("alice"))
            assert [each.handle for each in listed.jobs] == [job.handle]
            later = await ended(w)
            seen = [(each.handle, each.state) for each in [await anext(messages) for _ in range(4)]]
            assert seen == [
                (handle, state)
                for handle in (job.handle, later.handle)
                for state in (RUNNING, FINISHED)
            ]


async def test_a_watcher_resumes_where_it_was_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C63: behind any number that it has had, in order, also from the next server."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            begin = (await anext(messages)).sequence
        for _ in range(40):
            await ended(w)
        seen = (await all_of(w, begin))[1:]
        assert [each.state for each in seen] == [RUNNING, FINISHED] * 40
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        for number in range(0, 80, 7):
            again = await all_of(w, seen[number].sequence)
            assert again[0] == pb.WatchResponse(sequence=seen[number].sequence)
            assert [(each.sequence, each.handle, each.state) for each in again[1:]] == [
                (each.sequence, each.handle, each.state) for each in seen[number + 1 :]
            ]


async def test_a_watcher_that_leaves_frees_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C63: its quota and its subscription; a further one is refused, and that is on record."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        (readers,) = [w.manager._change_readers]
        for _ in range(3):
            async with watched(w) as first, watched(w) as second:
                await anext(first), await anext(second)
                assert readers._broadcasters["alice"].readers == 2
                async with watched(w) as third:
                    with pytest.raises(RpcError) as caught:
                        await anext(third)
                assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
            assert readers._broadcasters["alice"].readers == 0
        assert [line["verb"] for line in w.refusals()] == ["watch"] * 3


async def test_an_unknown_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C64: as the first message, and the watch begins at the end of the table."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        await ended(w)
        async with watched(w) as messages:
            now = (await anext(messages)).sequence
        for number in (0, now - 1, now + 1, 2**64 - 1):
            assert await all_of(w, number) == [pb.WatchResponse(sequence=now, resync=True)]
        assert await all_of(w, now) == [pb.WatchResponse(sequence=now)]


@pytest.mark.parametrize("how", ["far behind", "pruned"])
async def test_a_watcher_that_does_not_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """C64: in the middle of a watch, once for all that is skipped; then it goes on."""
    monkeypatch.setattr(service_watch, "_CHANGES_A_TURN", 3)
    monkeypatch.setattr(change_table, "MOST_BEHIND" if how == "far behind" else "MOST_CHANGES", 20)
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            await anext(messages)
            jobs = [await ended(w) for _ in range(2)]
            first = await anext(messages)  # and two more are read with it
            jobs += [await ended(w) for _ in range(40)]
            two, three, told = [await anext(messages) for _ in range(3)]
            assert [each.handle for each in (first, two, three)] == [
                jobs[0].handle,
                jobs[0].handle,
                jobs[1].handle,
            ]
            last = await ended(w)
            after = await anext(messages)
        assert told == pb.WatchResponse(sequence=told.sequence, resync=True)
        assert (after.handle, after.state) == (last.handle, RUNNING)


async def test_filters_are_applied_on_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By state, command and handle; what is left out does not come again as the watch resumes."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            begin = (await anext(messages)).sequence
        sleep, echo = await ended(w), await ended(w, command="other")

        async def seen(**fields: Any) -> list[tuple[str, int]]:
            return [(each.handle, each.state) for each in (await all_of(w, begin, **fields))[1:]]

        assert await seen(states=[FINISHED]) == [(sleep.handle, FINISHED), (echo.handle, FINISHED)]
        assert await seen(command="other") == [(echo.handle, RUNNING), (echo.handle, FINISHED)]
        assert await seen(handles=[sleep.handle], states=[RUNNING]) == [(sleep.handle, RUNNING)]
        named = await ended(w, name="web", labels={"tier": "one"})
        of_named = [(named.handle, RUNNING), (named.handle, FINISHED)]
        assert await seen(name="web") == of_named
        assert await seen(labels={"tier": "one"}) == of_named
        assert await seen(label_keys=["tier"]) == of_named
        assert await seen(prefix="we") == of_named
        assert await seen(prefix=named.handle, command="sleep") == of_named
        assert await seen(name="web", label_keys=["tier", "run"]) == []
        w.manager.remove(sleep)
        assert await seen(command="other", states=[RUNNING], name="") == [
            (sleep.handle, RUNNING),  # what it ran is not known any more
            (echo.handle, RUNNING),
        ]
        async with watched(w, after=begin, handles=["1"], heartbeat_s=0.1) as messages:
            await anext(messages)
            beat = await anext(messages)
        assert beat.heartbeat
        assert (await all_of(w, beat.sequence)) == [pb.WatchResponse(sequence=beat.sequence)]


async def test_heartbeats_come_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the number to resume from; none without the wish for them."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w, heartbeat_s=0.1) as messages:
            begin = await anext(messages)
            for _ in range(2):
                assert await anext(messages) == pb.WatchResponse(
                    sequence=begin.sequence, heartbeat=True
                )
            job = await ended(w)
            running, finished = await anext(messages), await anext(messages)
            assert (running.handle, finished.handle) == (job.handle, job.handle)
            beat = await anext(messages)
            assert beat == pb.WatchResponse(sequence=finished.sequence, heartbeat=True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"heartbeat_s": -1.0}, StatusCode.INVALID_ARGUMENT),
        ({"heartbeat_s": 0.001}, StatusCode.INVALID_ARGUMENT),
        ({"heartbeat_s": float("nan")}, StatusCode.INVALID_ARGUMENT),
        ({"states": [pb.JOB_STATE_ENDING]}, StatusCode.INVALID_ARGUMENT),
        ({"states": [77]}, StatusCode.INVALID_ARGUMENT),
        ({"handles": ["1"] * 101}, StatusCode.INVALID_ARGUMENT),
        ({"handles": ["../1"]}, StatusCode.NOT_FOUND),
        ({"handles": ["1"]}, StatusCode.NOT_FOUND),
        ({"handles": [""]}, StatusCode.INVALID_ARGUMENT),
        ({"label_keys": ["a"] * 17}, StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_request_of_a_wrong_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], code: StatusCode
) -> None:
    """With a line of audit, and before anything is taken of a quota."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w, **fields) as messages:
            with pytest.raises(RpcError) as caught:
                await anext(messages)
        assert caught.value.code is code
        assert [line["verb"] for line in w.refusals()] == ["watch"]
        assert w.service.access.quotas._streams["alice"] == 0


async def test_the_verb_must_be_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own verb: a client that may list may not watch by that."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w, "carol") as messages:
            with pytest.raises(RpcError) as caught:
                await anext(messages)
        assert caught.value.code is StatusCode.PERMISSION_DENIED


async def test_records_that_cannot_be_read_end_a_watch_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNAVAILABLE, so that a client comes again; what it held is free."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            await anext(messages)
            w.manager._store._db.execute("ALTER TABLE changes RENAME TO gone")
            w.manager._change_readers._changed("alice")
            with pytest.raises(RpcError) as caught:
                await anext(messages)
            w.manager._store._db.execute("ALTER TABLE gone RENAME TO changes")
        assert caught.value.code is StatusCode.UNAVAILABLE
        assert w.service.access.quotas._streams["alice"] == 0


async def test_one_turn_holds_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a watcher that does not read costs (C63): not all that is there, and nothing is lost."""
    monkeypatch.setattr(service_watch, "_BYTES_A_TURN", 1)
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        async with watched(w) as messages:
            begin = (await anext(messages)).sequence
        for _ in range(4):
            await ended(w)
        calls = service_watch.WatchCalls(w.service.access)
        with w.manager.watch("alice", begin) as reader:
            found, more = calls._next(reader, WatchWish())
            assert (len(found), more) == (1, True)
            assert reader.position == found[0].sequence
        assert len(await all_of(w, begin)) == 9


async def test_a_reader_ends_with_the_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the library alone: it does not wait for ever."""
    heard = []

    async def read(manager: Any) -> None:
        with manager.watch("alice") as reader:
            while await reader.wait_changed():
                heard.extend(reader.look(100))
        heard.append("ended")

    async with trio.open_nursery() as nursery:
        async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
            nursery.start_soon(read, w.manager)  # noqa: ASYNC111  # it outlives it
            await trio.testing.wait_all_tasks_blocked()
    assert heard == ["ended"]
