"""The policy file: what it means, and every mistake by its key."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.grammar import Mismatch
from penstock.policy.limit_classes import LIMIT_NAMES, NO_LIMITS, ResourceLimits
from penstock.policy.mistakes import located
from penstock.policy.output_policy import OutputPolicy
from penstock.policy.policy_file import VERBS, ClientPolicy, Policy, PolicyError, parse_policy
from penstock.policy.revoked_policy import Revoked

POLICY = r"""
[classes.small]
cpu = "10%"
memory = "100MB"
disk = "10MB/s"
processes = 64
needs = { disk = "direct_io" }

[classes.loose]
cpu = "unlimited"
disk_read = "1MiB/s"
disk_write = "2MiB/s"
output = "unlimited"
needs = { all = "best_effort", disk = "direct_io", disk_read = "required" }

[commands.ls]
path = "/bin/ls"
class = "small"
user = "61191"
workdir = "/srv"
env = { LANG = "C.UTF-8" }
env_allowed = ["COLUMNS"]
timeout = "1.5m"
grace = "500ms"
merge_stderr = true
description = "Lists a directory beneath /srv."
fixed = ["--color=never"]
arguments = [
    { optional = { enum = ["-l", "-a", "-la"] } },
    { optional = [{ literal = "-w" }, { int = { min = 1, max = 500 } }] },
    { repeat = { slot = { pattern = "[a-z]{1,20}\\.log" }, min = 0, max = 8 } },
    { path = { root = "/srv" } },
]

[commands.hostname]
path = "/bin/hostname"
class = "loose"
user = "nobody"

[clients.alice]
commands = ["ls", "hostname"]
max_running = 2
max_streams = 3
starts_per_minute = 4
verbs = ["start", "status"]
on_revoke = "stop"

[clients."spiffe://example.org/ci/runner"]
commands = []
"""


def mistakes_of(text: str) -> list[str]:
    """The mistakes that a file is refused for."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode())
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return caught.value.mistakes


def test_reads_every_key() -> None:
    """What is written comes out, in the units of the dataclasses."""
    policy = parse_policy(POLICY.encode())
    assert policy.hash == hashlib.sha256(POLICY.encode()).hexdigest()
    small = policy.classes["small"]
    assert small.limits.cpu_cores == 0.1
    assert small.limits.memory_bytes == 100_000_000
    assert small.limits.disk_read_bytes_per_s == 10_000_000
    assert small.limits.disk_write_bytes_per_s == 10_000_000
    assert small.limits.processes == 64
    assert small.limits.output_bytes_per_s == 10_000_000
    assert set(small.needs) == set(LIMIT_NAMES)
    assert small.needs["disk_read"] == small.needs["disk_write"] == "direct_io"
    assert small.needs["cpu"] == "required"
    ls = policy.commands["ls"]
    assert (ls.path, ls.class_name, ls.user, ls.workdir) == ("/bin/ls", "small", "61191", "/srv")
    assert ls.env == {"LANG": "C.UTF-8"}
    assert ls.env_allowed == {"COLUMNS"}
    assert (ls.timeout_s, ls.grace_s, ls.merge_stderr) == (90.0, 0.5, True)
    assert ls.description == "Lists a directory beneath /srv."
    assert ls.argv(["-l", "/srv"]) == ["/bin/ls", "--color=never", "-l", "/srv"]
    assert ls.grammar.usage() == (
        "[-l|-a|-la] [-w INT(1..500)] TEXT([a-z]{1,20}\\.log){0,8} PATH(/srv)"
    )
    assert policy.clients["alice"] == ClientPolicy(
        "alice", frozenset({"ls", "hostname"}), 2, 3, 4, frozenset({"start", "status"}), "stop"
    )


