"""Files that an operator has named: what is read and what refused; nothing is waited for."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.supervisor import command_line
from penstock.supervisor.kernel.bounded_read import FileRefused, read_file

MOST = 1 << 16


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def longer(path: Path) -> None:
    path.write_bytes(bytes(MOST + 1))


def without_end(path: Path) -> None:
    """As a log that somebody has named: it has no blocks, and is 1 TiB long."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def linked_fifo(path: Path) -> None:
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))


# Each is the only thing that stands at a path. Whoever opens a FIFO the usual way waits for ever.
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (os.mkfifo, "is a FIFO; name a regular file"),
    "directory": (os.mkdir, "is a directory"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "is a device"),
    "socket": (listening, "is a socket"),
    "longer": (longer, "is longer than 65536 bytes"),
    "without end": (without_end, "is longer than 65536 bytes"),
    "link to a fifo": (linked_fifo, "is a FIFO"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(tmp_path: Path, kind: str) -> None:
    """At once, with the path and what it is."""
    path = tmp_path / "named"
    make, words = REFUSED[kind]
    make(path)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileRefused) as caught:
        read_file(str(path), MOST)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_is_read(tmp_path: Path) -> None:
    """Whole, up to the bound, through links; and a file of /proc, which says that it is empty."""
    path = tmp_path / "named"
    for data in (b"", b"a\0b", bytes(MOST)):
        path.write_bytes(data)
        assert read_file(str(path), MOST) == data
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_file(str(link), MOST) == bytes(MOST)
    assert b"Linux" in read_file("/proc/version", MOST)


def test_what_is_not_there(tmp_path: Path) -> None:
    """An OSError of the usual kind, with the path that was named."""
    with pytest.raises(FileNotFoundError) as caught:
        read_file(str(tmp_path / "none"), MOST)
    assert caught.value.filename == str(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match=r"Too many levels") as found:
        read_file(str(tmp_path / "loop"), MOST)
    assert found.value.filename == str(tmp_path / "loop")


@pytest.mark.parametrize("named", ["config", "policy"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "without end"])
def test_penstockd_starts_with_no_such_file(
    tmp_path: Path, named: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As its configuration or policy: exit 2, and what is wrong."""
    path = tmp_path / "named"
    REFUSED[kind][0](path)
    config = path
    if named == "policy":
        config = tmp_path / "penstockd.toml"
        config.write_text(f'policy = "{path}"\n')
    assert command_line.main(["--no-server", "--config", str(config)]) == 2
    said = capfd.readouterr().err
    assert f"{path}: " in said
    assert "is longer than" in said if kind == "without end" else REFUSED[kind][1] in said
