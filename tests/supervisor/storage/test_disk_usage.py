"""What a job takes of the disk, counted while it changes and although it hides it."""

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from this_run import new_directory

from penstock.supervisor.storage import unlinked_files, workdirs
from penstock.supervisor.storage.disk_usage import MOST_LEVELS, Used, Watched, died_of_length, walk
from penstock.supervisor.storage.storage_watch import LOOK_CPU_S, Looker

KIB = 1024


@pytest.fixture
def directory() -> Iterator[Path]:
    """On a real disk, so that blocks are counted as there."""
    path = new_directory("storage")
    yield path
    workdirs.remove_tree(str(path))


def watched(directory: Path, *, name: str = "job", **bounds: int | None) -> Watched:
    limits: dict[str, int | None] = {"storage_bytes": None, "files": None, **bounds}
    return Watched(name, (str(directory),), limits["storage_bytes"], limits["files"])


def used(job: Watched) -> Used:
    counted = Used()
    for _ in walk(job, counted):
        pass
    return counted


def blocks(path: Path) -> int:
    return path.lstat().st_blocks * 512


def test_everything_that_has_a_name_is_counted(directory: Path) -> None:
    """Files by their blocks, directories, links, FIFOs; the top itself is not an entry."""
    below = directory / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").write_bytes(bytes(300 * KIB))
    (directory / "link").symlink_to("/nowhere")
    os.mkfifo(directory / "fifo")
    found = used(watched(directory))
    assert found.files == 5
    places = (directory, directory / "a", below, below / "file", directory / "link")
    assert found.storage_bytes == sum(map(blocks, places)) >= 300 * KIB


def test_a_file_counts_once_and_each_of_its_names(directory: Path) -> None:
    """Names take room in directories and time to look at; blocks are there once."""
    (directory / "one").write_bytes(bytes(100 * KIB))
    before = used(watched(directory)).storage_bytes
    for number in range(9):
        os.link(directory / "one", directory / str(number))
    found = used(watched(directory))
    assert (found.files, found.storage_bytes) == (10, before)


def test_holes_do_not_count_and_blocks_beyond_the_end_do(directory: Path) -> None:
    """What the disk has lost is what matters: not the length of a file."""
    with (directory / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    empty = used(watched(directory)).storage_bytes
    assert empty < 1 << 20
    with (directory / "full").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        os.ftruncate(file.fileno(), 1 << 20)
    assert used(watched(directory)).storage_bytes >= empty + (1 << 20)


def test_no_link_is_followed(directory: Path) -> None:
    """Neither within nor in the place of the directory itself."""
    (directory / "outside").mkdir()
    (directory / "outside" / "file").write_bytes(bytes(100 * KIB))
    (directory / "job").mkdir()
    (directory / "job" / "link").symlink_to(directory / "outside")
    (directory / "top").symlink_to(directory / "outside")
    assert used(watched(directory / "job")).files == 1
    assert used(watched(directory / "top")).files == 0


def test_what_is_not_there_takes_nothing(directory: Path) -> None:
    """Not every job has a directory for temporary files, and a job that ends has none any more."""
    assert used(watched(directory / "gone")) == Used()


def test_a_tree_that_is_too_deep_to_be_looked_at_is_over(directory: Path) -> None:
    """Or a job would hide what it has at its end."""
    deep = directory
    for _ in range(MOST_LEVELS - 1):
        deep /= "d"
    deep.mkdir(parents=True)
    job = watched(directory, storage_bytes=1 << 30)
    assert not used(job).over(job)
    (deep / "d" / "d").mkdir(parents=True)
    assert used(job).over(job)
    before = os.listdir("/proc/self/fd")
    assert used(job).too_deep
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_directory_that_is_renamed_meanwhile_is_found(directory: Path) -> None:
    """Between its listing and its opening it has another name."""
    for name in ("a", "b"):
        (directory / name).mkdir()
        (directory / name / "file").touch()
    counted = Used()
    steps = walk(watched(directory), counted)
    while counted.files < 2:
        next(steps)
    # Both are listed now, and one is open.
    for name in ("a", "b"):
        (directory / name).rename(directory / f"{name} by another name")
    for _ in steps:
        pass
    assert counted.files == 4


@pytest.mark.parametrize(
    "how",
    [
        *("open", "far-down", "own-table", "open-last"),
        # Only root may look at what others have mapped.
        *(pytest.param(how, marks=pytest.mark.root) for how in ("mapped", "mapped-last")),
    ],
)
def test_a_file_without_a_name_is_counted_by_who_holds_it(directory: Path, how: str) -> None:
    """Removed and written on: once, however often it is open and mapped, and by which thread."""
    job = Watched("job", (str(directory),), None, None, subreaper=os.getpid())
    # Our other children may hold such files, too, as libffi's.
    ours, before = used(job), used(watched(directory))
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[2] / "lib" / "holder.py"), how],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            found, named = used(job), used(watched(directory))
        finally:
            holder.kill()
    assert found.files - ours.files - named.files + before.files == 1
    more_bytes = found.storage_bytes - ours.storage_bytes
    more_bytes -= named.storage_bytes - before.storage_bytes
    assert 400 * KIB <= more_bytes < 800 * KIB


