"""Who may speak to the supervisor, and what ends a connection."""

import array
import json
import os
import socket
from collections.abc import Iterator

import pytest
from supervisor_peer import Peer, wait_dead
from supervisor_process import JOB_UID, Supervisor, running_supervisor, shell

from penstock.policy.limit_classes import ISOLATION_NAMES, LIMIT_NAMES

JOB_ID = "0123456789abcdef" * 2


@pytest.fixture
def running() -> Iterator[Supervisor]:
    text = shell("wait", "echo ready; exec sleep 1000", root=False)
    with running_supervisor(text, root=False) as supervisor:
        yield supervisor


def start_fields(peer: Peer) -> dict[str, object]:
    return {
        "type": "START",
        "id": JOB_ID,
        "opaque": "",
        "client": "alice",
        "policy": peer.generation,
        "command": "wait",
        "arguments": [],
        "env": {},
        "timeout_s": None,
    }


# Some of each kind; tests/supervisor/ipc/test_message_forms.py has all.
BROKEN = [
    b"",
    b"no json",
    b"[" * 100_000,
    b'{"type": "WELCOME"}',
    b'{"type": 5}',
    b'{"type": "HELLO", "version": 1, "pid": 1}',  # a second one
    b'{"type": "KILL", "id": "../../etc"}',
    b'{"type": "SIGNAL", "id": "0123456789abcdef0123456789abcdef", "signal": true}',
    b'{"type": "PAUSE", "id": "0123456789abcdef0123456789abcdef"}',
    b'{"type": "INSPECT", "id": "0123456789abcdef0123456789abcdef", "more": 1}',
]


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_message_ends_the_connection(running: Supervisor, data: bytes) -> None:
    """Nothing is answered and nothing is guessed."""
    with running.connect() as peer:
        peer.hello()
        peer.socket.send(data)
        assert peer.is_ended()


@pytest.mark.parametrize(("name", "value"), [("opaque", "x" * 4097), ("timeout_s", True)])
def test_a_malformed_start_ends_the_connection(
    running: Supervisor, name: str, value: object
) -> None:
    """A field of another form is a broken server, not a request to refuse."""
    with running.connect() as peer:
        peer.hello()
        peer.socket.send(json.dumps({**start_fields(peer), name: value}).encode())
        assert peer.is_ended()


def test_an_id_twice_ends_the_connection(running: Supervisor) -> None:
    """The server makes each id once; the job under it is ended with the connection."""
    with running.connect() as peer:
        peer.hello()
        job = peer.start("wait", id=JOB_ID)
        peer.socket.send(json.dumps(start_fields(peer)).encode())
        assert peer.is_ended()
        assert wait_dead(job.pid)


def test_descriptors_end_the_connection(running: Supervisor) -> None:
    """No request has any. Since Linux 6.16 the kernel does not even send them."""
    with running.connect() as peer, open(os.devnull) as null:
        peer.hello()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()]))
        data = json.dumps({"type": "KILL", "id": JOB_ID}).encode()
        try:
            peer.socket.sendmsg([data], [rights])
        except PermissionError:
            peer.send("KILL", id=JOB_ID)
            assert peer.wait("KILLED", JOB_ID)["count"] == 0
            return
        assert peer.is_ended()


@pytest.mark.parametrize(
    "message",
    [
        {"type": "KILL", "id": JOB_ID},
        {"type": "HELLO", "version": 2, "pid": 1},
        {"type": "HELLO", "version": True, "pid": 1},
    ],
)
def test_hello_comes_first_in_a_known_version(
    running: Supervisor, message: dict[str, object]
) -> None:
    """Anything else ends the connection; the next one is served."""
    with running.connect() as peer:
        peer.socket.send(json.dumps(message).encode())
        assert peer.is_ended()
    with running.connect() as peer:
        assert peer.hello()["version"] == 1


def test_welcome_carries_the_policy(running: Supervisor) -> None:
    """Its bytes, in a file that nobody can change, and what this host can do."""
    with running.connect() as peer:
        welcome = peer.hello()
        assert peer.policy == (running.directory / "policy.toml").read_bytes()
        with pytest.raises(PermissionError):
            os.pwrite(welcome["_fds"][0], b"x", 0)
        assert welcome["mode"] == "user"
        assert welcome["kind"] == "tree"
        assert len(welcome["warnings"]) == 2
        expected = {*LIMIT_NAMES, *ISOLATION_NAMES}
        assert {entry["limit"] for entry in welcome["limits"]} == expected


def test_a_second_server_is_refused(running: Supervisor) -> None:
    """Nothing is read from it, and the first goes on."""
    with running.connect() as first:
        first.hello()
        with running.connect() as second:
            assert second.is_ended()
        job = first.start("wait")
        first.send("KILL", id=job.id)
        first.end(job)
    assert "is connected" in running.log


@pytest.mark.root
@pytest.mark.parametrize("uid", [0, JOB_UID])
def test_another_user_is_refused(uid: int) -> None:
    """By SO_PEERCRED, even who can reach the socket: root too, whose server this is not."""
    with running_supervisor("") as supervisor:
        supervisor.socket_path.chmod(0o666)
        supervisor.socket_path.parent.chmod(0o755)
        os.seteuid(uid)
        try:
            peer = Peer(supervisor.socket_path)
        finally:
            os.seteuid(0)
        with peer:
            assert peer.is_ended()
        assert f"user {uid} is not the server's" in supervisor.log
        supervisor.socket_path.parent.chmod(0o750)


@pytest.mark.root
def test_the_socket_is_not_everybodys() -> None:
    """Directory and socket admit root and the server's group alone."""
    with running_supervisor("") as supervisor:
        for path, mode in ((supervisor.socket_path, 0o660), (supervisor.socket_path.parent, 0o750)):
            status = path.stat()
            assert (status.st_uid, status.st_gid) == (0, supervisor.uid)
            assert status.st_mode & 0o777 == mode


def test_a_server_that_does_not_read_stalls_only_itself(running: Supervisor) -> None:
    """Thousands of unread answers: the supervisor stops asking, and loses none."""
    with running.connect() as peer:
        peer.hello()
        peer.socket.setblocking(False)
        sent = 0
        data = json.dumps({"type": "KILL", "id": JOB_ID}).encode()
        stuck = 0
        while stuck < 3 and sent < 50_000:
            try:
                peer.socket.send(data)
                sent += 1
                stuck = 0
            except BlockingIOError:
                # Both queues may be full for good, or the supervisor was not scheduled yet.
                stuck += 1
                os.sched_yield()
        peer.socket.settimeout(20)
        for _ in range(sent):
            message = peer.receive()
            assert message is not None
            assert message["type"] == "KILLED"
