"""What verbs share: types of arguments, options, and the commands that exit as their job did."""

import re
import time
from typing import Any, Final

import asyncclick as click

from .times import since

PASSES_THROUGH: Final = "penstock.passes_through"
OUR_FAILURE: Final = 125
# So that everything behind the command is the job's, options included. An unknown one in front of
# it is a mistake of typing: as a command it would only be one that is not granted.
PASS_ON: Final = {"allow_interspersed_args": False}
# No option of ours is written in capitals or as a number.
_SIGNAL_OPTION: Final = re.compile(r"-([A-Z][A-Z0-9+-]*|[0-9]+)", re.ASCII)
MAX_OFFSET: Final = 2**64 - 1  # uint64 in the protocol


class _Text(click.ParamType):  # type: ignore[misc]  # asyncclick is untyped
    """Text that a request can carry, because an argument of this process may be any bytes."""

    name = "text"

    def convert(self, value: str, param: object, ctx: object) -> str:
        """The same text. Fails, showing the bytes, if it is not UTF-8."""
        try:
            value.encode()
        except UnicodeEncodeError:
            shown = repr(value.encode("utf-8", "surrogateescape"))[1:]
            self.fail(f"{shown} is not UTF-8, and a request can hold nothing else", param, ctx)
        return value


TEXT: Final = _Text()


class _Since(click.ParamType):  # type: ignore[misc]
    """A time, or a duration before now; converts to UTC nanoseconds since 1970."""

    name = "time"

    def convert(self, value: str, param: object, ctx: object) -> Any:  # noqa: ANN401  click's
        """UTC nanoseconds. Fails with the forms that are possible."""
        try:
            return since(value, time.time_ns())
        except ValueError as error:
            self.fail(str(error), param, ctx)


SINCE: Final = _Since()


class _Seconds(click.FloatRange):  # type: ignore[misc]
    """Type of an option in seconds, at most a day."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0, 86400)

    def convert(self, value: object, param: object, ctx: object) -> float:
        """Seconds. Fails for text that is none, and for NaN, because a range lets that pass."""
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value} is no time", param, ctx)
        return seconds


OUTPUT: Final[dict[str, Any]] = {
    "type": click.Choice(["text", "json"]),
    "help": "How to answer.",
}

RECONNECT: Final[dict[str, Any]] = {
    "type": _Seconds(),
    "default": 60.0,
    "metavar": "SECONDS",
    "help": "How long to try after a lost connection (60); 0: not at all.",
}

CONNECT_TIMEOUT: Final[dict[str, Any]] = {
    "type": _Seconds(),
    "metavar": "SECONDS",
    "help": "How long to try for a first connection (10); 0: once.",
}

NAMED_CONTEXT: Final[dict[str, Any]] = {
    "type": TEXT,
    "metavar": "NAME",
    "help": "The server and our identity there: penstock context ls.",
}

SERVER_NAME: Final[dict[str, Any]] = {
    "type": TEXT,
    "metavar": "NAME",
    "help": "The name in the server's certificate, if not --addr's; PENSTOCK_SERVER_NAME.",
}

SERVER_FINGERPRINT: Final[dict[str, Any]] = {
    "type": TEXT,
    "metavar": "SHA256",
    "help": "Of the server's certificate, in place of a name; PENSTOCK_SERVER_FINGERPRINT.",
}

ALLOW_GAPS: Final[dict[str, Any]] = {
    "is_flag": True,
    "help": "Output that is missing is no failure.",
}


class PassThrough(click.Command):  # type: ignore[misc]
    """A verb that exits as its job did: every failure of ours is 125, also a usage error."""

    def passes_through(self, arguments: list[str]) -> bool:  # noqa: ARG002  subclasses look
        """Whether the verb exits as its job with these arguments."""
        return True

    async def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; notes first whether the verb passes through, because parsing may fail, too.

        Cancellation: atomic.
        """
        ctx.meta[PASSES_THROUGH] = self.passes_through(args)
        rest: list[str] = await super().parse_args(ctx, args)
        return rest


class PassThroughIfAttached(PassThrough):
    """A verb that exits as its job did unless --detach is given."""

    async def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As PassThrough's; --detach is looked up among the parsed, because it may be the job's.

        Cancellation: atomic.
        """
        rest = await super().parse_args(ctx, args)
        ctx.meta[PASSES_THROUGH] = not ctx.params["detach"]
        return rest


class PassThroughIfAsked(PassThrough):
    """A verb that exits as its job did only if --exit-code is given."""

    def passes_through(self, arguments: list[str]) -> bool:
        """Whether --exit-code is among them."""
        return "--exit-code" in arguments


class SignalFirst(click.Command):  # type: ignore[misc]
    """A verb whose first word may be -TERM, -SIGTERM or -15, as kill(1) has it."""

    async def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, of the same line with --signal.

        Cancellation: atomic.
        """
        if args and _SIGNAL_OPTION.fullmatch(args[0]):
            args = ["--signal", args[0][1:], *args[1:]]
        rest: list[str] = await super().parse_args(ctx, args)
        return rest
