"""The command line: global options, the verbs, and one place where every error ends."""

import contextlib
import os
import sys
from typing import Any

import asyncclick as click

from .settings import Settings, SettingsError

VERBS = {
    "start": "control",
    "stop": "control",
    "status": "control",
    "list": "control",
    "ps": "control",
    "version": "control",
    "stream": "streaming",
    "run": "streaming",
    "wait": "streaming",
    "certs": "certificates",
}


class Verbs(click.Group):  # type: ignore[misc]  # asyncclick is untyped
    """Imports a verb's file when the verb is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every verb; aliases are not listed."""
        return [name for name in VERBS if name != "ps"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb, or None."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        name = "list" if cmd_name == "ps" else cmd_name
        return import_module(f".{VERBS[cmd_name]}", __package__).COMMANDS[name]


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
@click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", help="How to answer."
)
@click.pass_context
async def root(ctx: Any, **flags: Any) -> None:
    """Runs granted commands on a server, as the client that your certificate names."""
    ctx.obj = Settings(**flags)


def run(arguments: list[str]) -> int:
    """The exit status of a whole command line."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        # Whoever read us has gone, as head does: no error, and no traceback at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _run(arguments: list[str]) -> int:
    import trio

    async def main() -> Any:
        return await root.main(args=arguments, prog_name="penstock", standalone_mode=False)

    try:
        answer = trio.run(main)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    # Outside of trio.run no Cancelled can come; KeyboardInterrupt and SystemExit can.
    except BaseException as error:  # noqa: ASYNC103
        return _explained(_first(error))  # noqa: ASYNC104


def _explained(error: BaseException) -> int:
    """The exit status of an error, after its line; what is a bug of ours is raised."""
    match error:
        case click.exceptions.Exit():
            return int(error.exit_code)
        case click.ClickException():
            error.show()
            return int(error.exit_code)
        case SettingsError():
            return _report(f"Error: {error}", 2)
        case KeyboardInterrupt() | click.Abort():
            return 130
        case BrokenPipeError():
            raise error
        case SystemExit():
            # What click makes of EPIPE, and of nothing else when it is not standalone.
            raise BrokenPipeError from error
    from .exits import EXPECTED, Failed, exit_code, message

    if isinstance(error, Failed):
        return _report(str(error), error.code)
    if not isinstance(error, EXPECTED):
        raise error
    return _report(f"Error: {message(error)}", exit_code(error))


def _first(error: BaseException) -> BaseException:
    """What a nursery has wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _report(line: str, code: int) -> int:
    # Nobody may be there to read it any more; what the exit status says stays true.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    return int(code)
