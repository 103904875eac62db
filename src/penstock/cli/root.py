"""The command line: global options, the verbs, and one place where every error ends."""

from dataclasses import replace
from typing import Any

import asyncclick as click

from .arguments import CONNECT_TIMEOUT, OUR_FAILURE, PASSES_THROUGH
from .connection_settings import Settings
from .standard import OUT, complain

VERBS = {
    "start": "control",
    "stop": "control",
    "signal": "control",
    "pause": "control",
    "resume": "control",
    "send": "sending",
    "status": "control",
    "list": "control",
    "ps": "control",
    "rm": "control",
    "version": "control",
    "stream": "stream",
    "run": "running",
    "wait": "stream",
    "certs": "certificates",
}


_OUTPUTS = click.Choice(["text", "json"])


class Verbs(click.Group):  # type: ignore[misc]  # asyncclick is untyped
    """Imports a verb's file when the verb is named."""

    def list_commands(self, ctx: object) -> list[str]:
        """Every verb; aliases are not listed."""
        return [name for name in VERBS if name != "ps"]

    def get_command(self, ctx: object, cmd_name: str) -> click.Command | None:
        """The verb, or None."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        name = "list" if cmd_name == "ps" else cmd_name
        command: click.Command = import_module(f".{VERBS[cmd_name]}", __package__).COMMANDS[name]
        if not any("-o" in param.opts for param in command.params):
            command.params.append(_behind("output", "-o", type=_OUTPUTS, help="How to answer."))
            if name != "certs":  # which talks to no server
                option = _behind("connect_timeout_s", "--connect-timeout", **CONNECT_TIMEOUT)
                command.params.append(option)
        return command


def _behind(setting: str, name: str, **form: Any) -> click.Option:
    """An option of ours behind the verb too, where most people write it."""

    def use(ctx: click.Context, _: object, value: object) -> None:
        if value is not None:
            ctx.obj = replace(ctx.obj, **{setting: value})

    return click.Option([name, f"own_{setting}"], callback=use, expose_value=False, **form)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
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
@click.option("-o", "output", type=_OUTPUTS, default="text", help="How to answer.")
@click.option("--connect-timeout", "connect_timeout_s", default=10.0, **CONNECT_TIMEOUT)
@click.pass_context
async def root(ctx: click.Context, **flags: Any) -> None:
    """Runs granted commands on a server, as the client that your certificate names."""
    ctx.obj = Settings(**flags)


def run(arguments: list[str]) -> int:
    """The exit status of a whole command line. ``standard.prepare`` has been called."""
    import trio

    contexts: list[click.Context] = []

    async def main() -> object:
        # Not root.main: it has ends of its own for errors, and for a reader who has gone.
        async with await root.make_context("penstock", list(arguments)) as ctx:
            contexts.append(ctx)
            return await root.invoke(ctx)

    def passes_through() -> bool:
        return any(ctx.meta.get(PASSES_THROUGH, False) for ctx in contexts)

    passed_on = False
    try:
        answer = trio.run(main)
        code = answer if isinstance(answer, int) else 0
        passed_on = passes_through()
    # Outside of trio.run no Cancelled can come; KeyboardInterrupt and SystemExit can.
    except BaseException as error:  # noqa: ASYNC103
        code = _explained(_first(error), passes_through=passes_through())  # noqa: ASYNC104
    unsaid = code == 0 or passed_on  # a job's own status says nothing of our output
    if unsaid and OUT.failure is not None and not OUT.failure.reader_left:
        complain(f"Error: what was asked for is done, but {OUT.failure}")
        return OUR_FAILURE if passes_through() else 1
    return code


def _explained(error: BaseException, *, passes_through: bool) -> int:
    """The exit status of an error, after its line; of a bug of ours, after its traceback."""
    match error:
        case click.exceptions.Exit():
            return int(error.exit_code)
        case click.ClickException():
            error.show()
            return OUR_FAILURE if passes_through else int(error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            return 130
        case SystemExit(code=int(code)):  # of ending_signals.raising_signals
            return code
    from .exits import EXPECTED, Failed, exit_code, message

    if isinstance(error, Failed):
        complain(str(error))
        return error.code
    if isinstance(error, EXPECTED):
        complain(f"Error: {message(error)}")
        return OUR_FAILURE if passes_through else exit_code(error)
    import traceback

    traceback.print_exception(error)
    return OUR_FAILURE if passes_through else 1


def _first(error: BaseException) -> BaseException:
    """What a nursery has wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
