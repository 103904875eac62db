"""``penstockd status``: what a running penstockd has in force."""

import argparse

from .control_client import (
    ConfigUnreadable,
    ControlAnswer,
    NobodyThere,
    NotAsked,
    control_path,
    runs_elsewhere,
    status,
)
from .verb_options import add_config, add_output, not_done, print_json, tell, verb_parser

_DESCRIPTION = """\
Says what the penstockd that runs with this configuration has in force: which state of its files,
how many jobs, whether its server takes calls, and which changes wait for a restart."""
_EPILOG = """\
exit status: 0, its server takes calls; 1, it does not, or no penstockd is there; 2, the
configuration cannot be read

  penstockd status --config /etc/penstock/penstockd.toml"""
_WIDTH = 12


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("status", _DESCRIPTION, _EPILOG)
    add_config(found)
    add_output(found)
    return found


def run(options: argparse.Namespace) -> int:
    """Asks, and prints. Exit status: 1 unless its server takes calls."""
    try:
        answer = status(control_path(options.config))
    except ConfigUnreadable as error:
        return not_done(error.mistakes, options.output, 2)
    except NobodyThere as error:
        return not_done([runs_elsewhere(options.config) or error], options.output, 1)
    except NotAsked as error:
        return not_done([error], options.output, 1)
    if options.output == "json":
        left_out = ("more", "fds")
        fields = {key: value for key, value in answer.fields.items() if key not in left_out}
        print_json({**fields, "mistakes": []})
    else:
        _print(answer)
    return 0 if answer.fields.get("serving") else 1


def _print(answer: ControlAnswer) -> None:
    told = answer.fields.get
    server = f"process {told('server_pid')}" if told("server_pid") else "none runs"
    takes = "takes calls" if told("serving") else "takes no calls now"
    lines = {
        "penstockd": f"process {told('pid')}, with {told('config')}",
        "server": f"{server}, {takes}",
        "generation": told("generation"),
        "policy": told("policy_hash"),
        "jobs": f"{told('jobs')}, of at most {told('max_jobs')}",
        "cgroups": told("cgroups"),
    }
    tell(f"{key:{_WIDTH}} {value}" for key, value in lines.items())
    tell(f"{'waits':{_WIDTH}} {each}" for each in answer.texts("waiting"))
