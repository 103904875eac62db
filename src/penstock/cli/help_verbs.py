"""help, completion and schema: verbs about other verbs (declarations)."""

from typing import Final

import asyncclick as click

from .verb_forms import argument, verb

COMPLETION: Final = verb(
    "completion.completion",
    "Prints a script that makes bash, zsh or fish complete verbs, options, jobs and files.",
    click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"])),
    connects=False,
    hosted=False,
    example="""
    penstock completion bash > ~/.penstock.bash    # and source it in ~/.bashrc
    penstock completion fish > ~/.penstock.fish    # and source it in config.fish
    """,
)

SCHEMA: Final = verb(
    "schemas.schema",
    """Prints the JSON Schema of each line that VERB prints with -o json.

    "error" in the place of VERB is an error's line on standard error. Without VERB all of them, in
    an object by verb.
    """,
    argument("verb", metavar="[VERB]", nargs=-1),
    connects=False,
    hosted=False,
    example="""
    penstock schema list
    penstock schema context ls
    penstock schema > schemas.json
    """,
)
HELP: Final = verb(
    "helping.help_of",
    "Explains a verb, as --help behind it does; without one all verbs.",
    argument("words", metavar="[VERB]...", nargs=-1),
    connects=False,
    hosted=False,
    example="""
    penstock help start
    penstock help certs issue
    """,
)
