"""One run of tests: its name and directory, and the removal of whatever it has left.

Everything that a run makes carries its name: the directory in /var/tmp that holds all its files,
its control groups, and an environment variable of its processes. So two runs at once never see
each other, and what a killed run has left is found by the next one. A lock on the directory, which
the kernel drops with the last process that holds it, says whether a run is still alive.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _env import JOB_UID, SERVER_UID

VARIABLE = "PENSTOCK_TEST_RUN"
_PREFIX = "penstock-test-"
# Not the same as that of groups: earlier versions had directories under that name without a lock.
_DIRECTORY_PREFIX = "penstock-run-"
_NAME = re.compile(r"[0-9a-f]{8}")
# Not /tmp, which is often in memory: there is no disk behind it to limit. Resolved, as the kernel
# names mounts so.
_PLACE = Path("/var/tmp").resolve()
# Whose processes may be known by where they work, as servers and jobs have no variable of ours.
_OURS = {os.geteuid()} if os.geteuid() else {SERVER_UID, JOB_UID}
_SHOWN_CHARACTERS = 100
# Where jobs of tests see the host's files: below /tmp and /var/tmp each job has its own.
_OTHER_PLACES = (Path("/srv"),)
# A process that was killed can still be in a system call that no signal ends.
_KILL_S = 20.0
_MNT_DETACH = 2


@dataclass
class Leftovers:
    """What a run has left, each in words; all of it has been removed but for ``stubborn``."""

    processes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    stubborn: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.processes, self.groups, self.mounts, self.directories, self.stubborn))

    def __str__(self) -> str:
        counts = [
            f"{what} ({len(found)}): {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}"
            for what, found in vars(self).items()
            if found
        ]
        return "; ".join(counts).replace("stubborn", "could not be removed") or "nothing"


@dataclass(frozen=True)
class Run:
    """``name`` is unique on this machine. ``lock`` is -1 in processes that did not make the run."""

    name: str
    lock: int = -1

    @property
    def directory(self) -> Path:
        """Every file of the run is below it; other users can pass through."""
        return _PLACE / f"{_DIRECTORY_PREFIX}{self.name}"

    @property
    def prefix(self) -> str:
        """What the names of the run's control groups, and of directories elsewhere, begin with."""
        return f"{_PREFIX}{self.name}-"

    def environ(self) -> dict[str, str]:
        """For its processes: the mark, and where temporary files go."""
        place = str(self.directory)
        return {VARIABLE: self.name, "TMPDIR": place, "PYTEST_DEBUG_TEMPROOT": place}


def create_run() -> Run:
    """A new run with its directory, locked by this process and those that inherit the lock."""
    while True:
        run = Run(secrets.token_hex(4))
        run.directory.mkdir()
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(run.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whatever the umask: servers and jobs are other users. Raises where another run has
            # taken this one for dead, before the lock, and has removed it.
            run.directory.chmod(0o755)
            return Run(run.name, lock)


def current_run() -> Run | None:
    """The run that this process belongs to."""
    name = os.environ.get(VARIABLE)
    return Run(name) if name else None


def remove_dead_runs(only: str = "*") -> Iterator[tuple[Run, Leftovers]]:
    """Removes each run of this user whose processes were killed, with what it has left.

    ``only``: a pattern of names, for tests of this.
    """
    for path in sorted(_PLACE.glob(f"{_DIRECTORY_PREFIX}{only}")):
        name = path.name.removeprefix(_DIRECTORY_PREFIX)
        try:
            if path.lstat().st_uid != os.geteuid() or not _NAME.fullmatch(name):
                continue  # another user's is that user's to remove
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # its own run has removed it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():  # else it has ended in this very moment, by itself
                run = Run(name, lock)
                yield run, remove_run(run)
        except BlockingIOError:
            pass  # it is alive
        finally:
            os.close(lock)


def remove_run(run: Run, left: Leftovers | None = None) -> Leftovers:
    """Ends every process of the run but this one, and removes all that it made. Reaps none.

    Blocks for at most some 20 s, where a process cannot be ended.
    """
    left = Leftovers() if left is None else left
    groups = list(_groups(run))
    _end_processes(run, groups, {os.getpid()}, left)
    _remove_groups(groups, left)
    _remove_mounts(run, left)
    _remove_directories(run, left)
    return left


def descendants(pid: int) -> set[int]:
    """Of a process, without itself."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{current}/task"):
                text = Path(f"/proc/{current}/task/{task}/children").read_text()
                children = {int(child) for child in text.split()} - found
                found |= children
                waiting += children
    return found


def end_descendants(left: Leftovers) -> None:
    """Kills and reaps every descendant of this process, which must be a subreaper.

    Blocks for at most some 20 s; they are added to ``left``.
    """
    deadline = time.monotonic() + _KILL_S
    seen: set[int] = set()
    reap_children()
    while found := descendants(os.getpid()):
        for pid in found:
            if pid not in seen and is_alive(pid):
                left.processes.append(f"{pid} {command_of(pid)}")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        seen |= found
        reap_children()
        if time.monotonic() > deadline:
            left.stubborn += [f"process {pid} {command_of(pid)}" for pid in sorted(found)]
            return
        time.sleep(0.01)  # there is no waiting for a process that is another one's child


def reap_children() -> None:
    """All of this process's that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def is_alive(pid: int) -> bool:
    """Not gone, and not a zombie."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0] not in "ZX"
    return False


def command_of(pid: int) -> str:
    """A process's command line; empty where it has ended."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        text = b" ".join(words).decode(errors="replace").strip()
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return ""


def _end_processes(run: Run, groups: list[Path], spared: set[int], left: Leftovers) -> None:
    seen: set[int] = set()
    deadline = time.monotonic() + _KILL_S
    while found := _processes(run) - spared:
        # With what they have started, which may have no mark: once they are dead, nothing tells.
        for pid in tuple(found):
            found |= descendants(pid) - spared
        for group in groups:
            _let_die(group)
        for pid in found:
            if pid not in seen:
                left.processes.append(f"{pid} {command_of(pid)}")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        seen |= found
        if time.monotonic() > deadline:
            left.stubborn += [f"process {pid} {command_of(pid)}" for pid in sorted(found)]
            return
        time.sleep(0.02)  # these are other processes' children: there is no waiting for them


def _processes(run: Run) -> set[int]:
    """Those that carry the run's mark and have not ended."""
    found = set()
    mark, place = f"{VARIABLE}={run.name}".encode(), str(run.directory)
    for name in filter(str.isdigit, os.listdir("/proc")):
        process = Path("/proc", name)
        with contextlib.suppress(OSError):
            if not is_alive(int(name)):
                continue
            terminal = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[4])
            if f"/{run.prefix}" in process.joinpath("cgroup").read_text() or (
                mark in process.joinpath("environ").read_bytes().split(b"\0")
            ):
                found.add(int(name))
            elif terminal == 0 and process.stat().st_uid in _OURS:
                # With a terminal it would be somebody's shell, who looks at the directory.
                directory = os.readlink(process / "cwd")
                if directory == place or directory.startswith(f"{place}/"):
                    found.add(int(name))
    return found