def test_defaults_are_the_strict_ones() -> None:
    """What is left out is denied, required or bounded."""
    policy = parse_policy(POLICY.encode())
    hostname = policy.commands["hostname"]
    assert isinstance(hostname.grammar.match(["x"]), Mismatch)
    assert (hostname.env, hostname.env_allowed, hostname.fixed) == ({}, frozenset(), ())
    assert (hostname.timeout_s, hostname.grace_s, hostname.workdir) == (None, 10.0, None)
    runner = policy.clients["spiffe://example.org/ci/runner"]
    assert runner.commands == frozenset()
    assert runner.verbs == set(VERBS)
    assert (runner.max_running, runner.max_streams, runner.starts_per_minute) == (8, 32, 120)
    assert runner.on_revoke == "keep"


def test_limits_apart() -> None:
    """Read and write on their own, no output limit, and the nearest need wins."""
    loose = parse_policy(POLICY.encode()).classes["loose"]
    assert loose.limits.cpu_cores is None
    assert loose.limits.memory_bytes is None
    assert loose.limits.disk_read_bytes_per_s == 1 << 20
    assert loose.limits.disk_write_bytes_per_s == 2 << 20
    assert loose.limits.output_bytes_per_s is None
    assert loose.needs == {
        "cpu": "best_effort",
        "memory": "best_effort",
        "disk_read": "required",
        "disk_write": "direct_io",
        "processes": "best_effort",
        "output": "best_effort",
        "storage": "best_effort",
        "files": "best_effort",
    }


STORAGE = '[classes.small]\nstorage = "64MB"\nfiles = 9\nneeds = '


