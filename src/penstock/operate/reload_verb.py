"""``penstockd reload``: has a running penstockd take its files up, and says what became of it."""

import argparse

from .control_client import ConfigUnreadable, ControlAnswer, NotAsked, ask, control_path
from .verb_options import add_config, add_output, complain, print_json, tell, verb_parser

_DESCRIPTION = """\
Has the penstockd that runs with this configuration read all its files again: configuration, policy,
certificates, keys, revocation lists, granted programs. Jobs run on. All of it is taken up, or, if
there is any mistake, nothing; it waits until that is certain."""
_EPILOG = """\
What is different from now on is on stdout, and so is what needs a restart; mistakes and warnings
are on stderr. penstockd check finds the mistakes before.

exit status: 0, taken up; 1, no penstockd is there, or it does not answer; 2, mistakes, and nothing
has changed

  penstockd reload --config /etc/penstock/penstockd.toml"""


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
        complain(error.mistakes)
        return 2
    except NotAsked as error:
        complain([error])
        return 1
    if options.output == "json":
        print_json({key: value for key, value in answer.fields.items() if key != "more"})
    else:
        _print(answer)
    return 0 if answer.ok else 2


def _print(answer: ControlAnswer) -> None:
    complain(answer.texts("mistakes"))
    complain(f"warning: {each}" for each in answer.texts("warnings"))
    if not answer.ok:
        complain(["nothing has changed"])
        return
    tell(answer.texts("changes"))
    tell([f"reloaded: {str(answer.fields.get('generation', ''))[:12]} is in force"])
