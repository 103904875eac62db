"""What tools/demo --serve may touch, and when it may say that it is ready."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from patience import patient

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
