"""``penstockd reload``: has a running penstockd take its files up, and says what became of it."""

import argparse
from collections.abc import Mapping
from typing import Final

from .control_client import (
    ConfigUnreadable,
    ControlAnswer,
    NobodyThere,
    NotAsked,
    ask,
    control_path,
    runs_elsewhere,
)
from .verb_options import add_config, add_output, complain, not_done, print_json, tell, verb_parser

_DESCRIPTION = """\
Has the penstockd that runs with this configuration read all its files again: configuration, policy,
certificates, keys, revocation lists, granted programs. Jobs run on. All of it is taken up, or, if
there is any mistake, nothing; it waits until that is certain."""
_EPILOG = """\
What is different from now on is on stdout, and so is what needs a restart; mistakes and warnings
are on stderr. penstockd check finds the mistakes before.

exit status: 0, taken up; 1, no penstockd is there, or it does not answer; 2, mistakes, also a
run_dir that is not the one in use, and nothing has changed

  penstockd reload --config /etc/penstock/penstockd.toml"""

_ASKED_THERE: Final = (
    "nothing has changed: run_dir says where penstockd is asked, so correct that first; or have a "
    "penstockd that runs read its files by SIGHUP, as by systemctl kill -s HUP --kill-whom=main "
    "penstockd: its log names every mistake"
)
# What a program reads where penstockd has not said it.
_NOTHING: Final[Mapping[str, object]] = {
    "generation": "",
    "mistakes": [],
    "changes": [],
    "warnings": [],
}


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("reload", _DESCRIPTION, _EPILOG)
    add_config(found)
    add_output(found)
    return found


def run(options: argparse.Namespace) -> int:
    """Asks, and prints. Exit status: 2 if there are mistakes, 1 without an answer."""
    try:
        answer = ask(control_path(options.config), "reload")
    except ConfigUnreadable as error:
        said = [*error.mistakes, *([_ASKED_THERE] if error.mistakes[0].file else [])]
        return not_done(said, options.output, 2, _NOTHING)
    except NobodyThere as error:
        moved = runs_elsewhere(options.config)
        return not_done([moved or error], options.output, 2 if moved else 1, _NOTHING)
    except NotAsked as error:
        return not_done([error], options.output, 1, _NOTHING)
    if options.output == "json":
        fields = {key: value for key, value in answer.fields.items() if key != "more"}
        print_json({**_NOTHING, **fields})
    else:
        _print(answer)
    return 0 if answer.ok else 2


def _print(answer: ControlAnswer) -> None:
    complain(answer.texts("mistakes"))
    complain(f"warning: {each}" for each in answer.texts("warnings"))
    if not answer.ok:
        complain(["nothing has changed"])
        return
    tell(answer.texts("changes") or ["nothing is different in configuration, policy and [tls]"])
    tell([f"reloaded: {str(answer.fields.get('generation', ''))[:12]} is in force"])
