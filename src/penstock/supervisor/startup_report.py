"""What a start of penstockd logs for its operator: the warnings, and that it is ready."""

from collections.abc import Sequence

from .cgroups import Hierarchy
from .client_listeners import Listeners
from .ipc.handshake import Greeting
from .logs.supervisor_log import log
from .startup import fewer_jobs


class StartupReport:
    """The lines of one start. ``wanted_jobs`` is the configuration's ``max_jobs``, ``config_path``
    its absolute path."""

    def __init__(
        self,
        warnings: Sequence[str],
        welcome: Greeting,
        listeners: Listeners,
        hierarchy: Hierarchy | None,
        *,
        wanted_jobs: int,
        config_path: str,
    ) -> None:
        self._config_path = config_path
        self._warnings = warnings
        self._welcome = welcome
        self._listeners = listeners
        self._hierarchy = hierarchy
        self._wanted_jobs = wanted_jobs
        self._ready = False

    def say_warnings(self) -> None:
        """Logs what an operator should know, or change, of this host and its configuration."""
        for warning in (*self._warnings, *self._listeners.warnings, *self._welcome.warnings):
            log(f"warning: {warning}")
        for text in fewer_jobs(self._welcome.files.max_jobs, self._wanted_jobs):
            log(text)

    def say_ready(self) -> None:
        """Logs, once, that clients may call from now on: service managers and scripts wait for that
        line."""
        if self._ready:
            return
        self._ready = True
        kind = "none, nothing is limited"
        if self._hierarchy is not None:
            kind = f"{self._hierarchy.kind}, in {self._hierarchy.base_directory}"
        policy = f"policy {self._welcome.files.policy_hash[:12]}"
        where = f"configuration {self._config_path}"
        log(f"ready; cgroups: {kind}; {where}; {policy}{self._listeners.text}")
