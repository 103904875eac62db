"""One connection for each server and identity, which is lent only while its server is there."""

import dataclasses
import gc
import os
import shutil
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fake_service import FakeServer, FakeService, fake_server
from leaks import Descriptors
from pki import shared_pki
from relay import READ_BYTES, Relay, relaying

from penstock.agent import lent_connections
from penstock.agent.lent_connections import MOST_BORROWERS, LentConnections
from penstock.agent.passphrase_memory import PassphraseMemory
from penstock.cli.typed_path import HeldDirectory, TypedPath
from penstock.client import Client, Endpoint, connect
from penstock.client.identity import IdentityError
from penstock.pki.fingerprints import fingerprint_of
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed


def endpoint(port: int) -> Endpoint:
    pair = shared_pki().clients["alice"]
    return Endpoint("127.0.0.1", port, shared_pki().ca, pair.certificate, pair.key)


@asynccontextmanager
async def shared() -> AsyncIterator[tuple[FakeServer, LentConnections]]:
    async with fake_server() as server, trio.open_nursery() as nursery:
        yield server, LentConnections(nursery)
        nursery.cancel_scope.cancel()


async def called(connections: LentConnections, at: Endpoint) -> Client:
    """One call; the client that it was given."""
    async with connections.connect(at) as client:
        await client.server_info()
        return client


async def test_one_after_the_other_and_at_once_it_is_the_same() -> None:
    async with shared() as (server, connections):
        at = endpoint(server.port)
        first = await called(connections, at)
        assert await called(connections, at) is first
        async with connections.connect(at) as one, connections.connect(at) as other:
            assert one is other is first
        assert len(connections.open) == 1


async def test_what_a_server_must_be_is_part_of_which_connection_it_is() -> None:
    """One who expects another name, or has pinned a certificate, or has no CA, would not have been
    let in by what another one expects."""
    certificate = x509.load_pem_x509_certificate(shared_pki().server.certificate.read_bytes())
    pin = fingerprint_of(certificate.public_bytes(Encoding.DER))
    async with shared() as (server, connections):
        at = endpoint(server.port)
        kinds = [
            at,
            dataclasses.replace(at, server_name="localhost"),
            dataclasses.replace(at, server_fingerprint=pin),
            dataclasses.replace(at, server_fingerprint=pin, ca=None),
        ]
        found = [await called(connections, each) for each in kinds]
        assert len({id(each) for each in found}) == len(kinds)
        assert [await called(connections, each) for each in kinds] == found
        with pytest.raises(HandshakeFailed, match="is not the one that is pinned"):
            await called(connections, dataclasses.replace(at, server_fingerprint="0" * 64))
        certificates = {str(each.certificate) for each in connections.open}
        assert certificates == {str(at.certificate)}


async def test_many_at_once_have_several() -> None:
    """So that as many as stand still leave room in each; they wait for one attempt together."""
    async with shared() as (server, connections):
        found: list[Client] = []
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:

            async def one() -> None:
                found.append(
                    await stack.enter_async_context(connections.connect(endpoint(server.port)))
                )

            for _ in range(2 * MOST_BORROWERS + 1):
                nursery.start_soon(one)
        assert len({id(each) for each in found}) == len(connections.open) == 3


async def test_an_attempt_that_fails_fails_for_all_who_wait_and_notes_are_their_own() -> None:
    """The next one tries again."""
    errors: list[Exception] = []
    async with shared() as (server, connections):
        server.break_connections()
        server.listener.socket.close()
        at = endpoint(server.port)

        async def one() -> None:
            with pytest.raises(ConnectionLost) as caught:
                async with connections.connect(at, connect_timeout_s=0.3):
                    pass
            caught.value.add_note("mine")
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
        assert len({id(error) for error in errors}) == 3
        assert [error.__notes__ for error in errors] == [["tried for 0.3 s", "mine"]] * 3
        assert connections.open == []
        await server.serve()
        await called(connections, at)


async def test_who_waits_for_a_shorter_time_tries_by_himself() -> None:
    """A long attempt of another one does not hold him up."""
    async with shared() as (server, connections):
        server.break_connections()
        server.listener.socket.close()
        at = endpoint(server.port)
        async with trio.open_nursery() as nursery:

            async def long() -> None:
                async with connections.connect(at, connect_timeout_s=100):
                    pass

            nursery.start_soon(long)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with pytest.raises(ConnectionLost):
                async with connections.connect(at, connect_timeout_s=0.1):
                    pass
            nursery.cancel_scope.cancel()


