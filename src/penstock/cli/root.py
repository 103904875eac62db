"""The command line: global options, the verbs, and one place where every error ends."""

import os
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import asyncclick as click

from .. import __version__
from .arguments import (
    CONNECT_TIMEOUT,
    NAMED_CONTEXT,
    OUR_FAILURE,
    OUTPUT,
    PASSES_THROUGH,
    SERVER_FINGERPRINT,
    SERVER_NAME,
)
from .error_report import asks_for_json, report_error, report_line
from .failures import Failed
from .flags import Settings
from .invocation import Invocation, current
from .lazy import load
from .usage_hints import add_hint
from .verb_forms import HOSTED, VERB
from .verbs import ALIASES, VERBS


class Verbs(click.Group):  # type: ignore[misc]  # asyncclick is untyped
    """The group of all verbs, which lists them in the order of their table, without aliases."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002  click's
        """Every verb's name; aliases are not listed."""
        return [name for name in VERBS if name not in ALIASES]

    async def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; nothing at all is no mistake where the shell can be had.

        Cancellation: atomic.
        """
        if not args and not _has_shell():
            raise click.exceptions.NoArgsIsHelpError(ctx)
        rest: list[str] = await super().parse_args(ctx, args)
        return rest


def _has_shell() -> bool:
    """Whether a command line without a verb is the shell: on a terminal of this process."""
    return not current().hosted and current().out.terminal and os.isatty(0)


@click.group(
    cls=Verbs,
    commands=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.option("--context", **NAMED_CONTEXT)
@click.option("--addr", "address", metavar="HOST:PORT", help="The server; PENSTOCK_ADDR.")
@click.option("--ca", metavar="FILE", help="The CA of the server; PENSTOCK_CA.")
@click.option("--cert", "certificate", metavar="FILE", help="Our certificate; PENSTOCK_CERT.")
@click.option("--key", metavar="FILE", help="Its private key; PENSTOCK_KEY.")
@click.option(
    "--key-passphrase-file",
    "passphrase_file",
    metavar="FILE",
    help="The key's passphrase; PENSTOCK_KEY_PASSPHRASE_FILE, PENSTOCK_KEY_PASSPHRASE.",
)
@click.option("--server-name", **SERVER_NAME)
@click.option("--server-fingerprint", **SERVER_FINGERPRINT)
@click.option("-o", "output", default="text", **OUTPUT)
@click.option("--connect-timeout", "connect_timeout_s", default=10.0, **CONNECT_TIMEOUT)
@click.option(
    "--no-agent",
    is_flag=True,
    expose_value=False,
    help="Without the agent; PENSTOCK_AGENT=off.",
)
@click.version_option(__version__, message="%(prog)s %(version)s", help="Which version this is.")
@click.pass_context
async def root(ctx: click.Context, **flags: Any) -> Callable[[], object] | None:
    """Runs granted commands on a server, as the client that your certificate names.

    Without COMMAND, on a terminal, it is a shell that takes the same commands.
    """
    ctx.obj = Settings(**flags)
    if ctx.invoked_subcommand is not None:
        return None  # the verb's own call counts
    if not _has_shell():
        ctx.fail("Missing command.")
    return lambda: load("shell.interactive").interactive(ctx.obj)


def run(arguments: list[str]) -> int:
    """Runs a whole command line; returns its exit status. Call ``preparing.prepare`` before.

    First it is parsed; what is wrong with it and ``--help`` end there. Only then the verb's code is
    imported and called, under Trio if it waits.
    """
    line = CalledLine(arguments)
    try:
        line.parse()
        answer = line.call()
        if isinstance(answer, Awaitable):
            answer = load("event_loop").finish(answer)
        code = line.answered(answer)
    # Outside of trio.run no Cancelled can come; KeyboardInterrupt and SystemExit can.
    except BaseException as error:  # noqa: ASYNC103
        code = line.failed(error)  # noqa: ASYNC104
    return line.ended(code)


async def invoke(arguments: list[str], invocation: Invocation) -> int:
    """As ``run``, in a running Trio and for a caller of its own (``invocation``): a host runs
    several at once. Everything that a verb raises is reported and becomes an exit status, but for
    Cancelled and KeyboardInterrupt, which are the host's.

    Cancellation: minimum cleanup; C22.
    """
    code: int = await load("invoking").finish(CalledLine(arguments), invocation)
    return code


class CalledLine:
    """A command line: parsed, then called; its end is reported here, in a host as in a process."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.parsed = False
        self._arguments = list(arguments)
        self._contexts: list[click.Context] = []
        self._act: Callable[[], object] = lambda: None
        self._passed_on = False

    @property
    def settings(self) -> Settings:
        """The global flags, those behind the verb included. Call ``parse`` before."""
        settings: Settings = self._called.obj
        return settings

    @property
    def hosted(self) -> bool:
        """Whether the verb may run beside others (``verb_forms.verb``). Call ``parse`` before."""
        return bool(getattr(self._called.command, HOSTED, False))

    @property
    def _called(self) -> click.Context:
        return self._contexts[0].meta.get(VERB) or self._contexts[0]

    def parse(self) -> None:
        """Raises asyncclick's errors, and its Exit where nothing is to be called, as for --help,
        which is printed on ``sys.stdout`` then."""
        form = current().form
        form.json = asks_for_json(self._arguments)
        self._act = _at_once(self._parse())
        form.json, form.context = self.settings.json, self.settings.context
        self.parsed = True

    async def _parse(self) -> Any:  # noqa: ANN401  of whatever a verb's call has returned
        # Not root.main, because it ends the process itself on errors and on a closed pipe.
        width = current().help_width
        made = await root.make_context("penstock", list(self._arguments), terminal_width=width)
        async with made as ctx:
            self._contexts.append(ctx)
            return await root.invoke(ctx)

    def call(self) -> object:
        """Calls the verb; returns what it does, which is to be awaited if the verb waits."""
        return self._act()

    def answered(self, answer: object) -> int:
        """The exit status of a verb that has returned."""
        self._passed_on = self.passes_through
        return answer if isinstance(answer, int) else 0

    @property
    def passes_through(self) -> bool:
        """Whether the verb exits as its job does, and with 125 where we fail."""
        return any(ctx.meta.get(PASSES_THROUGH, False) for ctx in self._contexts)

    def failed(self, error: BaseException) -> int:
        """Prints what the verb, or the parsing, has raised; returns the exit status."""
        first = _first(error)
        if self._contexts and isinstance(first, click.UsageError) and first.ctx is None:
            # A verb's own, which came after the parsing.
            first.ctx = self._contexts[0].meta.get(VERB)
        return _explained(first, passes_through=self.passes_through)

    def ended(self, code: int) -> int:
        """The exit status in the end, once all that was said is written: what failed of that is a
        failure, where the status shows none."""
        # Because a job's own status shows no failure of our output.
        unsaid = code == 0 or self._passed_on
        failure = current().out.failure
        if unsaid and failure is not None and not failure.reader_left:
            code = OUR_FAILURE if self.passes_through else 1
            report_error(f"what was asked for is done, but {failure}", code, failure)
        return code


