"""What is shipped: pinned requirements, and the container's configuration."""

import re
import tomllib
from pathlib import Path

import pytest

from penstock import __version__
from penstock.policy.configuration import check_server_user, parse_config

ROOT = Path(__file__).resolve().parent.parent
LOCKED = ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt")


def pins(name: str) -> dict[str, str]:
    """Every pinned project of a requirements file with its whole entry."""
    text = re.sub(r"\s*\\\n\s*", " ", (ROOT / name).read_text())
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {entry.partition("==")[0]: entry for entry in entries}


@pytest.mark.parametrize("name", LOCKED)
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    """So that what is installed is what was tested, wherever it comes from."""
    for entry in pins(name).values():
        assert re.fullmatch(
            r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+( --hash=sha256:[0-9a-f]{64})+", entry
        ), entry


@pytest.mark.parametrize("name", LOCKED)
def test_requirements_name_no_index_and_no_host(name: str) -> None:
    """Where packages come from is the business of whoever installs them."""
    text = (ROOT / name).read_text()
    for word in ("://", "--index", "--extra-index", "--find-links", "--trusted-host"):
        assert word not in text


def test_both_files_pin_the_same_releases() -> None:
    """Tests run on what is installed for use. An extra, as in name[extra], only adds packages."""
    ours, with_tools = (
        {re.sub(r"\[.*", "", name): re.sub(r"\[.*?\]", "", entry) for name, entry in found.items()}
        for found in map(pins, LOCKED[:2])
    )
    assert ours == {name: with_tools[name] for name in ours}


def test_every_declared_dependency_is_pinned() -> None:
    """The second step of an installation looks for nothing more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in project["dependencies"]}
    assert names <= pins("requirements.txt").keys()


def test_the_containers_configuration_is_valid() -> None:
    """For a supervisor that is root, as it is there."""
    config = parse_config((ROOT / "docker" / "penstockd.toml").read_bytes())
    assert check_server_user(config, root=True) == []
    # On the volume, so that there is a disk to limit.
    assert config.work_root.startswith("/var/lib/penstock/")


def test_the_version_is_the_changelogs() -> None:
    """The newest there, or the one that is worked on, which is a later one."""
    text = (ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections[0] == "Unreleased"
    versions = []
    for section in sections[1:]:
        match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \(\d{4}-\d\d-\d\d\)", section)
        assert match is not None, section
        versions.append(tuple(map(int, match.groups())))
    assert versions == sorted(set(versions), reverse=True)
    number, _, development = __version__.partition(".dev")
    ours = tuple(map(int, number.split(".")))
    assert ours > versions[0] if development else ours == versions[0]
