"""What this host gives of each isolation: tried once, in a process of its own, and looked at.

Each isolation is tried instead of concluded from the kernel's version, because a container, a
security module or a filter of system calls can forbid what the kernel has, and because a
distribution's kernel can have what its version does not say.
"""

import contextlib
import errno
import json
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from ..policy.limit_classes import ISOLATION_NAMES, Enforcement, IsolationName
from .isolation import apply, landlock, namespaces, seccomp
from .isolation.pids import await_init, fork_both
from .isolation.plan import Isolation, Offers
from .job.spawn import no_new_privs
from .kernel import system_calls
from .kernel.reap import fork, reap
from .storage import workdirs

_TEMPORARY: Final = ("/tmp", "/var/tmp")
_SHM: Final = "/dev/shm"
_CLONE3: Final = 435
# In memory on nearly every host, and ours to write; used where all disks are full.
_LAST_ROOT: Final = "/run"
# More entries than a try makes, so that no try fails for want of room where these fit.
_ENTRIES: Final = 16

_NS_FILES: Final[dict[IsolationName, str]] = {
    "isolation.ipc": "ipc",
    "isolation.uts": "uts",
    "isolation.network": "net",
}


class _Ineffective(Exception):
    """Every step succeeded, and yet nothing is different; the text says what."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a try needs: the offers as far as they are known, and an empty directory."""

    offers: Offers
    scratch: str


def probe(*scratch_roots: str) -> Offers:
    """Tries every isolation, with a directory in the first of ``scratch_roots`` that has room for
    one, which is removed afterwards.

    Where all are full nothing can be tried, so nothing is offered. That is no error, because
    clients need a penstockd that runs to end their jobs and to get their output. Raises OSError if
    the first cannot be written for another reason, or if no process can be had for a try.
    """
    machine = os.uname().machine
    known = Offers(
        entries={},
        private=tuple(dict.fromkeys(os.path.realpath(p) for p in _TEMPORARY if os.path.isdir(p))),
        shm=os.path.realpath(_SHM) if os.path.isdir(_SHM) else "",
        landlock=landlock.handled(landlock.abi()) if landlock.abi() else 0,
        seccomp=seccomp.make_filter(machine) or b"",
    )
    try:
        scratch = _make_scratch((*scratch_roots, _LAST_ROOT))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        detail = f"it could not be tried: {error.strerror}"
        entries = {
            name: Enforcement(name, "unavailable", detail=detail) for name in ISOLATION_NAMES
        }
        return replace(known, entries=entries)
    try:
        trial = _Trial(known, scratch)
        entries = {name: _entry(name, _tried(_TRIES[name], trial)) for name in ISOLATION_NAMES}
    finally:
        workdirs.remove_tree(scratch)
    return replace(known, entries=entries)


def _make_scratch(roots: tuple[str, ...]) -> str:
    """An empty directory in the first of ``roots`` that has room.

    Raises OSError if none has, or the first cannot be written for another reason.
    """
    # It has the name of a job's, so that a sweep removes it if this process is killed meanwhile.
    name = uuid.uuid4().hex
    full: OSError | None = None
    for root in roots:
        scratch = os.path.join(root, name)
        inside = [os.path.join(scratch, str(number)) for number in range(_ENTRIES)]
        try:
            for path in (scratch, *inside):
                os.mkdir(path, 0o700)
            for path in inside:
                os.rmdir(path)
        except OSError as error:
            workdirs.remove_tree(scratch)
            if full is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = full or error
        else:
            return scratch
    assert full is not None
    raise full


def _entry(name: IsolationName, result: dict[str, str]) -> Enforcement:
    if result["detail"]:
        return Enforcement(name, "unavailable", detail=result["detail"])
    actual = result["actual"]
    if name == "isolation.landlock" and int(actual.split()[1]) < landlock.COMPLETE_ABI:
        return Enforcement(name, "partial", actual, "this kernel lets files be truncated")
    return Enforcement(name, "enforced", actual)


