"""Another policy comes while a call is under way: what it does behind that, it decides by the new
one, or by one of the two alone."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from generations import generation
from service_world import POLICY_TEXT, World, asked_by, world

from penstock.policy.grammar import CHARACTERS_A_SLICE
from penstock.policy.policy_file import parse_policy
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server import service_whoami

LONG = ["b" * 200] * (2 * CHARACTERS_A_SLICE // 200) + ["a"]


def use(w: World, text: bytes) -> None:
    """As a switch does it."""
    w.in_force.current = generation(parse_policy(text))


def without(line: bytes) -> bytes:
    assert line in POLICY_TEXT
    return POLICY_TEXT.replace(line, b"")


class Turns:
    """In the place of FairTurns: before the second turn of a call something happens."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens
        self.count = 0

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        self.count += 1
        if self.count == 2:
            self._happens()
        yield


async def code_of(call: Callable[[], Awaitable[object]]) -> StatusCode:
    with pytest.raises(RpcError) as caught:
        await call()
    return caught.value.code


async def test_an_answer_in_slices_is_of_one_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C74: WhoAmI began by the old one, and says nothing of the new one; the next call does."""
    monkeypatch.setattr(service_whoami, "_COST_A_TURN", 1)
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        answers: list[pb.WhoAmIResponse] = []

        async def ask() -> None:
            encoded = await w.service.WhoAmI(pb.WhoAmIRequest(), asked_by("alice"))
            answers.append(pb.WhoAmIResponse.FromString(encoded.data))

        before = w.in_force.current.policy
        calls: Any = w.service.WhoAmI
        calls.__self__._turns = Turns(lambda: use(w, b"[clients.alice]\ncommands = []\n"))
        await ask()
        await ask()
        first, second = answers
        assert [each.name for each in first.commands] == ["print", "sleep"]
        assert first.policy_revision == before.hash
        assert list(second.commands) == []
        assert second.policy_revision == w.in_force.current.policy.hash


@pytest.mark.parametrize("grants", [True, False])
async def test_a_long_command_line_is_matched_by_the_policy_that_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grants: bool
) -> None:
    """C74: a grammar that is replaced between two slices of it has no say."""
    loose = POLICY_TEXT
    strict = POLICY_TEXT.replace(b"[a-z]{0,255}", b"[b-z]{0,255}")
    async with world(tmp_path, monkeypatch, FakeBackend(), strict if grants else loose) as w:
        turns: Any = Turns(lambda: use(w, loose if grants else strict))
        w.service.starts._turns = turns
        request = pb.StartRequest(command="print", argv=LONG, validate_only=True)
        if grants:
            await w.service.Start(request, asked_by("alice"))
        else:
            code = await code_of(lambda: w.service.Start(request, asked_by("alice")))
            assert code is StatusCode.PERMISSION_DENIED
        assert turns.count >= 3


async def test_input_is_not_taken_from_whom_the_verb_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C74: not even its first message, for which the call has waited."""
    backend = FakeBackend()
    text = POLICY_TEXT.replace(b'path = "/bin/sleep"', b'path = "/bin/sleep"\nstdin = true')
    async with world(tmp_path, monkeypatch, backend, text) as w:
        start = pb.StartRequest(command="sleep", stdin=True)
        job = (await w.service.Start(start, asked_by("alice"))).job
        send, receive = trio.open_memory_channel[pb.SendInputRequest](1)
        codes: list[StatusCode] = []

        async def call() -> None:
            answers = w.service.SendInput(receive, asked_by("alice"))
            codes.append(await code_of(lambda: anext(answers)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            verbs = ", ".join(f'"{verb}"' for verb in ("start", "status", "stop"))
            use(w, text + f"verbs = [{verbs}]\n".encode())
            send.send_nowait(pb.SendInputRequest(pid=job.handle, data=b"late"))
        assert codes == [StatusCode.PERMISSION_DENIED]
        found = w.manager.get(job.handle).input
        assert found is not None
        assert found.accepted == 0


async def test_a_quota_below_what_runs_stops_nothing_and_refuses_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C74: until as few run as the new policy says."""
    async with world(tmp_path, monkeypatch, FakeBackend()) as w:
        request = pb.StartRequest(command="sleep")
        jobs = [(await w.service.Start(request, asked_by("alice"))).job for _ in range(2)]
        use(w, POLICY_TEXT.replace(b"max_running = 2", b"max_running = 1"))
        assert len(w.manager.list("alice")) == 2

        async def again() -> object:
            return await w.service.Start(request, asked_by("alice"))

        assert await code_of(again) is StatusCode.RESOURCE_EXHAUSTED
        for job in jobs:
            assert await code_of(again) is StatusCode.RESOURCE_EXHAUSTED
            await w.service.Stop(pb.StopRequest(pid=job.handle), asked_by("alice"))
        await again()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (POLICY_TEXT + b"# the same\n", None),
        (without(b'"sleep", '), StatusCode.PERMISSION_DENIED),
        (POLICY_TEXT + b'verbs = ["status"]\n', StatusCode.PERMISSION_DENIED),
        (b"", StatusCode.PERMISSION_DENIED),
    ],
    ids=["granted", "no command", "no verb", "no client"],
)
async def test_a_start_that_meets_the_next_policy_is_decided_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, code: StatusCode | None
) -> None:
    """C73: the supervisor has switched and refuses it; the server switches, and decides anew."""
    backend = FakeBackend()
    async with world(tmp_path, monkeypatch, backend) as w:
        w.manager.starts.decide_again = w.service.starts.still_granted
        backend.supervisors_generation = "next"
        outcome: list[object] = []

        async def start() -> None:
            try:
                request = pb.StartRequest(command="sleep", request_id="r")
                outcome.append(await w.service.Start(request, asked_by("alice")))
            except RpcError as error:
                outcome.append(error.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            use(w, text)
            backend.switch("next")
        if code is not None:
            assert outcome == [code]
            assert w.manager.list(include_finished=True) == []
            return
        (answer,) = outcome
        assert isinstance(answer, pb.StartResponse)
        assert answer.job.policy_revision == "next"
        assert backend.asked_by == ["hash", "next"]
