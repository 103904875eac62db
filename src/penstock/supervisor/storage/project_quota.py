"""What a job takes of the disk, held by the kernel: project quotas of ext4, xfs and others.

Each job's directories get a project of their own, which everything that is made below them inherits
(FS_XFLAG_PROJINHERIT), and that project gets hard limits. A write beyond them fails with EDQUOT, at
the bound and not a look later (storage_watch.py), also for files that have lost their names. The
limits do not hold root, because the kernel lets a process with CAP_SYS_RESOURCE pass.

The owner of a file may change its project, unless a filter refuses these calls
(isolation/seccomp.py). So limits are *enforced* only for jobs that have the filter.

Numbers are from linux/fs.h, linux/quota.h, linux/dqblk_xfs.h and asm-generic/unistd.h. A project's
number is drawn at random, because two penstockds may have their jobs on one file system, and from
2^30 on, because administrators use small ones (/etc/projid).
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...policy.limit_classes import Enforcement, LimitName, ResourceLimits, State
from ..kernel.reap import fork, reap
from ..kernel.system_calls import call
from ..logs.supervisor_log import log
from . import workdirs

_QUOTACTL_FD: Final = 443  # Linux 5.14; on every architecture
_PROJECTS: Final = 2  # PRJQUOTA
_GET: Final = 0x800007
_SET: Final = 0x800008
_NEXT: Final = 0x800009  # Linux 4.6
_STATE: Final = (ord("X") << 8) + 5  # Q_XGETQSTAT, which works on every file system with quotas
# struct fs_quota_stat: its second field, qs_flags, has FS_QUOTA_PDQ_ENFD where limits are held.
_STATE_FLAGS: Final = struct.Struct("=xxH")
_STATE_BYTES: Final = 128
_ENFORCED: Final = 1 << 5
# struct if_nextdqblk: limits and use of blocks, of inodes; times; what is valid; the project.
_BLOCK: Final = struct.Struct("=QQQQQQQQII")
_LIMITS_ARE_VALID: Final = 1 | 4
# Limits are counted in these (QIF_DQBLKSIZE); none is 0.
UNIT_BYTES: Final = 1024

_GET_ATTRIBUTES: Final = 0x801C581F  # FS_IOC_FSGETXATTR
_SET_ATTRIBUTES: Final = 0x401C5820  # FS_IOC_FSSETXATTR
# struct fsxattr: flags, extent size, extents, project, extent size of copies.
_ATTRIBUTES: Final = struct.Struct("=IIIII8x")
_INHERIT: Final = 0x200

# Projects of penstock have numbers from the first on, 2^30 of them.
FIRST: Final = 1 << 30
_TRIES: Final = 16
# How many projects of jobs that were not removed in order a start looks through.
_MOST_SWEPT: Final = 100_000

# The limits of the try at a start: a user without rights writes more than they let through.
_TRIED: Final = ResourceLimits(storage_bytes=64 * UNIT_BYTES, files=8)
_TRIED_UID: Final = 65534
_HELD_CODE: Final = 42


@dataclass(frozen=True, slots=True)
class Project:
    """One job's project and its limits, as read back from the kernel; None is no limit."""

    number: int
    storage_bytes: int | None
    files: int | None

    def entries(self, *, confined: bool) -> dict[LimitName, Enforcement]:
        """What became of its limits. ``confined``: the job cannot change the project of a file."""
        state, how = _HOW[confined]
        values: dict[LimitName, int | None] = {"storage": self.storage_bytes, "files": self.files}
        return {
            name: Enforcement(name, state, str(value), how)
            for name, value in values.items()
            if value is not None
        }


_BY_QUOTA: Final = "a project quota of the file system"
_HOW: Final[dict[bool, tuple[State, str]]] = {
    True: ("enforced", _BY_QUOTA),
    False: ("partial", f"{_BY_QUOTA}, which a job without isolation.seccomp can leave; and "
            "looked at each second"),
}  # fmt: skip


class ProjectQuotas:
    """The project quotas of the file system that ``root`` is on.

    ``missing`` says why jobs cannot have them, and is "" where they can.
    """

    def __init__(self, root: str) -> None:
        """Tries them, with a directory in ``root`` for a moment. Raises nothing."""
        self._root = root
        try:
            self.missing = self._why_not()
        except OSError as error:
            self.missing = f"project quotas cannot be used here: {error.strerror}"

    def entries(self) -> list[Enforcement]:
        """What this host can hold; empty where it has no quotas."""
        if self.missing:
            return []
        return [Enforcement("storage", "enforced", detail=_BY_QUOTA),
                Enforcement("files", "enforced", detail=_BY_QUOTA)]  # fmt: skip

    def hold(self, directories: Sequence[str], limits: ResourceLimits) -> Project | None:
        """Makes a project for these directories, which are there and empty.

        None where there are no quotas (any more), or nothing to limit. An error is logged, and then
        only storage_watch bounds the job.
        """
        if self.missing or (limits.storage_bytes is None and limits.files is None):
            return None
        try:
            with self._opened() as fd:
                return _hold(fd, directories, limits)
        except OSError as error:
            log(f"a job in {self._root} has no project quota: {error.strerror}")
            return None

    def free(self, project: Project) -> None:
        """Removes the limits of a project whose directories are gone. Raises nothing."""
        try:
            with self._opened() as fd:
                _set(fd, project.number, 0, 0)
        except OSError as error:
            log(f"the quota of project {project.number} stays: {error.strerror}")

    def sweep(self) -> None:
        """Removes the limits of projects of ours that have no file any more, which jobs of earlier
        lives have left. Raises nothing."""
        if self.missing:
            return
        with contextlib.suppress(OSError), self._opened() as fd:
            for number in _unused(fd):
                _set(fd, number, 0, 0)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _why_not(self) -> str:
        if os.geteuid() != 0:
            return "without root no quota can be set"
        with self._opened() as fd:
            if not _is_enforced(fd):
                return "the file system has no project quotas; mount it with prjquota"
        # Named as a job's, so that a sweep knows it if this process is killed meanwhile.
        scratch = os.path.join(self._root, uuid.uuid4().hex)
        try:
            os.mkdir(scratch, 0o700)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return ""  # too full for a try; but what each job gets is read back anyway
        project = None
        try:
            with self._opened() as fd:
                project = _hold(fd, [scratch], _TRIED)
            os.chown(scratch, _TRIED_UID, _TRIED_UID)
            held = _is_held(scratch)
        finally:
            workdirs.remove_tree(scratch)
            if project is not None:
                self.free(project)
        return "" if held else "the file system lets a user write beyond a project quota"


