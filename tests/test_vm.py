"""What tools/vm does where something is missing, packed otherwise, or hangs."""

import importlib
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def imported(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[ModuleType]:
    """A module of tools/, which is no part of any package; forgotten afterwards, with its own."""
    monkeypatch.syspath_prepend(str(TOOLS))
    before = set(sys.modules)
    yield importlib.import_module(name)
    for new in set(sys.modules) - before:
        if new.startswith("_"):
            del sys.modules[new]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported(monkeypatch, "_kernel")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported(monkeypatch, "_machine")


def test_what_is_missing_is_named_with_its_packages(
    kernel: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of it at once."""
    monkeypatch.setattr(kernel.shutil, "which", lambda name, path: None)
    monkeypatch.setattr(kernel.platform, "machine", lambda: "x86_64")
    with pytest.raises(kernel.KernelMissing) as caught:
        kernel.check_programs()
    assert "qemu-system-x86_64" in str(caught.value)
    assert str(caught.value).endswith("apt dpkg e2fsprogs qemu-system-x86")
    monkeypatch.setattr(kernel.platform, "machine", lambda: "riscv64")
    with pytest.raises(kernel.KernelMissing, match="riscv64: only x86_64"):
        kernel.check_programs()


def test_modules_come_after_those_they_need(kernel: ModuleType, tmp_path: Path) -> None:
    """By what each says of itself, packed or not; what is not wanted stays out."""
    directory = tmp_path / "kernel"
    directory.mkdir()
    (directory / "9p.ko").write_bytes(b"\0license=GPL\0depends=9pnet,built_in\0name=9p\0")
    packed = lzma.compress(b"\0depends=virtio-ring\0")
    (directory / "9pnet.ko.xz").write_bytes(packed)
    (directory / "virtio_ring.ko").write_bytes(b"\0depends=\0")
    (directory / "sound.ko").write_bytes(b"\0depends=\0")
    names = [path.name for path in kernel._in_order(tmp_path)]
    assert names == ["virtio_ring.ko", "9pnet.ko.xz", "9p.ko"]
    (directory / "ext4.ko.zst").write_bytes(b"")
    with pytest.raises(kernel.KernelMissing, match=r"ext4\.ko\.zst: packed"):
        kernel._in_order(tmp_path)


def test_a_machine_that_hangs_is_ended(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its bound, and a moment after it has closed its output."""
    assert machine._run(["sleep", "300"], 0.1) is True
    monkeypatch.setattr(machine, "_LINGER_S", 0.1)
    assert machine._run(["/bin/sh", "-c", "exec sleep 300 >&-"], 300.0) is True


def test_output_comes_through_and_a_failure_is_one(
    machine: ModuleType, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Bytes as they are; QEMU's own exit status is no test's."""
    assert machine._run(["/bin/sh", "-c", "printf 'a\\377b'"], 30.0) is False
    assert capfdbinary.readouterr().out == b"a\xffb"
    with pytest.raises(machine.MachineFailed, match="exit status 3") as caught:
        machine._run(["/bin/sh", "-c", "exit 3"], 30.0)
    assert caught.value.status == 125
