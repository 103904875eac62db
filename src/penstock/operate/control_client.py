"""Asks a running penstockd, on its control.sock."""

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final

from ..policy.configuration import read_config
from ..policy.mistakes import FileMistake, located, unlocated
from ..policy.toml_tables import MAX_FILE_BYTES
from ..supervisor.earlier_server import holder
from ..supervisor.ipc.run_directory import CONTROL_NAME
from ..supervisor.kernel.bounded_read import read_file

# Each of two reloads, one that is under way and the one that was asked for, takes at most 10 s to
# read, 10 s to be offered and 10 s to be confirmed.
_ANSWER_S: Final = 75.0
_CONNECT_S: Final = 5
_MOST_BYTES: Final = 70_000  # a message has at most 64 KiB
_MOST_FILES: Final = 4


class NotAsked(Exception):
    """No answer was had: penstockd is not there, or does not answer. The text says what to do."""


class NobodyThere(NotAsked):
    """Nobody listens where the configuration says."""


class ConfigUnreadable(Exception):
    """Where penstockd could be asked is not known, because of these mistakes."""

    def __init__(self, mistakes: list[FileMistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class ControlAnswer:
    """What penstockd has answered. ``files`` are the bytes of those that came with it."""

    def __init__(self, fields: dict[str, Any], files: dict[str, bytes]) -> None:
        self.fields = fields
        self.files = files

    def texts(self, key: str) -> list[str]:
        """A list of the answer; empty if it is not there."""
        return [str(each) for each in self.fields.get(key, ())]

    @property
    def ok(self) -> bool:
        """Was it done?"""
        return bool(self.fields.get("ok"))


def control_path(config_path: str) -> str:
    """Where a penstockd that runs with this configuration is asked. Raises ConfigUnreadable.

    Other mistakes than those that hide ``run_dir`` are left to penstockd to find.
    """
    try:
        data = read_file(config_path, MAX_FILE_BYTES)
    except OSError as error:
        text = f"{config_path}: {error.strerror}; name the configuration that penstockd runs with"
        raise ConfigUnreadable([unlocated(text)]) from error
    config, mistakes = read_config(data)
    hiding = [text for text in mistakes if text.partition(":")[0] in ("file", "run_dir")]
    if hiding:
        raise ConfigUnreadable(located(config_path, data, hiding))
    return os.path.join(config.run_dir, CONTROL_NAME)


def runs_elsewhere(config_path: str) -> str:
    """Which penstockd runs with this configuration's ``work_root``, and where it is asked; "" if
    none does, or that cannot be known."""
    try:
        config, _ = read_config(read_file(config_path, MAX_FILE_BYTES))
    except OSError:
        return ""
    pid = holder(config.work_root)
    if not pid:
        return ""
    return (
        f"{config_path}: run_dir: a penstockd runs (process {pid} holds {config.work_root}), and "
        "is asked in the run_dir with which it was started; write that one back until penstockd is "
        f"started anew, or have it read its files by kill -HUP {pid}, and look into its log"
    )


def status(path: str) -> ControlAnswer:
    """What is in force, with its files. Raises NotAsked, also if penstockd refuses to say it, as
    when many others ask."""
    answer = ask(path, "status")
    if not answer.ok:
        raise NotAsked("; ".join(answer.texts("mistakes")))
    return answer


def ask(path: str, request: str) -> ControlAnswer:
    """The answer to one request. Raises NotAsked."""
    with _connected(path) as connection:
        try:
            # A penstockd that many ask refuses, and closes, before it has read what it was asked.
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(json.dumps({"request": request}).encode())
            return _answer(connection)
        except TimeoutError:
            raise NotAsked(
                f"penstockd does not answer on {path}; its log says what it waits for"
            ) from None
        except (OSError, ValueError) as error:
            raise NotAsked(f"penstockd has not answered on {path}: {error}; ask again") from error


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        # By SO_SNDTIMEO, because connect(2) of a socket that does not block fails while others
        # wait to be accepted.
        bound = struct.pack("@ll", _CONNECT_S, 0)  # struct timeval
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        try:
            connection.connect(path)
        except PermissionError:
            text = f"{path} is not for this user; ask as the one that runs penstockd"
            raise NotAsked(text) from None
        except OSError as error:
            raise NobodyThere(
                f"no penstockd runs there ({path}: {error.strerror}); start it, or name the "
                "configuration that it was started with"
            ) from error
        connection.settimeout(_ANSWER_S)
        yield connection


def _answer(connection: socket.socket) -> ControlAnswer:
    fields: dict[str, Any] = {}
    fds: list[int] = []
    try:
        while True:
            part = _part(connection, fds)
            for key, value in part.items():
                fields[key] = [*fields.get(key, ()), *value] if isinstance(value, list) else value
            if not part.get("more"):
                break
        files = {name: _whole(fd) for name, fd in zip(fields.get("fds", ()), fds, strict=True)}
        return ControlAnswer(fields, files)
    finally:
        for fd in fds:
            os.close(fd)


def _part(connection: socket.socket, fds: list[int]) -> dict[str, Any]:
    room = socket.CMSG_SPACE(4 * _MOST_FILES)
    try:
        data, ancillary, _, _ = connection.recvmsg(_MOST_BYTES, room)
    except ConnectionResetError:  # told once: it has closed without reading; its words are behind
        data, ancillary, _, _ = connection.recvmsg(_MOST_BYTES, room)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds += array.array("i", content)
    if not data:
        raise ValueError("it has ended the connection; its log says why")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("that is no answer")
    return found


def _whole(fd: int) -> bytes:
    data = b""
    while part := os.pread(fd, MAX_FILE_BYTES, len(data)):
        data += part
    return data
