"""What can be typed behind ``penstock context`` (as ``verbs``, for its own group)."""

from typing import Final

import asyncclick as click

from .arguments import SERVER_FINGERPRINT, SERVER_NAME, TEXT
from .verb_forms import CONNECT_TIMEOUT_BEHIND, OUTPUT_BEHIND, argument, behind, option, verb

# They work on the file of contexts and call no server.
_OWN: Final = (OUTPUT_BEHIND,)
_FILE: Final[dict[str, object]] = {"metavar": "FILE", "type": TEXT}

ADD: Final = verb(
    "context_verbs.add",
    """Keeps a server and our identity there as context NAME.

    What no flag gives is taken from the environment; paths are kept whole. The first context of a
    user becomes the current one.
    """,
    argument("name"),
    behind("address", "--addr", metavar="HOST:PORT", type=TEXT, help="The server."),
    behind("ca", "--ca", **_FILE, help="The CA of the server."),
    behind("certificate", "--cert", **_FILE, help="Our certificate."),
    behind("key", "--key", **_FILE, help="Its private key."),
    behind("passphrase_file", "--key-passphrase-file", **_FILE, help="The key's passphrase."),
    behind("server_name", "--server-name", **SERVER_NAME),
    behind("server_fingerprint", "--server-fingerprint", **SERVER_FINGERPRINT),
    option("--group", "groups", multiple=True, type=TEXT, help="Also into this group; repeatable."),
    option("--use", "choose", is_flag=True, help="Make it the current one."),
    option("--replace", is_flag=True, help="Change a context that is there."),
    own=_OWN,
    hosted=False,
    example="""
    penstock context add prod --addr host.example:8443 --ca ca.crt --cert a.crt --key a.key
    """,
)
USE: Final = verb(
    "context_verbs.use",
    "Makes context NAME the current one: verbs use it where neither flag nor environment decides.",
    argument("name"),
    own=_OWN,
    hosted=False,
    example="penstock context use prod",
)
LS: Final = verb(
    "context_list.ls",
    "Lists the contexts, the current one with a star, and the groups they are in.",
    option("-q", "--quiet", is_flag=True, help="Names alone."),
    own=_OWN,
    hosted=False,
    example="penstock context ls",
)
RM: Final = verb(
    "context_verbs.forget",
    "Forgets contexts, also as members of groups; their certificates and keys stay.",
    argument("names", metavar="NAME...", nargs=-1, required=True),
    own=_OWN,
    hosted=False,
    example="penstock context rm staging",
)
TEST: Final = verb(
    "context_steps.test",
    """Connects as context NAME does, and says at which step it fails, and who we are there.

    Without NAME: with the settings that other verbs would use.
    """,
    argument("name", required=False),
    own=(OUTPUT_BEHIND, CONNECT_TIMEOUT_BEHIND),
    hosted=False,
    example="""
    penstock context test prod
    penstock context test
    """,
)

CONTEXT: Final = click.Group(
    "context",
    {"add": ADD, "use": USE, "ls": LS, "rm": RM, "test": TEST},
    help="Keeps servers and our identities there under names: contexts.toml.",
)
