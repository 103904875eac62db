"""``reload = "auto"``: files that have changed are taken up by themselves.

Theory of operation. Programs that renew certificates replace files one after another, and editors
write them in pieces. So what has changed is taken up once it has stayed the same for a moment, and
a certificate and a key that do not fit each other are tried again for a minute before that is an
error: until then nothing is logged or audited, because nothing is wrong yet. What the supervisor
itself finds wrong is said at once, and not tried again before a file changes again. What was
refused for another reason than the files, such as a server that stood still, is said at once, and
tried again each minute: otherwise a certificate that was renewed just then would never come in.

Looked at are the files that the configuration in force names, and those that its file names by now,
because what does not fit yet may be mended there. Of all but that file only names, sizes and times
count. A child with a bound does it, because a disk may stand still. Whether a content is other is
the reload's to see; one too many changes nothing.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from ..policy.configuration import Config, read_config
from ..policy.toml_tables import MAX_FILE_BYTES
from .kernel.bounded_read import read_file
from .kernel.child_work import ChildWork, WorkDone
from .kernel.loop import Loop
from .logs.supervisor_log import log
from .reload_sides import OnAnswer, ReloadAnswer

LOOK_S: Final = 5.0
STILL_S: Final = 2.0
FIT_S: Final = 60.0
AGAIN_S: Final = 60.0
_BOUND_S: Final = 4.0
_STILL: Final = "the process that has looked last still waits for a disk"
_ASKED_BY: Final = 'reload = "auto"'

Looks = Mapping[str, object]
Look = Callable[[Sequence[str], Callable[[Looks | str], None]], None]
"""Looks at files, and calls back once: with what each is now, or why that is not known."""
Ask = Callable[[str, OnAnswer, bool], None]
"""ReloadExchange.ask; True: the server's mistakes may pass by themselves."""


class FileLooks:
    """Looks at the files that ``config`` names, as long as it says so. Begins with its first look,
    at once."""

    def __init__(
        self, loop: Loop, config: Callable[[], tuple[str, Config]], look: Look, ask: Ask
    ) -> None:
        """``config`` gives the path of the configuration, and what is in force."""
        self._loop = loop
        self._config = config
        self._look = look
        self._ask = ask
        self._taken: Looks | None = None
        """As they were when they were taken up last, or refused."""
        self._changed: Looks | None = None
        self._tried_s = 0.0
        self._failing = ""
        loop.after(0, self._tick)

    def _tick(self) -> None:
        path, config = self._config()
        if config.reload != "auto":
            self._taken = self._changed = None
            self._loop.after(LOOK_S, self._tick)
            return
        self._look(files_of(path, config), self._looked)

    def _looked(self, looks: Looks | str) -> None:
        if isinstance(looks, str):
            if looks != self._failing:
                log(f"{_ASKED_BY}: the files cannot be looked at: {looks}")
            self._failing = looks
            self._loop.after(LOOK_S, self._tick)
            return
        self._failing = ""
        if self._taken is None:
            self._taken = looks
        if looks == self._taken:
            self._changed, self._tried_s = None, 0.0
            self._loop.after(LOOK_S, self._tick)
        elif looks != self._changed:
            self._changed, self._tried_s = looks, 0.0
            self._loop.after(STILL_S, self._tick)
        else:
            self._reload(looks)

    def _reload(self, looks: Looks) -> None:
        may_pass = self._tried_s < FIT_S

        def answered(answer: ReloadAnswer) -> None:
            if answer.passing:
                self._loop.after(AGAIN_S, self._tick)
                return
            if may_pass and answer.by_server:
                self._tried_s += LOOK_S
            else:
                self._taken = looks
            self._loop.after(LOOK_S, self._tick)

        self._ask(_ASKED_BY, answered, may_pass)


def files_of(config_path: str, config: Config) -> list[str]:
    """The files that a reload reads, but for programs, which are looked at before each start."""
    tls = (
        *(config.tls_certificate, config.tls_key, config.tls_key_passphrase_file),
        *(config.tls_client_ca, config.tls_crl),
    )
    return [config_path, config.policy, *(path for path in tls if path)]


def look_in_a_child(loop: Loop) -> Look:
    """The Look of a supervisor."""
    last: ChildWork | None = None

    def look(paths: Sequence[str], on_looked: Callable[[Looks | str], None]) -> None:
        nonlocal last

        def done(work: WorkDone) -> None:
            on_looked(work.failure or json.loads(work.data))

        if last is not None and last.is_left:
            loop.after(0, lambda: on_looked(_STILL))
            return
        last = ChildWork(
            loop, lambda: (json.dumps(looked_at(named_now(paths))).encode(), ()), _BOUND_S, done
        )

    return look


def named_now(paths: Sequence[str]) -> list[str]:
    """The paths, and those that the configuration, the first of them, names by now."""
    try:
        config, _ = read_config(read_file(paths[0], MAX_FILE_BYTES))
    except OSError:
        return list(paths)
    return list(dict.fromkeys([*paths, *files_of(paths[0], config)]))


def looked_at(paths: Sequence[str]) -> dict[str, list[int] | Literal["missing"]]:
    """Which file each path names now, and whether anything of it has changed."""
    found: dict[str, list[int] | Literal["missing"]] = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found[path] = "missing"
            continue
        found[path] = [status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns]
    return found
