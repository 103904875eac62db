"""The command line's processes, forked from one that has imported its libraries already.

Half of the processor time of ``tests/cli`` went into starting interpreters that import the same
libraries: 158 ms for each command line, of which 45 are left where it is forked. It is a process of
its own all the same, a child of the test's, with its own descriptors, environment, directory and
process group, and it imports ``penstock.cli`` itself. What it does not show is how an interpreter
starts, so ``tools/test --all`` forks none.

``forked_command_lines`` makes ``subprocess.Popen`` of the test process fork where the command is
``python -m penstock.cli`` and nothing else is asked for that an interpreter alone can do.
"""

import ctypes
import gc
import inspect
import io
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar, Final

LIBRARIES: Final = (
    *("asyncclick", "cryptography.x509", "google.protobuf.message", "ssl", "trio"),
    *("penstock.client.client", "penstock.pki.issue", "penstock.proto.command_pb2"),
)
"""Not ``penstock.cli`` itself: as it is imported it looks at descriptors and environment."""
_COMMAND: Final = (sys.executable, "-m", "penstock.cli")
# What changes an interpreter as it starts, or the libraries as they are loaded.
_CHANGING: Final = ("PYTHON", "LC_", "LANGUAGE", "LD_", "OPENSSL", "SSL", "TZ", "MALLOC", "GLIBC")
_LOCALE: Final = "C.UTF-8"
_CLONE3: Final = 435
_CLONE_PARENT: Final = 0x8000
_ARGUMENTS: Final = struct.Struct("=11Q")
# Python ignores two by itself.
_SIGNALS: Final = signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_USUAL: Final = {
    "executable": None,
    "preexec_fn": None,
    "close_fds": True,
    "pass_fds": (),
    "shell": False,
    "restore_signals": True,
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
}
_BIND: Final = inspect.signature(subprocess.Popen._execute_child).bind  # type: ignore[attr-defined]


