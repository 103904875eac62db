"""WhoAmI: what a client is told of itself and of what it may do, whole, bounded, and no more."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from google.rpc.error_details_pb2 import ErrorInfo
from service_world import World, asked_by, world

from penstock.policy.policy_file import VERBS
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server import service_whoami
from penstock.server.authn import Identity
from penstock.server.granted_commands import MAX_CHOICES, MAX_CHOICES_OF_ALL, command_message
from penstock.server.rate_limits import COSTLY_BURST

POLICY = b"""
[classes.small]
cpu = "10%"
storage = "1MB"
files = 7
memory = "64MiB"
needs = { all = "best_effort" }
[commands.tail]
path = "/usr/bin/tail"
class = "small"
arguments = [
  { optional = [{ literal = "-n" }, { int = { min = 0, max = 1000 } }] },
  { optional = { enum = ["-f", "-F"] } },
  { repeat = { min = 1, max = 4, slot = { path = { root = "/log", owners = ["hidden-owner"] } } } },
  { optional = { pattern = "[a-z]{1,8}" } },
]
user = "hidden-user"
groups = ["hidden-group"]
workdir = "/hidden-workdir"
fixed = ["--hidden-fixed"]
env = { SECRET = "hidden-value" }
env_allowed = ["LANG", "COLUMNS"]
stdin = true
description = "Shows the end of a log."
timeout = "5m"
grace = "3s"
signals = ["HUP", "USR1"]
output = "1MiB"
when_full = "stop"
[commands.date]
path = "/bin/date"
class = "small"
[commands.hidden-command]
path = "/hidden-program"
class = "small"
[clients.alice]
commands = ["tail", "date"]
max_running = 2
max_streams = 1
verbs = ["start", "status"]
[clients.hidden-client]
commands = ["hidden-command"]
"""


async def answered(w: World, client: str = "alice", **fields: Any) -> pb.WhoAmIResponse:
    return await asked_as(w, asked_by(client), **fields)


async def asked_as(w: World, request: Any, **fields: Any) -> pb.WhoAmIResponse:
    answer = await w.service.WhoAmI(pb.WhoAmIRequest(**fields), request)
    return pb.WhoAmIResponse.FromString(answer.SerializeToString())


class Steps(trio.abc.Instrument):
    """How often some task was given the event loop."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


def told_rule(error: RpcError) -> str:
    (info,) = (each for each in error.details if isinstance(each, ErrorInfo))
    return str(info.metadata["rule"])


async def test_a_client_is_told_what_it_may_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verbs, commands by name, each with its words, its keys and its limits."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        answer = await answered(w)
        assert (answer.client_id, list(answer.verbs)) == ("alice", ["start", "status"])
        assert not answer.HasField("client_limits")
        assert answer.policy_revision == w.service.access.policy.hash
        date, tail = answer.commands
        assert date == pb.GrantedCommand(
            name="date",
            program="/bin/date",
            usage=["date"],
            grace_s=10,
            class_name="small",
            limits=date.limits,
            any_signal=True,
        )
        assert list(tail.usage) == [
            "tail [-n NUMBER] [-f|-F] PATH{1,4} [TEXT]",
            "NUMBER: an integer from 0 to 1000",
            "PATH: a path beneath /log (no '..', not beginning with '-')",
            "TEXT: a text that matches [a-z]{1,8}",
        ]
        slot = pb.ArgumentSlot
        assert list(tail.slots) == [
            slot(
                kind="optional",
                slots=[slot(kind="literal", text="-n"), slot(kind="int", min=0, max=1000)],
            ),
            slot(kind="optional", slots=[slot(kind="enum", choices=["-f", "-F"])]),
            slot(kind="repeat", min=1, max=4, slots=[slot(kind="path", text="/log")]),
            slot(kind="optional", slots=[slot(kind="pattern", text="[a-z]{1,8}")]),
        ]
        assert list(tail.env_keys) == ["COLUMNS", "LANG"]
        assert (tail.stdin, tail.timeout_s, tail.grace_s) == (True, 300, 3)
        assert (list(tail.signals), tail.any_signal) == (["HUP", "USR1"], False)
        assert tail.class_name == "small"
        assert tail.description == "Shows the end of a log."
        assert tail.limits == pb.Limits(
            cpu_cores=0.1,
            memory_bytes=1 << 26,
            output_bytes=1 << 20,
            output_when_full="stop",
            storage_bytes=1_000_000,
            files=7,
        )


