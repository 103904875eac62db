"""What a policy requires in vain on a host, of hosts that are made up."""

from dataclasses import replace
from typing import Literal

from penstock.policy.limit_classes import ISOLATION_NAMES, LIMIT_NAMES, Enforcement
from penstock.policy.policy_file import parse_policy
from penstock.supervisor.host_facts import Facts
from penstock.supervisor.host_needs import unheld

FACTS = Facts(
    root=True,
    kernel="6.1.0",
    cgroups="v2",
    entries=tuple(Enforcement(name, "enforced") for name in (*LIMIT_NAMES, *ISOLATION_NAMES)),
    users=(),
    interpreter="/usr/bin/python3",
    blocked="",
    policy_read=True,
    nofile=524288,
    max_jobs=512,
    possible_jobs=100_000,
    pipe_bytes=1 << 20,
)
POLICY = """
[classes.small]
memory = "1GB"
disk = "1MB/s"
[classes.lax]
memory = "1GB"
needs = { all = "best_effort" }
[classes.unused]
processes = 3
[commands.a]
path = "/bin/a"
class = "small"
[commands."b.c"]
path = "/bin/b"
class = "small"
isolation = "none"
[commands.d]
path = "/bin/d"
class = "lax"
[clients.alice]
commands = ["a"]
limits = { disk = "5MB/s" }
"""


def without(**states: Literal["partial", "unavailable"]) -> Facts:
    """The host, but for some entries: ``disk_read="partial"``."""
    entries = [
        replace(entry, state=states[key], detail="why")
        if (key := entry.limit.replace(".", "_")) in states
        else entry
        for entry in FACTS.entries
    ]
    return replace(FACTS, entries=tuple(entries))


def found(facts: Facts, text: str = POLICY) -> list[str]:
    return unheld(parse_policy(text.encode()), facts)


def test_a_host_that_holds_everything_is_good() -> None:
    assert found(FACTS) == []


def test_a_limit_is_named_at_its_class_with_the_commands_that_it_refuses() -> None:
    """Not of a class that does without it, nor of one that no command names."""
    (mistake,) = found(without(memory="unavailable", processes="unavailable"))
    assert mistake.startswith(
        "classes.small.memory: memory is required and unavailable on this host (why), so starts of "
        "a, b.c are refused; "
    )
    assert 'needs = { memory = "best_effort" }' in mistake


def test_what_a_class_accepts_is_no_mistake() -> None:
    """Direct I/O is enough where the policy says so; the client's total has its own needs."""
    facts = without(disk_read="partial", disk_write="partial")
    wrong = found(facts)
    assert [each.partition(":")[0] for each in wrong] == [
        "classes.small.disk",
        "clients.alice.limits.disk",
    ]
    lenient = POLICY.replace('disk = "1MB/s"', 'disk = "1MB/s"\nneeds = { disk = "direct_io" }')
    assert [each.partition(":")[0] for each in found(facts, lenient)] == [
        "clients.alice.limits.disk"
    ]
    # One that is held alone is named alone.
    only = found(without(disk_write="partial"))
    assert [each.partition(":")[0] for each in only] == [
        "classes.small.disk_write",
        "clients.alice.limits.disk_write",
    ]


def test_an_isolation_is_named_once() -> None:
    """At the first command that requires it: by default all do, but for those that turn it off or
    whose class does without."""
    (mistake,) = found(without(isolation_ipc="unavailable"))
    assert mistake.startswith("commands.a: isolation.ipc is required and unavailable")
    assert "so starts of a are refused" in mistake
    text = POLICY.replace('isolation = "none"\n', "")
    assert "so starts of a, b.c are refused" in found(without(isolation_ipc="partial"), text)[0]


def test_cgroup_v1_holds_no_bandwidth_of_several_jobs() -> None:
    """Whatever it holds of one."""
    wrong = found(replace(FACTS, cgroups="hybrid"))
    (text,) = wrong
    assert text.startswith("clients.alice.limits.disk: disk is required and unavailable")