class _Source:
    """The process that is forked from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # because Trio starts processes in threads
        self._ended = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _INTERPRETER(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ["PATH"], "LANG": _LOCALE},
                stdin=subprocess.DEVNULL,
                process_group=0,  # so that a signal for the tests' group does not end it
            )
        self._link = ours
        self._inode = os.fstat(ours.fileno()).st_ino
        self._told = False

    def fork(self, request: Mapping[str, object], fds: Sequence[int]) -> int | None:
        """The pid of a child of this process; None if none can be forked any more, as a test has
        ended the process, or closed the link to it. Raises OSError."""
        data = json.dumps(request).encode()
        with self._lock:
            answer = b"" if self._ended else self._asked(data, fds)
            self._ended = not answer
        if not answer:
            return None
        (pid,) = struct.unpack("=i", answer)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)

    def lost(self) -> str:
        """What has become of the process or of the link to it; empty if both are as they were."""
        with self._lock:
            if self._told:
                return ""
            try:
                if os.fstat(self._link.fileno()).st_ino != self._inode:
                    found = "the link's descriptor is another file's now"
                elif os.waitid(os.P_PID, self._process.pid, _ENDED):
                    found = "the process has ended"
                else:
                    return ""
            except OSError as error:
                found = os.strerror(error.errno or 0)
            self._told = True
            return found

    def _asked(self, data: bytes, fds: Sequence[int]) -> bytes:
        try:
            socket.send_fds(self._link, [struct.pack("=I", len(data))], fds)
            self._link.sendall(data)
            return self._link.recv(4, socket.MSG_WAITALL)
        except OSError:
            return b""

    def end(self) -> None:
        self._link.close()
        self._process.wait()


_INTERPRETER: Final = subprocess.Popen
_ENDED: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class ProgramPopen(subprocess.Popen[Any]):
    """As ``subprocess.Popen``, but that it forks the command line where it can."""

    _source: ClassVar[_Source]

    def _execute_child(self, *given: Any, **named: Any) -> None:
        wanted = _BIND(self, *given, **named).arguments
        if not _can_be_forked(wanted):
            super()._execute_child(*given, **named)  # type: ignore[misc]
            return
        environment = wanted["env"]
        request = {
            "words": [os.fsdecode(word) for word in wanted["args"][len(_COMMAND) :]],
            "environment": {os.fsdecode(k): os.fsdecode(v) for k, v in environment.items()},
            "directory": os.fspath(wanted["cwd"] or os.getcwd()),
            "session": wanted["start_new_session"],
            "group": os.getpgrp() if wanted["process_group"] < 0 else wanted["process_group"],
        }
        wish = (wanted["p2cread"], wanted["c2pwrite"], wanted["errwrite"])
        pid = self._source.fork(request, [n if fd == -1 else fd for n, fd in enumerate(wish)])
        if pid is None:
            super()._execute_child(*given, **named)  # type: ignore[misc]
            return
        self.pid = pid
        self._child_created = True
        self._close_pipe_fds(*(wanted[name] for name in _PIPES))  # type: ignore[attr-defined]


def _can_be_forked(wanted: Mapping[str, Any]) -> bool:
    words, environment = wanted["args"], wanted["env"]
    if isinstance(words, str | bytes | os.PathLike) or tuple(words[: len(_COMMAND)]) != _COMMAND:
        return False
    if environment is None or environment.get("LANG") != _LOCALE:
        return False
    # What is ignored or blocked here would be so in an interpreter that is started here.
    ignored = {n for n in _SIGNALS if signal.getsignal(n) == signal.SIG_IGN}
    if ignored or signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return False
    usual = all(wanted[name] == value for name, value in _USUAL.items())
    return usual and not any(os.fsdecode(key).startswith(_CHANGING) for key in environment)


@contextmanager
def forked_command_lines() -> Iterator[Callable[[], str]]:
    """Inside, command lines that this process starts are forked.

    Yields what says, once, what has become of the process that they are forked from. A test that
    ends it, or closes a descriptor that is not its own, is to blame; those behind it start
    interpreters.
    """
    source = _Source()

    class Forking(ProgramPopen):
        _source = source

    subprocess.Popen = Forking  # type: ignore[misc]
    try:
        yield source.lost
    finally:
        subprocess.Popen = _INTERPRETER  # type: ignore[misc]
        source.end()


def _serve(link: socket.socket) -> dict[str, Any]:
    """Forks at each request. Returns in the child alone, with what it is to be."""
    while True:
        head, fds, _, _ = socket.recv_fds(link, 4, 3)
        if not head:  # the tests are over
            os._exit(0)
        (size,) = struct.unpack("=I", head)
        request: dict[str, Any] = json.loads(link.recv(size, socket.MSG_WAITALL))
        pid = _cloned()
        if pid == 0:
            link.close()
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            for fd in fds:
                if fd > 2:
                    os.close(fd)
            return request
        for fd in fds:
            os.close(fd)
        link.sendall(struct.pack("=i", pid))


def _cloned() -> int:
    """As os.fork, but that the child is one of the test process, which waits for it."""
    libc, python = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi
    libc.syscall.restype = ctypes.c_long
    for hook in (python.PyOS_BeforeFork, python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child):
        hook.restype, hook.argtypes = None, []
    packed = _ARGUMENTS.pack(_CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    arguments = ctypes.create_string_buffer(packed)
    python.PyOS_BeforeFork()
    pid = libc.syscall(ctypes.c_long(_CLONE3), arguments, ctypes.c_size_t(_ARGUMENTS.size))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    return int(pid) if pid > 0 else -code


def _become(request: Mapping[str, Any]) -> None:
    """What an interpreter has that was started so."""
    if request["session"]:
        os.setsid()
    else:
        os.setpgid(0, request["group"])
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["words"]
    sys.path[0] = request["directory"]
    for name, fd, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        binary = open(fd, mode, closefd=False)  # noqa: SIM115  # lives as long as the process
        errors = getattr(sys, name).errors
        lines = name == "stderr" or os.isatty(fd)
        stream = io.TextIOWrapper(binary, "utf-8", errors, line_buffering=lines)
        setattr(sys, name, stream)


def _main() -> None:
    for name in LIBRARIES:
        import_module(name)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(request)
    runpy.run_module("penstock.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
