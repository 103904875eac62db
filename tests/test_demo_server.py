"""What tools/demo --serve may touch, and when it may say that it is ready."""

import importlib.util
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from patience import patient

from penstock.policy.policy_file import parse_policy
from penstock.supervisor.files.directory_writers import trusted_owner
from penstock.supervisor.files.path_arguments import check_root

SOURCE = Path(__file__).resolve().parent.parent / "src" / "penstock"
TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/_server.py, which is no part of any package."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("_server", TOOLS / "_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_server", module)
    spec.loader.exec_module(module)
    return module


def test_a_directory_of_somebody_elses_is_left_as_it_is(server: ModuleType, tmp_path: Path) -> None:
    """Neither its mode nor what is in it changes; an empty one is taken with its mode."""
    tmp_path.chmod(0o700)
    (tmp_path / "mine").touch()
    with pytest.raises(server.Unexpected, match="holds files"):
        server.take_directory(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    (tmp_path / "mine").unlink()
    server.take_directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_was_served_is_served_again(server: ModuleType, tmp_path: Path) -> None:
    """Made by the first run, and then full of its files."""
    directory = tmp_path / "new"
    server.take_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o755
    (directory / "policy.toml").touch()
    server.take_directory(directory)


@pytest.fixture
def logs() -> Iterator[Path]:
    """A directory as /var/log is, below one that is root's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


def check_slot(server: ModuleType, directory: Path) -> tuple[list[str], list[str]]:
    """The owners that the tools name for it, and what penstockd finds wrong with that."""
    slot = tomllib.loads(f"slot = {server.root_slot(directory)}")["slot"]["path"]
    assert slot["root"] == str(directory)
    owners = slot.get("owners", [])
    return owners, check_root(slot["root"], [trusted_owner(name) for name in owners])


def test_a_directory_for_its_owner_alone_needs_no_name(server: ModuleType, logs: Path) -> None:
    """And the samples have the slot just so, or the tools would not find it in them."""
    assert check_slot(server, logs) == ([], [])
    plain = server.root_slot(logs).replace(str(logs), "/var/log")
    samples = list((SOURCE / "policies").glob("sample-*.toml"))
    assert [plain in sample.read_text() for sample in samples] == [True, True]


@pytest.mark.root
def test_a_group_that_may_write_logs_is_named_by_its_user(server: ModuleType, logs: Path) -> None:
    """As Ubuntu has it: without the name penstockd does not start, and with it, it does."""
    daemon = pwd.getpwnam("daemon")
    os.chown(logs, 0, daemon.pw_gid)
    logs.chmod(0o775)
    assert "group" in "".join(check_root(str(logs)))
    assert check_slot(server, logs) == (["daemon"], [])


def test_a_port_that_is_taken_is_said(server: ModuleType) -> None:
    """Whoever listens there would be taken for the server."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(server.Unexpected, match=f"port {port} of 127.0.0.1 cannot be had"):
            server.check_free(port)
    server.check_free(port)


def test_serve_asks_for_the_port_first(tmp_path: Path) -> None:
    """Nothing is made for a port that cannot be had: no environment, directory or certificate."""
    place = tmp_path / "place"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ["--serve", "--dir", str(place), "--port", str(port)]
        done = subprocess.run(
            [sys.executable, str(TOOLS / "demo"), *words],
            env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=patient(20),
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be had" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_host_without_limits_gets_a_policy_that_requires_none(
    server: ModuleType, tmp_path: Path
) -> None:
    """The sample for root as it comes, every class of it; that of a user requires nothing."""
    place = server.Place(tmp_path, 8443)
    for name in ("root", "user"):
        place.policy.write_text((SOURCE / "policies" / f"sample-{name}.toml").read_text())
        assert server.requires_limits(place) == (name == "root")
        server.make_best_effort(place)
        assert not server.requires_limits(place)
        policy = parse_policy(place.policy.read_bytes())
        needs = {need for limits in policy.classes.values() for need in limits.needs.values()}
        assert needs == {"best_effort"}
