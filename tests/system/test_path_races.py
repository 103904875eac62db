"""A path that another user swaps between the supervisor's look and the program's: none is won.

One process swaps a file and a link to /etc/passwd, as fast as it can, in directories that it can
write in each of the ways there are, while jobs are started on the file.
"""

import ctypes
import os
import select
import shutil
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patient
from supervisor_peer import Peer
from supervisor_process import JOB_UID, command, running_supervisor
from this_run import new_directory

pytestmark = pytest.mark.root
SWAPPER = 61199
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100
_NOBODY = 0xFFFFFFFF


@pytest.fixture
def root() -> Iterator[Path]:
    """A granted root with a directory for each way of writing it."""
    path = new_directory("races")
    granted = path / "root"
    granted.mkdir()
    for name, mode, uid, gid, acl in (
        ("mine", 0o755, 0, 0, b""),
        ("owner", 0o755, SWAPPER, SWAPPER, b""),
        ("group", 0o775, 0, SWAPPER, b""),
        ("everybody", 0o777, 0, 0, b""),
        ("sticky", 0o1777, 0, 0, b""),
        ("acl", 0o775, 0, 0, _writable_by(SWAPPER)),
    ):
        directory = granted / name
        (directory / "inner").mkdir(parents=True)
        (directory / "inner" / "file").write_text("GRANTED\n")
        (directory / "file").write_text("GRANTED\n")
        (directory / "other").symlink_to("/etc/passwd")
        (directory / "swapped").mkdir()
        (directory / "swapped" / "file").symlink_to("/etc/passwd")
        if name != "mine":
            for inner in (directory, *directory.rglob("*")):
                os.chown(inner, SWAPPER, SWAPPER, follow_symlinks=False)
        os.chown(directory, uid, gid)
        directory.chmod(mode)
        if acl:
            os.setxattr(directory, "system.posix_acl_access", acl)
    yield granted
    shutil.rmtree(path)


def _writable_by(uid: int) -> bytes:
    entries = [(1, 7, _NOBODY), (2, 7, uid), (4, 5, _NOBODY), (16, 7, _NOBODY), (32, 5, _NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def swap_for_ever(root: Path, told: int) -> None:
    """In a child. Says each time that it has swapped everything it can."""
    os.setgroups([])
    os.setresgid(SWAPPER, SWAPPER, SWAPPER)
    os.setresuid(SWAPPER, SWAPPER, SWAPPER)
    rename = ctypes.CDLL(None).renameat2
    pairs = [
        (os.fsencode(root / name / one), os.fsencode(root / name / other))
        for name in ("owner", "group", "everybody", "sticky", "acl", "mine")
        for one, other in (("file", "other"), ("inner", "swapped"))
    ]
    while True:
        results = [rename(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE) for a, b in pairs]
        os.write(told, bytes([results.count(0)]))


@pytest.fixture
def swapper(root: Path) -> Iterator[int]:
    """What it says, one byte a round; it waits when nobody reads."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_fd)
            swap_for_ever(root, write_fd)
        finally:
            os._exit(1)
    os.close(write_fd)
    yield read_fd
    os.close(read_fd)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def start(peer: Peer, path: str) -> bytes | None:
    """What it printed; None if it was refused."""
    job_id = peer.request("show", path)
    message = peer.wait(("STARTED", "REFUSED"), job_id)
    if message["type"] == "REFUSED":
        assert message["fault"] == "denied", message
        return None
    printed = b""
    fds = dict(zip(message["fds"], message["_fds"], strict=True))
    peer.wait("EMPTIED", job_id)
    # It need not be at its end yet: a process that penstockd forks has its descriptors until exec.
    while select.select([fds["stdout"]], [], [], patient(10))[0]:
        part = os.read(fds["stdout"], 4096)
        if not part:
            break
        printed += part
    else:
        raise AssertionError("its output has no end")
    peer.send("RELEASE", id=job_id)
    return printed


def test_no_race_is_won(root: Path, swapper: int) -> None:
    """Each start prints what was granted, or is refused; all while the swapper goes on."""
    extra = f'arguments = [{{ path = {{ root = "{root}" }} }}]\n'
    show = command("show", "/bin/cat", root=True, extra=extra)
    assert JOB_UID != SWAPPER
    with running_supervisor(show) as supervisor, supervisor.connect() as peer:
        peer.hello()
        printed: dict[str, set[bytes | None]] = {}
        for _ in range(4):
            for name in ("owner", "group", "everybody", "sticky", "acl", "mine"):
                for path in (f"{name}/file", f"{name}/inner/file"):
                    (swaps,) = os.read(swapper, 1)
                    assert swaps == 10, "in five of the six, both pairs"
                    printed.setdefault(name, set()).add(start(peer, path))
        assert printed.pop("mine") == {b"GRANTED\n"}
        assert set.union(*printed.values()) == {None}
