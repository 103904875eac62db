"""Why a line is granted or not: the rule and the slots that are named are those that decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.cases import parse_cases, parse_line
from penstock.policy.decision import GrantedStart, may_start
from penstock.policy.explanation import TriedStart, explain
from penstock.policy.policy_file import Policy, parse_policy
from penstock.policy.toml_positions import KeyLines

TEXT = """\
[classes.c]
[commands.logs]
path = "/usr/bin/tail"
class = "c"
fixed = ["-q"]
env_allowed = ["TZ"]
arguments = [
    { optional = [
        { literal = "-n" },
        { int = { min = 1, max = 99 } } ] },
    { repeat = { slot = { enum = ["-f", "-v"] }, max = 2 } },
    { path = { root = "/var/log" } },
    { optional = { pattern = "[a-z]{1,3}" } },
]
[commands."odd.name"]
path = "/usr/bin/seq"
class = "c"
[commands.other]
path = "/usr/bin/seq"
class = "c"
[clients.alice]
commands = ["logs", "odd.name"]
[clients."spiffe://example.org/ci"]
commands = ["logs"]
verbs = ["status"]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(TEXT.encode())


def line_of(key: str) -> int:
    found = KeyLines(TEXT.encode()).of(key)
    assert found is not None
    return found


def test_a_grant_names_each_arguments_slot(policy: Policy) -> None:
    found = explain(policy, "alice", TriedStart("logs", ("-n", "5", "-f", "a/b", "abc")))
    assert found.granted
    assert found.rule == "clients.alice.commands"
    assert [(use.argument, line_of(use.key)) for use in found.slots] == [
        *(("-n", 9), ("5", 10), ("-f", 11), ("a/b", 12), ("abc", 13))
    ]
    assert found.argv == ("/usr/bin/tail", "-q", "-n", "5", "-f", "/var/log/a/b", "abc")


def test_a_refused_argument_names_the_slots_that_it_could_have_been(policy: Policy) -> None:
    found = explain(policy, "alice", TriedStart("logs", ("-n", "5", "-x")))
    assert not found.granted
    assert found.rule == "commands.logs.arguments"
    assert [use.argument for use in found.slots] == ["-n", "5"]
    assert [line_of(use.key) for use in found.open] == [11, 12]


@pytest.mark.parametrize(
    ("client", "start", "rule"),
    [
        ("alice", TriedStart("other"), "clients.alice.commands"),
        ("alice", TriedStart("nothing"), "clients.alice.commands"),
        ("alice", TriedStart("logs", ("x",), {"LD_PRELOAD": "x"}), "commands.logs.env_allowed"),
        ("alice", TriedStart("logs", ("x",), stdin=True), "commands.logs.stdin"),
        ("alice", TriedStart("odd.name", ("x",)), 'commands."odd.name".arguments'),
        ("mallory", TriedStart("logs", ("x",)), "clients.mallory"),
        (
            "spiffe://example.org/ci",
            TriedStart("logs", ("x",)),
            'clients."spiffe://example.org/ci".verbs',
        ),
        ("alice", TriedStart("logs", ("a\0",)), ""),
    ],
)
def test_a_denial_names_the_key_that_would_have_to_grant(
    policy: Policy, client: str, start: TriedStart, rule: str
) -> None:
    found = explain(policy, client, start)
    assert not found.granted
    assert found.rule == rule


def test_a_revoked_client_is_denied_by_that() -> None:
    revoking = parse_policy(('[revoked]\nclients = ["alice"]\n' + TEXT).encode())
    assert explain(revoking, "alice", TriedStart("logs", ("x",))).rule == "revoked.clients"


@given(
    st.sampled_from(["alice", "bob"]),
    st.sampled_from(["logs", "odd.name", "other", ""]),
    st.lists(st.sampled_from(["-n", "5", "500", "-f", "-v", "abc", "/var/log", "..", ""])),
)
def test_an_explanation_decides_as_the_decision(
    client: str, command: str, arguments: list[str]
) -> None:
    """The same verdict in the same words; each slot that is named takes its argument, in order."""
    policy = parse_policy(TEXT.encode())
    start = TriedStart(command, tuple(arguments))
    decision = may_start(policy, client, start)
    found = explain(policy, client, start)
    assert found.granted == isinstance(decision, GrantedStart)
    taken = [use.argument for use in found.slots]
    assert taken == arguments[: len(taken)]
    if isinstance(decision, GrantedStart):
        assert taken == arguments
    else:
        assert found.message == decision.message
    places = [line_of(use.key) for use in found.slots]
    assert places == sorted(places)


def test_cases_are_lines(policy: Policy) -> None:
    text = """
# a comment
alice allow logs -n 5 'a b'   # another
alice deny=commands.logs.arguments logs -x
bob deny --env TZ=UTC --stdin logs x
"""
    cases, mistakes = parse_cases(text.encode())
    assert mistakes == []
    assert [case.line for case in cases] == [3, 4, 5]
    assert cases[0].start == TriedStart("logs", ("-n", "5", "a b"))
    assert cases[2].start == TriedStart("logs", ("x",), {"TZ": "UTC"}, stdin=True)
    assert [case.holds(explain(policy, case.client, case.start)) for case in cases] == [True] * 3
    assert [case.expected for case in cases] == ["allow", "deny by commands.logs.arguments", "deny"]


@pytest.mark.parametrize(
    ("verdict", "holds"),
    [
        ("allow", False),
        ("deny", True),
        ("deny=commands.logs", True),
        ("deny=commands.logs.arguments", True),
        ("deny=commands.logs.arguments[2].path", True),
        ("deny=commands.logs.arguments[0]", False),
        ("deny=commands.log", False),
        ("deny=clients.alice.commands", False),
    ],
)
def test_a_denial_can_be_held_to_its_reason(policy: Policy, verdict: str, holds: bool) -> None:
    """So that a mistake of typing does not pass for a denial that was meant."""
    (case,), _ = parse_cases(f"alice {verdict} logs -n 5 ''".encode())
    assert case.holds(explain(policy, case.client, case.start)) is holds


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("alice", "a client alone"),
        ("alice allow", "no command"),
        ("alice alow logs", "'alow' is no verdict; write allow, deny, or deny=KEY"),
        ("alice allow=x logs", "'allow=x' is no verdict"),
        ("alice deny= logs", "'deny=' is no verdict"),
        ("alice deny 'logs", "No closing quotation"),
        ("alice deny --env TZ logs", "--env 'TZ' has no value; write --env NAME=VALUE"),
        ("alice deny --verbose logs", "may stand before the command"),
    ],
)
def test_every_mistake_of_a_table_is_named_with_its_line(line: str, mistake: str) -> None:
    cases, mistakes = parse_cases(f"a allow b\n{line}\n\n{line}\n".encode())
    assert len(cases) == 1
    assert [text.partition(":")[0] for text in mistakes] == ["2", "4"]
    assert all(mistake in text for text in mistakes)


def test_bytes_that_are_no_text_are_a_mistake() -> None:
    assert parse_cases(b"a allow b\n\xff")[1] == ["2: byte 10 is not UTF-8; save the file as UTF-8"]


def test_what_follows_the_command_is_the_commands() -> None:
    """Options of other programs stay as they are."""
    assert parse_line(["logs", "--env", "x"]) == TriedStart("logs", ("--env", "x"))
    assert parse_line(["--", "logs", "--", "-x"]) == TriedStart("logs", ("--", "-x"))
