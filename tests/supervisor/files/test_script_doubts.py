"""Scripts that a policy fixes, and that no job would find."""

from pathlib import Path

import pytest

from penstock.policy.policy_file import Command, parse_policy
from penstock.supervisor.files.script_doubts import script_doubts


def command(path: str, keys: str) -> Command:
    text = f'[classes.c]\n[commands.x]\npath = "{path}"\nclass = "c"\n{keys}\n'
    return parse_policy(text.encode()).commands["x"]


@pytest.mark.parametrize(
    ("path", "fixed"),
    [
        ("/bin/sh", '"-e", "-u", "/none/a.sh"'),
        ("/bin/sh", '"/none/a.sh", "/none/out"'),
        ("/usr/bin/env", '"TZ=UTC", "/none/a.sh"'),
    ],
)
def test_one_that_is_not_there_is_said(path: str, fixed: str) -> None:
    """With its key and what to do; a file of the script's own arguments is not looked for."""
    (text,) = script_doubts(command(path, f"fixed = [{fixed}]"), root=False)
    assert text.startswith("commands.x.fixed: /none/a.sh is not there")
    assert text.endswith("; create it, or correct it")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/bin/sh", 'fixed = ["-c", "true", "/none"]'),  # an argument of the text
        ("/usr/bin/perl", 'fixed = ["-e", "1", "/none"]'),
        ("/bin/cat", 'fixed = ["/none"]'),  # no program that runs others
        ("/bin/sh", 'fixed = ["-s"]'),
        ("/bin/sh", ""),
        ("/bin/sh", 'fixed = ["/etc/passwd"]'),
    ],
)
def test_what_is_no_script_or_is_there_is_not(path: str, keys: str) -> None:
    assert script_doubts(command(path, keys), root=True) == []


def test_one_in_tmp_is_said_unless_the_job_sees_it(tmp_path: Path) -> None:
    """Only where jobs have a /tmp of their own."""
    script = tmp_path / "a.sh"
    script.touch()
    fixed = f'fixed = ["{script}"]'
    (text,) = script_doubts(command("/bin/sh", fixed), root=True)
    assert f"{script} is not seen by jobs" in text
    assert script_doubts(command("/bin/sh", fixed), root=False) == []
    for key in (
        'isolation = "none"',
        f'workdir = "{tmp_path}"',
        f'writable = ["{tmp_path}"]',
        f'arguments = [{{ path = {{ root = "{tmp_path}" }} }}]',
    ):
        assert script_doubts(command("/bin/sh", f"{fixed}\n{key}"), root=True) == []
