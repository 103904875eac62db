"""The table of which client has which user: a file of root's alone, whole or as it was before.

An id that was a client's once must never become another's, because its files, and processes that
KILL could not end, would change hands. So the file is only ever replaced by one with more in it:
that is written beside it, synced, renamed, and the directory synced (rename(2) is atomic; fsync(2)
of the directory makes it last). By its SHA-256 a damaged file is known and refused; otherwise, from
a table that lacks a line, an id would be given twice.
"""

import contextlib
import errno
import hashlib
import json
import os
import select
import signal
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from ..kernel.bounded_read import read_file
from ..kernel.reap import disown, fork, reap
from ..kernel.system_calls import prctl

NAME: Final = "client-users.json"
_NEW: Final = "client-users.new-"
_VERSION: Final = 1
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_MOST_BYTES: Final = 64 << 20
WRITE_S: Final = 5.0
"""How long a write may take. The supervisor, which has one thread, waits for it. If it takes more,
the start that needs it is refused."""

Entries = Sequence[tuple[int, str]]


class TableDamaged(Exception):
    """The file cannot be trusted. The text says where it is, what is wrong, and what to do."""


def encode(entries: Entries) -> bytes:
    """The file's bytes (pure): ids and clients in the order in which they were given."""
    listed = [[uid, client] for uid, client in entries]
    lines = ",\n".join(json.dumps(entry) for entry in listed)
    digest = _digest(listed)
    text = f'{{"version": {_VERSION}, "sha256": "{digest}", "users": [\n{lines}\n]}}\n'
    return text.encode()


def decode(data: bytes) -> list[tuple[int, str]]:
    """What encode was given. Raises ValueError with what is wrong (pure)."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(body, dict) or body.get("version") != _VERSION:
        raise ValueError(f"it is not of version {_VERSION}")
    listed = body.get("users")
    if not isinstance(listed, list) or body.get("sha256") != _digest(listed):
        raise ValueError("its content is not what its SHA-256 says")
    found: dict[int, str] = {}
    for entry in listed:
        uid, client = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if isinstance(uid, bool) or not isinstance(uid, int) or not isinstance(client, str):
            raise ValueError("an entry is not an id and a client")
        if uid in found:
            raise ValueError(f"{uid} is there twice")
        found[uid] = client
    return list(found.items())


def _digest(listed: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


class UserTable:
    """The file in ``directory``, which is made when something is first written."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.path = os.path.join(directory, NAME)

    def read(self) -> list[tuple[int, str]]:
        """The entries; none if nothing was ever written.

        Raises TableDamaged, also for a file that is not this process's alone, and OSError if it
        cannot be read.
        """
        try:
            self._check(os.lstat(self.path))
            return decode(read_file(self.path, _MOST_BYTES))
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise TableDamaged(
                f"supervisor_dir: {self.path} is damaged: {error}; put a copy of it back. Without "
                "one, move it away and name job_uids that were never used, as files of clients may "
                "still have the old ones"
            ) from None

    def _check(self, status: os.stat_result) -> None:
        """Raises TableDamaged if another user can change the file, because that user would decide
        whose files and processes a client gets."""
        where = f"supervisor_dir: {self.path}"
        if not stat.S_ISREG(status.st_mode):
            raise TableDamaged(f"{where} is no regular file; put the table itself there")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise TableDamaged(
                f"{where} is not penstockd's user's alone; see that its content is what it was, "
                f"then chown {os.geteuid()}, chmod 0600"
            )

    def write(self, entries: Entries) -> None:
        """Replaces the entries, durably when it returns. Takes at most WRITE_S.

        It writes in a process of its own, because a disk may stand still. Raises OSError; the
        entries may then be written or not, so the caller must keep what it wanted to write.
        """
        data = encode(entries)
        parent = os.getpid()
        pid = fork()
        if pid == 0:
            self._write_and_exit(data, parent)
        if not _ended_within(pid, WRITE_S):
            os.kill(pid, signal.SIGKILL)
            disown(pid)
            raise TimeoutError(errno.ETIMEDOUT, "the disk does not answer", self.path)
        code = os.waitstatus_to_exitcode(reap(pid)[0])
        if code:
            text = os.strerror(code) if code > 0 else f"killed by signal {-code}"
            raise OSError(code if code > 0 else errno.EIO, text, self.path)

    def _write_and_exit(self, data: bytes, parent: int) -> None:
        """In the child. Never returns; errno is its status."""
        code = errno.EIO
        try:
            # This process must not outlive the supervisor: the next one reads the file and gives
            # ids by it, and a late rename would put an older table in its place.
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                return  # the supervisor was killed before that; the process ends
            # Above all locks and the server's connection, because they must end with the
            # supervisor.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            self._replace(data)
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)

    def _replace(self, data: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        with _opened(self._directory) as directory:
            self._replace_in(directory, data)
        # The directory itself may be new, too.
        with _opened(os.path.dirname(self._directory)) as above:
            os.fsync(above)

    def _replace_in(self, directory: int, data: bytes) -> None:
        for name in os.listdir(directory):
            if name.startswith(_NEW):  # of a write that was cut off
                os.unlink(name, dir_fd=directory)
        new = f"{_NEW}{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(new, flags, 0o600, dir_fd=directory)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(new, NAME, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _ended_within(pid: int, seconds: float) -> bool:
    """Has the child ended? Raises OSError where there are no descriptors; it was given up then."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        disown(pid)
        raise
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)
