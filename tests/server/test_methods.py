"""The table of methods: each call begins as its row says, and acts in the turn that decided."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from service_world import World, asked_by, failing, world

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.history import History
from penstock.jobs.input import JobInput
from penstock.jobs.job import Job
from penstock.jobs.manager import Manager
from penstock.policy.policy_file import VERBS
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server import service_control, service_start
from penstock.server.methods import METHODS
from penstock.server.rate_limits import Quotas

POLICY = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
stdin = true
[clients.alice]
commands = ["sleep"]
"""
SERVICE = pb.DESCRIPTOR.services_by_name["CommandService"]
FIELDS: dict[str, dict[str, Any]] = {
    "Start": {"command": "sleep"},
    "Stop": {"no_wait": True, "signal": "HUP"},
    "Signal": {"signal": "HUP"},
}
READS_ALONE = ("ServerInfo", "WhoAmI")  # nothing is decided for these
ENDED = ("Wait", "Remove")  # what waits for the job's end, or for it to have ended


class Once:
    """One message of a stream, and no end."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def __aiter__(self) -> "Once":
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self._message is None:
            await trio.sleep_forever()
        message, self._message = self._message, None
        return message


async def made(w: World, method: str) -> Job:
    """A job that this method can be called on."""
    job = await w.manager.start("alice", JobSpec("sleep", stdin=True))
    if method in ENDED:
        w.backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
    return job


async def call(w: World, method: str, job: Job) -> None:
    """One call of it, to its first answer."""
    row = METHODS[method]
    request = getattr(pb, SERVICE.methods_by_name[method].input_type.name)
    message = request(**FIELDS.get(method, {}), **({"pid": job.handle} if row.job else {}))
    function = getattr(w.service, method)
    if SERVICE.methods_by_name[method].server_streaming:
        first = Once(message) if method == "SendInput" else message
        async with aclosing(function(first, asked_by("alice"))) as answers:
            await anext(answers)
    else:
        await function(message, asked_by("alice"))


def test_the_table_is_the_schema_s() -> None:
    """A row for each method, and a job where the request has a pid; each verb of a policy is some
    method's."""
    assert list(METHODS) == [method.name for method in SERVICE.methods]
    for method in SERVICE.methods:
        assert METHODS[method.name].job == ("pid" in method.input_type.fields_by_name), method.name
    verbs = [row.verb for row in METHODS.values() if row.verb is not None]
    assert sorted(verbs) == sorted(VERBS)
    assert {row.verb for row in METHODS.values() if row.grant == "before"} == {"start"}


@pytest.mark.parametrize("method", METHODS)
async def test_a_grant_is_a_line_as_its_row_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Each one, or the first one, or none; and a line that cannot be written keeps a call from
    being done only where the row has it before."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        w.count_repeats()
        grant = METHODS[method].grant
        job = await made(w, method)
        with monkeypatch.context() as full:
            full.setattr(w.audit, "write", failing)
            if grant == "before":
                with pytest.raises(RpcError) as caught:
                    await call(w, method, job)
                assert caught.value.code is StatusCode.UNAVAILABLE
                assert len(w.backend.jobs) == 1
            else:
                await call(w, method, job)
        assert w.decisions() == []
        counted = {"counted": 1}.get(grant, 0)
        assert w.repeats.close() == 0
        assert [count for _, _, _, count in w.repeated] == [1] * counted
        other = await made(w, method)
        before = len(w.decisions())
        await call(w, method, other)
        # A second one of the same thing, but of what can be done once alone.
        if method not in ("Stop", "Remove"):
            await call(w, method, other)
        lines = w.decisions()[before:]
        assert all(line["allowed"] and line["verb"] == METHODS[method].verb for line in lines)
        once = method in ("Stop", "Remove")
        # One of List or Watch is as the other, whatever jobs there are.
        first = 0 if method in ("List", "Watch") else 1
        assert len(lines) == {"none": 0, "counted": first}.get(grant, 1 if once else 2)


@pytest.mark.parametrize("method", METHODS)
async def test_a_quota_is_taken_as_its_row_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """That one alone, once; a stream's is given back."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await made(w, method)
        told: list[str] = []
        for name in ("take_start", "take_signal", "take_stream", "give_stream"):
            monkeypatch.setattr(
                w.service.access.quotas, name, lambda *_, name=name: told.append(name)
            )
        await call(w, method, job)
        quota = METHODS[method].quota
        expected = [] if quota is None else [f"take_{quota}"]
        assert told == expected + (["give_stream"] if quota == "stream" else [])


class Turns(trio.abc.Instrument):
    """How often Trio's scheduler has given some task its turn."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@contextmanager
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """In which turn each of these was called: what decides, and what acts."""
    turns, found = Turns(), list[tuple[str, int]]()

    def note(owner: Any, name: str, kind: str) -> None:
        true = getattr(owner, name)

        def instead(*args: Any, **kwargs: Any) -> Any:
            found.append((kind, turns.count))
            return true(*args, **kwargs)

        monkeypatch.setattr(owner, name, instead)

    deciding: list[tuple[Any, str]] = [
        (History, "get"),
        (History, "check_name"),
        (Quotas, "take_start"),
        (Quotas, "take_signal"),
        (Quotas, "take_stream"),
        (service_start, "may_start"),
        (service_control, "may_signal"),
    ]
    acting: list[tuple[Any, str]] = [
        (Manager, "start"),
        (History, "walk"),
        (Manager, "remove"),
        (Manager, "watch"),
        (Job, "ask_stop"),
        (Job, "signal"),
        (Job, "set_paused"),
        (Job, "read_output"),
        (Job, "wait_finished"),
        (Job, "look_at_limits"),
        (JobInput, "claim"),
    ]
    for owner, name in deciding:
        note(owner, name, "decides")
    for owner, name in acting:
        note(owner, name, "acts")
    trio.lowlevel.add_instrument(turns)
    try:
        yield found
    finally:
        trio.lowlevel.remove_instrument(turns)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in READS_ALONE])
async def test_no_checkpoint_lies_between_what_decides_and_what_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Nothing can change in between: no place of a quota, no job, no stop of somebody else's. Of
    input the quota decides, as a job that is being taken over is waited for before."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await made(w, method)
        with noted(monkeypatch) as found:
            await call(w, method, job)
        if method == "SendInput":
            found = found[1:]
        decided = [turn for kind, turn in found if kind == "decides"]
        acted = next(turn for kind, turn in found[::-1] if kind == "acts")
        assert set(decided) <= {acted}, found
        assert method == "List" or decided


async def test_a_checkpoint_in_between_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test before this one fails if there is one."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        job = await made(w, "Status")
        with noted(monkeypatch) as found:
            w.manager.get(job.handle)
            await trio.lowlevel.checkpoint()
            await job.look_at_limits()
        (decides, decided), (acts, acted) = found
        assert (decides, acts) == ("decides", "acts")
        assert decided < acted
