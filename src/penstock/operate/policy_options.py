"""What the verbs about a policy share: its file, read, and lines that name its keys."""

import argparse
import os

from ..policy.mistakes import FileMistake, located
from ..policy.policy_file import Policy, read_policy
from ..policy.toml_positions import KeyLines, parent_key
from ..policy.toml_tables import MAX_FILE_BYTES
from ..supervisor.kernel.bounded_read import read_file


def add_policy(parser: argparse.ArgumentParser) -> None:
    """The policy's file."""
    parser.add_argument("policy", metavar="POLICY", help="the policy's file, TOML")


class PolicyText:
    """A policy with its text, so that what decides is named by file and line."""

    def __init__(self, path: str, policy: Policy, data: bytes) -> None:
        self.path, self.policy = path, policy
        self._lines = KeyLines(data)

    def line_of(self, key: str) -> int | None:
        """On which line the key stands, or the table that could have it; None if there is none.

        A client that the policy does not have is on no line: the first of the others is not it.
        """
        known = self._lines.has(key) or "." in parent_key(key)
        return self._lines.of(key) if known else None

    def at(self, key: str) -> str:
        """``commands.ls.arguments (policy.toml:12)``, and of a key that is not there just that."""
        name, line = os.path.basename(self.path), self.line_of(key)
        if self._lines.has(key):
            return f"{key} ({name}:{line})"
        missing = f"not in {name}" if line is None else f"not set in the table at {name}:{line}"
        return f"{key} ({missing})"


def read_policy_text(path: str, refused: list[FileMistake]) -> PolicyText | None:
    """The policy of a file. None if it has mistakes, which are added to ``refused``."""
    data = read_named(path, refused)
    if data is None:
        return None
    policy, mistakes = read_policy(data)
    if mistakes:
        refused += located(path, data, mistakes)
        return None
    return PolicyText(path, policy, data)


def read_named(path: str, refused: list[FileMistake]) -> bytes | None:
    """The bytes of a file that was named at the command line; None if it cannot be read."""
    try:
        return read_file(path, MAX_FILE_BYTES)
    except OSError as error:
        text = error.strerror or str(error)
        text = text if "; " in text else f"{text}; name another file"
        refused += located(path, b"", [f"file: {text}"])
        return None
