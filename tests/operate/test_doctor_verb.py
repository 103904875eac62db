"""``penstockd doctor``: a finding a line, with its remedy, and what its exit status says."""

import json
from collections.abc import Iterator

import pytest
from checked_place import IS_ROOT, Place, checked_place

from penstock.operate import doctor_verb
from penstock.operate.verb_table import call_verb
from penstock.policy.configuration import Config
from penstock.policy.policy_file import Policy
from penstock.supervisor.doctor import Finding


@pytest.fixture
def place() -> Iterator[Place]:
    with checked_place() as found:
        yield found


def test_each_finding_is_a_line_and_has_its_remedy_below(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 if one of them is missing, and not for what holds in part."""
    findings = [Finding("cpu", "ok", "0.5"), Finding("disk", "partial", "direct I/O", "use v2")]

    def found(config: Config, policy: Policy) -> list[Finding]:
        return findings

    monkeypatch.setattr(doctor_verb, "examine_host", found)
    words = ["doctor", "--config", str(place.config)]
    assert call_verb(words) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["cpu", "ok", "0.5"],
        ["disk", "partial", "direct", "I/O"],
        ["->", "use", "v2"],
    ]
    findings.append(Finding("cgroups", "missing", "no groups can be made", "run it as root"))
    assert call_verb([*words, "-o", "json"]) == 1
    shown = json.loads(capsys.readouterr().out)["findings"]
    assert shown[2]["remedy"] == "run it as root"


def test_this_host(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Looked at for real: without root groups are missing, and it says why."""
    status = call_verb(["doctor", "--config", str(place.config), "-o", "json"])
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert {"kernel", "separation", "users", "cgroups", "max_jobs"} <= found.keys()
    missing = [name for name, each in found.items() if each["state"] == "missing"]
    assert status == int(bool(missing))
    assert ("cgroups" in missing) is not IS_ROOT


def test_a_host_that_cannot_be_tried_is_said(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(config: Config, policy: Policy) -> list[Finding]:
        raise OSError(30, "Read-only file system", "/srv/work")

    monkeypatch.setattr(doctor_verb, "examine_host", refused)
    assert call_verb(["doctor", "--config", str(place.config)]) == 1
    assert "could not be tried: /srv/work: Read-only file system" in capsys.readouterr().out


def test_of_files_with_mistakes_there_is_nothing_to_look_at(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are named as by check; exit status 2."""
    line = place.spoil(place.policy, '"100MB"', '"much"')
    assert call_verb(["doctor", "--config", str(place.config)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{place.policy}:{line}: classes.small.memory: " in shown.err
