"""What ``list`` takes to choose among jobs: the forms of its options (no I/O)."""

from dataclasses import dataclass
from typing import Any, Final

import asyncclick as click

from .arguments import SINCE, TEXT

STATES: Final = ("starting", "running", "stopping", "ending", "finished")
# As docker has them.
_OTHER_STATES: Final = {"created": "starting", "removing": "ending", "exited": "finished"}
_STATE: Final = click.Choice(STATES)


class _WantedLabel(click.ParamType):  # type: ignore[misc]  # asyncclick is untyped
    """KEY=VALUE, or KEY alone for any value; converts to a pair, whose value is None then."""

    name = "label"

    def convert(self, value: str, param: object, ctx: object) -> tuple[str, str | None]:
        """Key and value. Fails if the key is empty."""
        key, equals, wanted = TEXT.convert(value, param, ctx).partition("=")
        if not key:
            self.fail(f"{value!r} has no key; write KEY=VALUE, or KEY", param, ctx)
        return key, wanted if equals else None


_LABEL: Final = _WantedLabel()


@dataclass(frozen=True, slots=True)
class Filter:
    """One wish of docker's form: ``option`` is the option of ours that means the same."""

    option: str
    value: Any


class _Filter(click.ParamType):  # type: ignore[misc]
    """KEY=VALUE; converts to a Filter, whose value is as that option's."""

    name = "filter"

    def convert(self, value: str, param: click.Parameter, ctx: click.Context) -> Filter:
        """The filter. Fails for a key that is none, and for what its option would fail for."""
        key, equals, wanted = TEXT.convert(value, param, ctx).partition("=")
        if not equals or not wanted:
            self.fail(f"{value!r} is no filter; write KEY=VALUE", param, ctx)
        match key:
            case "state" | "status":
                state = _OTHER_STATES.get(wanted, wanted)
                return Filter("states", _STATE.convert(state, param, ctx))
            case "name" | "command":
                return Filter(key, wanted)
            case "label":
                return Filter("labels", _LABEL.convert(wanted, param, ctx))
            case "since":
                return Filter("since_ns", SINCE.convert(wanted, param, ctx))
            case _:
                known = "state, command, name, label, since"
                raise click.BadParameter(f"{key!r} is no filter; there are: {known}", ctx, param)


MOST: Final[dict[str, Any]] = {
    "type": click.IntRange(1),
    "metavar": "N",
    "help": "The newest N alone.",
}

STATE: Final[dict[str, Any]] = {
    "type": _STATE,
    "multiple": True,
    "help": "Jobs in this state alone, finished ones too. May be repeated.",
}

COMMAND: Final[dict[str, Any]] = {
    "type": TEXT,
    "metavar": "NAME",
    "help": "Jobs of this command alone.",
}

NAMED: Final[dict[str, Any]] = {
    "type": TEXT,
    "metavar": "NAME",
    "help": "Jobs that were started with this name alone.",
}

LABELLED: Final[dict[str, Any]] = {
    "type": _LABEL,
    "multiple": True,
    "metavar": "KEY[=VALUE]",
    "help": "Jobs with this label alone; without =VALUE of any value. May be repeated.",
}

STARTED_SINCE: Final[dict[str, Any]] = {
    "type": SINCE,
    "metavar": "TIME",
    "help": "Jobs that were started then or later: 5m, 2026-11-23T11:21:38Z.",
}

FILTER: Final[dict[str, Any]] = {
    "type": _Filter(),
    "multiple": True,
    "metavar": "KEY=VALUE",
    "help": "As docker has it: state (or status), command, name, label, since. May be repeated.",
}
