"""Kills by cgroup.kill and reports the end by cgroup.events, in a group of the v2 mount.

Neither file needs a controller, so hybrid hosts use them beside the v1 hierarchies that hold the
limits.
"""

import os

from .counters import RESOURCES, flat
from .group_files import GroupError, make_directory, pids_below, read, remove_tree, write
from .signalling import kill_below
from .strays import V2


class V2Killer:
    """A Killer with one directory in the v2 mount. It keeps ``notify_fd`` open until remove."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.controller = V2
        self._events_fd = -1

    def create(self) -> None:
        """Makes the directory and opens its files. Raises GroupError; nothing is left then."""
        make_directory(self.path)
        events = f"{self.path}/cgroup.events"
        try:
            self._events_fd = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            os.rmdir(self.path)
            raise GroupError(f"opening {events}: {error.strerror}") from error

    def usage_files(self) -> dict[str, str]:
        """Files that every group of the v2 mount has, also without controllers."""
        names = ("cpu.stat", *(f"{resource}.pressure" for resource in RESOURCES))
        return {name: f"{self.path}/{name}" for name in names}

    def procs_file(self) -> str | None:
        """The cgroup.procs file; a process can also be born inside (kernel/clone3.py)."""
        return os.path.join(self.path, "cgroup.procs")

    def notify_fd(self) -> int | None:
        """The open cgroup.events file: EPOLLPRI when it changes."""
        return self._events_fd if self._events_fd >= 0 else None

    def kill_fd(self) -> int | None:
        """A write descriptor of cgroup.kill (Linux 5.14), the caller's; None on older kernels."""
        try:
            return os.open(os.path.join(self.path, "cgroup.kill"), os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def populated(self) -> bool:
        """Whether cgroup.events reports a live process; zombies do not count."""
        if self._events_fd < 0:
            return bool(self.pids())
        text = os.pread(self._events_fd, 4096, 0).decode("ascii")
        return flat(text).get("populated", 0) == 1

    def pids(self) -> list[int]:
        """Pids in this group and in the groups below it."""
        return pids_below(self.path)

    def kill(self) -> int:
        """Sends KILL to all at once; on kernels without cgroup.kill, once to each member.

        Raises GroupError where the kernel has the file and it cannot be written, as when
        this process is out of descriptors: nothing was killed then.

        The kernel sends KILL to the first thread of each process, and has no effect where that
        thread has ended (seen on Linux 6.18): the other threads run on. So each such process gets
        one as a process, and then the group another, because they may have forked meanwhile.
        """
        count = len(self.pids())
        control = os.path.join(self.path, "cgroup.kill")
        try:
            write(control, "1")
        except GroupError:
            if os.path.exists(control):
                raise
            kill_below(self.path)
            return count
        if any(map(_first_thread_has_ended, self.pids())):
            kill_below(self.path)
            write(control, "1")
        return count

    def let_die(self, top: str) -> None:
        """Does nothing, because on v2 KILL also ends frozen processes."""

    def freeze(self, frozen: bool) -> None:
        """Writes cgroup.freeze (Linux 5.2); ``frozen`` reports the effect. Raises GroupError."""
        write(os.path.join(self.path, "cgroup.freeze"), "1" if frozen else "0")

    def frozen(self) -> bool:
        """Whether cgroup.events reports that all are frozen. Raises GroupError."""
        return flat(read(os.path.join(self.path, "cgroup.events"))).get("frozen", 0) == 1

    def remove(self) -> bool:
        """Closes the files and removes the directory; False if the kernel still uses it."""
        if not remove_tree(self.path):
            return False
        if self._events_fd >= 0:
            os.close(self._events_fd)
            self._events_fd = -1
        return True


def _first_thread_has_ended(pid: int) -> bool:
    """Whether only the first thread has ended; true also of a process that is just ending."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False
