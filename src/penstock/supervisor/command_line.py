"""penstockd's command line: reads its files, and reports what is wrong with them."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from ..policy.configuration import ConfigError, parse_config
from ..policy.policy_file import PolicyError
from ..policy.toml_tables import MAX_FILE_BYTES
from . import startup
from .cgroups import GroupError
from .daemon import Daemon
from .kernel.bounded_read import read_file
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
    configuration = read_file(options.config, MAX_FILE_BYTES)
    config = parse_config(configuration, library=options.no_server)
    policy_data = read_file(config.policy, MAX_FILE_BYTES)
    if mistakes := startup.check_own_files((options.config, config.policy)):
        raise startup.StartupError(mistakes)
    return Daemon(options, config, configuration, policy_data)


def _reported(run: Callable[[], int]) -> int:
    try:
        return run()
    except (ConfigError, PolicyError, startup.StartupError) as error:
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
