"""What a job leaves in its directories: all of it goes, whatever it is, and nothing else."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from this_run import new_directory

from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.kernel.reap import strangers
from penstock.supervisor.storage import workdirs

JOB = "0123456789abcdef" * 2
# More than a path may have, than Python's calls may be nested, and than descriptors are left.
DEPTH = 5000


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not pytest's tmp_path: it could not remove what a test that fails leaves there."""
    path = new_directory("workdirs")
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
    subprocess.run(["rm", "-rf", path], check=True)


def dig(path: Path, depth: int) -> None:
    """A file in a directory in a directory, and so on."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


@pytest.mark.parametrize("fits", [0, 1])
def test_one_that_finds_no_room_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """C59: of the two directories that it makes, none is left, whichever did not fit."""
    mkdir, made = os.mkdir, list[str]()

    def full(path: str, mode: int) -> None:
        if len(made) == fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, mode)
        made.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", full)
        with pytest.raises(OSError, match="No space left"):
            workdirs.make(str(directory), JOB, None, with_temporary=True)
    assert len(made) == fits
    assert list(directory.iterdir()) == []


@pytest.mark.slow
def test_however_deep(directory: Path) -> None:
    """The next start of penstockd must get past it, too."""
    job = directory / JOB
    job.mkdir()
    dig(job, DEPTH)
    workdirs.remove_tree(str(job))
    assert list(directory.iterdir()) == []


def test_whatever_it_is(directory: Path) -> None:
    """Files, closed directories, FIFOs, and links, which are not followed."""
    kept = directory / "kept"
    kept.mkdir()
    (kept / "file").touch()
    job = directory / JOB
    (job / "a" / "b").mkdir(parents=True)
    (job / "a" / "b" / "file").touch()
    (job / "a" / "link").symlink_to(kept)
    (job / "link").symlink_to(kept)
    os.mkfifo(job / "a" / "fifo")
    os.link(kept / "file", job / "a" / "hard")
    for path in (job / "a" / "b", job / "a", job):
        path.chmod(0)
    workdirs.remove_tree(str(job))
    assert [path.name for path in directory.iterdir()] == ["kept"]
    assert [path.name for path in kept.iterdir()] == ["file"]


def test_a_link_in_the_place_of_a_directory(directory: Path) -> None:
    """It is left, and so is what it names."""
    kept = directory / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (directory / JOB).symlink_to(kept)
    workdirs.remove_tree(str(directory / JOB))
    assert (kept / "file").exists()


def test_a_sweep_removes_what_jobs_have_left_alone(directory: Path) -> None:
    """Not what merely has a name as long as theirs, nor a file."""
    others = ["pictures-of-the-last-summer-2026", JOB.upper(), JOB + "0", JOB + ".bak"]
    for name in (JOB, JOB + ".tmp", *others):
        (directory / name / "inner").mkdir(parents=True)
    (directory / JOB[::-1]).touch()
    workdirs.sweep(str(directory))
    assert {path.name for path in directory.iterdir()} == {*others, JOB[::-1]}


def test_without_descriptors_it_is_tried_again(directory: Path) -> None:
    """A process that removes cannot be waited for without one."""
    job = directory / JOB
    job.mkdir()
    (job / "one").touch()
    (job / "two").touch()
    loop = Loop()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        workdirs.remove(loop, str(job), loop.stop)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    loop.run()
    assert not job.exists()
    strangers()  # reaps the first, as the supervisor does when it is told of a child's end