async def test_the_directory_of_one_who_has_left_is_there_for_who_waits(tmp_path: Path) -> None:
    """Relative paths begin at a directory that is closed with the command line; an attempt that it
    has begun goes on for others, and holds no directory once it has succeeded."""
    pair = shared_pki().clients["alice"]
    originals = (shared_pki().ca, pair.certificate, pair.key)
    names = [Path(shutil.copy(each, tmp_path)).name for each in originals]
    before = Descriptors()

    async def one(server: FakeServer, connections: LentConnections, *, leaves: bool) -> None:
        held = HeldDirectory(os.open(tmp_path, os.O_PATH))
        with trio.CancelScope() as scope:
            if leaves:
                scope.cancel()
            ca, certificate, key = (begun_at(held, name) for name in names)
            at = Endpoint("127.0.0.1", server.port, ca, certificate, key)
            await called(connections, at)
        held.close()

    for _ in range(10):  # whichever of them comes first
        async with shared() as (server, connections):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(one, server, connections, leaves=True))
                nursery.start_soon(partial(one, server, connections, leaves=False))
            assert len(connections.open) == 1
            assert str(tmp_path) not in before.opened_since().values()


def begun_at(directory: HeldDirectory, name: str) -> Path:
    found = TypedPath(name)
    found._directory = directory
    return found


async def test_a_file_that_is_missing_is_explained(tmp_path: Path) -> None:
    async with shared() as (server, connections):
        at = dataclasses.replace(endpoint(server.port), key=tmp_path / "none")
        with pytest.raises(IdentityError, match=r"none .--key"):
            async with connections.connect(at):
                pass
        with pytest.raises(IdentityError, match="--ca"):
            async with connections.connect(
                dataclasses.replace(at, key=endpoint(1).key, ca=tmp_path)
            ):
                pass


@dataclass
class MutedRelay(Relay):
    """Carries bytes until it is ``muted``; connections made later are not."""

    muted: set[int] = field(default_factory=set)

    async def carry(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        number = self.connections

        async def one_way(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            while data := await source.receive_some(READ_BYTES):
                if number in self.muted:
                    await trio.sleep_forever()
                await sink.send_all(data)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_way, client, server)
            nursery.start_soon(one_way, server, client)


async def test_a_connection_that_has_died_without_a_word_is_not_lent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a night: the server is asked first, and another connection made in time."""
    monkeypatch.setattr(lent_connections, "_FRESH_S", 0.0)
    monkeypatch.setattr(lent_connections, "_ANSWER_S", 0.2)
    async with shared() as (server, connections), relaying(MutedRelay(server.port)) as relay:
        at = endpoint(relay.port)
        first = await called(connections, at)
        assert await called(connections, at) is first
        relay.muted.add(1)
        assert await called(connections, at) is not first
        assert relay.connections == 2


async def test_a_connection_keeps_nothing_of_who_has_made_it() -> None:
    """An invocation is found by a context variable, which tasks inherit."""

    class Handed:
        """What a front end has handed over."""

    variable: ContextVar[Handed | None] = ContextVar("variable", default=None)
    async with shared() as (server, connections):
        handed = Handed()
        gone = weakref.ref(handed)
        token = variable.set(handed)
        await called(connections, endpoint(server.port))
        variable.reset(token)
        del handed, token
        gc.collect()
        assert gone() is None
        assert len(connections.open) == 1


async def test_whether_a_server_answers() -> None:
    """wait_answer: at once where it does, and an error where the connection is lost meanwhile."""
    async with fake_server(FakeService()) as server:
        async with connect(endpoint(server.port)) as client:
            await client.channel.wait_answer()
            await client.channel.wait_answer()
            assert client.channel.usable
            server.break_connections()
            await client.channel.wait_unusable()
            with pytest.raises(ConnectionLost):
                await client.channel.wait_answer()


async def test_a_file_that_was_written_over_in_its_place_is_another(tmp_path: Path) -> None:
    """With the size and the mtime of the one before, as tools for installing do it."""
    key = tmp_path / "key"
    key.write_bytes(b"one")
    os.utime(key, (1, 1))
    at = dataclasses.replace(endpoint(1), key=key)
    before, memory = lent_connections._place_of(at), PassphraseMemory()
    memory.keep(key, b"secret")
    assert (lent_connections._place_of(at), memory.of(key)) == (before, b"secret")
    await trio.sleep(0.05)  # longer than the clock of a file system stands still
    key.write_bytes(b"two")
    os.utime(key, (1, 1))
    assert lent_connections._place_of(at) != before
    assert memory.of(key) is None
