"""What the policy says of isolation, what a job gets of it, and what is refused."""

from dataclasses import asdict
from typing import Any

import pytest

from penstock.policy.limit_classes import ISOLATION_NAMES, Enforcement, IsolationName, State
from penstock.policy.policy_file import Policy, PolicyError, parse_policy
from penstock.supervisor.isolation.namespaces import FLAGS
from penstock.supervisor.isolation.plan import (
    Isolation,
    Offers,
    Places,
    hidden,
    make_isolation,
    outermost,
    report,
    unmet,
)

DEFAULT: set[IsolationName] = {
    "isolation.filesystem",
    "isolation.ipc",
    "isolation.uts",
    "isolation.seccomp",
}
PLACES = Places("/var/jobs/1", "/var/jobs/1.tmp", (7, 8), (("/etc/passwd", b"job7\n"),))


def policy(keys: str = "", *, of_class: str = "") -> Policy:
    text = f'[classes.c]\n{of_class}\n[commands.x]\npath = "/bin/x"\nclass = "c"\n{keys}'
    return parse_policy(text.encode())


def offers(**states: State) -> Offers:
    """All is there but for what is named without its "isolation."."""
    entries: dict[IsolationName, Enforcement] = {
        name: Enforcement(name, states.get(name.partition(".")[2], "enforced"), detail="why")
        for name in ISOLATION_NAMES
    }
    return Offers(entries, ("/tmp", "/var/tmp"), "/dev/shm", landlock=7, seccomp=b"filter")


def isolation(keys: str = "", given: Offers | None = None, places: Places = PLACES) -> Isolation:
    return make_isolation(policy(keys).commands["x"], given or offers(), places)


def test_the_default() -> None:
    """Isolated without a word in the policy."""
    command = policy().commands["x"]
    assert command.isolation.wanted == DEFAULT
    assert command.isolation.asked == frozenset()


@pytest.mark.parametrize(
    ("keys", "wanted", "asked"),
    [
        ('isolation = "default"', DEFAULT, set()),
        ('isolation = "none"', set(), set()),
        ("seccomp = false", DEFAULT - {"isolation.seccomp"}, set()),
        ("seccomp = true", DEFAULT, {"isolation.seccomp"}),
        ('network = "host"', DEFAULT, set()),
        ('network = "none"', DEFAULT | {"isolation.network"}, {"isolation.network"}),
        ("landlock = {}", DEFAULT | {"isolation.landlock"}, {"isolation.landlock"}),
    ],
)
def test_keys(keys: str, wanted: set[IsolationName], asked: set[IsolationName]) -> None:
    """What each adds or takes away."""
    found = policy(keys).commands["x"].isolation
    assert set(found.wanted) == wanted
    assert set(found.asked) == asked


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ('isolation = "off"', """isolation: 'off' is unknown; write "default" or "none\""""),
        ('network = "lo"', "network: 'lo' is unknown"),
        ("network = false", "network: False is not a string"),
        ('seccomp = "no"', "seccomp: 'no' is not true or false"),
        ('writable = "/srv"', "writable: '/srv' is not a list of strings"),
        ('writable = ["srv"]', "writable: 'srv' is not an absolute path; write a list"),
        ('writable = ["/srv/../etc"]', "writable: '/srv/../etc' has '.', '..'"),
        ('writable = ["/"]', "writable: '/' is everything; name directories"),
        ('landlock = { write = ["/"] }', "landlock.write: '/' is everything"),
        ('landlock = { reed = ["/srv"] }', "landlock.reed: unknown key; did you mean 'read'?"),
        ('landlock = ["/srv"]', "landlock: ['/srv'] is not a table"),
        *(
            (f'isolation = "none"\n{key}', f'{key.split()[0]}: stands beside isolation = "none"')
            for key in (
                *('network = "none"', "seccomp = true", 'writable = ["/srv"]', "landlock = {}"),
                "pid_namespace = true",
            )
        ),
    ],
)
def test_mistakes(keys: str, mistake: str) -> None:
    """Each by its key, with what to do."""
    with pytest.raises(PolicyError) as caught:
        policy(keys)
    assert [text for text in caught.value.mistakes if text.startswith(f"commands.x.{mistake}")]
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize(
    ("needs", "need"),
    [
        ("", None),
        ('{ all = "best_effort" }', "best_effort"),
        ('{ all = "required" }', "required"),
        ('{ all = "best_effort", isolation = "required" }', "required"),
        ('{ isolation = "best_effort" }', "best_effort"),
        ('{ cpu = "best_effort", disk = "direct_io" }', None),
    ],
)
def test_the_need_of_a_class(needs: str, need: str | None) -> None:
    """ "all" speaks of isolation too, unless isolation speaks for itself."""
    found = policy(of_class=f"needs = {needs}" if needs else "").classes["c"]
    assert found.isolation == need


def test_a_wrong_need_is_one_mistake() -> None:
    """Also where it would speak of limits and isolation."""
    for key in ("all", "isolation"):
        with pytest.raises(PolicyError) as caught:
            policy(of_class=f'needs = {{ {key} = "direct_io" }}')
        assert len(caught.value.mistakes) == 1
        assert f"classes.c.needs.{key}: 'direct_io' is unknown" in caught.value.mistakes[0]


