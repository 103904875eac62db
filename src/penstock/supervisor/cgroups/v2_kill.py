"""A group in the v2 mount as what kills and tells the end: cgroup.kill and cgroup.events.

This works whether or not the mount has controllers, so hybrid hosts use it beside the
v1 hierarchies that hold the limits.
"""

import os

from .counters import RESOURCES, flat
from .group_files import GroupError, make_directory, pids_below, read, remove_tree, write
from .signalling import kill_below
from .strays import V2


class V2Killer:
    """One directory in the v2 mount. ``notify_fd`` is kept open until remove."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.controller = V2
        self._events_fd = -1

    def create(self) -> None:
        """As Killer.create."""
        make_directory(self.path)
        events = f"{self.path}/cgroup.events"
        try:
            self._events_fd = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            os.rmdir(self.path)
            raise GroupError(f"opening {events}: {error.strerror}") from error

    def usage_files(self) -> dict[str, str]:
        """What every group of the v2 mount counts, with controllers or without."""
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
        """As the kernel says, zombies not counted."""
        if self._events_fd < 0:
            return bool(self.pids())
        text = os.pread(self._events_fd, 4096, 0).decode("ascii")
        return flat(text).get("populated", 0) == 1

    def pids(self) -> list[int]:
        """Members, and those of groups below."""
        return pids_below(self.path)

    def kill(self) -> int:
        """KILL to all at once; on kernels without cgroup.kill one round over the members.

        Raises GroupError where the kernel has the file and it cannot be written, as when
        this process is out of descriptors: nothing was killed then.

        The kernel sends KILL to the first thread of each process, and where that has ended it
        reaches nobody (seen on Linux 6.18): the others run on. So these get one each, as a
        process; and the group another, for whom they have forked meanwhile.
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
        """Nothing to do: KILL reaches the frozen here, too."""

    def freeze(self, frozen: bool) -> None:
        """By cgroup.freeze (Linux 5.2). Raises GroupError."""
        write(os.path.join(self.path, "cgroup.freeze"), "1" if frozen else "0")

    def frozen(self) -> bool:
        """As the kernel says: all are. Raises GroupError."""
        return flat(read(os.path.join(self.path, "cgroup.events"))).get("frozen", 0) == 1

    def remove(self) -> bool:
        """Closes what is open and removes the directory; False if it is still busy."""
        if not remove_tree(self.path):
            return False
        if self._events_fd >= 0:
            os.close(self._events_fd)
            self._events_fd = -1
        return True


def _first_thread_has_ended(pid: int) -> bool:
    """Of a process that goes on, or of one that is ending."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False