def _hold(fd: int, directories: Sequence[str], limits: ResourceLimits) -> Project:
    """As hold. Raises OSError; what was set by then goes with the directories, or by a sweep."""
    if not _is_enforced(fd):
        raise OSError(errno.ESRCH, "quotas are off")
    number = _unused_number(fd)
    for path in directories:
        _put_into(path, number)
    # The directories are inodes of the project, but not files of the job's.
    units = 0 if limits.storage_bytes is None else max(1, limits.storage_bytes // UNIT_BYTES)
    inodes = 0 if limits.files is None else limits.files + len(directories)
    _set(fd, number, units, inodes)
    read_units, _, _, read_inodes, *_ = _get(fd, number)
    if (read_units, read_inodes) != (units, inodes):
        raise OSError(errno.EIO, f"limits read back as {read_units} KiB, {read_inodes} inodes")
    return Project(
        number,
        None if limits.storage_bytes is None else read_units * UNIT_BYTES,
        None if limits.files is None else read_inodes - len(directories),
    )


def _put_into(path: str, number: int) -> None:
    """Gives a directory this project. Follows no symbolic link. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = bytearray(_ATTRIBUTES.size)
        fcntl.ioctl(fd, _GET_ATTRIBUTES, data)
        flags, extent, extents, _, copies = _ATTRIBUTES.unpack(data)
        data[:] = _ATTRIBUTES.pack(flags | _INHERIT, extent, extents, number, copies)
        fcntl.ioctl(fd, _SET_ATTRIBUTES, data)
    finally:
        os.close(fd)


def _unused_number(fd: int) -> int:
    """Draws a project number that has neither limits nor files. Raises OSError."""
    for _ in range(_TRIES):
        number = FIRST + random.getrandbits(30)
        limit, _, used, inodes_limit, _, inodes, *_ = _get(fd, number)
        if not (limit or used or inodes_limit or inodes):
            return number
    raise OSError(errno.EUSERS, "every project that was tried is used")


def _unused(fd: int) -> Iterator[int]:
    """Projects of ours with limits and without a file.

    Raises OSError after the last one, on most file systems.
    """
    number = FIRST
    for _ in range(_MOST_SWEPT):
        limit, _, used, inodes_limit, _, inodes, _, _, _, number = _get(fd, number, _NEXT)
        if not FIRST <= number < 2 * FIRST:
            return
        if (limit or inodes_limit) and not (used or inodes):
            yield number
        number += 1


def _is_enforced(fd: int) -> bool:
    """Does the file system enforce limits of projects? False as well where the kernel has no
    quotas, or this process may not ask."""
    data = ctypes.create_string_buffer(_STATE_BYTES)
    try:
        _quotactl(fd, _STATE, 0, data)
    except OSError:
        return False
    (flags,) = _STATE_FLAGS.unpack_from(data.raw)
    return bool(flags & _ENFORCED)


def _get(fd: int, number: int, what: int = _GET) -> tuple[int, ...]:
    """The fields of _BLOCK. Raises OSError."""
    data = ctypes.create_string_buffer(_BLOCK.size)
    _quotactl(fd, what, number, data)
    return _BLOCK.unpack(data.raw)


def _set(fd: int, number: int, units: int, inodes: int) -> None:
    """Sets a project's hard and soft limits to these; 0 is none. Raises OSError."""
    values = (units, units, 0, inodes, inodes, 0, 0, 0, _LIMITS_ARE_VALID, 0)
    _quotactl(fd, _SET, number, ctypes.create_string_buffer(_BLOCK.pack(*values)))


def _quotactl(fd: int, what: int, number: int, data: "ctypes.Array[ctypes.c_char]") -> None:
    call(_QUOTACTL_FD, fd, what << 8 | _PROJECTS, number, data)


def _is_held(directory: str) -> bool:
    """Do the limits of _TRIED stop a child that has no more rights than a job? Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        pid = fork()
        if pid == 0:
            _write_too_much(fd)
    finally:
        os.close(fd)
    status, _ = reap(pid)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == _HELD_CODE


def _write_too_much(directory: int) -> None:
    """In a child. Never returns."""
    code = 1
    try:
        os.setgroups([])
        os.setresgid(_TRIED_UID, _TRIED_UID, _TRIED_UID)
        os.setresuid(_TRIED_UID, _TRIED_UID, _TRIED_UID)
        file = os.open("f", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        assert _TRIED.storage_bytes is not None
        for _ in range(2 * _TRIED.storage_bytes // UNIT_BYTES):
            os.write(file, bytes(UNIT_BYTES))
    except OSError as error:
        if error.errno == errno.EDQUOT:
            code = _HELD_CODE
    finally:
        os._exit(code)