def test_what_a_job_gets() -> None:
    """All that is wanted, as plain data."""
    found = isolation()
    three: tuple[IsolationName, ...] = ("isolation.filesystem", "isolation.ipc", "isolation.uts")
    assert found.namespaces == sum(FLAGS[name] for name in three)
    assert found.mounts
    assert (found.writable, found.visible) == (("/var/jobs/1",), ())
    assert (found.private, found.behind, found.shm) == (
        *(("/tmp", "/var/tmp"), "/var/jobs/1.tmp"),
        "/dev/shm",
    )
    assert (found.seccomp, found.landlock, found.loopback) == (b"filter", 0, False)
    assert found.owner == (7, 8)
    assert isolation('isolation = "none"') == Isolation()


def plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(plain(part) for part in value)
    return value is None or isinstance(value, str | bytes | int)


def test_a_plan_is_plain_data() -> None:
    """So that it can travel to the process that carries it out."""
    everything = 'network = "none"\npid_namespace = true\nlandlock = { read = ["/tmp/x"] }'
    found = asdict(isolation(everything))
    assert all(found.values())
    assert all(plain(value) for value in found.values())


def test_what_the_host_lacks_is_left_out() -> None:
    """The rest is done all the same."""
    found = isolation('network = "none"', offers(filesystem="unavailable", seccomp="unavailable"))
    three: tuple[IsolationName, ...] = ("isolation.ipc", "isolation.uts", "isolation.network")
    assert found == Isolation(
        namespaces=sum(FLAGS[name] for name in three),
        loopback=True,
    )


def test_paths_below_private_directories() -> None:
    """What the policy names stays: the working directory writable, roots of slots to be read."""
    keys = """
workdir = "/var/tmp/a/jobs"
writable = ["/tmp/w", "/srv/w"]
arguments = [
    { path = { root = "/var/tmp/a/files" } },
    { path = { root = "/var/tmp/a/jobs/deep" } },
    { path = { root = "/dev/shm/files" } },
    { path = { root = "/srv/other" } },
]
"""
    places = Places("/var/tmp/a/jobs", "/var/jobs/1.tmp", (7, 8))
    found = isolation(keys, places=places)
    assert found.writable == ("/srv/w", "/tmp/w", "/var/tmp/a/jobs")
    assert found.visible == ("/dev/shm/files", "/var/tmp/a/files")


def test_landlock_lists() -> None:
    """The lists, and what a job has anyway; of the private directories only its own."""
    keys = """
landlock = { read = ["/opt"], write = ["/srv/w"] }
arguments = [{ path = { root = "/srv/files" } }]
"""
    found = isolation(keys)
    assert found.landlock == 7
    assert found.landlock_read == ("/opt", "/bin/x", "/srv/files")
    assert found.landlock_write == found.writable == ("/srv/w", "/var/jobs/1")
    assert found.landlock_maybe == ("/tmp", "/var/tmp", "/dev/shm")
    assert isolation(keys, offers(filesystem="unavailable")).landlock_maybe == ()


@pytest.mark.parametrize(
    ("needs", "root", "lacking"),
    [
        ("", True, {"isolation.uts", "isolation.network"}),
        ("", False, {"isolation.network"}),
        ('{ isolation = "required" }', False, {"isolation.uts", "isolation.network"}),
        ('{ isolation = "best_effort" }', True, set()),
        ('{ all = "best_effort" }', False, set()),
    ],
)
def test_what_is_refused(needs: str, root: bool, lacking: set[str]) -> None:
    """By the class's word; without one all as root, what was asked for without."""
    found = policy('network = "none"', of_class=f"needs = {needs}" if needs else "")
    given = offers(uts="unavailable", network="partial", pid="unavailable")
    entries = unmet(found.commands["x"], found.classes["c"], given, root=root)
    assert {entry.limit for entry in entries} == lacking


def test_a_report_has_what_a_job_gets_and_what_was_turned_off() -> None:
    """As the host gives it, or why not; what nobody has asked for is no lack."""
    keys: dict[str, dict[str, Any]] = {
        "": {"isolation.ipc": ("enforced", "why")},
        "seccomp = false": {"isolation.seccomp": ("unavailable", "turned off by the policy")},
        'isolation = "none"': {"isolation.ipc": ("unavailable", "turned off by the policy")},
        'network = "none"': {"isolation.network": ("enforced", "why")},
    }
    for text, expected in keys.items():
        command = policy(text).commands["x"]
        entries = report(command, offers())
        names = DEFAULT | command.isolation.wanted
        assert [entry.limit for entry in entries] == [
            name for name in ISOLATION_NAMES if name in names
        ]
        found = {str(entry.limit): (entry.state, entry.detail) for entry in entries}
        assert expected.items() <= found.items()


def test_outermost_and_hidden() -> None:
    """Names that only begin alike are not beneath each other."""
    assert outermost(["/a/b", "/ab", "/a", "/a"]) == ("/a", "/ab")
    assert hidden(["/tmp/a", "/tmpfile", "/tmp"], ["/tmp"], []) == ("/tmp",)
    assert hidden(["/tmp/a/b", "/tmp/ab"], ["/tmp"], ["/tmp/a"]) == ("/tmp/ab",)


def test_no_namespace_of_pids_is_reported_that_the_job_does_not_get() -> None:
    """Without a view of its own it would have the host's /proc, so it gets none."""
    keys = "pid_namespace = true"
    given = offers(filesystem="unavailable")
    assert not isolation(keys, given).pids
    states = {entry.limit: entry.state for entry in report(policy(keys).commands["x"], given)}
    assert states["isolation.pid"] == "unavailable"
    assert isolation(keys).pids
    states = {entry.limit: entry.state for entry in report(policy(keys).commands["x"], offers())}
    assert states["isolation.pid"] == "enforced"