async def test_nothing_else_of_the_policy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what its own commands run as and with, nor anything of other clients."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        assert POLICY.count(b"hidden") == 10
        answer = await answered(w)
        assert b"hidden" not in answer.SerializeToString()
        assert b"SECRET" not in answer.SerializeToString()


async def test_one_command_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is another client's, and one that is nobody's, are refused alike, with a line."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        everything = await answered(w)
        assert list((await answered(w, command="tail")).commands) == [everything.commands[1]]
        none = await answered(w, no_commands=True)
        assert (list(none.commands), none.command_count) == ([], 2)
        assert w.decisions() == []
        for name in ("hidden-command", "nothing"):
            with pytest.raises(RpcError) as caught:
                await answered(w, command=name)
            assert caught.value.code is StatusCode.PERMISSION_DENIED
            text = f"command {name!r} is not granted to alice; granted: date, tail"
            assert caught.value.message == text
            assert told_rule(caught.value) == "clients.alice.commands"
            line = w.refusals()[-1]
            assert (line["verb"], line["command"], line["message"]) == ("info", name, text)
        with pytest.raises(RpcError) as caught:
            await answered(w, command="tail", no_commands=True)
        assert caught.value.code is StatusCode.INVALID_ARGUMENT


async def test_the_certificate_is_that_of_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it says that it never ends, in the year 9999, which no int64 holds."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        for end, shown in (
            (datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC), 1_798_859_045_000_000_000),
            (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 2**63 - 1),
        ):
            identity = Identity("alice", "issuer", "2a", end, "ab" * 32)
            request: Any = SimpleNamespace(context=SimpleNamespace(identity=identity))
            answer = await asked_as(w, request)
            assert answer.certificate == pb.Certificate(
                serial="2a", fingerprint="ab" * 32, not_after_ns=shown
            )


async def test_quotas_are_told_with_what_is_used_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are refused by; being asked for takes nothing of them."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:

        async def used() -> dict[str, tuple[int, int]]:
            answer = await answered(w, no_commands=True)
            return {each.name: (each.used, each.limit) for each in answer.quotas}

        assert "output.client" not in await used()  # which has no bound here
        w.manager.history.budget_of("alice").limit_bytes = 1 << 30
        before = await used()
        assert before == {
            "max_running": (0, 2),
            "max_streams": (0, 1),
            "starts_per_minute": (0, 120),
            "signals_per_minute": (0, 600),
            "start_requests": (0, COSTLY_BURST),
            "output.client": (0, 1 << 30),
        }
        client = w.service.access.policy.clients["alice"]
        quotas = w.service.access.quotas
        await w.service.Start(pb.StartRequest(command="date"), asked_by("alice"))
        quotas.take_signal(client)
        quotas.take_stream(client)
        quotas.take_costly(client)
        w.manager.history.budget_of("alice").charge(4096)
        after = await used()
        assert {name: count for name, (count, _) in after.items()} == {
            "max_running": 1,
            "max_streams": 1,
            "starts_per_minute": 1,
            "signals_per_minute": 1,
            "start_requests": 1,
            "output.client": 4096,
        }
        free = {each.name: each.free_after_s for each in (await answered(w)).quotas}
        assert 59 < free["starts_per_minute"] <= 60
        assert 59 < free["signals_per_minute"] <= 60
        assert 0 <= free["start_requests"] <= 0.05
        assert free["max_running"] == free["max_streams"] == free["output.client"] == 0


