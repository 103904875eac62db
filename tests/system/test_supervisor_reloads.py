"""A real supervisor takes up changed files while a job runs; its server is in the test's hands."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from handed_server import Asking, Handed, handed_supervisor
from ports import reserved_port
from supervisor_peer import wait_dead
from supervisor_process import IS_ROOT, MODE_AND_SLOW_MODE, SERVER_UID, command, shell
from this_run import job_uids, new_directory

from penstock.policy.generation_hash import generation_hash
from penstock.supervisor.control_socket import MOST_CONNECTIONS

CLIENTS = '\n[clients.alice]\ncommands = ["feed"]\n'
BOB = '\n[clients.bob]\ncommands = ["feed"]\n'
FEED = "cat; echo done"


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def root(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def handed(root: bool) -> Iterator[Handed]:
    text = shell("feed", FEED, root=root, extra="stdin = true\n")
    with handed_supervisor(text, root=root, clients=CLIENTS) as handed:
        yield handed


def change(handed: Handed, more: str = BOB) -> bytes:
    """The policy, with that in the place of what was changed before."""
    text = handed.policy.read_text().partition("\n# more")[0]
    handed.policy.write_text(f"{text}\n# more{more}")
    return handed.policy.read_bytes()


def feed(fd: int, text: bytes) -> None:
    assert os.write(fd, text) == len(text)


def test_a_client_comes_in_and_the_job_that_runs_notices_nothing(handed: Handed) -> None:
    """Both sides have the new files, and a START by the old ones is refused."""
    server = handed.next()
    server.serve()
    before = server.peer.generation
    job = server.peer.start("feed", stdin=True)
    assert server.peer.refused("feed", client="bob")["fault"] == "denied"
    policy = change(handed)
    asking = handed.ask(request="reload")
    prepare = server.prepared()
    assert prepare["policy_bytes"] == policy
    configuration = handed.config.read_bytes()
    assert prepare["configuration_bytes"] == configuration
    assert prepare["generation"] == generation_hash(configuration, policy) != before
    assert prepare["asked_by"] == f"penstockd reload, process {os.getpid()} of user {os.geteuid()}"
    switch = server.switched("no connection has ended")
    assert any(text.startswith("client bob comes in") for text in switch["changes"])
    answer = asking.answer()
    assert answer["ok"]
    assert answer["generation"] == prepare["generation"]
    assert answer["changes"][-1] == "no connection has ended"
    assert not any("rlimits" in text for text in answer["warnings"])  # said at the start
    asking.close()
    assert server.peer.refused("feed", client="bob")["fault"] == "stale_policy"
    server.peer.generation = prepare["generation"]
    other = server.peer.start("feed", client="bob")
    feed(job.fds["stdin"], b"still there\n")
    os.close(job.fds["stdin"])
    server.peer.send("CLOSE_INPUT", id=job.id)
    server.peer._fds.remove(job.fds["stdin"])
    assert job.read(until=b"done\n") == b"still there\ndone\n"
    server.peer.end(job)
    server.peer.end(other)


def test_every_mistake_of_the_files_is_in_the_answer(handed: Handed) -> None:
    """With file and line; the server is told, and was not asked."""
    server = handed.next()
    server.serve()
    before = server.peer.generation
    change(handed, '\n[clients.BOB]\ncommands = ["nothing"]\nnonsense = 1\n')
    asking = handed.ask(request="reload")
    answer = asking.answer()
    asking.close()
    assert not answer["ok"]
    assert len(answer["mistakes"]) == 3
    assert all(str(handed.policy) in text for text in answer["mistakes"])
    assert server.peer.wait("ABANDON")["mistakes"] == answer["mistakes"]
    assert answer["generation"] == before
    job = server.peer.start("feed")
    server.peer.end(job)


def test_the_next_server_begins_with_what_is_in_force(handed: Handed) -> None:
    """One that is killed before it is ready is asked no more, and its successor is; one that is
    killed after the switch is followed by one that has the new files from WELCOME."""
    first = handed.next()
    first.serve()
    job = first.peer.start("feed", stdin=True)
    policy = change(handed)
    asking = handed.ask(request="reload")
    first.peer.wait("PREPARE")
    first.kill()
    second = handed.next()
    before = second.serve()["generation"]
    second.peer.send("TAKE")
    held = second.peer.wait("HELD")
    assert held["id"] == job.id
    prepare = second.prepared()
    second.peer.wait("SWITCH")
    second.kill()
    answer = asking.answer()
    asking.close()
    assert answer["ok"]
    assert "has ended before it confirmed" in answer["changes"][-1]
    third = handed.next()
    welcome = third.serve()
    assert welcome["generation"] == prepare["generation"] == answer["generation"] != before
    assert third.peer.policy == policy
    assert welcome["reload"] == {"asked_by": prepare["asked_by"], "before": before}
    third.peer.send("TAKE")
    assert third.peer.wait("HELD")["id"] == job.id
    other = third.peer.start("feed", client="bob")
    third.peer.end(other)
    third.peer.send("RELEASE", id=job.id)


def test_what_cannot_change_is_named(handed: Handed) -> None:
    """And stays, while everything else of the file is taken up."""
    server = handed.next()
    server.serve()
    text = handed.config.read_text()
    moved = f'state_dir = "{handed.supervisor.directory}/other"\nmax_jobs = 3\nreflection = true\n'
    lines = [line for line in text.splitlines() if not line.startswith("state_dir")]
    kept = f'work_root = "{handed.supervisor.directory}/work"\n'
    lines = [line for line in lines if not line.startswith("work_root")]
    handed.config.write_text(moved + kept + "\n".join(lines) + "\n")
    asking = handed.ask(request="reload")
    prepare = server.prepared()
    settings = json.loads(prepare["settings"])
    assert settings["state_dir"] == f"{handed.supervisor.directory}/state"
    assert settings["max_jobs"] == 3
    assert server.switched()["max_jobs"] == 3
    changes = asking.answer()["changes"]
    asking.close()
    assert sorted(text.partition(":")[0] for text in changes) == [
        *("audit_log", "max_jobs", "reflection", "state_dir", "supervisor_dir")
    ]
    assert sum("needs a restart of penstockd" in text for text in changes) == 3
    asking = handed.ask(request="status")
    status = asking.answer()
    assert status["max_jobs"] == 3
    assert len(status["waiting"]) == 4
    files = dict(zip(status["fds"], asking.fds, strict=True))
    assert os.pread(files["configuration"], 1 << 20, 0) == handed.config.read_bytes()
    assert os.pread(files["policy"], 1 << 20, 0) == server.peer.policy
    asking.close()
    server.kill()
    handed.next().serve()  # with which what waited for it counts
    asking = handed.ask(request="status")
    status = asking.answer()
    asking.close()
    assert len(status["waiting"]) == 3
    assert all("needs a restart of penstockd" in text for text in status["waiting"])


def test_fewer_jobs_than_are_asked_for_is_said() -> None:
    """As at a start: descriptors do not suffice for so many, where only root could raise them."""
    text = shell("feed", FEED, root=False)
    with handed_supervisor(text, root=False, clients=CLIENTS) as handed:
        server = handed.next()
        server.serve()
        handed.config.write_text(f"max_jobs = 100000\n{handed.config.read_text()}")
        asking = handed.ask(request="reload")
        server.prepared()
        most = server.switched()["max_jobs"]
        answer = asking.answer()
        asking.close()
    said = f"at most {most} jobs at once, not max_jobs = 100000, as RLIMIT_NOFILE admits no more"
    assert (said in answer["warnings"]) == (most < 100000)


def test_other_addresses_count_with_the_next_server(root: bool) -> None:
    """Until then nobody can connect there, and so nobody waits; one in use refuses the reload."""
    text = shell("feed", FEED, root=root)
    with (
        reserved_port() as old,
        handed_supervisor(text, root=root, listen=f"127.0.0.1:{old}") as handed,
    ):
        server = handed.next()
        server.serve()
        with socket.create_server(("127.0.0.1", 0)) as other:
            new = other.getsockname()[1]
            text = handed.config.read_text().replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
            handed.config.write_text(text)
            asking = handed.ask(request="reload")
            (mistake,) = asking.answer()["mistakes"]
            assert re.match(rf"{handed.config}:[0-9]+: listen: ", mistake)
            assert "cannot be listened on: Address already in use" in mistake
            asking.close()
        asking = handed.ask(request="reload")
        server.prepared()
        server.switched()
        (change,) = asking.answer()["changes"]
        asking.close()
        assert change.startswith(f'listen: is ["127.0.0.1:{new}"] from the next server on')
        assert connects(old)
        assert not connects(new)
        server.kill()
        handed.next().serve()
        assert connects(new)
        assert not connects(old)


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_what_is_asked_is_one_of_the_table(handed: Handed) -> None:
    """Everything else is answered with what is wrong, or with the end of the connection."""
    server = handed.next()
    server.serve()
    asking = handed.ask(request="status")
    answer = asking.answer()
    assert answer["generation"] == server.peer.generation
    assert answer["serving"]
    assert answer["server_pid"] == server.pid
    asking.send(b'{"request": "shutdown"}')
    assert "ask one of status, reload" in asking.answer()["mistakes"][0]
    asking.send(b'{"request": "reload", "config": "/tmp/x"}')
    assert "no other fields" in asking.answer()["mistakes"][0]
    for wrong in (b"{", b"[]", b'{"request": 1}', b"[" * 5000, b'"' + b"a" * 69_000 + b'"'):
        asking.close()
        asking = Asking(handed.supervisor, None)
        asking.send(wrong)
        assert "not a request" in asking.answer()["mistakes"][0]
        assert asking.answer() == {}
    asking.close()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, (0).to_bytes(4, "little"))]
    asking = Asking(handed.supervisor, None)
    try:
        asking.socket.sendmsg([b'{"request": "status"}'], rights)
    except OSError:  # since Linux 6.16 the kernel refuses it
        pass
    else:
        assert asking.answer() == {}
    asking.close()
    many = []
    for _ in range(MOST_CONNECTIONS):
        many.append(handed.ask(request="status"))
        assert many[-1].answer()["ok"]
    one_more = Asking(handed.supervisor, None)
    assert "too many others" in one_more.answer()["mistakes"][0]
    for each in (*many, one_more):
        each.close()


@pytest.mark.skipif(not IS_ROOT, reason="another user is needed")
def test_other_users_cannot_ask(handed: Handed) -> None:
    """The server neither, where it is another one."""
    handed.next().serve()
    path = handed.supervisor.directory / "run" / "control.sock"
    status = path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_uid == (0 if handed.supervisor.root else handed.supervisor.uid)
    other = handed.supervisor.uid if handed.supervisor.root else handed.supervisor.uid - 1
    path.chmod(0o666)  # so that it is not the mode alone
    path.parent.chmod(0o755)
    os.setegid(other)
    os.seteuid(other)
    try:
        asking = Asking(handed.supervisor, None)
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert asking.answer() == {}
    asking.close()


def test_a_removed_socket_is_made_again_with_the_next_server(handed: Handed) -> None:
    server = handed.next()
    server.serve()
    (handed.supervisor.directory / "run" / "control.sock").unlink()
    server.kill()
    handed.next().serve()
    asking = handed.ask(request="status")
    assert asking.answer()["ok"]
    asking.close()


def test_penstockd_that_stops_refuses_a_reload_under_way(handed: Handed) -> None:
    server = handed.next()
    server.serve()
    asking = handed.ask(request="reload")
    server.peer.wait("PREPARE")
    handed.supervisor.process.send_signal(signal.SIGTERM)
    assert asking.answer()["mistakes"] == ["penstockd is stopping"]
    asking.close()
    server.kill()


def test_who_asks_and_leaves_changes_nothing_else(handed: Handed) -> None:
    """The reload is carried out, and the next one can be asked for."""
    server = handed.next()
    server.serve()
    asking = handed.ask(request="reload")
    prepare = server.peer.wait("PREPARE")
    asking.close()
    server.peer.send("PREPARED", number=prepare["number"], mistakes=[])
    server.switched()
    asking = handed.ask(request="reload")
    assert server.prepared()["number"] == prepare["number"] + 1
    server.switched()
    assert asking.answer()["ok"]
    asking.close()


def test_files_are_read_whole_though_a_fifo_stands_there(handed: Handed) -> None:
    """As by mistake: nothing waits for its writer, and the loop least of all."""
    server = handed.next()
    server.serve()
    policy = handed.policy.read_bytes()
    handed.policy.unlink()
    os.mkfifo(handed.policy)
    began = time.monotonic()
    asking = handed.ask(request="reload")
    assert "is a FIFO" in asking.answer()["mistakes"][0]
    assert time.monotonic() - began < 20
    asking.close()
    handed.policy.unlink()
    handed.policy.write_bytes(policy)


@pytest.mark.root
def test_clients_get_users_of_their_own_by_a_reload() -> None:
    """By a policy that needs them for the first time; a damaged table refuses it, and nothing has
    changed. Who had no command before has a user as the job starts."""
    text = shell("feed", FEED, root=True)
    with handed_supervisor(text, root=True, clients=CLIENTS) as handed:
        server = handed.next()
        server.serve()
        table = handed.supervisor.directory / "state-root" / "client-users.json"
        table.parent.mkdir(mode=0o700, exist_ok=True)
        table.write_text("{}")
        table.chmod(0o600)
        own = shell("own", "id -u", root=False)
        change(handed, f"\n{own}{BOB.replace('feed', 'own')}")
        asking = handed.ask(request="reload")
        before = server.peer.generation
        # Found before the server is asked, as all mistakes of files are.
        assert "is damaged" in server.peer.wait("ABANDON")["mistakes"][0]
        answer = asking.answer()
        asking.close()
        assert (answer["ok"], answer["generation"]) == (False, before)
        server.peer.end(server.peer.start("feed"))
        table.unlink()
        asking = handed.ask(request="reload")
        server.prepared()
        assert server.switched()["userless"] == {}
        server.peer.generation = asking.answer()["generation"]
        asking.close()
        job = server.peer.start("own", client="bob")
        first = int(job_uids().partition("-")[0])
        assert job.message["uid"] >= first
        assert job.read() == f"{job.message['uid']}\n".encode()
        server.peer.end(job)
        assert '"bob"' in table.read_text()


def test_a_program_that_was_replaced_is_named(root: bool) -> None:
    """A reload takes up the file that is there now, as a start would, and its line is for the audit
    log; what it takes up is not asked about again."""
    place = new_directory("programs")
    program = place / "program"
    shutil.copy("/bin/true", program)
    text = command("mine", str(program), root=root, extra="pinned = true\n")
    try:
        if not root and IS_ROOT:
            os.chown(program, SERVER_UID, SERVER_UID)
        with handed_supervisor(text, root=root, clients=CLIENTS.replace("feed", "mine")) as handed:
            server = handed.next()
            server.serve()
            server.peer.end(server.peer.start("mine"))
            shutil.copy(program, place / "new")
            if not root and IS_ROOT:
                os.chown(place / "new", SERVER_UID, SERVER_UID)
            (place / "new").rename(program)
            assert server.peer.refused("mine")["fault"] == "executable"
            asking = handed.ask(request="reload")
            server.prepared()
            (change_line,) = server.switched()["changes"]
            assert change_line.startswith(f"commands.mine: taken up is {program}: inode ")
            assert asking.answer()["ok"]
            asking.close()
            server.peer.end(server.peer.start("mine"))
    finally:
        shutil.rmtree(place)


def test_files_that_are_swapped_as_they_are_read_are_one_of_both(handed: Handed) -> None:
    """The server is handed the very bytes by which the supervisor decides, whatever is in the
    files by then."""
    server = handed.next()
    server.serve()
    versions = [change(handed, "\n"), change(handed)]
    over = threading.Event()

    def swap() -> None:
        beside = handed.policy.with_suffix(".new")
        while not over.is_set():
            for data in versions:
                beside.write_bytes(data)
                beside.rename(handed.policy)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(20):
            asking = handed.ask(request="reload")
            prepare = server.prepared()
            server.switched()
            assert asking.answer()["ok"]
            asking.close()
            server.peer.generation = prepare["generation"]
            assert prepare["policy_bytes"] in versions
            hashed = generation_hash(prepare["configuration_bytes"], prepare["policy_bytes"])
            assert hashed == prepare["generation"]
            server.peer.close_fds()
            job_id = server.peer.request("feed", client="bob")
            kind = server.peer.wait(("STARTED", "REFUSED"), job_id)["type"]
            assert kind == ("STARTED" if prepare["policy_bytes"] == versions[1] else "REFUSED")
            server.peer.send("RELEASE", id=job_id)
    finally:
        over.set()
        swapping.join()
    left = [
        name
        for name in open_files(handed)
        if name == os.path.realpath("/bin/sh") or "memfd" in name
    ]
    assert len(left) == 1  # the program of the policy in force


def open_files(handed: Handed) -> list[str]:
    """What the supervisor has open; a descriptor that is closed meanwhile is none."""
    found = []
    for path in Path(f"/proc/{handed.supervisor.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return found


@pytest.mark.slow
def test_files_that_change_are_taken_up_by_themselves(root: bool) -> None:
    """``reload = "auto"``: also without anybody who asks."""
    text = shell("feed", FEED, root=root)
    with handed_supervisor(text, root=root, clients=CLIENTS, reload="auto") as handed:
        server = handed.next()
        server.serve()
        before = server.peer.generation
        asking = handed.ask(request="status")
        assert asking.answer()["generation"] == before
        asking.close()
        policy = change(handed)
        prepare = server.prepared()
        assert prepare["policy_bytes"] == policy
        assert prepare["asked_by"] == 'reload = "auto"'
        server.switched()


@pytest.mark.slow
def test_files_with_which_no_server_comes_up_can_be_replaced(handed: Handed) -> None:
    """The job that runs is taken over by the first server that comes up with the new ones."""
    server = handed.next()
    server.serve()
    job = server.peer.start("feed", stdin=True)
    server.kill()
    for _ in range(2):
        server = handed.next()
        old = server.peer.hello()["generation"]
        server.kill()
    policy = change(handed)
    asking = handed.ask(request="reload")
    server = handed.next()
    assert server.peer.hello()["generation"] == old
    answer = asking.answer()
    asking.close()
    assert answer["ok"]
    assert any("no server comes up" in text for text in answer["warnings"])
    assert wait_dead(server.pid)  # it was killed, as it has the old ones
    server.close()
    server = handed.next()
    welcome = server.serve()
    assert welcome["generation"] == answer["generation"] != old
    assert server.peer.policy == policy
    server.peer.send("TAKE")
    assert server.peer.wait("HELD")["id"] == job.id
    server.peer.send("RELEASE", id=job.id)
