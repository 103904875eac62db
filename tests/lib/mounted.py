"""The host's mounts, as far as jobs could change them if their own views leaked."""

import re
from pathlib import Path

from this_run import group_prefix

_PLACES = {"/", "/tmp", "/var/tmp", "/dev/shm", "/proc"}


def mounted() -> list[str]:
    """Lines of mountinfo. Others of the host come and go, as by tests that run beside this one."""
    of_a_job = re.compile(rf"/[0-9a-f]{{32}}(/|\.|\Z)|/srv/{re.escape(group_prefix())}")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    targets = [(line.split()[4], line) for line in lines]
    return [line for path, line in targets if path in _PLACES or of_a_job.search(path)]