def _tried(
    attempt: Callable[[_Trial, Callable[[str], None]], str], trial: _Trial
) -> dict[str, str]:
    """The result of a try in a child: ``actual`` if it works, otherwise ``detail``."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork()
        if pid == 0:
            _child(attempt, trial, write_fd)
    except OSError:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        data = file.read()
    reap(pid)
    if not data:
        return {"actual": "", "detail": "the process that tried it was killed"}
    result: dict[str, str] = json.loads(data)
    return result


def _child(
    attempt: Callable[[_Trial, Callable[[str], None]], str], trial: _Trial, write_fd: int
) -> None:
    """In the child: tries it, and writes the result. Never returns."""
    stage = ""

    def at(name: str) -> None:
        nonlocal stage
        stage = name

    actual, detail = "", ""
    try:
        actual = attempt(trial, at)
    except OSError as error:
        hint = "; it needs CAP_SYS_ADMIN" if error.errno == errno.EPERM and os.geteuid() else ""
        detail = f"{stage}: {error.strerror}{hint}"
    except _Ineffective as error:
        detail = str(error)
    # The child of a fork must not unwind into the parent's frames; there is no Trio here.
    except BaseException as error:  # noqa: ASYNC103
        detail = repr(error)
    try:
        os.write(write_fd, json.dumps({"actual": actual, "detail": detail}).encode())
    finally:
        os._exit(0)


def _try_filesystem(trial: _Trial, at: Callable[[str], None]) -> str:
    own, behind = os.path.join(trial.scratch, "own"), os.path.join(trial.scratch, "tmp")
    os.mkdir(own)
    os.mkdir(behind)
    private, shm = trial.offers.private, trial.offers.shm
    isolation = Isolation(
        namespaces=namespaces.FLAGS["isolation.filesystem"],
        mounts=True,
        writable=(own,),
        private=private,
        behind=behind,
        shm=shm,
    )
    apply.enter(isolation, at)
    flags = os.statvfs("/").f_flag
    if not flags & os.ST_RDONLY or not flags & os.ST_NOSUID:
        raise _Ineffective("mounts: the root is still writable")
    for path in (own, *private, *([shm] if shm else [])):
        at(f"writing in {path}")
        with open(os.path.join(path, "written"), "wb"):
            pass
    return "read-only"


def _try_namespace(name: IsolationName) -> Callable[[_Trial, Callable[[str], None]], str]:
    def attempt(_: _Trial, at: Callable[[str], None]) -> str:
        link = f"/proc/self/ns/{_NS_FILES[name]}"
        before = os.readlink(link)
        loopback = name == "isolation.network"
        apply.enter(Isolation(namespaces=namespaces.FLAGS[name], loopback=loopback), at)
        if os.readlink(link) == before:
            raise _Ineffective("namespaces: it is still the host's")
        return "own namespace"

    return attempt


def _try_pid(_: _Trial, at: Callable[[str], None]) -> str:
    at("pid_namespace")
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    inits: list[int] = []
    try:
        main, ready_fd = fork_both(os.fork, lambda: None, inits.append)
    except OSError:
        for pid in inits:
            os.waitpid(pid, 0)
        raise
    if main == 0:
        _in_pid_namespace(ready_fd, write_fd)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        found = file.read().decode()
    os.kill(inits[0], signal.SIGKILL)
    for pid in (main, *inits):
        os.waitpid(pid, 0)
    if found != "2":
        raise _Ineffective(found or "pid_namespace: the process in it was killed")
    return "own namespace"


def _in_pid_namespace(ready_fd: int, write_fd: int) -> NoReturn:
    """Writes the pid that /proc reports for this process, or what is wrong. Never returns."""
    try:
        await_init(ready_fd)
        flags = namespaces.FLAGS["isolation.filesystem"]
        apply.enter(Isolation(pids=True, namespaces=flags, mounts=True), lambda _: None)
        os.write(write_fd, os.readlink("/proc/self").encode())
    except OSError as error:
        os.write(write_fd, f"pid_namespace: {error.strerror}".encode())
    finally:
        os._exit(0)


def _try_seccomp(trial: _Trial, at: Callable[[str], None]) -> str:
    if not trial.offers.seccomp:
        raise _Ineffective(f"the list has no numbers of system calls of {os.uname().machine}")
    no_new_privs()
    apply.restrict(Isolation(seccomp=trial.offers.seccomp), at)
    with contextlib.suppress(PermissionError):
        system_calls.unshare(0)  # without a filter this does nothing, and succeeds
        raise _Ineffective("seccomp: a denied call was not refused")
    try:
        system_calls.call(_CLONE3, None, 0)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise _Ineffective("seccomp: clone3 is still there") from None
    calls = len(seccomp.denied_numbers(seccomp.MACHINES[os.uname().machine]))
    return f"{calls} calls denied"


def _try_landlock(trial: _Trial, at: Callable[[str], None]) -> str:
    version = landlock.abi()
    if not version:
        raise _Ineffective("the kernel has no Landlock, or it is off (lsm= on its command line)")
    no_new_privs()
    apply.restrict(Isolation(landlock=trial.offers.landlock, landlock_write=(trial.scratch,)), at)
    at("writing where it is allowed")
    with open(os.path.join(trial.scratch, "written"), "wb"):
        pass
    with contextlib.suppress(PermissionError):
        os.listdir("/")
        raise _Ineffective("landlock: a directory that is not listed can be read")
    return f"ABI {version}"


_TRIES: Final[dict[IsolationName, Callable[[_Trial, Callable[[str], None]], str]]] = {
    "isolation.filesystem": _try_filesystem,
    "isolation.ipc": _try_namespace("isolation.ipc"),
    "isolation.uts": _try_namespace("isolation.uts"),
    "isolation.network": _try_namespace("isolation.network"),
    "isolation.pid": _try_pid,
    "isolation.seccomp": _try_seccomp,
    "isolation.landlock": _try_landlock,
}
