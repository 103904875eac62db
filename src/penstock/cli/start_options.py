"""What ``start`` and ``run`` take in front of COMMAND: the forms of their options (no I/O)."""

from collections.abc import Mapping
from typing import Any, Final

import asyncclick as click

from .arguments import TEXT
from .invocation import current
from .times import seconds_of


class _Setting(click.ParamType):  # type: ignore[misc]  # asyncclick is untyped
    """KEY=VALUE, or KEY alone for the value that our own environment has; converts to a pair."""

    name = "setting"

    def convert(self, value: Any, param: object, ctx: object) -> tuple[str, str]:  # noqa: ANN401
        """Key and value. Fails if the key is empty, or our environment lacks it."""
        if isinstance(value, tuple):  # click converts a default, too
            return value
        key, equals, given = TEXT.convert(value, param, ctx).partition("=")
        if not key:
            self.fail(f"{value!r} has no key; write KEY=VALUE", param, ctx)
        if equals:
            return key, given
        environment = current().environment
        if key not in environment:
            self.fail(f"{key} is not in our environment; write {key}=VALUE", param, ctx)
        return key, TEXT.convert(environment[key], param, ctx)


class _Label(click.ParamType):  # type: ignore[misc]
    """KEY=VALUE, or KEY alone for a label without a value; converts to a pair."""

    name = "label"

    def convert(self, value: Any, param: object, ctx: object) -> tuple[str, str]:  # noqa: ANN401
        """Key and value. Fails if the key is empty."""
        if isinstance(value, tuple):
            return value
        key, _, given = TEXT.convert(value, param, ctx).partition("=")
        if not key:
            self.fail(f"{value!r} has no key; write KEY=VALUE, or KEY", param, ctx)
        return key, given


class _Span(click.ParamType):  # type: ignore[misc]
    """How long: seconds, or as in 5m and 1h30m; converts to seconds, more than 0."""

    name = "time"

    def convert(self, value: object, param: object, ctx: object) -> Any:  # noqa: ANN401  click's
        """Seconds. Fails with the forms that are possible."""
        try:
            return value if isinstance(value, float) else seconds_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _once(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> Mapping[str, str]:
    """The pairs as a mapping. Fails if a key is there twice, because only one could count."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise click.BadParameter(f"{key!r} is given twice", ctx=ctx, param=param)
        found[key] = value
    return found


TIMEOUT: Final[dict[str, Any]] = {
    "type": _Span(),
    "default": 0.0,
    "metavar": "TIME",
    "help": "How long the job may run: 90, 5m, 1h30m. The policy's maximum holds as well.",
}

ENV: Final[dict[str, Any]] = {
    "type": _Setting(),
    "multiple": True,
    "callback": _once,
    "metavar": "KEY[=VALUE]",
    "help": "Set KEY in the job's environment, if the policy lets the client; without =VALUE "
    "to what it is in ours. May be repeated.",
}

NAME: Final[dict[str, Any]] = {
    "type": TEXT,
    "default": "",
    "metavar": "NAME",
    "help": "The job's name, which stands for its PID in other verbs. One unfinished job of a "
    "client has it at a time.",
}

LABEL: Final[dict[str, Any]] = {
    "type": _Label(),
    "multiple": True,
    "callback": _once,
    "metavar": "KEY[=VALUE]",
    "help": "A label to find the job by (list --label). May be repeated.",
}
