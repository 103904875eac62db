"""Where the file of contexts is, and reading it.

``user_contexts``, which knows what it means, is loaded only where there is a file.
"""

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .flags import SettingsError
from .invocation import current
from .lazy import load
from .typed_path import typed_path

if TYPE_CHECKING:
    from .user_contexts import Contexts

_FILE_BYTES: Final = 1024 * 1024


def contexts_path(environment: Mapping[str, str] | None = None) -> Path:
    """``$XDG_CONFIG_HOME/penstock/contexts.toml``. A relative directory is ignored, as the XDG
    base directory specification has it."""
    if environment is None:
        environment = current().environment
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        base = Path(home(environment)) / ".config"
    return typed_path(base / "penstock" / "contexts.toml")


def home(environment: Mapping[str, str]) -> str:
    """The user's directory, as ``os.path.expanduser`` has it of the process's environment."""
    if "HOME" in environment:
        return environment["HOME"].rstrip("/") or "/"
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "~"


def read_contexts(path: Path) -> "Contexts | None":
    """What the file says; None if there is none. Raises SettingsError and OSError."""
    text = contexts_text(path)
    if text is None:
        return None
    contexts: Contexts = load("user_contexts").parsed(text, path)
    return contexts


def contexts_text(path: Path) -> str | None:
    """The file's text; None if there is none. Raises SettingsError if another user could have
    written it, because it says which servers we trust, and OSError."""
    try:
        # Not to wait for the writer of a pipe, which no signal could end.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # By the descriptor, so that it is the mode of the file that is read.
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISCHR(status.st_mode):  # /dev/null is one
        os.close(fd)
        raise SettingsError(f"{path} is no file")
    with open(fd, "rb") as file:
        if status.st_uid not in (0, os.geteuid()):
            raise SettingsError(f"{path} belongs to another user (uid {status.st_uid})")
        if status.st_mode & 0o022 and stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            raise SettingsError(
                f"{path} can be written by others (mode {mode:04o}); run: chmod go-w {path}"
            )
        data = file.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise SettingsError(f"{path} is larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path} line {line}: not UTF-8") from error
