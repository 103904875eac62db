"""What SIGHUP does not apply: settings and a policy that have changed in their files."""

import hashlib
import json
from collections.abc import Mapping

from ..policy.configuration import Config, ConfigError, parse_config
from ..policy.configuration_changes import changes, settings
from ..policy.toml_tables import MAX_FILE_BYTES
from ..supervisor.ipc.welcome_message import Welcome
from ..supervisor.kernel.bounded_read import read_file


class Unread:
    """The running settings, to compare with the files that they came from. ``welcome`` has those
    that penstockd runs with, and the SHA-256 of its policy's bytes."""

    def __init__(self, path: str, config: Config, welcome: Welcome) -> None:
        self._path = path
        self._config = config
        self._supervisor: Mapping[str, object] = json.loads(welcome.settings)
        self._policy_hash = welcome.policy

    def look(self) -> tuple[Config, list[str]]:
        """The configuration as its file has it now, or the running one if the file cannot be used;
        and a line for the log for each difference from what runs. Blocks for the disk alone."""
        try:
            fresh = parse_config(read_file(self._path, MAX_FILE_BYTES))
        except (ConfigError, OSError) as error:
            why = error.mistakes if isinstance(error, ConfigError) else [str(error.strerror)]
            return self._config, [f"{self._path} was not read: {text}" for text in why]
        lines = changes(settings(self._config), self._supervisor, fresh)
        return fresh, lines + self._policy_lines()

    def _policy_lines(self) -> list[str]:
        path = self._config.policy
        try:
            digest = hashlib.sha256(read_file(path, MAX_FILE_BYTES)).hexdigest()
        except OSError as error:
            return [f"policy: {path} cannot be compared with what runs: {error.strerror}"]
        if digest == self._policy_hash:
            return []
        return [
            f"policy: {path} has changed and was not read: it takes a restart of penstockd, which "
            "ends all jobs"
        ]
