"""Every verb of the command line, those of groups too."""

import asyncclick as click

from penstock.cli.verbs import VERBS

GROUPS = {name: verb for name, verb in VERBS.items() if isinstance(verb, click.Group)}
COMMANDS: dict[str, click.Command] = {
    name: verb for name, verb in VERBS.items() if name not in GROUPS
} | {
    f"{group} {name}": verb
    for group, verbs in GROUPS.items()
    for name, verb in verbs.commands.items()
}
"""By what is typed: "start", "certs init"."""
