"""An own PID namespace: the job's processes see, and can signal, none but their own.

Theory of operation. A PID namespace needs an init, its first process: a process inside that loses
its parent becomes init's child, and all of them die with init. If the job's main process were init
itself, it would ignore each signal that it does not handle, TERM included. So there are two, both
children of the caller: init, which only reaps, and the main process, whose pid, pidfd and status
are as without a namespace. The main process begins when init has reported by a pipe that it is
ready. If init reports an error, it stays until the main process has passed that on, because its
own end would be the main process's end.
"""

import contextlib
import errno
import os
import select
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from ..kernel import system_calls

CLONE_NEWPID: Final = 0x2000_0000  # linux/sched.h


def fork_both(
    fork: Callable[[], int], prepare_init: Callable[[], None], on_init: Callable[[int], None]
) -> tuple[int, int]:
    """Forks init and the main process in a new namespace; for a caller with one thread.

    Returns the main process's pid and -1; in the main process 0 and the descriptor with which it
    must call await_init. ``prepare_init`` runs in init: it joins the job's groups and drops its
    rights. ``on_init`` is called with init's pid, which is the caller's to reap, even after an
    error. Raises OSError; init has been killed then.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    init = 0
    try:
        # This is for children only, because a process never changes its own namespace. It is taken
        # back below.
        system_calls.unshare(CLONE_NEWPID)
        init = fork()
        if init == 0:
            os.close(ready_read)
            _serve(prepare_init, ready_write)
        on_init(init)
        main = fork()
        if main == 0:
            os.close(own)
            os.close(ready_write)
            return 0, ready_read
    except OSError:
        if init > 0:
            os.kill(init, signal.SIGKILL)
        _leave(own, ready_read, ready_write)
        raise
    try:
        # In a user namespace there may be no way back, as the namespace before belongs to another.
        _leave(own, ready_read, ready_write)
    except OSError:
        os.kill(init, signal.SIGKILL)  # and with it all inside
        os.waitpid(main, 0)  # before init, which ends only when all others were reaped
        raise
    return main, -1


def _leave(own: int, *pipe: int) -> None:
    """Returns to the own namespace, so that later children are born there again."""
    try:
        system_calls.setns(own, CLONE_NEWPID)
    finally:
        for fd in (own, *pipe):
            os.close(fd)


def await_init(ready_fd: int) -> None:
    """In the main process, before anything else: waits until init is there.

    Raises OSError if init failed.
    """
    told = os.read(ready_fd, 1)
    code = told[0] if told else errno.ECHILD
    if code:
        # The pipe stays open, because init ends when its reader is gone, and this process, which
        # ends with init, could then not report the error.
        raise OSError(code, os.strerror(code))
    os.close(ready_fd)


def _serve(prepare: Callable[[], None], ready_fd: int) -> NoReturn:
    """Init's life. No process inside can end it: it blocks all signals but KILL, which the kernel
    delivers to it from outside only (pid_namespaces(7)).

    It ends when the job's group is killed or, if it could not join that, with the main process.
    """
    code = 0
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.setsid()
        os.chdir("/")
        prepare()
    except OSError as error:
        code = error.errno or errno.EIO
    # The child of a fork must not unwind into the parent's frames; there is no Trio here.
    except BaseException:  # noqa: ASYNC103
        code = errno.EIO
    try:
        os.dup2(ready_fd, 0, inheritable=False)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        os.write(0, bytes([code]))
        if code:
            poll = select.poll()
            poll.register(0, 0)
            poll.poll()  # POLLERR: the main process has read it, and ended
            os._exit(1)
        os.close(0)
        while True:
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
            signal.sigwait({signal.SIGCHLD})
    finally:
        os._exit(1)
