"""Tables of cases: what a line says is what is tried, and where a mistake stands."""

import pytest

from penstock.policy.cases import parse_cases


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("alice deny logs a#b", ["a#b"]),
        ("alice deny logs a #b c", ["a"]),
        ("alice deny logs a\t# the end", ["a"]),
        ("alice deny logs '#a' \\#b \"c\"#d# # e", ["#a", "#b", "c#d#"]),
        ("alice deny logs a\\ #b", ["a #b"]),
        ("alice deny logs ''#b ''", ["#b", ""]),
        ("alice deny logs 'a\u2028b' a\x0bb a\u0085b\r", ["a\u2028b", "a\x0bb", "a\u0085b"]),
        ("\ufeffalice deny logs a", ["a"]),
    ],
)
def test_a_line_is_the_command_line_that_a_shell_would_make_of_it(
    line: str, arguments: list[str]
) -> None:
    cases, mistakes = parse_cases(line.encode())
    assert (mistakes, len(cases)) == ([], 1)
    assert (cases[0].client, cases[0].start.command) == ("alice", "logs")
    assert list(cases[0].start.arguments) == arguments


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    data = "# \u2028 \x0c \x85\n\nalice allow ls 'a\x0cb'\nbob allow ls 'a\nbob maybe ls\n".encode()
    cases, mistakes = parse_cases(data)
    assert [case.line for case in cases] == [3]
    assert mistakes == [
        "4: No closing quotation; a case is one line, quoted as in a shell",
        "5: 'maybe' is no verdict; write allow, deny, or deny=KEY of the policy",
    ]
