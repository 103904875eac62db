"""context add, use, rm: changes of the user's file of contexts."""

import os
from collections.abc import Mapping
from pathlib import Path

from .context_change import change_contexts
from .context_edit import (
    with_context,
    with_current,
    with_member,
    without_context,
    without_current,
    without_member,
)
from .context_file import contexts_path, read_contexts
from .context_list import address_of, context_json
from .failures import Exit, fail
from .flags import Settings, SettingsError
from .invocation import current
from .server_address import host_and_port, read_pin, server_name
from .setting_sources import Value, given, is_path, missing
from .signal_handling import detaches
from .standard import complain, say
from .terminal import harmless
from .user_contexts import Contexts, check_name


@detaches("whether context {name} was added is shown by: penstock context ls")
async def add(
    settings: Settings, name: str, groups: tuple[str, ...], choose: bool, replace: bool
) -> None:
    """Prints what the context is, and whether it is the current one."""
    check_name(name)
    for group in groups:
        check_name(group, "a group")
    values = _kept(given(settings, current().environment))

    def edit(before: Contexts, text: str) -> str:
        if name in before.named and not replace:
            fail(f"Error: context {name} is there already; --replace changes it", Exit.CONFLICT)
        text = with_context(text, name, values)
        for group in dict.fromkeys(groups):
            if name not in before.groups.get(group, ()):
                text = with_member(text, group, name)
        if choose or not before.named:
            text = with_current(text, name)
        return text

    after = await change_contexts(contexts_path(), edit)
    _say_one(settings, after, name, f"Context {name} is {address_of(after.named[name])}")


def _kept(found: Mapping[str, Value]) -> dict[str, str]:
    """What a context keeps: the address as it is written, and whole paths of files that are there.
    Raises SettingsError."""
    if "address" in found:
        host_and_port(found["address"].text)
    if wanted := missing(found):
        names = ", ".join(f"{flag} (or {variable})" for flag, variable in wanted)
        raise SettingsError(f"a context needs more: give {names}")
    values = {}
    for key, value in found.items():
        kept = value.text
        if key == "server_name":
            kept = server_name(kept, value.source)
        elif key == "server_fingerprint":
            kept = read_pin(kept, value.source)
        elif is_path(key):
            kept = os.path.abspath(kept)
            try:
                Path(kept).stat()
            except OSError as error:
                raise SettingsError(f"{kept} ({value.source}): {error.strerror}") from error
        try:
            kept.encode()
        except UnicodeEncodeError as error:  # os.environ keeps such bytes as surrogates
            raise SettingsError(
                f"{kept!a} ({value.source}) is not UTF-8, so that no TOML file can have it"
            ) from error
        values[key] = kept
    return values


@detaches("whether context {name} is the current one is shown by: penstock context ls")
async def use(settings: Settings, name: str) -> None:
    """Prints which context is the current one now, and what still overrides it."""

    def edit(before: Contexts, text: str) -> str:
        before.one(name, "context use")
        return with_current(text, name)

    after = await change_contexts(contexts_path(), edit)
    _say_one(settings, after, name, f"Context {name} is {address_of(after.named[name])}")
    environment = current().environment
    overriding = [key for key in ("PENSTOCK_CONTEXT", "PENSTOCK_ADDR") if environment.get(key)]
    if overriding:
        complain(f"{' and '.join(overriding)} in the environment comes before it")


@detaches("which of them are removed is shown by: penstock context ls")
async def forget(settings: Settings, names: tuple[str, ...]) -> None:
    """Prints each removed context; removes none if one of them is not there."""
    removed: list[str] = []

    def edit(before: Contexts, text: str) -> str:
        for name in dict.fromkeys(names):
            for group in before.one(name, "context rm").groups:
                text = without_member(text, group, name)
            text = without_context(text, name)
            removed.append(context_json(before, name))
        return without_current(text) if before.current in names else text

    before = read_contexts(contexts_path()) or Contexts(contexts_path())
    await change_contexts(contexts_path(), edit)
    for name, shown in zip(dict.fromkeys(names), removed, strict=True):
        say(shown if settings.json else f"Removed context {name}.")
    if before.current in names:
        complain("No context is the current one now; choose one with: penstock context use NAME")


def _say_one(settings: Settings, contexts: Contexts, name: str, text: str) -> None:
    if settings.json:
        say(context_json(contexts, name))
        return
    say(harmless(text + (", the current one." if contexts.current == name else ".")))