@pytest.mark.parametrize(
    ("text", "limits", "needs"),
    [
        # Nobody has written it: held as well as the host can, so that old policies go on.
        ("[classes.small]", (10**9, 100_000), ("watched", "watched")),
        # Written, and so believed in.
        (STORAGE + "{}", (64 * 10**6, 9), ("required", "required")),
        (STORAGE + '{ storage = "watched" }', (64 * 10**6, 9), ("watched", "watched")),
        (
            STORAGE + '{ storage = "watched", files = "required" }',
            (64 * 10**6, 9),
            ("watched", "required"),
        ),
        (STORAGE + '{ all = "best_effort" }', (64 * 10**6, 9), ("best_effort", "best_effort")),
        (
            '[classes.small]\nneeds = { all = "required" }',
            (10**9, 100_000),
            ("required", "required"),
        ),
        (
            '[classes.small]\nstorage = "unlimited"\nfiles = "unlimited"',
            (None, None),
            ("required", "required"),
        ),
        ("[classes.small]\nfiles = 7", (10**9, 7), ("watched", "required")),
    ],
)
def test_storage_is_bounded_and_what_is_written_is_required(
    text: str, limits: tuple[int | None, int | None], needs: tuple[str, str]
) -> None:
    """1 GB and 100,000 files by default."""
    small = parse_policy(text.encode()).classes["small"]
    assert (small.limits.storage_bytes, small.limits.files) == limits
    assert (small.needs["storage"], small.needs["files"]) == needs


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('cpu = "10%"', "cpu = 10", "classes.small.cpu: 10 is not a string"),
        ('cpu = "10%"', 'cpu = "10"', "classes.small.cpu: '10' is not a share of a core"),
        ('cpu = "10%"', 'cpu = "0%"', "classes.small.cpu: '0%' is not a share"),
        ('"100MB"', '"100M"', "classes.small.memory: '100M' is not a size"),
        ('"100MB"', '"0MB"', "classes.small.memory: '0MB' would let nothing run"),
        ('disk = "10MB/s"', 'disk = "10MB"', "classes.small.disk: '10MB' is not a rate"),
        ("processes = 64", "processes = 0", "classes.small.processes: 0 is out of range"),
        ("processes = 64", "files = 0", "classes.small.files: 0 is out of range"),
        ("processes = 64", 'files = "many"', "classes.small.files: 'many' is not an integer"),
        ("processes = 64", 'storage = "0B"', "classes.small.storage: '0B' would let nothing run"),
        ("processes = 64", "storage = 5", "classes.small.storage: 5 is not a string"),
        ('{ disk = "direct_io" }', '{ disk = "watched" }', "classes.small.needs.disk: 'watched'"),
        ('{ disk = "direct_io" }', '{ storage = "direct_io" }', "needs.storage: 'direct_io'"),
        ("processes = 64", "processes = true", "classes.small.processes: True is not an integer"),
        ("processes", "proceses", "classes.small.proceses: unknown key; did you mean 'processes'?"),
        ('disk_read = "1MiB/s"', 'disk = "1MB/s"', "classes.loose.disk: stands beside disk_read"),
        ('{ disk = "direct_io" }', '{ cpu = "direct_io" }', "classes.small.needs.cpu: 'direct_io'"),
        ('{ disk = "direct_io" }', '{ disk = "maybe" }', "classes.small.needs.disk: 'maybe'"),
        ('{ disk = "direct_io" }', '{ net = "required" }', "classes.small.needs.net: unknown key"),
        ('"/bin/ls"', '"ls"', "commands.ls.path: 'ls' is not an absolute path"),
        ('"/bin/ls"', '"/bin/../ls"', "commands.ls.path: '/bin/../ls' has '.', '..'"),
        ('"/bin/ls"', '"/bin/l\\u0000s"', "commands.ls.path: holds a NUL"),
        ('path = "/bin/ls"\n', "", "commands.ls.path: is missing"),
        ('class = "small"', 'class = "tiny"', "commands.ls.class: there is no class 'tiny'"),
        ('class = "small"\n', "", "commands.ls.class: is missing"),
        ('"61191"', "61191", "commands.ls.user: 61191 is not a string"),
        ('"61191"', '"99999999999"', "commands.ls.user: '99999999999' is no user"),
        ('"61191"', '"-1"', "commands.ls.user: '-1' is no user"),
        ('workdir = "/srv"', 'workdir = "."', "commands.ls.workdir: '.' is not an absolute"),
        (
            '"1.5m"',
            "90",
            'commands.ls.timeout: 90 is not a string; write a duration, such as "60s"',
        ),
        ('"1.5m"', '"90"', "commands.ls.timeout: '90' is not a duration"),
        ('"1.5m"', '"0s"', "commands.ls.timeout: '0s' is out of range"),
        ('"500ms"', '"2h"', "commands.ls.grace: '2h' is out of range"),
        ("merge_stderr = true", 'merge_stderr = "yes"', "commands.ls.merge_stderr: 'yes' is not"),
        ('"Lists a', '"Lists\\na', "commands.ls.description: is too long, or holds what does"),
        ('"Lists a', f'"{"x" * 200}', "commands.ls.description: is too long, or holds what does"),
        ("LANG", '"A=B"', 'commands.ls.env."A=B": is no environment key'),
        ('"COLUMNS"', '"LD_PRELOAD"', "commands.ls.env_allowed: LD_PRELOAD would let a client"),
        ('"COLUMNS"', '"A=B"', "commands.ls.env_allowed: 'A=B' is no environment key"),
        ('["--color=never"]', "[1]", "commands.ls.fixed: holds what is not a string"),
        (
            'literal = "-w"',
            "literal = 1",
            "commands.ls.arguments[1].optional[0].literal: 1 is not a string",
        ),
        ('literal = "-w"', 'text = "-w"', "is not a slot; write a table with one key of literal,"),
        ("min = 1, max = 500", "min = 1", "int.max: is missing"),
        ("min = 1, max = 500", "min = 9, max = 5", "int: min 9 is more than max 5"),
        ('["-l", "-a", "-la"]', "[]", ".enum: is empty"),
        ('["-l", "-a", "-la"]', '["-l", "-l"]', ".enum: '-l' stands twice"),
        (
            "[a-z]{1,20}",
            "([a-z]+-?)+",
            "commands.ls.arguments[2].repeat.slot.pattern: '([a-z]+-?)+",
        ),
        ('{ root = "/srv" }', '{ root = "/" }', "path.root: '/' would grant every file"),
        ('{ root = "/srv" }', '{ root = "srv" }', "path.root: 'srv' is not an absolute path"),
        ('{ root = "/srv" }', "{}", "path.root: is missing"),
        ("min = 0, max = 8", "max = 600", "repeat.max: 600 is out of range"),
        ("min = 0, max = 8", "min = 9, max = 8", "repeat.min: 9 is more than max 8"),
        ("min = 0, max = 8", "min = 0", "repeat.max: is missing"),
        ("max = 8 }", "max = 8, step = 1 }", "repeat.step: unknown key"),
        ("clients.alice", "clients.Alice", "clients.Alice: is no client id"),
        ("ci/runner", "../runner", 'clients."spiffe://example.org/../runner": is no client id'),
        ('"hostname"]', '"sh"]', "clients.alice.commands: there is no command 'sh'"),
        ('commands = ["ls", "hostname"]', "", "clients.alice.commands: is missing"),
        ("max_running = 2", "max_running = 0", "clients.alice.max_running: 0 is out of range"),
        ('"status"]', '"destroy"]', "clients.alice.verbs: 'destroy' is unknown"),
        ('on_revoke = "stop"', 'on_revoke = "kill"', "clients.alice.on_revoke: 'kill' is unknown"),
        ("[classes.small]", 'on_revoke = "x"\n[classes.small]', "on_revoke: 'x' is unknown"),
        ("[clients.alice]", "[users.x]\n[clients.alice]", "users: unknown key"),
        ("[classes.small]", "version = 1\n[classes.small]", "version: unknown key"),
        ("[commands.hostname]", 'on_revoke = "stop"\n[commands.hostname]', "; move it above the"),
        ("[clients.alice]", "[revoked]\non_revoke = 1\n[clients.alice]", "stands below [revoked]"),
        ("[classes.small]", "[classes.small]\nrevoked = 1", "classes.small.revoked: unknown key"),
        ("[commands.hostname]", '[commands."a b"]', 'commands."a b": is no name of a command'),
        ("[classes.small]", "[classes.small", "file: not TOML"),
    ],
)
def test_names_each_mistake(old: str, new: str, mistake: str) -> None:
    """One wrong place, and the mistake says where, what, and after a semicolon what to do."""
    assert old in POLICY
    found = mistakes_of(POLICY.replace(old, new, 1))
    matching = [text for text in found if mistake in text]
    assert matching, found
    assert "; " in matching[0].partition(": ")[2]


