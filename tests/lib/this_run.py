"""The run of tests that this process belongs to: names and places that no other run, and no other
process of this one, has.

tools/test makes the run. Where pytest was called by itself, or a tool uses these libraries, this
process makes one of its own at first use and removes it when it exits.
"""

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import _env
from _test_run import Run, create_run, current_run, remove_dead_runs, remove_run

_numbers = itertools.count(1)


@functools.cache
def this_run() -> Run:
    """From now on it is in the environment of this process, and of whatever it starts."""
    if (run := current_run()) is not None:
        return run
    for dead, left in remove_dead_runs():
        print(f"Removed what run {dead.name}, which was killed, had left: {left}", file=sys.stderr)
    run = create_run()
    os.environ.update(run.environ())
    tempfile.tempdir = None  # it may have been looked up before
    atexit.register(end_this_run, os.getpid())
    return run


def end_this_run(creator: int) -> None:
    """Removes the run that process ``creator`` has made; in any other process nothing happens.

    In one that a test has forked, as in one of a run of tools/test's.
    """
    run = this_run()
    if os.getpid() == creator and run.lock >= 0 and run.directory.exists():
        remove_run(run)
        os.close(run.lock)


def new_directory(kind: str) -> Path:
    """An empty one on a real disk that other users can pass through; the caller removes it."""
    path = Path(tempfile.mkdtemp(prefix=f"penstock-{kind}-", dir=this_run().directory))
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def own_directory(kind: str) -> Iterator[Path]:
    """One of ``new_directory`` as long as the block, with all that is in it then."""
    path = new_directory(kind)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def group_prefix() -> str:
    """What the names of this process's control groups begin with."""
    return f"{this_run().prefix}{os.getpid()}-"


def group(kind: str) -> str:
    """A parent for control groups, as ``cgroup_parent`` of the configuration has it.

    The same in this process each time.
    """
    return f"/{group_prefix()}{kind}"


def new_group(kind: str) -> str:
    """As ``group``, another one each time."""
    return f"{group(kind)}-{next(_numbers)}"


def visible_directory(kind: str) -> Path:
    """A new one that jobs see as well: below /tmp and /var/tmp each has its own. Needs root.

    The caller removes it.
    """
    path = Path("/srv") / f"{group_prefix()}{kind}-{next(_numbers)}"
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


def job_uids() -> str:
    """A range for clients' own users that no other process has, as the configuration has it."""
    return _env.job_uids(os.getpid())


def process_mark() -> str:
    """Letters and digits that no other process of any run has: for what is looked for in /proc."""
    return f"{this_run().name}{os.getpid()}"
