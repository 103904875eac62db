"""Isolation that a host lacks, or that fails on the way: said, and nothing is left."""

import errno
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mounted import mounted
from supervisor_process import JOB_UID, SUPERVISOR, command, running_supervisor
from this_run import visible_directory

from penstock.supervisor.isolation import NOTHING, Isolation, seccomp
from penstock.supervisor.job.spawn import Plan, decode_report, spawn
from penstock.supervisor.kernel.clone3 import NOWHERE
from penstock.supervisor.kernel.reap import reap

pytestmark = pytest.mark.root

SECCOMP = seccomp.make_filter(os.uname().machine)


def states(message: dict[str, Any], key: str) -> dict[str, str]:
    return {entry["limit"]: entry["state"] for entry in message[key]}


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that a policy may name."""
    path = visible_directory("seen")
    yield path
    if path.exists():
        path.rmdir()


# A class that says nothing of isolation.
_SILENT = '[classes.silent]\noutput = "unlimited"\n'


def test_what_this_host_lacks_is_refused_or_reported() -> None:
    """As root in a container without CAP_SYS_ADMIN: no namespaces, and only who says so runs."""
    program = [
        *("/usr/bin/setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
        *(sys.executable, "-I", "-S", "-E", str(SUPERVISOR)),
    ]
    text = _SILENT + command("strict", "/bin/true", root=True, extra='class = "silent"\n')
    text += command("mild", "/bin/true", root=True)
    text += command("off", "/bin/true", root=True, extra='class = "silent"\nisolation = "none"\n')
    with running_supervisor(text, program=program) as supervisor:
        with supervisor.connect() as peer:
            welcome = states(peer.hello(), "limits")
            assert "warning: isolation.uts is unavailable on this host: " in supervisor.log
            assert welcome["isolation.filesystem"] == welcome["isolation.uts"] == "unavailable"
            assert welcome["isolation.seccomp"] == "enforced" or SECCOMP is None
            refused = peer.refused("strict")
            assert (refused["fault"], refused["stage"]) == ("unenforced", "isolation")
            assert "isolation.filesystem is unavailable (namespaces: " in refused["message"]
            assert [path for path in supervisor.groups() if path.name == refused["id"]] == []
            assert list((supervisor.directory / "work").iterdir()) == []
            for name in ("mild", "off"):
                job = peer.start(name)
                entries = states(job.message, "enforcement")
                assert entries["isolation.filesystem"] == "unavailable"
                peer.end(job)


def test_without_root() -> None:
    """Only what needs no right is there; what a command itself asks for is refused, or waived."""
    asked = 'network = "none"\n'
    text = _SILENT + command("plain", "/bin/true", root=False, extra='class = "silent"\n')
    text += command("strict", "/bin/true", root=False, extra=f'class = "silent"\n{asked}')
    text += command("mild", "/bin/true", root=False, extra=asked)
    with running_supervisor(text, root=False) as supervisor, supervisor.connect() as peer:
        peer.hello()
        for name in ("plain", "mild"):
            job = peer.start(name)
            entries = states(job.message, "enforcement")
            assert entries["isolation.filesystem"] == "unavailable"
            assert entries["isolation.seccomp"] == "enforced" or SECCOMP is None
            peer.end(job)
        refused = peer.refused("strict")
        assert refused["fault"] == "unenforced"
        assert "isolation.network is unavailable" in refused["message"]
        assert "isolation.filesystem" not in refused["message"]


@pytest.mark.parametrize("stage", ["mounts", "landlock"])
def test_a_step_that_fails(directory: Path, stage: str) -> None:
    """It says which, and why; nothing is left, and the next start is none the worse."""
    key = {"mounts": "writable = [@]", "landlock": "landlock = { read = [@] }"}[stage]
    text = command("bad", "/bin/true", root=True, extra=key.replace("@", f'"{directory}"') + "\n")
    text += command("good", "/bin/true", root=True)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        welcome = peer.hello()
        if states(welcome, "limits")["isolation.landlock"] == "unavailable":
            pytest.skip("this kernel has no Landlock")
        directory.rmdir()
        refused = peer.refused("bad")
        found = refused["fault"], refused["stage"], refused["errno"]
        assert found == ("failed", stage, errno.ENOENT)
        assert list((supervisor.directory / "work").iterdir()) == []
        assert [path for path in supervisor.groups() if path.name == refused["id"]] == []
        job = peer.start("good")
        assert peer.end(job)[0]["status"] == 0


def outcome(plan: Plan) -> tuple[str, int] | None:
    """Stage and errno of a child made as the supervisor makes it; None if it was executed."""
    pid, report_fd = spawn(plan)
    assert select.select([report_fd], [], [], 20)[0]
    try:
        return decode_report(os.read(report_fd, 64))
    finally:
        os.close(report_fd)
        reap(pid)


@pytest.fixture
def plan() -> Iterator[Plan]:
    """One that executes /bin/true, as it is."""
    executable_fd = os.open("/bin/true", os.O_RDONLY | os.O_CLOEXEC)
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield Plan(executable_fd, [b"true"], {}, "/", None, NOWHERE, null_fd, null_fd, null_fd)
    os.close(executable_fd)
    os.close(null_fd)


@pytest.mark.parametrize(
    ("isolation", "stage", "code"),
    [
        # A flag that unshare(2) does not know.
        (Isolation(namespaces=0x0002_0001), "namespaces", errno.EINVAL),
        (Isolation(namespaces=0x0002_0000, mounts=True, shm="/no"), "mounts", errno.ENOENT),
        (Isolation(namespaces=0x0002_0000, mounts=True, writable=("/no",)), "mounts", 2),
        # Rights that no kernel has.
        (Isolation(landlock=1 << 60), "landlock", errno.EINVAL),
        # A program that does not end in a return.
        (Isolation(seccomp=bytes(8)), "seccomp", errno.EINVAL),
        (NOTHING, None, None),
    ],
)
def test_each_step_says_its_name(
    plan: Plan, isolation: Isolation, stage: str | None, code: int | None
) -> None:
    """With the kernel's error; the child is gone and the host's mounts are as before."""
    before = mounted()
    expected = None if stage is None else (stage, code)
    assert outcome(replace(plan, isolation=isolation)) == expected
    assert mounted() == before


def test_the_step_of_the_network(plan: Plan) -> None:
    """Only root may raise an interface, so an ordinary user's child fails there."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(JOB_UID, JOB_UID, JOB_UID)
            os.setresuid(JOB_UID, JOB_UID, JOB_UID)
            found = outcome(replace(plan, isolation=Isolation(loopback=True)))
            os.write(write_fd, repr(found).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    os.waitpid(pid, 0)
    assert os.read(read_fd, 100).decode() == repr(("network", errno.EPERM))
    os.close(read_fd)
