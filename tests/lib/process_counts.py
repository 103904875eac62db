"""What another process has at the moment: descriptors, threads, memory."""

import os
import time
from pathlib import Path

from patience import patient

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Counts:
    """Of a process, at the time it is made. Needs its rights, or root's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptors = descriptors(pid)
        self.threads = threads(pid)
        self.memory_bytes = memory_bytes(pid)

    def wait_back(self) -> None:
        """Until it has no more descriptors and threads than then. Threads of Trio's cache stay for
        ten seconds, so that those cost time where there were more."""
        deadline = time.monotonic() + patient(20)
        while descriptors(self.pid) > self.descriptors or threads(self.pid) > self.threads:
            assert time.monotonic() < deadline, (
                f"descriptors: {self.descriptors}, now {open_files(self.pid)}; "
                f"threads: {self.threads}, now {threads(self.pid)}"
            )
            time.sleep(0.05)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def open_files(pid: int) -> list[str]:
    """What its descriptors lead to."""
    return [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def memory_bytes(pid: int) -> int:
    """Without what files could be read again for."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
