"""Everything is reloaded again and again while jobs run, start and are followed (issue: no byte and
no job lost, a new client in, an old one out, server and supervisor never of two minds)."""

import hashlib
import random
from collections.abc import Iterator
from functools import partial

import pytest
import trio
from killing import expected_lines
from patience import patient
from restarts import kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, ask, connect
from penstock.client.follow import Follower
from penstock.operate import control_client
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import HandshakeFailed, RpcError, StatusCode

_PRINT = 'i=$((i+1)); printf "%024d %s\\n" $i "abcd"; [ $((i % 80)) = 0 ] && sleep 0.05'
COMMANDS = script("lines", f"trap 'exit 7' TERM; i=0; while :; do {_PRINT}; done") + script(
    "say", "echo said"
)
ALICE = (
    '[clients.alice]\ncommands = ["lines", "say"]\nmax_running = 1000\nmax_streams = 1000\n'
    "starts_per_minute = 100000\n"
)
OTHERS = ("bob", "carol")
again = partial(ask, repeatable=True, give_up_s=patient(30), reached=True)


def policy(inside: str, number: int) -> str:
    """One of two others is inside; something else is different each time."""
    more = f'[clients.{inside}]\ncommands = ["say"]\nmax_running = {number + 1}\n'
    return policy_text(COMMANDS, ALICE + more)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy("bob", 0), crl=True, max_jobs=100) as server:
        yield server


class Reloads:
    """The reloads of one run, and what each must have brought about."""

    def __init__(self, server: RunningServer, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.inside = "bob"
        self.generation = ""
        self.policy = server.directory / "policy.toml"
        self.config = server.directory / "penstockd.toml"
        self.control = str(server.directory / "run" / "control.sock")
        self.done = self.refused = self.killed = self.said = 0
        self.minds = set[str]()

    async def ask(self, request: str) -> control_client.ControlAnswer:
        return await trio.to_thread.run_sync(control_client.ask, self.control, request)

    async def good(self, number: int) -> None:
        """Policy, configuration and revocation list are other ones; all is taken up."""
        other = OTHERS[number % 2]
        self.write(other, number)
        answer = await self.ask("reload")
        assert answer.ok, answer.texts("mistakes")
        self.done += 1
        await self.is_in_force(other, str(answer.fields["generation"]))

    def write(self, inside: str, number: int) -> None:
        """As an editor does: a new file in the place of the old one."""
        beside = self.policy.with_suffix(".new")
        beside.write_text(policy(inside, number))
        beside.rename(self.policy)
        text = self.config.read_text()
        lines = [line for line in text.splitlines() if not line.startswith("max_jobs")]
        beside.write_text(f"max_jobs = {100 + number}\n" + "\n".join(lines) + "\n")
        beside.rename(self.config)
        self.server.pki.write_crl("carol" if inside == "bob" else "bob")

    async def bad(self, number: int) -> None:
        """A mistake, the supervisor's or the server's to find: nothing is taken up."""
        kept = {
            path: path.read_bytes() for path in (self.policy, self.server.pki.server.certificate)
        }
        if number % 20 < 10:
            self.policy.write_text(policy("carol", number) + "[clients.WRONG]\n")
        else:
            self.policy.write_text(policy("carol", number))
            self.server.pki.server.certificate.write_text("no certificate")
        answer = await self.ask("reload")
        assert not answer.ok
        assert answer.texts("mistakes")
        for path, data in kept.items():
            path.write_bytes(data)
        assert answer.fields["generation"] == self.generation
        self.refused += 1
        await self.is_in_force(self.inside, self.generation)

    async def killed_meanwhile(self, number: int) -> None:
        """Whatever becomes of it, both sides have the same files afterwards."""
        other = OTHERS[number % 2]
        before = self.inside
        self.write(other, number)
        async with trio.open_nursery() as nursery:
            answers: list[control_client.ControlAnswer] = []

            async def reload() -> None:
                answers.append(await self.ask("reload"))

            nursery.start_soon(reload)
            await trio.sleep(self.random.random() * 0.4)  # so far it comes
            await kill_server(self.server)
        (answer,) = answers
        self.killed += 1
        if answer.ok:
            self.done += 1
        await self.is_in_force(other if answer.ok else before, str(answer.fields["generation"]))

    async def is_in_force(self, inside: str, generation: str) -> None:
        """For supervisor and server alike: the one client comes in and starts, the other not."""
        self.inside, self.generation = inside, generation
        self.minds.add(generation)
        outside = OTHERS[1 - OTHERS.index(inside)]
        status = (await self.ask("status")).fields
        assert status["generation"] == generation
        told = await again(self.server.endpoint(inside), lambda client: client.who_am_i())
        assert told.policy_revision == status["policy_hash"]
        job = await again(
            self.server.endpoint(inside), lambda client: client.start("say", request_id=generation)
        )
        assert (await again(self.server.endpoint(inside), partial(wait, job.handle))).exit_code == 0
        with pytest.raises(RpcError) as caught:
            await again(self.server.endpoint(outside), lambda client: client.start("say"))
        refused = isinstance(caught.value, HandshakeFailed)
        assert refused or caught.value.code is StatusCode.PERMISSION_DENIED

    async def keep_starting(self) -> None:
        """The load: alice's jobs, one after another, each of which must do what it does."""
        number = 0
        while True:
            number += 1
            say = partial(said, f"load {number}")
            assert await again(self.server.endpoint("alice"), say) == b"said\n"
            self.said += 1


async def wait(handle: str, client: Client) -> pb.EndRecord:
    return (await client.wait(handle)).end


async def said(request_id: str, client: Client) -> bytes:
    job = await client.start("say", request_id=request_id)
    data = bytearray()
    async with client.stream(job.handle) as messages:
        async for message in messages:
            data += message.data
    return bytes(data)


@pytest.mark.parametrize(
    "count", [pytest.param(10), pytest.param(100, marks=pytest.mark.slow)], ids=str
)
async def test_nothing_is_lost_however_often_all_is_reloaded(
    server: RunningServer, count: int
) -> None:
    """Of ten, one has a bad file, and in another one the server is killed."""
    reloads = Reloads(server, count)
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("lines")
    follower = Follower(server.endpoint("alice"), job.handle, give_up_s=patient(60))
    digest, size = hashlib.sha256(), 0

    async def follow() -> None:
        nonlocal size
        async with follower.messages() as messages:
            async for message in messages:
                digest.update(message.data)
                size += len(message.data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        async with trio.open_nursery() as load:
            for _ in range(3 if count > 10 else 1):
                load.start_soon(reloads.keep_starting)
            reloads.generation = str((await reloads.ask("status")).fields["generation"])
            for number in range(1, count + 1):
                match number % 10:
                    case 3:
                        await reloads.bad(number)
                    case 7:
                        await reloads.killed_meanwhile(number)
                    case _:
                        await reloads.good(number)
            load.cancel_scope.cancel()
        await again(server.endpoint("alice"), lambda client: client.stop(job.handle))
    assert follower.end is not None
    assert follower.verdict.verified
    assert (follower.end.output_bytes, follower.end.output_sha256) == (size, digest.hexdigest())
    assert not follower.end.gaps
    assert size % len(expected_lines(1)) == 0
    assert follower.end.exit_code == 7
    assert (reloads.refused, reloads.killed) == (count // 10, count // 10)
    assert reloads.done >= count - 2 * count // 10
    assert len(reloads.minds) == reloads.done
    assert reloads.said > 0
