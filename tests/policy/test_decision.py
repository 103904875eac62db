"""Whether a client may start a command line: deny by default, in words for the asker alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.jobs.backends.base import JobSpec
from penstock.policy.control_policy import Control
from penstock.policy.decision import (
    MAX_COMMAND_LINE_BYTES,
    MAX_TIMEOUT_S,
    Denial,
    GrantedStart,
    fate_of_jobs,
    may_call,
    may_signal,
    may_start,
)
from penstock.policy.grammar import Match, Mismatch
from penstock.policy.policy_file import ClientPolicy, Policy, parse_policy

POLICY = parse_policy(
    b"""
[classes.free]
[commands.ls]
path = "/bin/ls"
class = "free"
env_allowed = ["COLUMNS", "LINES"]
arguments = [{ optional = { enum = ["-l"] } }]
[commands.rm]
path = "/bin/rm"
class = "free"
[commands.echo]
path = "/bin/echo"
class = "free"
stdin = true
fixed = ["-n"]
arguments = [{ repeat = { slot = { pattern = "[^/]{0,255}" }, max = 512 } }]
env_allowed = ["COLUMNS"]
[clients.alice]
commands = ["ls", "echo"]
[clients.bob]
commands = ["ls", "rm"]
verbs = ["start"]
[clients.carol]
commands = ["ls"]
verbs = ["status"]
[clients.erin]
commands = []
"""
)
NOBODYS = parse_policy(b'[classes.free]\n[commands.true]\npath = "/bin/true"\nclass = "free"\n')


def asked(spec: JobSpec, client: str = "alice", policy: Policy = POLICY) -> Denial:
    found = may_start(policy, client, spec)
    assert isinstance(found, Denial), found
    return found


def granted(spec: JobSpec, client: str = "alice", policy: Policy = POLICY) -> GrantedStart:
    found = may_start(policy, client, spec)
    assert isinstance(found, GrantedStart), found
    return found


def test_deny_by_default() -> None:
    """Client, verb, command, arguments, environment, input: each must be granted."""
    alice = POLICY.clients["alice"]
    assert may_call(POLICY, "alice", "stop") == alice
    assert may_call(POLICY, "alice", None) == alice
    assert may_call(POLICY, "bob", "stop") == Denial("the verb 'stop' is not granted to bob")
    assert may_call(POLICY, "dave", None) == Denial("dave is no client of this server", "client")
    found = granted(JobSpec("ls", ("-l",), {"COLUMNS": "80"}))
    assert (found.client, found.command) == (alice, POLICY.commands["ls"])
    assert found.match == Match()
    granted(JobSpec("rm"), "bob")


@pytest.mark.parametrize(
    ("client", "spec", "text"),
    [
        ("carol", JobSpec("ls"), "the verb 'start' is not granted to carol"),
        ("bob", JobSpec("mv"), "command 'mv' is not granted to bob; granted: ls, rm"),
        ("bob", JobSpec("m" * 65), f"command '{'m' * 64}'... is not granted to bob; granted: "),
        ("alice", JobSpec("ls", ("-a",)), "argument 1, '-a', is not granted: it must be one of -l"),
        ("alice", JobSpec("ls", ("-l", "x")), "there are at most 1; granted is: ls [-l]"),
        ("bob", JobSpec("rm", ("x",)), "the command takes no arguments; granted is: rm"),
        ("erin", JobSpec("rm"), "command 'rm' is not granted to erin; granted: nothing"),
        (
            "alice",
            JobSpec("ls", (), {"PATH": "", "HOME": ""}),
            "environment key 'HOME' is not granted for command 'ls'",
        ),
        ("alice", JobSpec("ls", stdin=True), "input is not granted for command 'ls'"),
    ],
)
def test_what_the_policy_does_not_grant(client: str, spec: JobSpec, text: str) -> None:
    denial = asked(spec, client)
    assert (denial.kind, denial.field) == ("policy", "")
    assert text in denial.message
    assert denial.message == denial.message.rstrip()


@pytest.mark.parametrize("client", ["", "Alice", "alice\0", "\ud800", "x" * 5000])
def test_an_id_that_can_be_nobodys_is_shown_short_and_quoted(client: str) -> None:
    """Only a server that was taken over names one, and its words come into a log."""
    denial = asked(JobSpec("ls"), client)
    assert denial.kind == "client"
    assert denial.message == (
        f"{client[:64]!r}{'...' if len(client) > 64 else ''} is no client of this server"
    )


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        (JobSpec(""), "command", "command is empty; it is the policy's name of a command"),
        (JobSpec("ls\0"), "command", "command holds a NUL byte"),
        (JobSpec("\ud800"), "command", "command holds a lone surrogate"),
        (JobSpec("ls", ("a\0",)), "argv", "argv holds a NUL byte"),
        (JobSpec("ls", ("\udd00",)), "argv", "argv holds a lone surrogate"),
        (JobSpec("ls", (), {"A=B": ""}), "env", "environment key 'A=B' is not a name"),
        (JobSpec("ls", (), {"": ""}), "env", "environment key '' is not a name"),
        (JobSpec("ls", (), {"K" * 129: ""}), "env", "is not a name"),
        (JobSpec("ls", (), {"K": "\0"}), "env", "the value of environment key 'K' holds a NUL"),
        (JobSpec("ls", (), {"K": "\udfff"}), "env", "environment key 'K' holds a lone surrogate"),
        (JobSpec("ls", timeout_s=-1.0), "timeout_s", "timeout_s is -1.0; it must be between 0"),
        (JobSpec("ls", timeout_s=float("nan")), "timeout_s", "between 0 and 3.1536e+07 seconds"),
        (JobSpec("ls", timeout_s=31_536_001.0), "timeout_s", ""),
    ],
)
def test_what_no_policy_could_grant(spec: JobSpec, field: str, text: str) -> None:
    """Its field is named, and that comes before what is granted; but after who asks."""
    denial = asked(spec)
    assert (denial.kind, denial.field) == ("form", field)
    assert text in denial.message
    assert asked(spec, "carol").message == "the verb 'start' is not granted to carol"
    assert asked(spec, "dave").kind == "client"


def test_a_timeout_is_from_nothing_to_a_year() -> None:
    """Both included."""
    for timeout_s in (0.0, 0.5, MAX_TIMEOUT_S):
        granted(JobSpec("ls", timeout_s=timeout_s))


def test_a_text_is_shown_whole_up_to_64_characters() -> None:
    assert "'" + "m" * 64 + "' is not granted" in asked(JobSpec("m" * 64)).message
    assert asked(JobSpec("")).message == "command is empty; it is the policy's name of a command"


def test_a_refusal_tells_nothing_of_others() -> None:
    """A command that others have and one that nobody has read the same."""
    others, nobodys = asked(JobSpec("rm", ("x",))), asked(JobSpec("mv", ("x",)))
    assert others.message.replace("rm", "@") == nobodys.message.replace("mv", "@")


def test_a_command_line_is_counted_once() -> None:
    """As long as what is said to be possible, and one byte more."""
    most = MAX_COMMAND_LINE_BYTES - len("ls\0") - len("\0")
    assert asked(JobSpec("ls", ("a" * most,))).kind == "policy"
    denial = asked(JobSpec("ls", ("a" * (most + 1),)))
    assert (denial.kind, denial.field) == ("form", "argv")
    assert f"are {MAX_COMMAND_LINE_BYTES + 1} bytes" in denial.message
    assert asked(JobSpec("ls", ("",), {"KEY": "a" * (most - len("KEY=\0"))})).kind == "policy"
    assert asked(JobSpec("ls", ("",), {"KEY": "a" * (most - len("KEY="))})).kind == "form"
    pair = (most - len("\0")) // 2
    assert asked(JobSpec("ls", ("a" * pair, "b" * (most - 1 - pair)))).kind == "policy"
    assert asked(JobSpec("ls", ("a" * pair, "b" * (most - pair)))).kind == "form"
    value = "é" * ((most - len("KEY=\0")) // 2)
    assert asked(JobSpec("ls", ("",), {"KEY": value})).kind == "policy"
    assert asked(JobSpec("ls", ("",), {"KEY": value + "é"})).kind == "form"


def test_what_is_granted_fits_a_message_too() -> None:
    """Six bytes for a control character: with the program's path and its fixed arguments."""
    longest = (MAX_COMMAND_LINE_BYTES - len('[["/bin/echo", "-n"], {"COLUMNS": ""}]')) // 6
    granted(JobSpec("echo", (), {"COLUMNS": "\x01" * longest}))
    denial = asked(JobSpec("echo", (), {"COLUMNS": "\x01" * (longest + 1)}))
    assert (denial.kind, denial.field) == ("length", "argv")
    assert "bytes as JSON; at most 131072 are possible" in denial.message
    assert asked(JobSpec("echo", ("\x01" * 255,) * 100)).kind == "length"
    assert asked(JobSpec("ls", ("\x01" * longest * 2,))).kind == "policy"


