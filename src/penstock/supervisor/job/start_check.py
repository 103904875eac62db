"""What a START becomes: granted by the policy that this process has read, and found on this host.

Certificates are the server's to check, so its word is trusted on which client asks, and on
nothing else. Whether that client may start this command line is decided by the very function that
the server has asked (policy/decision.py), and refused in the same words. What is left depends on
the host alone: which user the job gets, where its paths lead, which file the program is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...policy.decision import Denial, length_mistake, may_start
from ...policy.grammar import Match
from ...policy.policy_file import ClientPolicy, Command, Policy
from ..files.directory_writers import Trusted
from ..files.executables import Executable, ExecutableError
from ..files.path_arguments import PathRefused, resolve
from ..files.program_files import ProgramFiles
from ..ipc import protocol
from ..ipc.from_server import Start
from ..ipc.from_supervisor import RefusedMessage
from ..logs.supervisor_log import log
from ..users.accounts import Account
from ..users.client_users import NoUser
from ..users.command_users import CommandUsers
from ..users.user_names import User
from .effective_start import EffectiveStart


class Refusal(Exception):
    """A START that was rejected, so nothing was started; the text is for the caller."""

    def __init__(self, fault: str, message: str, stage: str = "check", errno: int = 0) -> None:
        super().__init__(message)
        self.fault, self.stage, self.errno = fault, stage, errno

    def message(self, job_id: str) -> RefusedMessage:
        """The REFUSED that the server gets for it."""
        return RefusedMessage(job_id, self.fault, self.stage, self.errno, str(self))


@dataclass(frozen=True, slots=True)
class CheckedStart:
    """What is to be run: ``effective`` counts until the job has ended, the rest until it runs."""

    effective: EffectiveStart
    client: ClientPolicy
    executable: Executable
    account: Account
    env: Mapping[str, str]
    stdin: bool = False


@dataclass(frozen=True, slots=True)
class StartCheck:
    """The policy with what it names on this host, opened and resolved. ``generation`` is the hash
    of configuration and policy, which a START must carry.

    ``standalone``: the program that started this supervisor is the one that connects, so a policy
    that names no clients grants every command to all owners that the program has. ``owners`` are
    those that path slots name.
    """

    policy: Policy
    generation: str
    programs: ProgramFiles
    users: CommandUsers
    standalone: bool = False
    owners: Mapping[str, Trusted] = field(default_factory=dict)

    def check(self, start: Start) -> CheckedStart:
        """What is to be run. Raises Refusal, or Replaced for files that must be audited first."""
        if start.policy != self.generation:
            raise Refusal(protocol.STALE_POLICY, "the policy has just been replaced; try again")
        granted = may_start(self.policy, start.client, start.spec, standalone=self.standalone)
        if isinstance(granted, Denial):
            raise _refusal(granted)
        spec, client, command = start.spec, granted.client, granted.command
        user = self._user(command, client)
        argv = command.argv(self._resolved(spec.arguments, granted.match, user))
        if granted.match.paths:
            too_long = length_mistake(argv, spec.env)
            if too_long is not None:
                raise _refusal(too_long)
        try:
            executable = self.programs.current(command, start.audited)
        except ExecutableError as error:
            raise Refusal(protocol.EXECUTABLE, str(error)) from None
        bounds = [bound for bound in (spec.timeout_s, command.timeout_s) if bound is not None]
        effective = EffectiveStart(
            command,
            argv,
            min(bounds, default=None),
            self.policy.classes[command.class_name],
            client.totals,
            user=user,
            client=client.id,
        )
        account = self.users.account_of(command, user)
        return CheckedStart(effective, client, executable, account, spec.env, spec.stdin)

    def _user(self, command: Command, client: ClientPolicy) -> User | None:
        try:
            return self.users.user_of(command, client.id)
        except NoUser as error:
            log(f"{command.name} could not be started for {client.id!r}: {error}")
            text = f"{command.name} could not be started: user: {error.public}"
            raise Refusal(protocol.FAILED, text, "user") from None

    def _resolved(self, arguments: Sequence[str], match: Match, user: User | None) -> list[str]:
        resolved = list(arguments)
        for path, slot in zip(match.paths, match.path_slots, strict=True):
            owners = [self.owners[name] for name in slot.owners]
            try:
                resolved[path.position] = resolve(path.root, path.relative, user, owners)
            except PathRefused as error:
                raise Refusal(protocol.DENIED, str(error)) from None
        return resolved


def _refusal(denial: Denial) -> Refusal:
    invalid = denial.kind in ("form", "length")
    return Refusal(protocol.INVALID if invalid else protocol.DENIED, denial.message)
