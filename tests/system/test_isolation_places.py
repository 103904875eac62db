"""Places that a policy names where a job has one of its own."""

import os
import select
import tempfile
from pathlib import Path

import pytest
from supervisor_process import JOB_UID

from penstock.supervisor.isolation import Isolation
from penstock.supervisor.job.spawn import Plan, decode_report, spawn
from penstock.supervisor.kernel.clone3 import NOWHERE
from penstock.supervisor.kernel.reap import reap

pytestmark = pytest.mark.root

CLONE_NEWNS = 0x0002_0000


def test_a_private_place_that_is_writable_stays_the_hosts(tmp_path: Path) -> None:
    """As with ``writable = ["/tmp"]``: what is given to the job is what it has behind it."""
    place, behind = (Path(tempfile.mkdtemp(dir=tmp_path)) for _ in range(2))
    owner = (JOB_UID, JOB_UID)
    both = (str(place),)
    isolation = Isolation(
        namespaces=CLONE_NEWNS,
        mounts=True,
        writable=both,
        private=both,
        behind=str(behind),
        owner=owner,
    )
    executable_fd = os.open("/bin/true", os.O_RDONLY | os.O_CLOEXEC)
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    plan = Plan(
        executable_fd, [b"true"], {}, "/", None, NOWHERE, null_fd, null_fd, null_fd, isolation
    )
    pid, report_fd = spawn(plan)
    try:
        assert select.select([report_fd], [], [], 20)[0]
        assert decode_report(os.read(report_fd, 64)) is None
    finally:
        reap(pid)
        for fd in (report_fd, executable_fd, null_fd):
            os.close(fd)
    assert place.stat().st_uid == os.geteuid()
    assert behind.stat().st_uid == JOB_UID
