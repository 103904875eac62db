"""What ``penstockd check`` accepts, a start accepts, and nothing else: over generated files."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from checked_place import IS_ROOT, Place, checked_place
from file_changes import CHANGES, Change
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import patient

from penstock.operate import full_check
from penstock.operate.full_check import check_files
from penstock.policy.configuration import Config
from penstock.policy.policy_file import Policy
from penstock.rpc.limit_parser import limits_from
from penstock.rpc.limits import SERVER_DEFAULTS
from penstock.server.audit import AuditError, AuditLog
from penstock.server.credentials import CredentialsError, load_credentials
from penstock.supervisor import locks
from penstock.supervisor.client_listeners import open_listeners
from penstock.supervisor.doctor import Facts, gather
from penstock.supervisor.examination import examine
from penstock.supervisor.startup import StartupError, make_directories
from penstock.supervisor.users.command_users import open_users
from penstock.supervisor.users.user_table import TableDamaged

SETS = st.lists(st.sampled_from(CHANGES), max_size=3, unique_by=lambda each: each.spot)


@contextlib.contextmanager
def changed_place(changes: list[Change]) -> Iterator[Place]:
    with checked_place() as place:
        for change in changes:
            change.apply(place)
        yield place


@pytest.fixture(scope="module")
def one_host() -> Iterator[None]:
    """What the kernel holds is tried once: it is not what these files say, and takes its time."""
    facts: list[Facts] = []

    def gather_once(config: Config, policy: Policy) -> Facts:
        facts[:] = facts or [gather(config, policy)]
        return dataclasses.replace(facts[0], users=(), clients_users=("", ""))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_check, "gather", gather_once)
        yield


def starts(place: Place) -> bool:
    """In a process of its own, because it locks, listens, and becomes the server's user: everything
    that a start does before it starts something, and that a server does before it serves."""
    pid = os.fork()
    if pid == 0:
        try:
            _start(str(place.config))
        except (StartupError, CredentialsError, AuditError, TableDamaged, OSError, ValueError):
            os._exit(1)
        except BaseException:  # noqa: ASYNC103  # the child of a fork ends here; there is no Trio
            sys.excepthook(*sys.exc_info())
            os._exit(2)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1)
    return status == 0


def _start(path: str) -> None:
    config, policy, on_host, user = examine(path).good()
    run_directory = make_directories(config, user, root=IS_ROOT, server=True)
    locks.lock_files(config, run_directory)
    open_users(policy, config, on_host.users, root=IS_ROOT)
    open_listeners(config, {})
    if IS_ROOT:
        os.setgroups([])
        os.setgid(user.gid)
        os.setuid(user.uid)
    assert load_credentials(config).untimely is None
    limits_from(config.transport, SERVER_DEFAULTS)
    AuditLog(config.audit_log)


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_each_change_alone_is_judged_as_it_must_be(change: Change, one_host: None) -> None:
    """By both, whichever side is asked first."""
    with changed_place([change]) as place:
        _, report = check_files(str(place.config))
        assert bool(report.mistakes) is change.harmful, list(map(str, report.mistakes))
        assert starts(place) is not change.harmful
        if not change.harmful:  # what the start has made is as good
            assert check_files(str(place.config))[1].mistakes == []


@settings(max_examples=30)
@given(SETS)
def test_what_check_accepts_a_start_accepts(one_host: None, changes: list[Change]) -> None:
    """And the other way round, of files with any changes together. Each harmful one is named by a
    mistake of its own."""
    with changed_place(changes) as place:
        _, report = check_files(str(place.config))
        harmful = [each for each in changes if each.harmful]
        assert bool(report.mistakes) is bool(harmful), list(map(str, report.mistakes))
        assert starts(place) is not bool(harmful)
        toml = {"no TOML"} & {each.name for each in harmful}
        assert toml or len(report.mistakes) >= len(harmful), list(map(str, report.mistakes))


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_real_penstockd_agrees(change: Change) -> None:
    """It serves, or it, or its server, ends and names a mistake that check has named."""
    with changed_place([change]) as place:
        _, report = check_files(str(place.config))
        served, log = _run(place)
        assert served is not change.harmful, log
        assert served is not bool(report.mistakes), list(map(str, report.mistakes))
        if not served:
            assert any(each.what in log for each in report.mistakes), log


def _run(place: Place) -> tuple[bool, str]:
    """Whether it says that it is ready, and what it has said by then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.penstockd", "--config", str(place.config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(patient(20), process.kill)
    timer.start()
    lines: list[str] = []
    served = False
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            served = "ready; " in line
            if served or "the server exited" in line:
                process.send_signal(signal.SIGTERM)
                break
        lines += process.stderr.readlines()
        process.wait()
    finally:
        timer.cancel()
        timer.join()
        process.kill()
        process.wait()
        process.stderr and process.stderr.close()
    return served, "".join(lines)
