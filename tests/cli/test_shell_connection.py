"""The shell's one connection: shared, back by itself, and what it knows by it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from fake_service import HANDLE, FakeServer, FakeService, chunk, fake_server

from penstock.cli.flags import Settings
from penstock.cli.shell.line_completer import KnownAnswers, LineCompleter
from penstock.cli.shell.live_view import LiveView
from penstock.cli.shell.shared_connection import LinkState, SharedConnection
from penstock.client import Endpoint
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed


def endpoint_of(server: FakeServer) -> Endpoint:
    pair = server.pki.clients["alice"]
    return Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)


class Link:
    """A shared connection that runs, and each of its states so far."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.states: list[LinkState] = []
        self.changed = trio.Event()
        self.shared = SharedConnection(endpoint, self.note)

    def note(self) -> None:
        self.states.append(self.shared.state)
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, state: LinkState) -> None:
        while self.shared.state is not state:
            await self.changed.wait()


@asynccontextmanager
async def link_to(server: FakeServer) -> AsyncIterator[Link]:
    link = Link(endpoint_of(server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.shared.run)
        yield link
        nursery.cancel_scope.cancel()


async def test_all_get_the_one_connection() -> None:
    """But those that go elsewhere."""
    async with fake_server() as server, fake_server() as other, link_to(server) as link:
        async with link.shared(link.endpoint) as one, link.shared(link.endpoint) as two:
            assert one is two
            async with link.shared(endpoint_of(other)) as third:
                assert third is not one
                assert (await third.start("ls")).handle == HANDLE
            assert (await two.start("ls")).handle == HANDLE
        async with link.shared(link.endpoint) as again:
            assert again is one
        assert (len(server.service.starts), len(other.service.starts)) == (1, 1)
        assert link.states == [LinkState.CONNECTED]


async def test_a_lost_one_comes_back() -> None:
    """Calls under way fail; whoever asks meanwhile waits for the next one."""
    service = FakeService()
    service.wait_may_answer = trio.Event()
    async with fake_server(service) as server, link_to(server) as link:
        async with link.shared(link.endpoint) as client, trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ConnectionLost):
                    await client.wait(HANDLE)

            nursery.start_soon(wait)
            await service.wait_arrived.wait()
            server.break_connections()
        await link.until(LinkState.LOST)
        assert link.shared.failure
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve)
            async with link.shared(link.endpoint) as client:
                assert (await client.start("ls")).handle == HANDLE
        assert link.states == [LinkState.CONNECTED, LinkState.LOST, LinkState.CONNECTED]


async def test_a_drain_keeps_what_is_under_way() -> None:
    """On the old connection, to its end, while new calls get the next one."""
    service = FakeService()
    service.messages = [chunk(b"one\n")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server, link_to(server) as link:
        async with link.shared(link.endpoint) as old, old.stream(HANDLE) as call:
            await anext(call)
            await anext(call)
            server.restart()
            await link.until(LinkState.LOST)
            async with link.shared(link.endpoint) as new:
                assert new is not old
                assert (await new.start("ls")).handle == HANDLE
            service.stream_may_end.set()
            assert await anext(call, None) is None  # its end, and no error
        await link.until(LinkState.CONNECTED)


async def test_without_a_server_an_attempt_tells_why() -> None:
    """Within the bound that is asked for; a certificate that is refused is the caller's own
    error."""
    async with fake_server() as server:
        server.break_connections()
        async with link_to(server) as link:
            with pytest.raises(ConnectionLost, match=r"refused|reset") as caught:
                async with link.shared(link.endpoint, connect_timeout_s=0):
                    pass
            assert caught.value.may_pass
            with pytest.raises(ConnectionLost, match=r"tried for 0\.2 s"):
                async with link.shared(link.endpoint, connect_timeout_s=0.2):
                    pass
            assert {*link.states} == {LinkState.LOST}


async def test_a_certificate_that_is_refused_is_no_loss_to_wait_for() -> None:
    """The error is that of connecting, with what to look at."""
    async with fake_server() as server:
        link = Link(replace(endpoint_of(server), server_name="elsewhere.example"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.shared.run)
            await link.until(LinkState.LOST)
            with pytest.raises(HandshakeFailed):
                async with link.shared(link.endpoint):
                    pass
            nursery.cancel_scope.cancel()


async def test_the_view_follows_every_connection() -> None:
    """Jobs as they change, and again after a loss; unknown meanwhile."""
    service = FakeService()
    service.jobs = [service.job]
    async with fake_server(service) as server, link_to(server) as link:
        seen = trio.Event()

        def note() -> None:
            nonlocal seen
            seen.set()
            seen = trio.Event()

        view = LiveView(link.shared, link.endpoint, note)

        async def until(running: int | None) -> None:
            while view.running != running:
                await seen.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.run)
            await until(1)
            assert view.client_id == "alice"
            service.change(handle="7", job=pb.Job(handle="7", state=pb.JOB_STATE_RUNNING))
            await until(2)
            service.change(job=pb.Job(handle=HANDLE, state=pb.JOB_STATE_FINISHED))
            await until(1)
            server.break_connections()
            await until(None)
            service.jobs = []
            await server.serve()
            await until(0)
            nursery.cancel_scope.cancel()


async def test_an_answer_is_kept_for_a_moment_and_empty_where_there_is_none() -> None:
    """A refusal offers nothing, as does a line for another server."""
    service = FakeService()
    service.jobs = [pb.Job(handle="90001", state=pb.JOB_STATE_RUNNING)]
    async with fake_server(service) as server, link_to(server) as link:
        known = KnownAnswers(link.shared, link.endpoint)
        completer = LineCompleter(known)
        await link.until(LinkState.CONNECTED)
        for _ in range(3):
            (offered,) = await completer.completions("stop 9")
            assert (offered.text, offered.start_position) == ("90001 ", -1)
        assert len(service.lists) == 1
        assert await completer.completions("--context lab stop 9") == []
        assert known.answer(Settings(context="lab"), "jobs", "") == ()
        server.break_connections()
        await link.until(LinkState.LOST)
        assert await completer.completions("rm 9") == []
        assert [each.text for each in await completer.completions("whoa")] == ["whoami "]


async def test_what_cannot_be_seen_is_not_offered() -> None:
    """A server's text is quoted where it is inserted, and escaped where it is shown."""
    service = FakeService()
    service.who_am_i.commands.add(name="two words", description="\x1b[2J")
    service.who_am_i.commands.add(name="two\x1b[2J")
    async with fake_server(service) as server, link_to(server) as link:
        await link.until(LinkState.CONNECTED)
        completer = LineCompleter(KnownAnswers(link.shared, link.endpoint))
        (offered,) = await completer.completions("start 'two")
        assert (offered.text, offered.start_position) == ("'two words' ", -4)
        assert "\x1b" not in offered.display_text + offered.display_meta_text
