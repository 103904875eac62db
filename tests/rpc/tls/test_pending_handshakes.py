"""Who gives way while TLS handshakes are under way, and the entrance that asks."""

import errno
import os
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hypothesis import given
from hypothesis import strategies as st
from patience import patient, slowness
from pki import shared_pki
from toy import SERVICE, Running, serving

from penstock.rpc.channel import open_channel
from penstock.rpc.tls.pending_handshakes import PendingHandshakes, Stage, source_of


def filled(*entries: tuple[str, str, Stage]) -> PendingHandshakes[str]:
    found: PendingHandshakes[str] = PendingHandshakes(Random(1), lambda: 0.0, 0.3)
    for name, source, stage in entries:
        found.add(name, source.encode(), stage)
    return found


def test_who_is_silent_gives_way_at_random() -> None:
    """Each about as often, and never who has said something."""
    gone: Counter[str | None] = Counter()
    random = Random(1)
    for _ in range(400):
        table: PendingHandshakes[str] = PendingHandshakes(random, lambda: 0.0, 0.3)
        table.add("speaks", b"1", Stage.SPOKEN)
        for number in range(4):
            table.add(f"silent {number}", b"2" if number % 2 else b"3")
        gone[table.take_who_gives_way(b"4", 5)] += 1
    assert set(gone) == {f"silent {number}" for number in range(4)}
    assert all(60 < times < 140 for times in gone.values())


def test_who_was_silent_for_longest_gives_way_once_it_had_its_grace() -> None:
    """So that a flood that gives everybody a round trip costs no client its place; and the same
    among those that were answered, each from its own answer on."""
    now = 0.0
    table: PendingHandshakes[int] = PendingHandshakes(Random(1), lambda: now, 0.3)
    for number in range(100):
        table.add(number, b"1")
        now += 0.01
    gone = [table.take_who_gives_way(b"1", 100) for _ in range(60)]
    assert gone == list(range(60))
    left = set(range(60, 100))
    for number in left:
        table.move(number, Stage.ANSWERED)  # their time begins anew
    by_chance = [table.take_who_gives_way(b"1", 40) for _ in range(10)]
    assert by_chance != list(range(60, 70))
    now += 0.3
    assert table.take_who_gives_way(b"1", 30) == min(left - set(by_chance))


def test_who_does_not_answer_gives_way_before_who_waits_for_us() -> None:
    """Else those that are answered and never go on fill the table, and each that has said hello
    makes way for the next before it is its turn. Of these the newest stays, which is begun with."""
    now = 0.0
    table: PendingHandshakes[int] = PendingHandshakes(Random(1), lambda: now, 0.3)
    for number in range(4):
        table.add(number, b"1", Stage.ANSWERED if number < 2 else Stage.SPOKEN)
    assert table.take_who_gives_way(b"1", 4, Stage.SPOKEN) == 2
    now = 0.3
    assert [table.take_who_gives_way(b"1", 4, Stage.SPOKEN) for _ in range(4)] == [0, 1, 3, None]


def test_the_least_far_gives_way_first() -> None:
    """Then who waits for its turn, then the others."""
    table = filled(
        ("c", "1", Stage.ANSWERED), ("b", "2", Stage.SPOKEN), ("a", "3", Stage.SILENT)
    )  # fmt: skip
    assert [table.take_who_gives_way(b"5", 3) for _ in range(4)] == ["a", "b", "c", None]


