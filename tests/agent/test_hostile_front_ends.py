"""Whatever connects to an agent gets what it may have, and nothing of it is left in the agent."""

import array
import os
import resource
import select
import socket
import subprocess
import time
from collections.abc import Sequence

import pytest
from agents import AgentPlace
from patience import patient
from process_counts import Counts

from penstock.agent import wire
from penstock.agent.likeness import likeness

CUT = b""
# What a verb without a server ends with.
ENDED = wire.message(wire.EXIT, b"\2")


def connected(agent: AgentPlace) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(patient(20))
    link.connect(str(agent.socket))
    return link


def asking(agent: AgentPlace) -> bytes:
    """START, as a front end of this version sends it."""
    environment = {os.fsencode(key): os.fsencode(each) for key, each in agent.changing().items()}
    request = wire.Request(likeness(os.environb), (b"status", b"1"), b"", environment)
    return wire.message(wire.START, wire.encoded_request(request))


def answer(link: socket.socket) -> bytes:
    """All that it says until it closes."""
    said = b""
    try:
        while piece := link.recv(65536):
            said += piece
    except ConnectionResetError:  # what was sent is not read any more
        pass
    return said


def answer_to(agent: AgentPlace, descriptors: Sequence[int]) -> bytes:
    """What it says to these with GO."""
    with connected(agent) as link:
        link.sendall(asking(agent))
        assert link.recv(1)[0] == wire.ACCEPTED
        link.recv(65536)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        link.sendmsg([wire.message(wire.GO)], rights if descriptors else [])
        return answer(link)


@pytest.mark.root
def test_other_descriptors_than_a_front_ends(agent: AgentPlace) -> None:
    """Too few, too many, or of any kind: nothing of them stays open. Root, because an agent's
    descriptors are nobody else's to look at."""
    assert agent.process is not None
    null, here = os.open(os.devnull, os.O_RDWR), os.open("/", os.O_PATH)
    assert answer_to(agent, [null, null, null, here]) == ENDED  # its thread stays for a while
    before = Counts(agent.process.pid)
    for count in (0, 1, 3, 5, 6, 253):
        assert answer_to(agent, [null] * count) == CUT
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    with socket.socket() as listening, select.epoll() as epoll, one, other:
        listening.listen()
        kinds = [
            *(reading, writing, one.fileno(), listening.fileno(), epoll.fileno(), here),
            *(os.open("/", os.O_RDONLY), os.open(os.devnull, os.O_PATH), os.eventfd(0)),
        ]
        for each in kinds:
            assert answer_to(agent, [each] * 4) == ENDED
        for each in {*kinds, null} - {one.fileno(), listening.fileno(), epoll.fileno()}:
            os.close(each)
    before.wait_back()
    assert not agent.log.exists()


def test_what_is_no_whole_message(agent: AgentPlace) -> None:
    """Half of one, one of 4 GiB, one of another kind, and none: the next front end is served."""
    whole = asking(agent)
    started = time.monotonic()
    for half in (b"", b"S", b"S\0\0", whole[:40], whole[:-1]):
        with connected(agent) as link:
            link.sendall(half)
    for other, said in (
        (b"S\xff\xff\xff\xff", CUT),
        (b"S\x00\x40\x00\x01", CUT),
        (wire.message(wire.GO), wire.message(wire.DECLINED)),
        (wire.message(255, b"x" * 100_000), wire.message(wire.DECLINED)),
        (bytes(9), wire.message(wire.DECLINED)),
    ):
        with connected(agent) as link:
            link.sendall(other)
            assert answer(link) == said
    assert time.monotonic() - started < patient(5)
    assert agent.state()["running"] == 0
    assert not agent.log.exists()


@pytest.mark.slow  # five seconds
def test_who_says_nothing_is_not_waited_for(agent: AgentPlace) -> None:
    """All that are silent, or stop in the middle, are gone after five seconds."""
    links = [connected(agent) for _ in range(3)]
    links[1].sendall(b"S\0\0\1\0")
    links[2].sendall(asking(agent)[:-1])
    for link in links:
        with link:
            assert answer(link) == CUT
    assert agent.state()["running"] == 0


@pytest.mark.root
def test_another_user_is_refused_though_the_modes_let_him_in(agent: AgentPlace) -> None:
    """By what the kernel says of who has connected."""
    for each in (agent.runtime.parent, agent.runtime, agent.socket.parent):
        each.chmod(0o755)
    agent.socket.chmod(0o666)
    question = wire.message(wire.CONTROL, b"stop")
    code = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65530); os.setuid(65530)\n"
        "link = socket.socket(socket.AF_UNIX); link.connect(sys.argv[1])\n"
        "try: link.sendall(bytes.fromhex(sys.argv[2])); print(link.recv(100))\n"
        "except (BrokenPipeError, ConnectionResetError): print(b'')\n"
    )
    done = subprocess.run(
        ["python3", "-I", "-S", "-c", code, str(agent.socket), question.hex()],
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=True,
    )
    assert done.stdout == "b''\n"
    assert agent.state()["running"] == 0  # it has not ended, either


@pytest.mark.root
def test_with_few_descriptors_it_declines(agent: AgentPlace) -> None:
    """And does not accept what it could not be handed; whoever runs by it meanwhile goes on."""
    assert agent.process is not None
    words = [str(agent.program), "status", "1"]
    environment = {"PATH": os.environ["PATH"]} | agent.environment()
    before = Counts(agent.process.pid)
    for most in (60, 20):
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (most, 1024))
        links = [connected(agent) for _ in range(3)]
        for link in links:
            with link:
                link.sendall(asking(agent))
                assert answer_of_one(link) == wire.message(wire.DECLINED)
        done = subprocess.run(
            words, env=environment, capture_output=True, timeout=patient(20), check=False
        )
        assert (done.returncode, done.stderr[:30]) == (2, b"Error: no server to connect to")
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
    assert agent.state()["served"] == 0
    before.wait_back()
    subprocess.run(words, env=environment, capture_output=True, timeout=patient(20), check=False)
    assert agent.state()["served"] == 1


def answer_of_one(link: socket.socket) -> bytes:
    """One message without a body."""
    return link.recv(wire.HEAD_BYTES)