TOTALS = """
[clients.alice.limits]
cpu = "150%"
memory = "2GB"
disk_read = "20MB/s"
processes = 500
needs = { disk = "best_effort", memory = "best_effort" }
"""


def test_a_client_may_have_limits_of_its_own() -> None:
    """The words and units of a class; what is not there is not limited."""
    alice = parse_policy((POLICY + TOTALS).encode()).clients["alice"]
    assert alice.totals.limits == ResourceLimits(1.5, 2 * 10**9, 20_000_000, None, 500, None)
    assert alice.totals.name == "alice"
    assert alice.totals.needs["cpu"] == "required"
    assert alice.totals.needs["memory"] == alice.totals.needs["disk_read"] == "best_effort"
    assert parse_policy(POLICY.encode()).clients["alice"].totals == NO_LIMITS


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('cpu = "150%"', 'cpu = "0%"', "clients.alice.limits.cpu: '0%' is not a share"),
        ("processes = 500", "processes = 0", "clients.alice.limits.processes: 0 is out of range"),
        ("processes = 500", 'disk = "1MB/s"', "clients.alice.limits.disk: stands beside"),
        # The server keeps it as it reads each job's output: it has no total.
        ("processes = 500", 'output = "1MB/s"', "clients.alice.limits.output: unknown key"),
        ('memory = "best_effort"', 'output = "best_effort"', "limits.needs.output: unknown key"),
        ('memory = "best_effort"', 'memory = "direct_io"', "'direct_io' is unknown"),
        ("[clients.alice.limits]", "[clients.alice.limit]", "clients.alice.limit: unknown key"),
    ],
)
def test_mistakes_in_a_clients_limits(old: str, new: str, mistake: str) -> None:
    """Named by their key, as in a class."""
    assert old in TOTALS
    found = mistakes_of(POLICY + TOTALS.replace(old, new, 1))
    assert any(mistake in text for text in found), found