@pytest.mark.parametrize("says", [True, False])
def test_threads_with_one_table_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    """Or a program with a hundred of them and a thousand files takes all the time there is."""
    looked: list[str] = []

    def held_by(path: str) -> Iterator[None]:
        looked.append(path)
        yield

    monkeypatch.setattr(unlinked_files, "_held_by", held_by)
    if not says:  # a kernel without kcmp(2)
        monkeypatch.setattr(unlinked_files, "MACHINES", {})
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(5)]
    for each in threads:
        each.start()
    try:
        list(unlinked_files.nameless([os.getpid()]))
    finally:
        over.set()
        for each in threads:
            each.join()
    tables = [path for path in looked if path.endswith("/fd")]
    assert len(tables) == 1 if says else len(tables) > 5


def test_a_walk_that_is_given_up_leaves_no_descriptor(directory: Path) -> None:
    """A job ends while its directories are looked at."""
    (directory / "a" / "b" / "c").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    steps = walk(watched(directory), Used())
    for _ in itertools.islice(steps, 3):
        pass
    assert len(os.listdir("/proc/self/fd")) > before
    del steps
    assert len(os.listdir("/proc/self/fd")) == before


class Clock:
    """CPU that passes with each question for it."""

    def __init__(self, step_s: float) -> None:
        self.now = 0.0
        self._step_s = step_s

    def __call__(self) -> float:
        self.now += self._step_s
        return self.now


def fill(directory: Path, count: int) -> None:
    directory.mkdir()
    for number in range(count):
        (directory / str(number)).touch()


def test_one_that_is_over_is_told_once(directory: Path) -> None:
    """The others are looked at again and again."""
    fill(directory / "small", 5)
    fill(directory / "large", 50)
    looker = Looker()
    looker.add(watched(directory / "small", name="small", files=10))
    looker.add(watched(directory / "large", name="large", files=10))
    assert looker.look() == ["large"]
    assert looker.look() == []
    fill(directory / "small" / "more", 10)
    assert looker.look() == ["small"]


@pytest.mark.slow
def test_a_look_has_its_bound_and_the_next_goes_on(directory: Path) -> None:
    """A job with many files takes several looks, and each of them sees the small one."""
    fill(directory / "many", 4000)
    fill(directory / "small", 0)
    clock = Clock(0.0005)
    looker = Looker(clock)
    looker.add(watched(directory / "many", name="many", files=3900))
    looker.add(watched(directory / "small", name="small", files=10))
    for _ in range(2):
        began = clock.now
        assert looker.look() == []
        assert clock.now - began < LOOK_CPU_S * 1.2
    fill(directory / "small" / "more", 20)
    told = looker.look()
    assert "small" in told
    while "many" not in told:
        told += looker.look()


def test_one_that_has_ended_is_not_looked_at(directory: Path) -> None:
    """Its walk is given up."""
    fill(directory / "job", 50)
    looker = Looker()
    looker.add(watched(directory / "job", name="job", files=10))
    looker.remove("job")
    looker.remove("never there")
    assert looker.look() == []


def test_without_descriptors_a_look_fails_for_that_job_alone(directory: Path) -> None:
    """The next look goes on; nobody is told to be over."""
    (directory / "a").mkdir()
    looker = Looker()
    looker.add(watched(directory, name="job", files=0))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        assert looker.look() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert looker.look() == ["job"]


def test_an_end_by_the_bound_of_a_files_length() -> None:
    """By the signal, with a core dump or without, or of a shell whose child it was."""
    assert died_of_length(signal.SIGXFSZ)
    assert died_of_length(signal.SIGXFSZ | 0x80)
    assert died_of_length((128 + signal.SIGXFSZ) << 8)
    assert not any(map(died_of_length, (None, 0, signal.SIGKILL, 25 << 8)))
