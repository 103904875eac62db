"""What SIGHUP does not apply is named, setting by setting; on a real penstockd: tests/system."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.policy.configuration import parse_config
from penstock.policy.configuration_changes import settings
from penstock.server.unread_changes import Unread

CONFIG = """
max_jobs = 64
policy = "{policy}"
[tls]
certificate = "/c"
key = "/k"
client_ca = "/a"
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Unread]:
    """The configuration, its policy, and what compares both with what runs."""
    config, policy = tmp_path / "penstockd.toml", tmp_path / "policy.toml"
    policy.write_text("one")
    config.write_text(CONFIG.format(policy=policy))
    running = parse_config(config.read_bytes())
    digest = hashlib.sha256(b"one").hexdigest()
    welcome: Any = SimpleNamespace(settings=json.dumps(settings(running)), policy=digest)
    return config, policy, Unread(str(config), running, welcome)


def test_nothing_has_changed(files: tuple[Path, Path, Unread]) -> None:
    _, _, unread = files
    assert unread.look()[1] == []


def test_a_setting_and_a_policy_that_have_changed_are_named(
    files: tuple[Path, Path, Unread],
) -> None:
    """Each by a line; the configuration is as the file has it now."""
    config, policy, unread = files
    config.write_text(config.read_text().replace("max_jobs = 64", "max_jobs = 65"))
    policy.write_text("two")
    fresh, lines = unread.look()
    assert fresh.max_jobs == 65
    assert len(lines) == 2
    assert "max_jobs was 64, is 65" in lines[0]
    assert f"{policy} has changed and was not read" in lines[1]


def test_files_that_cannot_be_read_leave_what_runs(files: tuple[Path, Path, Unread]) -> None:
    """With the mistake, or what the kernel says of it."""
    config, policy, unread = files
    policy.unlink()
    assert unread.look()[1] == [
        f"policy: {policy} cannot be compared with what runs: No such file or directory"
    ]
    config.write_text("nonsense = 1\n")
    fresh, lines = unread.look()
    assert fresh.max_jobs == 64
    assert any("nonsense: unknown key" in line for line in lines)
    config.unlink()
    assert unread.look()[1] == [f"{config} was not read: No such file or directory"]