def test_bytes_that_are_no_utf_8_count_as_what_they_are() -> None:
    """Python's surrogate escapes: one byte each of a command line."""
    granted(JobSpec("echo", ("\udc80\udcff" * 100,)))
    most = MAX_COMMAND_LINE_BYTES - len("rm\0") - len("\0")
    assert asked(JobSpec("rm", ("\udcff" * most,))).kind == "policy"
    assert asked(JobSpec("rm", ("\udcff" * (most + 1),))).kind == "form"


@pytest.mark.parametrize("key", ["PATH", "HOME", "PENSTOCK_JOB", "LD_PRELOAD", "http_proxy"])
def test_a_key_that_no_client_may_set_is_refused_though_it_stands_in_env_allowed(key: str) -> None:
    """No policy's parser lets it stand there, and the decision does not rely on that."""
    ls = replace(POLICY.commands["ls"], env_allowed=frozenset({key, "COLUMNS"}))
    policy = replace(POLICY, commands=POLICY.commands | {"ls": ls})
    granted(JobSpec("ls", (), {"COLUMNS": ""}), policy=policy)
    assert key in asked(JobSpec("ls", (), {key: ""}), policy=policy).message


def test_what_the_grammar_has_said_is_not_asked_again() -> None:
    """A long command line was matched in slices before."""
    spec = JobSpec("ls", ("-a",))
    assert isinstance(may_start(POLICY, "alice", spec, match=Match()), GrantedStart)
    denial = may_start(POLICY, "alice", spec, match=Mismatch(0, "said before"))
    assert denial == Denial("said before; granted is: ls [-l]")


