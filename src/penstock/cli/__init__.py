"""The command ``penstock``: one file per group of verbs, rendering apart from calling.

``verbs`` is what can be typed; what a verb does is in a file of its group, which is loaded when the
verb is called (``lazy``). Imports ``client``, ``text``, ``rpc``, ``proto``, ``pki`` and
``concurrency``. Begin with ``verbs`` and ``root``.
"""

import gc
import os
import sys


def main() -> None:
    """The console script: runs the command line, then exits with its status.

    Its imports stand in this order so that we catch signals before anything takes time, and
    check the standard descriptors before anything else opens one.
    """
    # What is imported stays, so that looking for garbage meanwhile costs a tenth of the time and
    # finds none; ``event_loop`` enables it. The freeze below spares the interpreter a last look.
    gc.disable()
    try:
        from .ending_signals import take_signals

        take_signals()
    except KeyboardInterrupt:  # nothing has been done yet
        os._exit(130)
    from .descriptors import OUT
    from .preparing import prepare

    prepare()
    from .ready_help import ready_help

    if (text := ready_help(sys.argv[1:])) is not None:
        sys.stdout.write(text)
        if OUT.failure is None:
            gc.freeze()
            sys.exit(0)
    # What could not be written is complained of as ever, on the longer way.
    if sys.argv[1:2] == ["__complete"]:  # of a shell's completion, at each press of Tab
        from .completing.entry import complete

        sys.exit(complete(sys.argv[2:]))
    from .root import run

    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)
