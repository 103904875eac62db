"""What every kind of group can do, whatever kernel interface stands behind it."""

from typing import Any, Protocol

from ..limits import Enforcement, Limits


class Group(Protocol):
    """One job's group. Everything here is synchronous and bounded."""

    usage_files: dict[str, str]
    enforcement: list[Enforcement]

    def enter_fds(self) -> list[int]:
        """Descriptors a child writes "0" to, to be born inside; see close_enter_fds."""
        ...

    def close_enter_fds(self) -> None:
        """The child has entered or will not."""
        ...

    def notify_fd(self) -> int | None:
        """Becomes ready with EPOLLPRI when ``populated`` changes; None where the kind has none."""
        ...

    def kill_fd(self) -> int | None:
        """A new write descriptor of cgroup.kill, the caller's to close; None without one."""
        ...

    def populated(self) -> bool:
        """Is any process in the group?"""
        ...

    def pids(self) -> list[int]:
        """Pids in the group, in the supervisor's numbering."""
        ...

    def kill(self) -> int:
        """Sends KILL to everything inside; how many processes there were. May be repeated."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks the kernel to make all stand still, or run on. Raises GroupError."""
        ...

    def frozen(self) -> bool:
        """Do all stand still? Raises GroupError."""
        ...

    def counters(self) -> dict[str, Any]:
        """memory_peak_bytes, cpu_total_s, throttled_s, read_bytes, write_bytes, read_ops,
        write_ops, oom_kills, as far as the kernel counts them."""
        ...

    def remove(self) -> bool:
        """Removes the empty group everywhere. False: the kernel is not done with it, try again."""
        ...


class Hierarchy(Protocol):
    """The groups of one penstock on this host. ``kind`` is v1, v2 or hybrid."""

    kind: str

    def capabilities(self) -> list[Enforcement]:
        """Per limit, what this host can do: found out once, cpu, memory and processes by trying."""
        ...

    def create(self, name: str, limits: Limits, device: str | None) -> Group:
        """A group with its limits set and read back. ``device`` is "major:minor" of the disk.

        Raises GroupError; nothing is left behind then.
        """
        ...

    def sweep(self) -> int:
        """Kills and removes every group below the own parent, which is made if need be.

        How many there were. Raises OSError if the parent cannot be made.
        """
        ...

    def remove_parent(self) -> None:
        """Removes the own parent if it is empty."""
        ...