def test_a_source_with_half_gives_way_to_itself() -> None:
    """Whatever the others have sent; and where another has more than half, that one does."""
    mine = [(f"mine {number}", "me", Stage.ANSWERED) for number in range(3)]
    others = [(f"other {number}", f"{number}", Stage.SILENT) for number in range(3)]
    assert str(filled(*mine, *others).take_who_gives_way(b"me", 6)).startswith("mine")
    assert str(filled(*mine, *others).take_who_gives_way(b"new", 6)).startswith("other")
    more = filled(*mine, ("mine 4", "me", Stage.ANSWERED), *others[:2])
    assert str(more.take_who_gives_way(b"new", 6)).startswith("mine")
    more = filled(*mine, ("mine 4", "me", Stage.ANSWERED), *others[:2])
    assert str(more.take_who_gives_way(b"0", 6)).startswith("mine")


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.sampled_from(list(Stage))), max_size=60))
def test_no_source_holds_more_than_half_while_others_wait(
    arrivals: list[tuple[str, Stage]],
) -> None:
    """Whatever comes in whatever order: once full, who is over its half never grows, and another
    never loses one to a source that holds half."""
    most = 8
    table: PendingHandshakes[int] = PendingHandshakes(Random(2), lambda: 0.0, 0.3)
    held: Counter[str] = Counter()
    source_by_entry: dict[int, str] = {}
    for entry, (source, stage) in enumerate(arrivals):
        if len(table) == most:
            before = Counter(held)
            victim = table.take_who_gives_way(source.encode(), most)
            assert victim is not None
            loser = source_by_entry.pop(victim)
            held[loser] -= 1
            if before[source] >= most // 2:
                assert loser == source
            crowd = [each for each in before if before[each] > most // 2]
            if crowd:
                assert [loser] == crowd
        table.add(entry, source.encode(), Stage.SILENT)
        table.move(entry, stage)
        held[source] += 1
        source_by_entry[entry] = source
        assert len(table) == sum(held.values()) <= most
    for entry in list(source_by_entry):
        table.remove(entry)
        table.remove(entry)  # it may have given way in the same moment
    assert len(table) == table.count(Stage.SILENT) == 0


def test_sources() -> None:
    """IPv4 also where a socket of IPv6 tells it; of IPv6 a /64, a zone or not."""
    assert source_of("192.0.2.1") == source_of("::ffff:192.0.2.1") != source_of("192.0.2.2")
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:2") != source_of("2001:db8:0:1::1")
    assert source_of("fe80::1%lo") == source_of("fe80::2")


async def opened(running: Running, said: bytes = b"", host: str = "127.0.0.1") -> socket.socket:
    """Connected from ``host``, and heard by the server."""
    before = running.server.statistics().handshakes
    made = socket.socket()
    made.bind((host, 0))
    made.connect(("127.0.0.1", running.port))
    made.send(said)
    with trio.fail_after(patient(5)):
        while running.server.statistics().handshakes == before:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
    return made


def is_open(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


async def answered(sock: socket.socket) -> None:
    """TLS's answer has begun to arrive."""
    with trio.fail_after(patient(5)):
        await trio.lowlevel.wait_readable(sock)
    assert sock.recv(1, socket.MSG_DONTWAIT) == b"\x16"


async def closed(sock: socket.socket) -> None:
    """Whatever is said before."""
    with trio.fail_after(patient(5)):
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                if not sock.recv(65_536, socket.MSG_DONTWAIT):
                    return
            except ConnectionResetError:
                return


def hello() -> bytes:
    """A whole ClientHello, of who has no certificate."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=shared_pki().ca)
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def echo(running: Running) -> None:
    async with running.channel("bob") as channel:
        await channel.unary(SERVICE, "Echo", BytesValue(), BytesValue)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00" + bytes(100)])
async def test_who_has_said_hello_outlives_any_number_that_has_not(said: bytes) -> None:
    """Silent, a byte, half a record: none of them ends a handshake that has begun."""
    async with serving(shared_pki(), handshakes=4) as running:
        with await opened(running, hello()) as honest:
            await answered(honest)
            sockets = []
            for _ in range(60):
                made = socket.create_connection(("127.0.0.1", running.port))
                made.send(said)
                sockets.append(made)
            with trio.fail_after(patient(5)):
                while running.server.statistics().refused.get("handshakes", 0) < 57:  # noqa: ASYNC110
                    await trio.lowlevel.checkpoint()
            assert is_open(honest)
            assert running.server.statistics().handshakes == 4
            await echo(running)
            for made in sockets:
                made.close()


async def test_who_says_hello_as_it_is_to_give_way_stays() -> None:
    """In the same turn in which the others come: it is looked at once more."""
    async with serving(shared_pki(), handshakes=3) as running:
        for _ in range(8):
            others = []
            with await opened(running) as honest:
                honest.send(hello())
                for _ in range(12):
                    others.append(socket.create_connection(("127.0.0.1", running.port)))
                await answered(honest)
            for each in others:
                each.close()
            while running.server.statistics().handshakes:  # noqa: ASYNC110 - nothing tells
                await trio.lowlevel.checkpoint()


async def test_half_a_record_costs_no_task() -> None:
    """Nor does silence; a whole one does, and its rest may come later."""
    first = hello()
    async with serving(shared_pki()) as running:
        before = trio.lowlevel.current_statistics().tasks_living
        silent, half = await opened(running), await opened(running, first[:200])
        assert trio.lowlevel.current_statistics().tasks_living == before
        half.send(first[200:])
        await answered(half)
        assert trio.lowlevel.current_statistics().tasks_living == before + 1
        silent.close()
        half.close()
        while running.server.statistics().handshakes:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        assert running.server.statistics().refused == {"handshake": 2}


async def test_one_address_holds_half_while_another_waits() -> None:
    """All of them if nobody else comes; then its own give way, not the other's."""
    async with serving(shared_pki(), handshakes=6) as running:
        many = [await opened(running, host="127.0.0.2") for _ in range(6)]
        assert all(map(is_open, many))
        others = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(3)]
        address = ("127.0.0.1", running.port)
        for _ in range(20):
            many.append(socket.create_connection(address, source_address=("127.0.0.2", 0)))
        with trio.fail_after(patient(5)):
            while running.server.statistics().refused.get("handshakes", 0) < 23:  # noqa: ASYNC110
                await trio.lowlevel.checkpoint()
        assert [is_open(each) for each in others] == [True] * 3
        assert sum(map(is_open, many)) == 3
        for each in (*many, *others):
            each.close()


async def test_handshakes_give_way_where_connections_fill_the_server() -> None:
    """Not only at ``handshakes``: who is silent does not refuse who means it."""
    async with serving(shared_pki(), connections=3) as running, running.channel("carol"):
        sockets = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(5)]
        await echo(running)
        assert "connections" not in running.server.statistics().refused
        for each in sockets:
            each.close()


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """So many more than there are now, which need not be the lowest numbers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = set(map(int, os.listdir("/proc/self/fd")))
    free = [number for number in range(soft) if number not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[more], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_out_of_descriptors_the_silent_give_way() -> None:
    """Row 48 of the hazards: nobody waits for those that wait for nothing."""
    async with serving(shared_pki()) as running:
        async with running.channel("carol"):  # what is imported once is imported
            pass
        clients = [socket.socket() for _ in range(60)]
        ours = socket.socket()
        ours.setblocking(False)
        with ExitStack() as stack:
            for each in (*clients, ours):
                stack.callback(each.close)
            with few_descriptors(20):
                for each in clients:
                    each.connect(("127.0.0.1", running.port))
                assert ours.connect_ex(("127.0.0.1", running.port)) == errno.EINPROGRESS
                await trio.lowlevel.wait_writable(ours)
                ours.send(hello())
                with trio.fail_after(0.5 * slowness()):
                    await answered(ours)
        assert running.server.statistics().refused["handshakes"] >= 40


async def test_a_drain_closes_who_is_silent() -> None:
    """C11: they are in nobody's way, and no descriptor is left."""
    async with serving(shared_pki()) as running:
        silent = await opened(running)
        await running.server.drain(1.0)
        await closed(silent)
        assert running.server.statistics().handshakes == 0
        silent.close()


async def test_a_handshake_that_began_late_is_cut_at_the_same_time() -> None:
    """The time runs from accept: a byte at its end buys no more of it."""
    async with serving(shared_pki(), handshake_s=0.3) as running:
        begin = trio.current_time()
        with await opened(running) as made:
            await trio.sleep(0.2)
            made.send(hello())
            await closed(made)
        assert trio.current_time() - begin < 0.3 + 0.2 * slowness()
        assert running.server.statistics().refused == {"handshake_timeout": 1}


async def test_a_new_client_gets_in_at_once_behind_many_that_have_closed() -> None:
    """A thousand connects in the kernel's queue cost a few turns of the scheduler, not one each."""
    async with serving(shared_pki()) as running:
        for _ in range(1_000):
            socket.create_connection(("127.0.0.1", running.port)).close()
        turns = running.server.statistics().lag.turns
        async with open_channel(
            "127.0.0.1", running.port, shared_pki().client_context("bob")
        ) as channel:
            await channel.unary(SERVICE, "Echo", BytesValue(), BytesValue)
        assert running.server.statistics().refused["handshake"] == 1_000
        assert running.server.statistics().lag.turns - turns < 200
