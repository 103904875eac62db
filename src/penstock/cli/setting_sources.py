"""What to connect with, setting by setting, and where each was found.

Flags come before the environment, and that before the current context, as kubectl has it. A context
that is named by ``--context`` is a flag, so it comes before the environment, as docker has it:
otherwise a forgotten PENSTOCK_ADDR would send a command elsewhere than where it was told to go. A
certificate and its key are one identity: a context gives both or neither. The name and the
fingerprint of a server are those of the one at the context's address, and of no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .context_file import contexts_path, read_contexts
from .flags import Settings, SettingsError
from .invocation import current
from .typed_path import typed_path

if TYPE_CHECKING:
    from .user_contexts import Context, Contexts

# Of each setting: the field of Settings and key of a context, the flag, the variable.
NAMES: Final = (
    ("address", "--addr", "PENSTOCK_ADDR"),
    ("ca", "--ca", "PENSTOCK_CA"),
    ("certificate", "--cert", "PENSTOCK_CERT"),
    ("key", "--key", "PENSTOCK_KEY"),
    ("passphrase_file", "--key-passphrase-file", "PENSTOCK_KEY_PASSPHRASE_FILE"),
    ("server_name", "--server-name", "PENSTOCK_SERVER_NAME"),
    ("server_fingerprint", "--server-fingerprint", "PENSTOCK_SERVER_FINGERPRINT"),
)
_NEEDED: Final = NAMES[:4]
_PAIR: Final = ("certificate", "key")
_OF_SERVER: Final = ("server_name", "server_fingerprint")
"""What the certificate at an address must be, so it comes with that address or not at all."""
_TEXTS: Final = ("address", *_OF_SERVER)
"""Those that are no paths."""


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's text, and what gave it: a flag, a variable, or a line of the contexts' file."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Sources:
    """``values`` by the names of a context's keys. ``context``: the one that gave some of them."""

    values: dict[str, Value]
    context: str = ""
    context_keys: frozenset[str] = frozenset()
    """Those that it gave."""


def missing(found: Mapping[str, object]) -> list[tuple[str, str]]:
    """Flag and variable of each setting that a connection needs and does not have. A CA is not
    needed where the server's certificate is pinned."""
    return [
        (flag, variable)
        for key, flag, variable in _NEEDED
        if key not in found and not (key == "ca" and "server_fingerprint" in found)
    ]


def is_path(key: str) -> bool:
    """Whether a setting's text is the path of a file."""
    return key not in _TEXTS


def given(settings: Settings, environment: Mapping[str, str]) -> dict[str, Value]:
    """What flags and the environment say."""
    return _of_environment(environment) | _of_flags(settings)


def _of_flags(settings: Settings) -> dict[str, Value]:
    found = {key: (getattr(settings, key), flag) for key, flag, _ in NAMES}
    if settings.server_fingerprint == "":  # of a script whose variable is not set
        raise SettingsError("--server-fingerprint is empty, so no server would be pinned")
    return {key: Value(text, flag) for key, (text, flag) in found.items() if text}


def _of_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    found = {key: (environment.get(name, ""), name) for key, _, name in NAMES}
    return {key: Value(text, name) for key, (text, name) in found.items() if text}


def setting_sources(settings: Settings, environment: Mapping[str, str] | None = None) -> Sources:
    """All that is set. Reads the contexts only where something is missing or a flag names one.
    Raises SettingsError, also for a file that a context names and is not there, and OSError."""
    if environment is None:
        environment = current().environment
    flags, variables = _of_flags(settings), _of_environment(environment)
    if not settings.context and not missing(flags | variables):
        return Sources(variables | flags)
    found = _chosen(settings, environment)
    if found is None:
        return Sources(variables | flags)
    contexts, context = found
    keys = {
        key: Value(text, contexts.where("contexts", context.name, key))
        for key, text in context.values.items()
    }
    before = flags if settings.context else variables | flags
    if not settings.context and environment.get("PENSTOCK_KEY_PASSPHRASE"):
        keys.pop("passphrase_file", None)
    if any(key in before for key in _PAIR):
        # The passphrase, too, because it is that key's.
        keys = {key: value for key, value in keys.items() if key in ("ca", *_TEXTS)}
    if "address" in before:
        keys = {key: value for key, value in keys.items() if key not in _OF_SERVER}
    elif "address" in keys and settings.context:
        variables = {key: value for key, value in variables.items() if key not in _OF_SERVER}
    own = keys.keys() - before.keys()
    for key in keys:  # not of the set, or another file would be named each time
        if key in own and is_path(key):
            _check_there(keys[key])
    return Sources(variables | keys | before, context.name, frozenset(own))


def _chosen(
    settings: Settings, environment: Mapping[str, str]
) -> "tuple[Contexts, Context] | None":
    """The one context that counts; None if there is none."""
    named_by = "--context" if settings.context else "PENSTOCK_CONTEXT"
    name = settings.context or environment.get("PENSTOCK_CONTEXT")
    path = contexts_path(environment)
    contexts = read_contexts(path)
    if contexts is None:
        if name:
            raise SettingsError(
                f"{named_by}: there is no context {name!r}, because there is no {path}; "
                "make one with: penstock context add"
            )
        return None
    context = contexts.one(name, named_by) if name else contexts.current_one()
    return None if context is None else (contexts, context)


def _check_there(value: Value) -> None:
    """Names the line, which what opens the file later does not know."""
    try:
        typed_path(value.text).stat()
    except OSError as error:
        raise SettingsError(f"{value.source}: {value.text}: {error.strerror}") from error
