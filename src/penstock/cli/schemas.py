"""schema: the JSON Schema of what a verb prints with -o json."""

import json

import asyncclick as click

from .json_schemas import DESCRIBED, schema_of
from .standard import say
from .verbs import VERBS


def schema(verb: tuple[str, ...]) -> None:
    """Prints the schema of one verb, or of all in an object, by verb. Raises UsageError for a verb
    that has none."""
    if not verb:
        say(json.dumps({each: schema_of(each) for each in DESCRIBED}, indent=2))
        return
    first, *rest = verb
    # An other name of a verb has the verb's own.
    names = [name for name, each in VERBS.items() if each is VERBS.get(first)] or [first]
    found = [each for name in names if (each := " ".join((name, *rest))) in DESCRIBED]
    if not found:
        known = ", ".join(DESCRIBED)
        raise click.UsageError(f"{' '.join(verb)!r} has no schema; there are: {known}")
    say(json.dumps(schema_of(found[0]), indent=2))
