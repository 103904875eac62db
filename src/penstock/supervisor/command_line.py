"""penstockd's command line: reads its files, and reports what is wrong with them."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from . import startup
from .cgroups import GroupError
from .daemon import Daemon
from .examination import examine
from .logs.supervisor_log import log
from .users.user_table import TableDamaged


def main(arguments: list[str]) -> int:
    """Runs penstockd. The exit status: 0 after a stop, 1 if it was orphaned or a job did not die, 2
    if it could not start."""
    parser = argparse.ArgumentParser(prog="penstockd", description="Runs granted commands.")
    parser.add_argument("--config", required=True, metavar="FILE", help="the configuration, TOML")
    # For the library, which starts a supervisor without a server.
    parser.add_argument("--no-server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent-fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.config = os.path.abspath(options.config)
    os.umask(0o022)
    _own_descriptors()
    return _reported(lambda: _read(options).run())


def _read(options: argparse.Namespace) -> Daemon:
    return Daemon(options, examine(options.config, library=options.no_server))


def _reported(run: Callable[[], int]) -> int:
    try:
        return run()
    except startup.StartupError as error:
        for mistake in error.mistakes:
            log(mistake)
        return 2
    except (GroupError, TableDamaged) as error:
        log(str(error))
        return 2
    except OSError as error:
        # With a file name it is one that is missing or broken as penstockd starts; without, a bug.
        log(f"{error.filename or 'system call'}: {error.strerror}")
        for line in traceback.format_exc().splitlines() if error.filename is None else []:
            log(line)
        return 2


def _own_descriptors() -> None:
    """Opens 0 to 2 where they are closed, and lets no child inherit any other by exec.

    Otherwise the first file that is opened would be standard output, and jobs would hold files of
    the process that started penstockd.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stderr is None:  # descriptor 2 was closed as Python started
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor of the listing itself