def test_names_all_mistakes_at_once() -> None:
    """The file is refused whole, after it was read to its end."""
    found = mistakes_of(
        POLICY.replace('"10%"', '"ten"')
        .replace('"1.5m"', '"soon"')
        .replace("max_running", "max_runing")
        .replace("[a-z]{1,20}", "[a-z]+")
    )
    assert len(found) == 4


def test_refuses_what_is_no_table() -> None:
    """A value where a table belongs is one mistake."""
    assert mistakes_of('classes = "x"') == ["classes: 'x' is not a table; write a table"]
    assert mistakes_of("classes = { a = 1 }") == ["classes.a: 1 is not a table; write a table"]


def test_refuses_an_unbounded_grammar() -> None:
    """Repeats of repeats, and what nests without end."""
    slot = '{ repeat = { slot = { literal = "x" }, min = 1, max = 512 } }'
    twice = f"{{ repeat = {{ slot = {slot}, max = 512 }} }}"
    command = '[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\narguments = [%s]\n'
    (mistake,) = mistakes_of(command % twice)
    assert "262144" in mistake
    assert "repeat" in mistake
    deep = "{ optional = " * 20 + '{ literal = "x" }' + " }" * 20
    (mistake,) = mistakes_of(command % deep)
    assert "nested too deeply" in mistake
    nothing = '{ repeat = { slot = { optional = { literal = "x" } }, max = 2 } }'
    (mistake,) = mistakes_of(command % nothing)
    assert "may be empty itself" in mistake


def test_refuses_bytes_that_are_no_file() -> None:
    """Not UTF-8, too many, too deep, not as editors of TOML save it: said as such, and where."""
    for data, line, what in [
        (b"\xff", 1, "not UTF-8"),
        (b"# a\n# \xe4", 2, "not UTF-8"),
        ("a = 1".encode("utf-16"), 1, "not UTF-8"),
        (b"\xef\xbb\xbf# a", 1, "byte order mark"),
        (b"#" * (1 << 20) + b"\n", None, "too many"),
        (b"a = 1\n\nb=" + b"[" * 20_000 + b"\n", 3, "nested too deeply"),
        (b"a = 1\nb = " + b"1" * 20_000, 2, "a number is too long"),
    ]:
        with pytest.raises(PolicyError, match=what) as error:
            parse_policy(data)
        (found,) = located("/f", data, error.value.mistakes)
        assert found.line == line
        assert found.remedy


_VALUES: Any = st.recursive(
    st.sampled_from(["1", "-1", '"x"', "true", "1.5", "nan", "1979-05-27", '"/srv"', '"10%"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(["literal", "int", "enum", "repeat", "slot", "min", "path", "root"]),
            inner,
            max_size=3,
        ).map(lambda items: "{" + ", ".join(f"{k} = {v}" for k, v in items.items()) + "}")
    ),
    max_leaves=6,
)
_LINES = st.one_of(
    st.sampled_from(
        ["[classes.a]", "[commands.a]", "[clients.a]", "[commands.a.env]", "[[commands]]", "[x]"]
    ),
    st.tuples(
        st.sampled_from(
            [
                "cpu",
                "disk",
                "output",
                "needs",
                "processes",
                "path",
                "class",
                "user",
                "env",
                "env_allowed",
                "timeout",
                "fixed",
                "arguments",
                "commands",
                "verbs",
                "max_running",
                "classes",
                "clients",
            ]
        ),
        _VALUES,
    ).map(lambda pair: f"{pair[0]} = {pair[1]}"),
)


@given(st.binary(max_size=200) | st.lists(_LINES, max_size=8).map("\n".join).map(str.encode))
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    """Nothing but PolicyError comes out, and it says something."""
    try:
        policy = parse_policy(data)
    except PolicyError as error:
        assert all(error.mistakes), error.mistakes  # noqa: PT017  only some bytes are refused
    else:
        assert isinstance(policy, Policy)


