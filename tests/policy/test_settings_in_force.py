"""Which settings a reload takes up, which wait for the next server, and which for a restart."""

import json
from dataclasses import fields, replace

import pytest

from penstock.policy.configuration import Config, parse_config
from penstock.policy.generation_hash import generation_hash
from penstock.policy.settings_in_force import (
    WHEN,
    in_force,
    in_force_by,
    setting_changes,
    settings_text,
)
from penstock.policy.uid_range import UidRange

FILE = """
policy = "/etc/penstock/policy.toml"
server_user = "penstock"
[tls]
certificate = "/c"
key = "/k"
client_ca = "/a"
"""


def config(more: str = "") -> Config:
    return parse_config((more + FILE).encode())


def test_of_each_setting_it_is_decided_when_it_counts() -> None:
    """A setting that is added must have its place."""
    assert WHEN.keys() == {field.name for field in fields(Config)}


def test_what_needs_a_restart_stays_and_everything_else_is_taken() -> None:
    """On both sides alike: the server has penstockd's settings by JSON."""
    running = config('state_dir = "/old"\njob_uids = "100000-100099"\ndrain_s = 1\n')
    fresh = config('state_dir = "/new"\njob_uids = "200000-200099"\ndrain_s = 2\n')
    taken = in_force(fresh, running)
    assert (taken.state_dir, taken.work_root) == ("/old", "/old-work")
    assert taken.audit_log == "/old/audit.jsonl"
    assert taken.job_uids == UidRange(100000, 100099)
    assert taken.drain_s == 2
    assert in_force_by(fresh, json.loads(settings_text(taken))) == taken
    assert in_force_by(fresh, {}) == fresh


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("drain_s = 1\n", "drain_s = 2\n", "drain_s: is now 2.0; it was 1.0"),
        ('state_dir = "/a"\n', 'state_dir = "/b"\n', "state_dir: needs a restart of penstockd"),
        ("reflection = true\n", "", "reflection: is false from the next server on"),
        ('listen = "[::1]:1"\n', 'listen = "[::1]:2"\n', 'listen: is ["[::1]:2"] from the next'),
    ],
)
def test_a_changed_setting_is_named_with_when_it_counts(before: str, after: str, line: str) -> None:
    running = config(before)
    assert str(setting_changes(running, running, config(after))[0]).startswith(line)


def test_keys_are_named_as_the_file_has_them() -> None:
    running = config()
    fresh = replace(running, tls_crl="/crl", legacy_certificates=True, transport={"max_streams": 3})
    found = {change.key: change for change in setting_changes(running, running, fresh)}
    assert found.keys() == {"[tls] crl", "[tls] legacy_certificates", "[transport] max_streams"}
    assert found["[tls] crl"].before == "not set"


def test_what_waits_for_a_server_is_named_until_there_is_one() -> None:
    """A second reload still says it, because the server that runs is still the old one."""
    before, after = config(), config("reflection = true\n")
    assert [each.key for each in setting_changes(after, before, after)] == ["reflection"]
    assert setting_changes(after, after, after) == []


def test_no_byte_can_move_between_the_files_without_another_hash() -> None:
    assert generation_hash(b"ab", b"c") != generation_hash(b"a", b"bc")
    assert generation_hash(b"", b"") != generation_hash(b"\0", b"")
