"""Entry of ``python -I -S -E <directory>``: makes this directory and ``policy`` importable.

Python that runs a directory knows no parent package, so relative imports would fail. Importing
``penstock`` instead would put the whole of site-packages within reach of root, because that is
where ``penstock`` lies. So a package ``penstock`` is made here whose path is the directory above
alone: what lies beside ``penstock`` cannot be found. What else lies within it needs packages that
this process cannot import, and a test keeps the supervisor from asking for it.
"""

import gc
import importlib
import os
import signal
import sys
import types


def _make_package() -> None:
    package = types.ModuleType("penstock")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules["penstock"] = package


def _hear_signals() -> None:
    """Undoes what the parent may have set: it may block signals or ignore SIGCHLD, and a child
    inherits both.

    The kernel reaps the children of a process that ignores SIGCHLD, and their statuses are lost. A
    terminal may also stop a process that writes on it from the background (stty tostop); with
    SIGTTOU ignored it does not.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


if __name__ == "__main__":
    # As in penstock.server: what is imported stays, and to look for garbage meanwhile finds none.
    gc.disable()
    _hear_signals()
    _make_package()
    sys.path.pop(0)  # nothing may be imported from here under a top-level name
    importlib.import_module("penstock.supervisor.logs.supervisor_log").take_over_stderr()
    main = importlib.import_module("penstock.supervisor.command_line").main
    gc.freeze()
    gc.enable()
    sys.exit(main(sys.argv[1:]))
