"""A Debian kernel, its modules and a static busybox, fetched with apt into the cache, once.

Nothing is installed: packages are downloaded and unpacked. They come from wherever apt is
configured to look. To have a newer kernel, remove the directory.
"""

import gzip
import lzma
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from _env import Environment, locked, mark_complete

# The one for clouds has no 9p.
META_PACKAGE = "linux-image-amd64"
# What the virtual machine needs. crc32c_generic is what ext4 asks for by an alias.
_WANTED = (
    *("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng"),
    *("9pnet_virtio", "9p", "overlay", "crc32c_generic", "ext4"),
    *("loop", "quota_v2", "fuse"),  # for tests that make file systems of their own
)
_PROGRAMS = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    "mkfs.ext4": "e2fsprogs",
}


class KernelMissing(Exception):
    """There is no kernel, or nothing to run it with; the text says what to do."""


@dataclass(frozen=True)
class Kernel:
    """``modules`` are files in the order in which they can be loaded."""

    release: str
    image: Path
    modules: tuple[Path, ...]
    busybox: Path


def check_programs() -> None:
    """Raises KernelMissing, naming every Debian package that is not there."""
    if platform.machine() != "x86_64":
        raise KernelMissing(f"{platform.machine()}: only x86_64 is supported")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(sorted({_PROGRAMS[name] for name in missing}))
        raise KernelMissing(
            f"not found: {', '.join(missing)}\n"
            f"on Debian: apt-get install --no-install-recommends {packages}"
        )


def fetch_kernel(environment: Environment) -> Kernel:
    """From the cache, where it is fetched to if need be. Raises KernelMissing."""
    directory = environment.cache / "kernel"
    with locked(environment.cache / "kernel.lock"):
        if not (directory / ".complete").exists():
            print(f"Fetching a kernel to {directory}, once ...", flush=True)
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            _fetch(directory)
            mark_complete(directory)
    return _kernel(directory)


def _fetch(directory: Path) -> None:
    """With the host's package lists; if that fails, as where they are old, with fresh ones."""
    own_lists = directory / "lists"
    try:
        _download(directory, [])
    except KernelMissing:
        (own_lists / "partial").mkdir(parents=True)
        options = ["-o", f"Dir::State::Lists={own_lists}"]
        options += ["-o", f"Dir::Cache={directory}/apt"]
        _run(["apt-get", "-qq", *options, "update"], directory)
        _download(directory, options)
    for package in directory.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(directory / "root")], directory)
        package.unlink()
    for scratch in ("lists", "apt"):
        shutil.rmtree(directory / scratch, ignore_errors=True)


def _download(directory: Path, options: list[str]) -> None:
    text = _run(["apt-cache", *options, "depends", META_PACKAGE], directory)
    found = re.search(r"^\s*Depends: (linux-image-\S+)$", text, re.MULTILINE)
    if found is None:
        raise KernelMissing(f"apt knows no {META_PACKAGE}; set up a Debian archive for apt")
    # As root apt drops its rights to a user who cannot write here, and warns; not with this.
    options = [*options, "-o", "APT::Sandbox::User=root"]
    packages = [found[1], "busybox-static"]
    _run(["apt-get", "-qq", *options, "download", *packages], directory)


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise KernelMissing(f"{' '.join(command)}:\n{done.stderr.strip()}")
    return done.stdout


def _kernel(directory: Path) -> Kernel:
    root = directory / "root"
    (image,) = root.glob("boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    # Since Debian 13 /lib is not in packages, only /usr/lib.
    (tree,) = [path for path in root.glob("**/modules/*") if path.name == release]
    (busybox,) = [path for path in root.glob("**/bin/busybox") if path.is_file()]
    return Kernel(release, image, tuple(_in_order(tree)), busybox)


def _in_order(tree: Path) -> list[Path]:
    """The wanted modules, each after those it needs.

    A package holds no modules.dep, which depmod makes where it is installed; each module
    names what it needs, though. What is built in is no file.
    """
    files = {path.name.split(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in files and name not in ordered:
            for needed in _needed(module_bytes(files[name])):
                add(needed)
            ordered[name] = files[name]

    for name in _WANTED:
        add(name)
    return list(ordered.values())


def module_bytes(path: Path) -> bytes:
    """A module as the kernel takes it. Raises KernelMissing if it is packed in a way unknown."""
    if path.suffix == ".ko":
        return path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    raise KernelMissing(f"{path}: packed in an unknown way")


def _needed(module: bytes) -> list[str]:
    """What its .modinfo section says: "depends=a,b" between zero bytes."""
    found = re.search(rb"depends=([^\0]*)\0", module)
    names = found[1].decode("ascii") if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]