@pytest.mark.parametrize(
    ("client", "spec", "rule"),
    [
        ("carol", JobSpec("ls"), "clients.carol.verbs"),
        ("alice", JobSpec("rm"), "clients.alice.commands"),
        ("alice", JobSpec("ls", ("-a",)), "commands.ls.arguments"),
        ("alice", JobSpec("ls", (), {"LANG": "C"}), "commands.ls.env_allowed"),
        ("alice", JobSpec("ls", stdin=True), "commands.ls.stdin"),
        ("dave", JobSpec("ls"), ""),
        ("alice", JobSpec(""), ""),
        ("alice", JobSpec("echo", ("\x01" * 255,) * 512), ""),
    ],
)
def test_a_denial_names_the_key_that_would_have_to_grant_it(
    client: str, spec: JobSpec, rule: str
) -> None:
    """As the policy's file spells it; none where no key of the asker's own could."""
    assert asked(spec, client).rule == rule


def test_a_name_that_toml_quotes_is_quoted_in_a_rule() -> None:
    """A dot and a colon mean something there."""
    text = b"""
    [classes.free]
    [commands."a.b"]
    path = "/bin/true"
    class = "free"
    [clients."spiffe://example.org/ci"]
    commands = ["a.b"]
    """
    policy = parse_policy(text)
    ci = "spiffe://example.org/ci"
    assert asked(JobSpec("x"), ci, policy).rule == f'clients."{ci}".commands'
    assert asked(JobSpec("a.b", ("x",)), ci, policy).rule == 'commands."a.b".arguments'
    denial = may_signal(Control(signals=frozenset()), "a.b", 9)
    assert denial is not None
    assert denial.rule == 'commands."a.b".signals'


