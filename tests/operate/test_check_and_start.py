"""What ``penstockd check`` accepts, a start accepts, and nothing else: over generated files."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from checked_place import IS_ROOT, Place, checked_place
from file_changes import CHANGES, Change
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import patient

from penstock.operate import full_check
from penstock.operate.control_client import ask
from penstock.operate.full_check import check_files
from penstock.policy.configuration import Config
from penstock.policy.policy_file import Policy
from penstock.server.audit import AuditError, AuditLog
from penstock.server.preparation import GenerationError, with_credentials
from penstock.server.transport_settings import TransportError, transport_limits
from penstock.supervisor import locks
from penstock.supervisor.client_listeners import open_listeners
from penstock.supervisor.examination import examine
from penstock.supervisor.host_facts import Facts, gather
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
        except (StartupError, GenerationError, TransportError, AuditError, TableDamaged, OSError):
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
    transport_limits(config)
    with_credentials(config, policy, "", [])
    AuditLog(config.audit_log)


@pytest.mark.parametrize(
    "change",
    # The harmful ones are in --all: some of them, together, are in the property below.
    [pytest.param(each, marks=[pytest.mark.slow] * each.harmful) for each in CHANGES],
    ids=repr,
)
def test_each_change_alone_is_judged_as_it_must_be(change: Change, one_host: None) -> None:
    """By both, whichever side is asked first."""
    with changed_place([change]) as place:
        _, report = check_files(str(place.config))
        assert bool(report.mistakes) is change.harmful, list(map(str, report.mistakes))
        assert starts(place) is not change.harmful
        if not change.harmful:  # what the start has made is as good
            assert check_files(str(place.config))[1].mistakes == []


@settings(max_examples=20)
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
@settings(max_examples=150)
@given(
    st.sampled_from(["policy", "config", "ca"]),
    st.floats(0, 1),
    st.integers(0, 40),
    st.binary(max_size=4),
)
def test_of_any_bytes_both_think_the_same(
    one_host: None, which: str, where: float, lost: int, instead: bytes
) -> None:
    """Bytes that were lost, added or exchanged: check ends, says what is wrong if a start would
    fail, and nothing if not."""
    with checked_place() as place:
        path = {"policy": place.policy, "config": place.config, "ca": place.pki.ca}[which]
        content = path.read_bytes()
        begin = int(where * len(content))
        path.write_bytes(content[:begin] + instead + content[begin + lost :])
        examined, report = check_files(str(place.config))
        assert all(each.text and each.what for each in report.mistakes)
        if examined.config is not None and not _is_within(place.directory, examined.config):
            return  # a start would make directories elsewhere
        if any("is in use now" in each.text for each in report.warnings):
            return  # a port of another program's: a start says so, and check warns
        assert starts(place) is not bool(report.mistakes), list(map(str, report.mistakes))


def _is_within(directory: Path, config: Config) -> bool:
    """Is everything that a start would make below this directory?"""
    places = (config.state_dir, config.run_dir, config.work_root, config.supervisor_dir)
    return all(each.startswith(f"{directory}/") for each in (*places, config.audit_log))


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_real_penstockd_agrees(change: Change) -> None:
    """It serves, or it, or its server, ends and names a mistake that check has named."""
    with changed_place([change]) as place:
        _, report = check_files(str(place.config))
        with penstockd(place) as (served, lines):
            pass
        log = "".join(lines)
        assert served is not change.harmful, log
        assert served is not bool(report.mistakes), list(map(str, report.mistakes))
        if not served:
            assert any(each.what in log for each in report.mistakes), log


@pytest.mark.slow
def test_what_check_accepts_a_reload_accepts() -> None:
    """One penstockd that runs on, and each change of its files. What needs a restart is refused by
    check where a start would fail of it; a reload leaves it as it is."""
    with checked_place() as place, penstockd(place) as (served, lines):
        assert served, lines
        for change in CHANGES:
            if change.spot in ("state", "work"):
                continue  # places that are there by now
            with kept(place):
                change.apply(place)
                mistakes = check_files(str(place.config))[1].mistakes
                answer = ask(control_path_of(place), "reload")
                if answer.ok:
                    assert not mistakes or change.spot in WITH_A_RESTART, (change, mistakes)
                else:
                    texts = "\n".join(answer.texts("mistakes"))
                    assert any(each.what in texts for each in mistakes), (change, texts)
            answer = ask(control_path_of(place), "reload")
            assert answer.ok, (change, answer.fields)


# What a reload does not take up, or not with the server that runs.
WITH_A_RESTART = ("run", "listen", "audit", "transport")


def control_path_of(place: Place) -> str:
    return str(place.directory / "run" / "control.sock")


@contextlib.contextmanager
def kept(place: Place) -> Iterator[None]:
    """Afterwards the files are as they were before."""
    paths = [place.config, place.policy, place.pki.ca, place.pki.server.key]
    before = [(path, path.read_bytes(), path.stat().st_mode) for path in paths]
    data = place.directory / "data"
    try:
        yield
    finally:
        for path, content, mode in before:
            path.write_bytes(content)
            path.chmod(mode)
        if data.is_symlink():
            data.unlink()
        data.mkdir(exist_ok=True)
        data.chmod(0o755)
        for name in (
            "program",
            "linked",
            "elsewhere",
            "other.pem",
            "audit.jsonl",
            "closed",
            "shut",
        ):
            path = place.directory / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def penstockd(place: Place) -> Iterator[tuple[bool, list[str]]]:
    """One that was started: whether it serves, and the lines of its log, all of them at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.penstockd", "--config", str(place.config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    served = False
    timer = threading.Timer(patient(20), process.kill)
    timer.start()
    try:
        for line in process.stderr:
            lines.append(line)
            served = "ready; " in line
            if served or "the server exited" in line:
                break
        timer.cancel()
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reader.start()
        try:
            yield served, lines
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patient(20))
            process.kill()
            process.wait()
            reader.join()
    finally:
        timer.cancel()
        timer.join()
        process.stderr.close()
