"""What a peer sends beside its messages, where the kernel lets it: it must not block us."""

import array
import contextlib
import json
import os
import resource
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from patience import patient

from penstock.supervisor.ipc.from_supervisor import Nothing
from penstock.supervisor.ipc.server_socket import ServerPeer, discard
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.kernel.proc_tree import children
from penstock.supervisor.kernel.reap import strangers

# How long closing it would take. Anything that does not wait takes a small part of it.
LINGER_S = int(patient(30))
RELEASE = json.dumps({"type": "RELEASE", "id": "0" * 32}).encode()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection that passes descriptors: no listener has forbidden it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.closing(theirs):
        yield ours, theirs
    ours.close()


@contextlib.contextmanager
def lingering() -> Iterator[socket.socket]:
    """A connection to nobody who reads, with more to send than is under way."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as waste:
        sender = waste.enter_context(socket.create_connection(listener.getsockname()))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(bytes(65536))
        # Or else the close would return at once, and the kernel linger by itself.
        sender.setblocking(True)
        yield sender


def send_with(theirs: socket.socket, sender: socket.socket, data: bytes) -> None:
    """And is no holder of it any more."""
    rights = array.array("i", [sender.fileno()])
    theirs.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    sender.close()


def closed_by(ours: socket.socket, loop: Loop) -> list[str]:
    """Why a peer's connection has ended; the messages that came before are passed on."""
    why: list[str] = []

    def closed(text: str) -> None:
        why.append(text)
        loop.stop()

    def breaking() -> None:
        assert ours.fileno() >= 0
        why.append("breaking")

    ServerPeer(loop, ours, lambda message: why.append(message.kind), closed, breaking)
    loop.run()
    return why


def test_descriptors_are_not_even_closed_here(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The message that has them ends the connection, and is not obeyed."""
    ours, theirs = pair
    with lingering() as sender:
        theirs.send(RELEASE)
        send_with(theirs, sender, RELEASE)
        begin = time.monotonic()
        why = "it sent descriptors, which no request has"
        assert closed_by(ours, Loop()) == ["RELEASE", "breaking", why]
        assert time.monotonic() - begin < LINGER_S / 2


def test_a_peer_that_leaves_by_itself_breaks_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Its end is its own."""
    ours, theirs = pair
    theirs.close()
    assert closed_by(ours, Loop()) == ["end of connection"]


def test_what_nobody_has_read(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection that ends for another reason, with such a message behind."""
    ours, theirs = pair
    with lingering() as sender:
        theirs.send(b"no message")
        send_with(theirs, sender, RELEASE)
        begin = time.monotonic()
        broke, why = closed_by(ours, Loop())
        assert (broke, why[:13]) == ("breaking", "not a message")
        assert time.monotonic() - begin < LINGER_S / 2


def test_nobody_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whoever closes a connection for us ends then, and is reaped as others' children are."""
    ours, theirs = pair
    fds, own = len(os.listdir("/proc/self/fd")), children(os.getpid())
    discard(ours)
    assert theirs.recv(1) == b""
    deadline = time.monotonic() + 20
    while children(os.getpid()) - own:
        strangers()
        assert time.monotonic() < deadline
    assert len(os.listdir("/proc/self/fd")) == fds - 1


def test_without_descriptors_for_copies_only_the_connection_ends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A server that takes none of what it was sent: nothing of a message stays open."""
    ours, theirs = pair
    reasons: list[str] = []
    peer = ServerPeer(
        Loop(), ours, lambda _: None, reasons.append, lambda: reasons.append("breaking")
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
    try:
        peer.send(Nothing(), [0, 1])  # there is room for one copy
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert reasons == ["breaking", "1 messages wait for it: Too many open files"]
    assert theirs.recv(100) == b""
    peer.send(Nothing(), [0, 1])
    assert len(reasons) == 2
    free_again = os.dup(0)
    os.close(free_again)
    assert free_again <= lowest_free