def test_who_started_the_supervisor_has_every_command_of_a_policy_without_clients() -> None:
    spec = JobSpec("true")
    found = may_start(NOBODYS, "me", spec, standalone=True)
    assert isinstance(found, GrantedStart)
    assert found.client == ClientPolicy("me", frozenset({"true"}))
    assert asked(spec, "me", NOBODYS).kind == "client"
    assert may_call(NOBODYS, "me", None) == Denial("me is no client of this server", "client")
    assert isinstance(may_start(POLICY, "me", JobSpec("ls"), standalone=True), Denial)


def test_a_signal_is_granted_by_the_command() -> None:
    """All of them by default; a refusal names those that are."""
    assert may_signal(Control(), "ls", 9) is None
    some = Control(signals=frozenset({1, 10}))
    assert may_signal(some, "ls", 10) is None
    assert may_signal(some, "ls", 9) == Denial(
        "signal KILL is not granted for command 'ls'; granted: HUP, USR1"
    )
    denial = may_signal(Control(signals=frozenset()), "ls", 64)
    assert denial is not None
    assert denial.message.endswith("granted: none")


@given(st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text()), st.floats())
def test_any_command_line_is_refused_by_its_form_or_can_be_executed(
    command: str, argv: list[str], env: dict[str, str], timeout_s: float
) -> None:
    """Nothing else comes out, whatever a client sends."""
    spec = JobSpec(command, tuple(argv), env, timeout_s)
    denial = asked(spec)
    if denial.kind != "form":
        assert not any("\0" in text for text in (command, *argv, *env, *env.values()))
        assert all(key.isascii() and key.isidentifier() for key in env)
        assert timeout_s >= 0
        for text in (command, *argv, *env.values()):
            text.encode("utf-8", "surrogateescape")


def test_a_revoked_client_may_nothing_whatever_its_entry_says() -> None:
    """Also where the library asks, and the text names no rule, because it is not an entry's."""
    text = '[revoked]\nclients = ["alice"]\n[clients.alice]\ncommands = []\n'
    for policy in (
        parse_policy(text.encode()),
        parse_policy(text.partition("[clients")[0].encode()),
    ):
        for standalone in (False, True):
            denial = may_call(policy, "alice", None, standalone=standalone)
            assert denial == Denial("client alice was revoked", "client")


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("[clients.alice]\ncommands = []\n", None),
        ("[clients.bob]\ncommands = []\n", "keep"),
        ('on_revoke = "stop"\n', "stop"),
        ('on_revoke = "stop"\n[revoked]\nclients = ["alice"]\n', "stop"),
        ('[revoked]\nclients = ["alice"]\n[clients.alice]\ncommands = []\n', "keep"),
        (
            'on_revoke = "stop"\n[revoked]\nclients = ["alice"]\n'
            '[clients.alice]\ncommands = []\non_revoke = "keep"\n',
            "keep",
        ),
    ],
)
def test_what_becomes_of_jobs_of_an_owner(text: str, fate: str | None) -> None:
    """By the policy's own key, and by the client's where it still has an entry."""
    assert fate_of_jobs(parse_policy(text.encode()), "alice") == fate