def _at_once(parsing: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  as above
    """What a coroutine returns that waits for nothing, so that it needs no event loop: asyncclick's
    functions are async for the sake of callbacks that wait, and none of ours does."""
    try:
        parsing.send(None)
    except StopIteration as done:
        return done.value
    parsing.close()
    raise RuntimeError("a callback of the command line has waited")


def _explained(error: BaseException, *, passes_through: bool) -> int:
    """Prints an error's line, or the traceback of a bug of ours; returns the exit status."""
    match error:
        case click.exceptions.Exit():
            return int(error.exit_code)
        case click.ClickException():
            add_hint(error)
            code = OUR_FAILURE if passes_through else int(error.exit_code)
            if current().form.json:
                text = error.format_message()
                report_error(text, code, code="INVALID_ARGUMENT", reason="USAGE")
            else:
                error.show()
            return code
        case KeyboardInterrupt() | click.Abort():
            return 130
        case SystemExit(code=int(code)):  # of ending_signals.raising_signals
            return code
        case Failed():
            report_line(str(error), error.code, error.__cause__ or error.__context__)
            return error.code
    exits = load("exits")
    if isinstance(error, exits.EXPECTED):
        code = OUR_FAILURE if passes_through else int(exits.exit_code(error))
        report_error(exits.message(error), code, error)
        return code
    code = OUR_FAILURE if passes_through else 1
    traceback.print_exception(error)
    if current().form.json:
        report_error(f"{type(error).__name__}: {error}", code, code="INTERNAL", reason="BUG")
    return code


def _first(error: BaseException) -> BaseException:
    """The first error that is no group: nurseries wrap errors in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