def test_bounds_of_output() -> None:
    """Sizes, or none at all; how long finished jobs are kept, from not at all to ten years."""

    def output(text: str) -> OutputPolicy:
        return parse_policy(f"[output]\n{text}".encode()).output

    unlimited = output('job = "unlimited"\nclient = "unlimited"\nkeep = "unlimited"\n')
    assert (unlimited.job_bytes, unlimited.client_bytes, unlimited.keep_s) == (None, None, None)
    assert output('job = "128KiB"\nkeep = "0s"\n').job_bytes == 131_072
    for text, mistake in (
        ('job = "127KiB"', r"output\.job: .* is less than 128KiB"),
        ('server = "1KiB"', r"output\.server: .* is less than 128KiB"),
        ('keep = "3661d"', r"output\.keep: .* is out of range"),
        ('when_full = "explode"', r"output\.when_full"),
    ):
        with pytest.raises(PolicyError, match=mistake):
            output(text)


@pytest.mark.parametrize(
    ("slot", "mistake"),
    [
        ("{ optional = [] }", "optional: is empty"),
        ("{ repeat = { max = 2 } }", "slot: is missing"),
        ('{ repeat = { slot = { literal = "a" }, min = 3, max = 2 } }', "3 is more than max 2"),
    ],
)
def test_slots_that_stand_for_nothing(slot: str, mistake: str) -> None:
    """Each is said with what to do, instead of granting something else."""
    text = f'[classes.a]\n[commands.b]\npath = "/bin/b"\nclass = "a"\narguments = [{slot}]\n'
    with pytest.raises(PolicyError, match=mistake):
        parse_policy(text.encode())


@pytest.mark.parametrize(
    ("owners", "mistake"),
    [
        ('["mysql", "61199"]', None),
        ("[]", None),
        ('"mysql"', "is not a list of strings"),
        ('["My SQL"]', "'My SQL' is no user; write names or numeric ids"),
        ('["99999999999"]', "is no user"),
    ],
)
def test_owners_of_a_path(owners: str, mistake: str | None) -> None:
    """Names or numbers of users; whether they exist is the host's to say."""
    text = (
        '[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\n'
        f'arguments = [{{ path = {{ root = "/srv", owners = {owners} }} }}]\n'
    )
    if mistake is None:
        (slot,) = parse_policy(text.encode()).commands["x"].grammar.path_slots()
        assert slot.owners == (("mysql", "61199") if "mysql" in owners else ())
    else:
        with pytest.raises(PolicyError, match=mistake):
            parse_policy(text.encode())


REVOKED = """on_revoke = "stop"
[revoked]
serials = ["0A:1b:00", "00ff", "7"]
clients = ["mallory", "spiffe://example.org/old"]
"""


def test_reads_whom_it_has_revoked() -> None:
    """Serial numbers in the one spelling of an Identity; ids, whether or not they are clients."""
    policy = parse_policy(f"{REVOKED}[clients.mallory]\ncommands = []\n".encode())
    assert policy.revoked.serials == {"a1b00", "ff", "7"}
    assert policy.revoked.clients == {"mallory", "spiffe://example.org/old"}
    assert (policy.on_revoke, policy.clients["mallory"].on_revoke) == ("stop", "stop")
    nothing = parse_policy(b"")
    assert (nothing.revoked, nothing.on_revoke) == (Revoked(), "keep")


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ('serials = ["0a:1"]', "revoked.serials: '0a:1' is no serial number"),
        ('serials = ["xyz"]', "revoked.serials: 'xyz' is no serial number"),
        ('serials = ["00:00"]', "revoked.serials: '00:00' is no serial number"),
        (f'serials = ["{"a" * 43}"]', "revoked.serials: 'aaaaaa"),
        ("serials = [7]", "revoked.serials: holds what is not a string"),
        ('clients = ["Mallory"]', "revoked.clients: 'Mallory' is no client id"),
        ('names = ["mallory"]', "revoked.names: unknown key"),
    ],
)
def test_names_each_mistake_of_whom_it_has_revoked(line: str, mistake: str) -> None:
    """With its key and what to write instead."""
    (found,) = mistakes_of(f"[revoked]\n{line}\n")
    assert mistake in found
    assert "; " in found
