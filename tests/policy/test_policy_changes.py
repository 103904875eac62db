"""What is said of a policy that takes another one's place."""

import pytest

from penstock.policy.policy_changes import policy_changes
from penstock.policy.policy_file import parse_policy

POLICY = """
[classes.small]
memory = "100MB"
[commands.tail]
path = "/usr/bin/tail"
class = "small"
arguments = [{ pattern = "[a-z]{1,3}" }, { path = { root = "/var/log" } }]
[commands.sleep]
path = "/bin/sleep"
class = "small"
[clients.alice]
commands = ["tail"]
[clients.bob]
commands = ["tail", "sleep"]
verbs = ["start", "status"]
"""
CAROL = '[clients.carol]\ncommands = ["sleep"]\n'


def lines(before: str, now: str) -> list[str]:
    return policy_changes(parse_policy(before.encode()), parse_policy(now.encode()))


def test_what_means_the_same_is_not_said() -> None:
    """Another order, comments, a key that says what holds without it."""
    head, _, clients = POLICY.partition("[clients.alice]")
    other = f'# moved\n[clients.alice]{clients}{head}\n[output]\nkeep = "7d"\n'
    assert lines(POLICY, other) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("verbs", "max_streams = 4\nverbs", "client bob has max_streams 4 instead of 32"),
        ('"status"]', '"stop"]', "client bob gains the verb stop, loses the verb status"),
        ('["tail", "sleep"]', "[]", "client bob loses the commands sleep, tail"),
        ('["tail"]\n', '["tail", "sleep"]\n', "client alice gains the command sleep"),
        ('memory = "100MB"', 'memory = "1GB"', "class small has memory 1GB instead of 100MB"),
        ('memory = "100MB"', 'cpu = "12.5%"',
         "class small has cpu 12.5% instead of unlimited, memory unlimited instead of 100MB"),
        ('memory = "100MB"', 'memory = "100MB"\ndisk = "10MB/s"',
         "class small has disk 10MB/s instead of unlimited"),
        ('memory = "100MB"', 'memory = "100MB"\ndisk_read = "1MiB/s"\noutput = "3B/s"',
         "class small has disk_read 1MiB/s instead of unlimited, output 3B/s instead of unlimited"),
        ('memory = "100MB"',
         'memory = "100MB"\nprocesses = 7\nneeds = { all = "best_effort" }\nrlimits.core = "1GB"',
         "class small has processes 7 instead of unlimited, other needs, other rlimits"),
        ("{1,3}", "{1,4}", "command tail has other arguments, which concerns alice, bob"),
        ("/bin/sleep", "/sbin/sleep", "command sleep has other path, which concerns bob"),
        ("[clients.bob]", "limits = { memory = \"1GB\" }\n[clients.bob]",
         "client alice has limits.memory 1GB instead of unlimited"),
        ("[classes", '[output]\nkeep = "1d"\n[classes', "[output] has other keep"),
        ("[classes", 'on_revoke = "stop"\n[classes',
         "on_revoke: jobs of clients that are gone are stopped from now on"),
        ("[clients.bob]", 'on_revoke = "stop"\n[clients.bob]',
         "client alice has on_revoke stop instead of keep"),
        ("[classes", '[revoked]\nserials = ["0A:1B"]\n[classes',
         "the certificate of serial number a1b is revoked"),
        ("[classes", '[revoked]\nclients = ["alice"]\n[classes',
         "client alice is revoked; its jobs run on"),
    ],
)  # fmt: skip
def test_each_difference_is_a_line(old: str, new: str, said: str) -> None:
    """And no other line comes with it."""
    assert old in POLICY
    assert lines(POLICY, POLICY.replace(old, new, 1)) == [said]


def test_who_comes_and_who_goes() -> None:
    """With what becomes of its jobs, by the policy that drops it."""
    comes = "client carol comes in, with every verb and the commands sleep"
    assert lines(POLICY, POLICY + CAROL) == [comes]
    assert lines(POLICY + CAROL, POLICY) == ["client carol is out; its jobs run on"]
    first, second = lines(POLICY + CAROL, 'on_revoke = "stop"' + POLICY)
    assert first == "client carol is out; its jobs are stopped"
    assert second.startswith("on_revoke: ")


def test_what_is_taken_back() -> None:
    revoked = '[revoked]\nclients = ["alice"]\nserials = ["1"]\n'
    assert lines(revoked + POLICY, POLICY) == [
        "client alice is no longer revoked",
        "the certificate of serial number 1 is no longer revoked",
    ]