def large(commands: int, slot: str) -> bytes:
    text = ['[classes.free]\nneeds = { all = "best_effort" }']
    names = [f"c{number:04}" for number in range(commands)]
    text += [
        f'[commands.{name}]\npath = "/bin/{name}"\nclass = "free"\narguments = [{slot}]'
        for name in names
    ]
    text.append(f"[clients.alice]\ncommands = {names}\n[clients.bob]\ncommands = []")
    return "\n".join(text).encode()


async def test_commands_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order, a hundred at a time if nothing else was asked for."""
    policy = large(250, '{ literal = "x" }')
    async with world(tmp_path, monkeypatch, FakeBackend(), policy) as w:
        for size, pages in ((0, 3), (7, 36), (250, 1), (5000, 1)):
            names, token, count = list[str](), "", 0
            while True:
                answer = await answered(w, page_size=size, page_token=token)
                names += [each.name for each in answer.commands]
                token, count = answer.next_page_token, count + 1
                if not token:
                    break
            assert (names, count) == ([f"c{number:04}" for number in range(250)], pages)


async def test_a_page_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the commands have; of one slot's choices only so many are told."""
    policy = large(40, f"{{ enum = {[f'value-{n}' for n in range(MAX_CHOICES + 5)]} }}")
    async with world(tmp_path, monkeypatch, FakeBackend(), policy) as w:
        monkeypatch.setattr(service_whoami, "_PAGE_BYTES", 100_000)
        answer = await answered(w)
        assert 1 < len(answer.commands) < 40
        assert answer.ByteSize() < 101_000
        assert answer.next_page_token == answer.commands[-1].name
        (slot,) = answer.commands[0].slots
        assert (len(slot.choices), slot.more_choices) == (MAX_CHOICES, 5)
        assert slot.choices[0] == "value-0"
        monkeypatch.setattr(service_whoami, "_PAGE_BYTES", 1)
        assert len((await answered(w)).commands) == 1  # and goes on all the same


async def test_of_a_command_s_choices_together_there_is_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them are told, and of each slot how many more there are."""
    slot = f"{{ repeat = {{ max = 2, slot = {{ enum = {[f'v{n}' for n in range(900)]} }} }} }}"
    async with world(tmp_path, monkeypatch, FakeBackend(), large(1, ", ".join([slot] * 6))) as w:
        (command,) = (await answered(w)).commands
        told = [(len(each.slots[0].choices), each.slots[0].more_choices) for each in command.slots]
        assert told == [(900, 0)] * 4 + [(400, 500), (0, 900)]
        assert sum(count for count, _ in told) == MAX_CHOICES_OF_ALL


async def test_many_commands_hold_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written out in slices, and other tasks run between two of them; a second time, from
    what is written, in fewer."""
    slots = ", ".join(['{ literal = "x" }'] * 200)
    async with world(tmp_path, monkeypatch, FakeBackend(), large(60, slots)) as w:
        steps = Steps()
        written: list[int] = []

        def noted(*args: Any) -> pb.GrantedCommand:
            written.append(steps.count)
            return command_message(*args)

        monkeypatch.setattr(service_whoami, "command_message", noted)
        trio.lowlevel.add_instrument(steps)
        await answered(w)
        first, steps.count = steps.count, 0
        await answered(w)
        trio.lowlevel.remove_instrument(steps)
        assert len(written) == 60
        most = max(written.count(step) for step in written)
        assert 1 < most <= service_whoami._COST_A_TURN / 200
        assert steps.count < first >= 60 / most


async def test_every_client_may_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its verbs and commands; a stranger may not."""
    async with world(tmp_path, monkeypatch, FakeBackend(), large(2, "")) as w:
        answer = await answered(w, "bob")
        assert (answer.client_id, list(answer.commands)) == ("bob", [])
        assert sorted(answer.verbs) == sorted(VERBS)
        with pytest.raises(RpcError) as caught:
            await answered(w, "mallory")
        assert caught.value.code is StatusCode.UNAUTHENTICATED