def _groups(run: Run) -> Iterator[Path]:
    """The run's groups in every hierarchy, the outermost alone."""
    for mount, kind in _mounts():
        if kind not in ("cgroup", "cgroup2"):
            continue
        for folder, names, _ in os.walk(mount):
            ours = [name for name in names if name.startswith(run.prefix)]
            yield from (Path(folder, name) for name in ours)
            names[:] = [name for name in names if name not in ours]


def _let_die(group: Path) -> None:
    """Who is frozen, on v1, does not die; who has no CPU time does so slowly."""
    for folder, _, files in os.walk(group):
        for name, text in (
            ("freezer.state", "THAWED"),
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.max", "max"),
            ("cgroup.kill", "1"),
        ):
            if name in files:
                with contextlib.suppress(OSError):
                    Path(folder, name).write_text(text)


def _remove_groups(groups: list[Path], left: Leftovers) -> None:
    deadline = time.monotonic() + _KILL_S
    for group in groups:
        if group.exists():
            left.groups.append(str(group))
        while group.exists():
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # the last of its processes is on its way out
                    os.rmdir(folder)
            if time.monotonic() > deadline:
                left.stubborn.append(f"group {group}")
                break
            time.sleep(0.01)  # nothing says that a group can be removed


def _remove_mounts(run: Run, left: Leftovers) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # The newest first: one can lie over another.
    for target, _ in reversed(list(_mounts())):
        if target.startswith((f"{run.directory}/", *(f"{p}/{run.prefix}" for p in _OTHER_PLACES))):
            left.mounts.append(target)
            if libc.umount2(target.encode(), _MNT_DETACH) != 0:
                left.stubborn.append(f"mount {target}: {os.strerror(ctypes.get_errno())}")


def _mounts() -> Iterator[tuple[str, str]]:
    """Target and kind of each mount, oldest first."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        # proc_pid_mountinfo(5): space, tab, newline and backslash are octal.
        target = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        yield target, rest.split()[0]


def _remove_directories(run: Run, left: Leftovers) -> None:
    with contextlib.suppress(FileNotFoundError):
        names = sorted(path.name for path in run.directory.iterdir())
        # pytest's own is there at the end of each run, and what a tool keeps there for its steps.
        left.directories += [name for name in names if name.startswith("penstock-")]
    for place in _OTHER_PLACES:
        for path in place.glob(f"{run.prefix}*"):
            left.directories.append(str(path))
            _remove_tree(path)
    _remove_tree(run.directory)
    if run.directory.exists():
        left.stubborn.append(f"directory {run.directory}")


def _remove_tree(path: Path) -> None:
    # shutil.rmtree is recursive, and tests make trees that are thousands of directories deep.
    subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(path)], check=False, stderr=subprocess.DEVNULL
    )
