"""What the doctor says of hosts, made up and real."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from mounted import mounted
from this_run import new_group

from penstock.policy.configuration import parse_config
from penstock.policy.limit_classes import ISOLATION_NAMES, LIMIT_NAMES, Enforcement
from penstock.policy.policy_file import parse_policy
from penstock.supervisor.doctor import Finding, diagnose, examine_host
from penstock.supervisor.host_facts import Facts

GOOD = Facts(
    root=True,
    kernel="6.1.0-18-amd64",
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


def bad(facts: Facts) -> dict[str, Finding]:
    found = {finding.name: finding for finding in diagnose(facts)}
    return {name: finding for name, finding in found.items() if finding.state != "ok"}


def test_a_good_host() -> None:
    """Everything is named, and nothing is to be done."""
    found = diagnose(GOOD)
    assert all(finding.state == "ok" and not finding.remedy for finding in found)
    names = [finding.name for finding in found]
    assert len(set(names)) == len(names)
    ours = {"kernel", "separation", "users", "interpreter", "cgroups", "max_jobs", "pipes"}
    assert set(names) == {*ours, *LIMIT_NAMES, *ISOLATION_NAMES}


@pytest.mark.parametrize(
    ("facts", "name", "words"),
    [
        (replace(GOOD, kernel="5.10.0-9-amd64"), "kernel", "no cgroup.kill"),
        (replace(GOOD, kernel="4.19.0"), "kernel", "4.19.0"),
        (replace(GOOD, root=False), "separation", "without root"),
        (replace(GOOD, users=("commands.x.user: 'y' is root",)), "users", "'y' is root"),
        (replace(GOOD, policy_read=False), "users", "were not looked at"),
        (replace(GOOD, blocked="/home/a"), "interpreter", "cannot use /home/a"),
        (replace(GOOD, cgroups=""), "cgroups", "no groups"),
        (replace(GOOD, nofile=1024, possible_jobs=124), "max_jobs", "admits 124 jobs"),
        (replace(GOOD, root=False, pipe_bytes=65536), "pipes", "65536 bytes"),
        (replace(GOOD, doubts=("work_root: /w is; put it elsewhere",)), "work_root", "/w is"),
        (
            replace(GOOD, doubts=("commands.x.user: alice, bob share; leave it out",)),
            "commands.x.user",
            "alice, bob share",
        ),
        (
            replace(GOOD, clients_users=("", "job_uids: none is left for 'c'; name a range")),
            "job_uids",
            "none is left",
        ),
    ],
)
def test_what_is_wrong(facts: Facts, name: str, words: str) -> None:
    """It is said, with a remedy."""
    finding = bad(facts)[name]
    assert words in finding.detail
    assert finding.remedy


@pytest.mark.parametrize("name", [*LIMIT_NAMES, *ISOLATION_NAMES])
def test_limits_and_isolation(name: str) -> None:
    """One that is lacking says why, how to have it, and how to do without."""
    for state, expected in (("unavailable", "missing"), ("partial", "partial")):
        entries = tuple(
            replace(entry, state=state, detail="as tried") if entry.limit == name else entry  # type: ignore[arg-type]
            for entry in GOOD.entries
        )
        (finding,) = bad(replace(GOOD, entries=entries)).values()
        assert (finding.name, finding.state) == (name, expected)
        assert "as tried" in finding.detail
        assert "best_effort" in finding.remedy


HELD = {*LIMIT_NAMES, "cgroups"}


def test_this_host(tmp_path: Path) -> None:
    """A real one: nothing is left of the look, and each limit and isolation is there."""
    before = mounted()
    parent = new_group("doctor")
    user = 'server_user = "65530"\n' if os.geteuid() == 0 else ""
    text = f'policy = "/p"\nwork_root = "{tmp_path}"\ncgroup_parent = "{parent}"\n{user}'
    config = parse_config(text.encode(), library=True)
    wrong = "root" if os.geteuid() == 0 else "no-such-user"
    policy = f'[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\nuser = "{wrong}"\n'
    found = {
        finding.name: finding for finding in examine_host(config, parse_policy(policy.encode()))
    }
    assert {*LIMIT_NAMES, *ISOLATION_NAMES, "kernel", "cgroups"} <= set(found)
    assert found["users"].state == "missing"
    assert "commands.x.user" in found["users"].detail
    assert (found["separation"].state == "ok") == (os.geteuid() == 0)
    assert list(tmp_path.iterdir()) == []
    assert mounted() == before
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            assert not [path for path in Path(fields[4]).iterdir() if parent[1:] in path.name]


def test_wherever_jobs_are_put_the_host_is_the_same(tmp_path: Path) -> None:
    """A parent group by name, the default one, and a unit's own, which doctor is not in."""
    own = f'cgroup_parent = "{new_group("doctor")}"\n'
    user = 'server_user = "65530"\n' if os.geteuid() == 0 else ""
    found = []
    for line in (own, "", 'cgroup_parent = "delegated"\n'):
        text = f'policy = "/p"\nwork_root = "{tmp_path}"\n{line}{user}'
        policy = parse_policy(b"")
        findings = examine_host(parse_config(text.encode(), library=True), policy)
        found.append({each.name: each.state for each in findings if each.name in HELD})
    assert found[0] == found[1] == found[2]
    assert (found[0]["cgroups"] == "ok") == (os.geteuid() == 0)


@pytest.mark.root
def test_what_it_says_of_clients_users(tmp_path: Path) -> None:
    """How many ids of the range are given, and what is wrong: with the range, the table, and where
    two clients share a user. Nothing is allocated by looking."""
    lines = "".join(f'[clients.{name}]\ncommands = ["x", "y"]\n' for name in ("a", "b"))
    text = '[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\n'
    policy = parse_policy(f'{text}{text[12:].replace("x", "y", 1)}user = "65531"\n{lines}'.encode())

    def found(uids: str) -> dict[str, Finding]:
        config = parse_config(
            f'policy = "/p"\nwork_root = "{tmp_path}"\ncgroup_parent = "{new_group("doctor")}"\n'
            f'server_user = "65530"\nstate_dir = "{tmp_path}/s"\njob_uids = "{uids}"\n'.encode(),
            library=True,
        )
        return {finding.name: finding for finding in examine_host(config, policy)}

    good = found("70000-70001")
    assert (good["job_uids"].state, good["job_uids"].detail) == ("ok", "70000-70001, 0 given")
    assert good["commands.y.user"].state == "partial"
    assert "a, b share the user '65531' in y" in good["commands.y.user"].detail
    assert "leave 'user' out" in good["commands.y.user"].remedy
    few = found("70000-70000")["job_uids"]
    assert (few.state, few.remedy) == ("missing", "name a range that has more")
    assert "none is left for client 'b'" in few.detail
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s-root").mkdir(mode=0o700)
    table = tmp_path / "s-root" / "client-users.json"
    table.write_text("{")
    assert "is not penstockd's user's alone" in found("70000-70001")["job_uids"].detail
    table.chmod(0o600)
    assert "is damaged" in found("70000-70001")["job_uids"].detail
