"""A group in the v2 mount as what kills and tells the end: cgroup.kill and cgroup.events.

This works whether or not the mount has controllers, so hybrid hosts use it beside the
v1 hierarchies that hold the limits.
"""

import os
import signal

from .counters import RESOURCES, flat
from .group_files import GroupError, make_directory, read, read_pids, remove_tree, write


class V2Killer:
    """One directory in the v2 mount. ``notify_fd`` is kept open until remove."""

    def __init__(self, mount: str, parent: str, name: str) -> None:
        self.path = f"{mount}{parent}/{name}"
        self._events_fd = -1

    def create(self) -> None:
        """Makes the directory. Raises GroupError; then it is not there, or was there before."""
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

    def procs_file(self) -> str:
        """The cgroup.procs file."""
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


def pids_below(path: str) -> list[int]:
    """Members of a group and of all groups below it; nobody where it is gone."""
    return [
        pid
        for directory, _, _ in os.walk(path)
        for pid in read_pids(os.path.join(directory, "cgroup.procs"))
    ]


def _first_thread_has_ended(pid: int) -> bool:
    """Of a process that goes on, or of one that is ending."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_below(path: str) -> None:
    """One round of KILL to the members of a group and of all groups below it, one by one.

    A pid may have been reused between the listing and the open; the membership is
    looked at again through the same group after the pidfd pins the process.
    """
    for directory, _, _ in os.walk(path):
        members = os.path.join(directory, "cgroup.procs")
        for pid in read_pids(members):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            try:
                if pid in read_pids(members):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                os.close(fd)


def enabled_controllers(path: str) -> frozenset[str]:
    """What cgroup.controllers of a group lists."""
    return frozenset(read(os.path.join(path, "cgroup.controllers")).split())
