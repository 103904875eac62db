"""Disks that are full, and that are freed again."""

import contextlib
import fcntl
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import SERVER_UID
from this_run import new_directory

MIB = 2**20


@contextlib.contextmanager
def small_disk(size_bytes: int = 12 * MIB) -> Iterator[Path]:
    """A tmpfs that belongs to the server. Needs root."""
    directory = new_directory("disk")
    options = f"size={size_bytes},mode=700,uid={SERVER_UID},gid={SERVER_UID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        remove_mount_point(directory)


def remove_mount_point(directory: Path) -> None:
    """And what penstockd keeps beside a state directory that it was (``supervisor_dir``)."""
    directory.rmdir()
    shutil.rmtree(f"{directory}-root", ignore_errors=True)


@contextlib.contextmanager
def loop_disk(
    size_bytes: int = 64 * MIB, inodes: int = 2048, *, project_quotas: bool = False
) -> Iterator[Path]:
    """A real file system, ext4 in a file, that everybody may write in. Needs root.

    It reserves no blocks for root, so what is full is so for everybody. Skips the test where it
    cannot be had, with ``project_quotas`` also for want of these.
    """
    image = new_directory("image")
    directory = new_directory("disk")
    with contextlib.ExitStack() as stack:
        stack.callback(remove_mount_point, directory)
        stack.callback(shutil.rmtree, image)
        if shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
            pytest.skip("NOT RUN: no mkfs.ext4, or no loop devices")
        with (image / "ext4").open("wb") as file:
            file.truncate(size_bytes)
        features = ["-O", "quota,project", "-E", "quotatype=prjquota"] if project_quotas else []
        make = ["mkfs.ext4", "-q", *features, "-m", "0", "-N", str(inodes), str(image / "ext4")]
        subprocess.run(make, check=True)
        options = "loop,prjquota" if project_quotas else "loop"
        mount = ["mount", "-o", options, str(image / "ext4"), str(directory)]
        if subprocess.run(
            mount, capture_output=project_quotas, check=not project_quotas
        ).returncode:
            pytest.skip("NOT RUN: this kernel has no project quotas; that of tools/vm has")
        stack.callback(lambda: subprocess.run(["umount", directory], check=True))
        directory.chmod(0o1777)
        yield directory


def fill_bytes(disk: Path) -> Path:
    """A file that takes every block that is left."""
    path = disk / "bytes"
    step = 16 * MIB
    with path.open("wb") as file:
        size = 0
        while step >= 1024:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError:
                step //= 2
    return path


def fill_inodes(disk: Path) -> Path:
    """Empty files until no more can be made; the directory that they are in."""
    directory = disk / "inodes"
    directory.mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (directory / str(number)).touch()
    return directory


class Filler:
    """A file that takes all of a disk but so many bytes, until it is freed."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self._path = disk / "filler"
        free = os.statvfs(disk)
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left_bytes)

    def free(self) -> None:
        self._path.unlink()


class FrozenDisk:
    """A disk that can be made to stand still: whoever writes to it is in an uninterruptible sleep
    until it goes on. Reading works."""

    # linux/fs.h
    _FIFREEZE = 0xC0045877
    _FITHAW = 0xC0045878

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def standing_still(self, at_most_s: float) -> Iterator[None]:
        """For as long as the block. ``at_most_s``: should this process be killed, it goes on then,
        as nobody could remove it otherwise."""
        script = (
            "import fcntl, sys, time; time.sleep(float(sys.argv[1]));"
            f"fcntl.ioctl(int(sys.argv[2]), {self._FITHAW}, 0)"
        )
        watchdog = subprocess.Popen(
            [sys.executable, "-c", script, str(at_most_s), str(self._fd)],
            pass_fds=[self._fd],
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # whoever ends this process by ^C does not end that one
        )
        try:
            fcntl.ioctl(self._fd, self._FIFREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(self._fd, self._FITHAW, 0)
        finally:
            watchdog.kill()
            watchdog.wait()

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def freezable_disk(size_bytes: int = 64 * MIB) -> Iterator[FrozenDisk]:
    """An ext4 in a file, which belongs to the server. Needs root and loop devices; raises
    CalledProcessError or FileNotFoundError where they cannot be had."""
    directory = new_directory("frozen")
    image, path = directory.with_suffix(".image"), directory
    try:
        with image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, path], check=True, capture_output=True)
        try:
            (path / "lost+found").rmdir()
            os.chown(path, SERVER_UID, SERVER_UID)
            path.chmod(0o700)
            disk = FrozenDisk(path)
            try:
                yield disk
            finally:
                disk.close()
        finally:
            subprocess.run(["umount", path], check=True)
    finally:
        image.unlink(missing_ok=True)
        remove_mount_point(directory)
