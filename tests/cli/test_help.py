"""Each verb's help: every option is explained, and the examples are lines that the verb takes."""

import shlex

import asyncclick as click
import pytest
from cli_verbs import COMMANDS

from penstock.cli.flags import Settings


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """In a sentence, except where its default and range say all."""
    command = COMMANDS[name]
    assert command.help
    unexplained = [
        each.name
        for each in command.params
        if isinstance(each, click.Option) and not each.help and not each.show_default
    ]
    assert unexplained == []


def examples(command: click.Command) -> list[list[str]]:
    """The words of each example behind ``penstock``; of a pipe or a substitution our part."""
    epilog = command.epilog or ""
    assert epilog.startswith("\b\nExamples:\n"), "it has no example"
    found = []
    for line in epilog.splitlines()[2:]:
        words = shlex.split(line.replace("$(", " ").replace(")", " "))
        begin = words.index("penstock") + 1
        end = next((n for n in range(begin, len(words)) if words[n] in "|>;&"), len(words))
        found.append(words[begin:end])
    return found


@pytest.mark.parametrize("name", COMMANDS)
async def test_the_examples_are_lines_that_the_verb_takes(name: str) -> None:
    """As its own parser reads them."""
    command = COMMANDS[name]
    for words in examples(command):
        typed = words[2:] if words[:2] == ["-o", "json"] else words
        own = name.split()
        # An other name of a verb shows the verb's own.
        verb = next(n for n, each in COMMANDS.items() if each is command).split()
        assert typed[: len(own)] in (own, verb)
        context = await command.make_context(name, typed[len(own) :], obj=Settings())
        assert set(context.params) == {each.name for each in command.params if each.expose_value}
