"""What tests inherit, made the same for all: who starts them does not count.

A shell's `&`, nohup and some CI systems start programs with ignored signals; others block some,
lower limits, close descriptors or set variables that change what programs print. Whatever a test
starts inherits all of it, so that a CLI which is sent SIGINT, for one, never hears it.
"""

import os
import resource
import signal
from collections.abc import MutableMapping

_UMASK = 0o022
# What systemd and login give by default.
_SOFT_DESCRIPTORS = 1024
_UNLIMITED = ("AS", "CPU", "DATA", "FSIZE", "RSS")
_CHANGES_PROGRAMS = {
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LANGUAGE"),
    *("BASH_ENV", "ENV", "CDPATH", "POSIXLY_CORRECT", "SSLKEYLOGFILE", "SSL_CERT_DIR", "TZ"),
    *("LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_USEC", "INVOCATION_ID"),
}
_CHANGES_PROGRAMS_AS_PREFIX = ("LC_", "XDG_", "PENSTOCK_")
_OURS = "PENSTOCK_TEST_"


def take_ordinary_state() -> None:
    """Of this process, for it and all that it starts; what only root can raise stays lower."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) == signal.SIG_IGN and number not in (
            signal.SIGPIPE,  # Python ignores these two itself
            signal.SIGXFSZ,
        ):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(_UMASK)
    for name in _UNLIMITED:
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (hard, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _SOFT_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_SOFT_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    ordinary_environment(os.environ)


def ordinary_environment(environ: MutableMapping[str, str]) -> None:
    """Removes what changes the output of programs, or is meant for the program that was started."""
    for name in list(environ):
        if name in _CHANGES_PROGRAMS or (
            name.startswith(_CHANGES_PROGRAMS_AS_PREFIX) and not name.startswith(_OURS)
        ):
            del environ[name]
    environ["LANG"] = "C.UTF-8"
    environ["TERM"] = "xterm"
