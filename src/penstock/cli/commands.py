"""commands: what we may start, a line each, or all of one command."""

from typing import Final

from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from ..text.job_text import duration
from ..text.limits_text import limits_text
from .connecting import asked
from .fitting import GAP, Column, one_line, rows_of
from .flags import Settings
from .invocation import current
from .job_list import mark
from .printing import say_json
from .signal_handling import detaches
from .standard import say

_COLUMNS: Final = (
    Column("NAME", least=8),
    Column("CLASS", least=5),
    Column("TIME"),
    Column("USAGE", least=16),
    Column("WHAT IT IS FOR"),
)
_LABEL_WIDTH: Final = 12


@detaches("nothing was changed; ask again with: penstock commands")
async def commands(settings: Settings, command: str, quiet: bool, no_trunc: bool) -> None:
    """A command a line, or the usage, limits and rules of ``command`` alone."""
    who = await asked(settings, lambda client: client.who_am_i(command))
    if command and not who.commands:
        raise RpcError(StatusCode.INTERNAL, f"the server has answered nothing of {command}")
    if settings.json:
        for each in who.commands:
            say_json(each)
    elif quiet:
        for each in who.commands:
            say(one_line(each.name))
    elif command:
        _say_all(who.commands[0])
    else:
        out = current().out
        width = out.columns if out.terminal and not no_trunc else None
        described = any(each.description for each in who.commands)
        columns = _COLUMNS if described else _COLUMNS[:-1]
        rows = [_cells(each)[: len(columns)] for each in who.commands]
        for line in rows_of(columns, rows, width=width, mark=mark()):
            say(GAP.join(line).rstrip())


def _cells(command: pb.GrantedCommand) -> list[str]:
    time = duration(command.timeout_s) if command.timeout_s else "-"
    texts = (command.name, command.class_name, time, _form(command), command.description)
    return [*map(one_line, texts)]


def _form(command: pb.GrantedCommand) -> str:
    return command.usage[0] if command.usage else command.name


def _say_all(command: pb.GrantedCommand) -> None:
    say(one_line(_form(command)))
    for line in command.usage[1:]:
        say(one_line(f"  {line}"))
    if command.description:
        say(f"\n{one_line(command.description)}")
    say("")
    time = f"at most {duration(command.timeout_s)}" if command.timeout_s else "no limit"
    signals = "all" if command.any_signal else ", ".join(command.signals) or "none"
    for label, text in (
        ("program", command.program),
        ("class", f"{command.class_name}: {limits_text(command.limits)}"),
        ("time", time),
        ("a stop", f"{duration(command.grace_s)} before KILL"),
        ("signals", signals),
        ("environment", ", ".join(command.env_keys) or "nothing of it"),
        ("input", "with --stdin, or run -i" if command.stdin else "none"),
    ):
        say(one_line(f"{label:<{_LABEL_WIDTH}}{text}"))
