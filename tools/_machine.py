"""One run of a virtual machine: the host's files beneath it, a disk of its own, one command.

QEMU emulates it without KVM, so it runs in containers and in machines that are virtual
themselves, at perhaps a tenth of their speed.
"""

import os
import select
import shlex
import stat
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _env import ROOT, is_root
from _kernel import Kernel, module_bytes
from _server import end_with_parent

GUEST = ROOT / "tools" / "guest"
CPUS = 2
MEMORY_MIB = 3072
_DISK_BYTES = 8 * 2**30  # sparse, as the next
_COPY_BYTES = 2 * 2**30
_SWAP_BYTES = 2**29
_PARTITION_AT = 2**20
_SECTOR = 512
# A machine that does not power off after its command has ended.
_LINGER_S = 20.0


class MachineFailed(Exception):
    """It ended, or was ended, without an exit status of its command.

    ``status`` is for whoever asked: 124 where its time was over, else 125.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Task:
    """A command, its whole environment, and how cgroups are mounted: v2, v1 or hybrid.

    ``copied`` are directories that the machine gets on disks: to open a file of the host
    takes it 4 ms, and Python opens thousands.
    """

    command: list[str]
    environ: dict[str, str]
    cgroups: str
    copied: list[Path]


def run_machine(kernel: Kernel, task: Task, timeout_s: float) -> int:
    """The command's exit status; its output goes to standard output as it comes.

    Raises MachineFailed.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-vm-") as scratch:
        directory = Path(scratch)
        share = directory / "share"
        share.mkdir()
        (share / "command").write_text(_script(task))
        (directory / "initramfs").write_bytes(_initramfs(kernel))
        # Virtio disks are named in the order in which they are given: vda, vdb, and so on.
        disks = [directory / f"vd{letter}" for letter in "abcdefgh"[: 2 + len(task.copied)]]
        _make_disk(disks[0])
        with disks[1].open("wb") as swap:
            swap.truncate(_SWAP_BYTES)
        for disk, source in zip(disks[2:], task.copied, strict=True):
            _copy_to_disk(disk, source)
        lines = [f"{d.name} {s}\n" for d, s in zip(disks[2:], task.copied, strict=True)]
        (share / "copies").write_text("".join(lines))
        settings = f"kind={task.cgroups}\ncheckout={shlex.quote(str(ROOT))}\n"
        (share / "settings").write_text(settings)
        timed_out = _run(_qemu(kernel, directory, disks), timeout_s)
        status = share / "status"
        if status.exists():
            return int(status.read_text())
        console = (directory / "console").read_text(errors="replace")
        last = "\n".join(console.splitlines()[-60:])
        if timed_out:
            raise MachineFailed(124, f"not done after {timeout_s:g} s; its console:\n{last}")
        raise MachineFailed(125, f"it ended without a status; its console:\n{last}")


def _script(task: Task) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in task.environ.items()]
    lines += [f"cd {shlex.quote(str(ROOT))}", f"exec {shlex.join(task.command)}"]
    return "\n".join(lines) + "\n"


def _qemu(kernel: Kernel, directory: Path, disks: list[Path]) -> list[str]:
    # cache=unsafe: nothing of it outlives the machine.
    drives = [f"file={disk},format=raw,if=virtio,cache=unsafe" for disk in disks]
    host = "local,security_model=none,multidevs=remap"
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512"),
        *("-machine", "q35", "-cpu", "max,la57=off"),  # page tables of four levels are faster
        *("-smp", str(CPUS), "-m", str(MEMORY_MIB), "-no-reboot"),
        *("-nodefaults", "-display", "none", "-monitor", "none", "-nic", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(directory / "initramfs")),
        *("-append", "console=ttyS0 quiet panic=-1 mitigations=off"),
        *("-serial", f"file:{directory / 'console'}"),
        *("-virtfs", f"{host},path=/,mount_tag=host,readonly=on"),
        *("-virtfs", f"{host},path={directory / 'share'},mount_tag=share"),
        *(word for drive in drives for word in ("-drive", drive)),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *("-chardev", "file,id=output,path=/dev/stdout"),
        *("-device", "virtserialport,chardev=output,nr=1"),
    ]


def _run(command: list[str], timeout_s: float) -> bool:
    """Was its time over? Raises MachineFailed if QEMU itself fails."""
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        # Not our own: QEMU would make it non-blocking, for all who hold it.
        stdout=subprocess.PIPE,
        process_group=0,  # ^C is for this program, which then ends the machine
        preexec_fn=end_with_parent,  # noqa: PLW1509  this program has one thread
    )
    assert process.stdout is not None
    try:
        complete = _copy(process.stdout.fileno(), deadline)
        process.wait(_LINGER_S if complete else 0)
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()  # where it has ended, nothing happens
        process.wait()
        process.stdout.close()
    if process.returncode > 0:
        raise MachineFailed(125, f"{command[0]} ended with exit status {process.returncode}")
    return False


def _copy(source: int, deadline: float) -> bool:
    """To standard output, as it comes; False if the deadline comes before the end."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        if poll.poll(left_s * 1000):
            data = os.read(source, 65536)
            if not data:
                return True
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return False


def _make_disk(path: Path) -> None:
    """One partition with an empty ext4, since that is what most disks are."""
    with path.open("wb") as file:
        file.truncate(_DISK_BYTES)
        file.seek(446)
        first, count = _PARTITION_AT // _SECTOR, (_DISK_BYTES - _PARTITION_AT) // _SECTOR
        # An entry of a master boot record: no geometry, Linux (0x83), first sector, sectors.
        none = b"\xfe\xff\xff"
        file.write(struct.pack("<B3sB3sII", 0, none, 0x83, none, first, count))
        file.seek(510)
        file.write(b"\x55\xaa")
    kib = (_DISK_BYTES - _PARTITION_AT) // 1024
    _mkfs("-E", f"offset={_PARTITION_AT}", str(path), f"{kib}k")


def _copy_to_disk(path: Path, source: Path) -> None:
    _mkfs("-O", "^has_journal", "-d", str(source), str(path), f"{_COPY_BYTES // 1024}k")


def _mkfs(*arguments: str) -> None:
    """Files of an ordinary user are root's there, as penstockd's own have to be."""
    command = ["mkfs.ext4", "-q", "-F", *arguments]
    subprocess.run(
        command if is_root() else ["unshare", "--map-root-user", *command],
        env={**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # "Creating regular file"
        check=True,
    )


def _initramfs(kernel: Kernel) -> bytes:
    """A cpio archive in its "newc" format (Documentation/driver-api/early-userspace of Linux)."""
    files = {"init": (GUEST / "init").read_bytes(), "run-tests": (GUEST / "run").read_bytes()}
    names = [path.name.split(".")[0] + ".ko" for path in kernel.modules]
    files["modules/order"] = "".join(f"{name}\n" for name in names).encode()
    for name, path in zip(names, kernel.modules, strict=True):
        files[f"modules/{name}"] = module_bytes(path)
    files["bin/busybox"] = kernel.busybox.read_bytes()
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules", "dev")]
    entries += [(name, stat.S_IFREG | 0o755, data) for name, data in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1))


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    path = name.encode() + b"\0"
    # inode, mode, uid, gid, links, time, size, two devices of two numbers, name's size, checksum
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
