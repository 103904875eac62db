"""What becomes of a granted program whose file was replaced, by a package update for example.

The new file at the same path is checked as the first one was. If it passes, the supervisor reports
the change to the server, which writes it into the audit log and asks again; without that line
nothing starts. If it does not pass, or the command is pinned, the start is refused, and the refusal
names both files.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field

from ...policy.policy_file import Command, Policy
from ..logs.supervisor_log import log
from .executables import Executable, ExecutableError, describe, identity_of, open_executable
from .script_files import ScriptFile, check_script, find_scripts


@dataclass(frozen=True, slots=True)
class Replacement:
    """One file that took the place of another; ``before`` and ``now`` are as describe has them."""

    path: str
    before: str
    now: str

    def fields(self) -> dict[str, str]:
        """The entry of a REPLACED message."""
        return {"path": self.path, "before": self.before, "now": self.now}


class Replaced(Exception):
    """These files were replaced by good ones, which the server has not written down yet."""

    def __init__(self, files: Collection[Replacement]) -> None:
        super().__init__("; ".join(each.now for each in files))
        self.files = tuple(files)


@dataclass(slots=True)
class ProgramFiles:
    """The open executable of each command, and the scripts that it fixes, as they were checked."""

    executables: dict[str, Executable]
    owners: frozenset[int] = frozenset({0})
    scripts: dict[str, list[ScriptFile]] = field(default_factory=dict)

    def add_scripts(self, policy: Policy) -> list[str]:
        """Looks for the scripts of every command. Returns warnings of those that an untrusted user
        can change."""
        warnings: list[str] = []
        for command in policy.commands.values():
            self.scripts[command.name], found = find_scripts(command, self.owners)
            warnings += found
        return warnings

    def described(self) -> dict[str, dict[str, str]]:
        """By command and path: which files they are, for people and for the audit log."""
        found = {
            name: {each.path: describe(each.path, each.identity)}
            for name, each in self.executables.items()
        }
        for name, scripts in self.scripts.items():
            found[name] |= {each.path: describe(each.path, each.identity) for each in scripts}
        return found

    def close(self) -> None:
        """Closes the programs, because others have taken their place."""
        for executable in self.executables.values():
            executable.close()
        self.executables.clear()

    def current(self, command: Command, audited: Collection[str]) -> Executable:
        """The file to run now. ``audited``: the replacements that the server has written down.

        It takes up new files, all or none. Raises Replaced, or ExecutableError for what must not
        run.
        """
        before = self.executables[command.name]
        files: list[Replacement] = []
        executable = before
        if not before.is_current():
            executable = self._new_executable(command, before)
            files.append(_replacement(before, executable.identity))
        try:
            scripts = [
                self._current_script(command, script, files)
                for script in self.scripts.get(command.name, [])
            ]
            missing = [each for each in files if each.now not in audited]
            if missing:
                raise Replaced(missing)
        except (Replaced, ExecutableError):
            if executable is not before:
                executable.close()
            raise
        for each in files:
            log(f"{command.name}: taken up is {each.now}; before it was {each.before}")
        self.scripts[command.name] = scripts
        if executable is not before:
            self.executables[command.name] = executable
            before.close()
        return executable

    def _new_executable(self, command: Command, before: Executable) -> Executable:
        try:
            _refuse_pinned(command)
            return open_executable(command.path, self.owners)
        except ExecutableError as error:
            raise _refused(before, error) from None

    def _current_script(
        self, command: Command, script: ScriptFile, files: list[Replacement]
    ) -> ScriptFile:
        # The way to it as well, each time: unlike the program, it is opened again by its name.
        try:
            found = check_script(script.path, self.owners)
            if found.identity == script.identity:
                return script
            _refuse_pinned(command)
        except ExecutableError as error:
            raise _refused(script, error) from None
        files.append(_replacement(script, found.identity))
        return found


def other_programs(before: ProgramFiles, now: ProgramFiles) -> list[str]:
    """A line for each file that took the place of another, as for a replaced program."""
    was = before.described()
    return [
        f"commands.{name}: taken up is {after}; before it was {earlier}"
        for name, described in now.described().items()
        for path, after in described.items()
        if (earlier := was.get(name, {}).get(path, after)) != after
    ]


def _refuse_pinned(command: Command) -> None:
    if command.pinned:
        raise ExecutableError(f"command {command.name} is pinned")


def _replacement(before: Executable | ScriptFile, now: tuple[int, ...]) -> Replacement:
    path = before.path
    return Replacement(path, describe(path, before.identity), describe(path, now))


def _refused(before: Executable | ScriptFile, why: ExecutableError) -> ExecutableError:
    path = before.path
    try:
        now = describe(os.path.realpath(path), identity_of(os.stat(path)))
    except OSError as error:
        now = f"{path}: {error.strerror}"
    return ExecutableError(
        f"{path} is not the file that was checked any more ({why}); checked was "
        f"{describe(path, before.identity)}; there is {now}; have the operator put it right, or "
        "read the policy again"
    )
