"""Files with a line more in an own view: which, for whom, and what is left of it."""

import json
import os
from pathlib import Path

import pytest
from mounted import mounted

from penstock.supervisor.isolation import account_files, mount_view
from penstock.supervisor.kernel import system_calls
from penstock.supervisor.kernel.reap import reap

pytestmark = pytest.mark.root

CLONE_NEWNS = 0x0002_0000


@pytest.mark.parametrize("memory", ["/dev/shm", ""])
def test_a_line_more(tmp_path: Path, memory: str) -> None:
    """Behind what is there, whether or not that ends with a newline, also where a symbolic link
    leads; read-only, nothing beside it, and what is missing stays so. The host sees none of it."""
    whole, cut, link = tmp_path / "whole", tmp_path / "cut", tmp_path / "link"
    empty, big, target = tmp_path / "empty", tmp_path / "big", tmp_path / "target"
    whole.write_text("a\n")
    cut.write_text("a\nb")
    target.write_text("t\n")
    link.symlink_to(target)
    empty.write_text("")
    big.write_text("x" * 300_000)
    paths = [whole, cut, link, empty, big, tmp_path / "missing"]
    before = mounted()
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            system_calls.unshare(CLONE_NEWNS)
            mount_view.enter((), (), (), "", memory, owner=None, own_proc=False)
            account_files.show([(str(path), b"line\n") for path in paths], memory)
            found = {path.name: path.read_text()[-8:] for path in paths if path.exists()}
            refused = 0
            for path in paths:
                try:
                    path.open("r+").close()
                except OSError:
                    refused += 1
            left = os.listdir(memory) if memory else sorted(map(str, tmp_path.iterdir()))
            about = [found, refused, left, oct(whole.stat().st_mode), target.read_text()]
            os.write(write_fd, json.dumps(about).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as file:
        found, refused, left, mode, pointed = json.loads(file.read())
    reap(pid)
    assert found == {
        "whole": "a\nline\n",
        "cut": "a\nb\nline\n"[-8:],
        "link": "t\nline\n",
        "empty": "line\n",
        "big": "xx\nline\n",
    }
    assert pointed == "t\nline\n"
    assert refused == len(paths)
    assert left == ([] if memory else sorted(map(str, tmp_path.iterdir())))
    assert mode == "0o100644"
    assert [whole.read_text(), cut.read_text(), target.read_text()] == ["a\n", "a\nb", "t\n"]
    assert mounted() == before
