"""``[classes.NAME.rlimits]``: what it sets, what it refuses, and what docs/policy.md says of it."""

import re
from pathlib import Path

import pytest

from penstock.policy.limit_classes import LimitClass, Rlimit
from penstock.policy.policy_file import PolicyError, parse_policy
from penstock.policy.rlimit_policy import DEFAULTS, least, most, of_class, storage_bounds_files

DOCS = Path(__file__).resolve().parents[2] / "docs" / "policy.md"


def class_of(text: str) -> LimitClass:
    return parse_policy(f"[classes.a]\n{text}\n".encode()).classes["a"]


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        class_of(f"[classes.a.rlimits]\n{text}")
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ('cpu = "10m"', "cpu", Rlimit(600, 600)),
        ('cpu = "1.5s"', "cpu", Rlimit(2, 2)),  # the kernel's seconds are whole
        ('fsize = "1GiB"', "fsize", Rlimit(1 << 30, 1 << 30)),
        ('fsize = "0B"', "fsize", Rlimit(0, 0)),
        ('core = "unlimited"', "core", Rlimit(None, None)),
        ("nofile = 4096", "nofile", Rlimit(4096, 4096)),
        ("nofile = { soft = 2048 }", "nofile", Rlimit(2048, 524_288)),
        ("nofile = { hard = 512 }", "nofile", Rlimit(512, 512)),
        ("nofile = { soft = 64, hard = 128 }", "nofile", Rlimit(64, 128)),
        ('stack = { soft = "16MiB" }', "stack", Rlimit(16 << 20, None)),
        ('cpu = { soft = "1m", hard = "unlimited" }', "cpu", Rlimit(60, None)),
        ("nproc = 1", "nproc", Rlimit(1, 1)),
    ],
)
def test_what_a_class_sets(text: str, name: str, limit: Rlimit) -> None:
    """One value for both, or each by its name; the rest are the defaults."""
    found = class_of(f'storage = "unlimited"\n[classes.a.rlimits]\n{text}')
    assert found.rlimits == {name: limit}
    assert of_class(found) == {**DEFAULTS, name: limit}


@pytest.mark.parametrize(
    ("storage", "fsize", "limit", "of_storage"),
    [
        ('storage = "2MB"', "", Rlimit(2_000_000, 2_000_000), True),
        ("", "", Rlimit(10**9, 10**9), True),
        ('storage = "unlimited"', "", Rlimit(None, None), False),
        ('storage = "2MB"', '"1MB"', Rlimit(1_000_000, 1_000_000), False),
        ('storage = "2MB"', '"2MB"', Rlimit(2_000_000, 2_000_000), True),
        ('storage = "2MB"', '"3MB"', Rlimit(2_000_000, 2_000_000), True),
        ('storage = "2MB"', '{ soft = "1MB" }', Rlimit(1_000_000, 2_000_000), False),
        ('storage = "unlimited"', '"3MB"', Rlimit(3_000_000, 3_000_000), False),
    ],
)
def test_the_lower_of_storage_and_fsize(
    storage: str, fsize: str, limit: Rlimit, of_storage: bool
) -> None:
    """A file is as long as both let it be, and it is known which of them it was."""
    text = f"[classes.a.rlimits]\nfsize = {fsize}" if fsize else ""
    found = class_of(f"{storage}\n{text}")
    assert of_class(found) == {**DEFAULTS, "fsize": limit}
    assert storage_bounds_files(found) == of_storage


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('cpu = "0s"', "classes.a.rlimits.cpu: '0s' is too little"),
        ("cpu = 10", 'classes.a.rlimits.cpu: 10 is no duration; write for example "10m"'),
        ('cpu = "400d"', "more than a year"),
        ("nofile = 7", "classes.a.rlimits.nofile: 7 is too little"),
        ('nofile = "unlimited"', "is no number"),
        ("nofile = 2147483647", "more than Linux has"),
        ("nofile = -1", "out of range"),
        ("nofile = true", "is no number"),
        ("nofile = { soft = 512, hard = 256 }", "classes.a.rlimits.nofile: soft is above hard"),
        ("nofile = { soft = 1000000 }", "soft is above hard"),
        ("nofile = { mild = 1 }", "classes.a.rlimits.nofile.mild: unknown key"),
        ('as = "1MiB"', "too little"),
        ("as = 4096", "is no size"),
        ('stack = "1kB"', "too little"),
        ("nice = 20", "classes.a.rlimits.nice: unknown key"),  # a job is never preferred
        ("rtprio = 1", "unknown key"),
        ("open_files = 1", "unknown key"),
        ("fsize = []", "is no size"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    """Each is named by its key, once."""
    (found,) = mistakes(text)
    assert words in found


def test_the_strictest_and_the_least_strict() -> None:
    """None is no limit."""
    assert (least(None, 3, 2), least(None), most(1, None), most(1, 2)) == (2, None, None, 2)


def test_the_docs_say_the_defaults() -> None:
    """docs/policy.md, one row each, as numbers of the kernel's units."""
    row = re.compile(r"^\| `(\w+)` \| RLIMIT_\w+ \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
    rows = row.findall(DOCS.read_text())
    told = {name: Rlimit(_number(soft), _number(hard)) for name, soft, hard in rows}
    assert told == dict(DEFAULTS)


def _number(cell: str) -> int | None:
    word = cell.strip().replace(",", "")
    if word == "unlimited":
        return None
    count, _, unit = word.partition(" ")
    return int(count) * (1 << 20 if unit == "MiB" else 1)
