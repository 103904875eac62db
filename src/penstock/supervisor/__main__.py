"""Entry of ``python -I -S -E <directory>``: makes the directory importable as a package.

Run as a directory there is no parent package, so relative imports would fail; and
importing ``penstock.supervisor`` instead would put the whole of site-packages within
reach of root. So the directory is loaded as a package named ``supervisor``.
"""

import importlib.util
import os
import signal
import sys


def _load_own_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        "supervisor", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    if spec is None or spec.loader is None:
        sys.exit(f"penstockd: cannot load {here} as a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["supervisor"] = module
    spec.loader.exec_module(module)


def _hear_signals() -> None:
    """Whoever has started us may block signals or ignore SIGCHLD, and both are inherited.

    The kernel reaps the children of a process that ignores it, and their statuses are lost. And a
    terminal may stop whoever writes on it from the background (stty tostop): with SIGTTOU ignored
    it does not.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


if __name__ == "__main__":
    _hear_signals()
    _load_own_package()
    sys.path.pop(0)  # nothing may be imported from here under a top-level name
    importlib.import_module("supervisor.log").take_over_stderr()
    main = importlib.import_module("supervisor.command_line").main
    sys.exit(main(sys.argv[1:]))
