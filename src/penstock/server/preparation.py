"""The next generation, read and tried aside; nothing of it counts before the switch.

Theory of operation. What takes long, or can fail, is done here while the old generation serves:
parsing (a policy of a megabyte takes half a second), reading and trying the files of ``[tls]`` (a
disk may stand still), and asking OpenSSL whether the new files would refuse every client that is
connected. All but a short trial is done in a thread, one at a time, so that no call waits for it.
A thread cannot be ended: one that hangs keeps its place until the disk answers, and preparations
that come meanwhile wait, and are abandoned by the one who asked for them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import trio

from ..jobs.backends.local import LocalBackend
from ..policy.configuration import Config, ConfigError, parse_config
from ..policy.mistakes import located
from ..policy.policy_file import Policy, PolicyError, parse_policy
from ..policy.settings_in_force import in_force_by
from ..policy.toml_tables import MAX_FILE_BYTES
from ..rpc.grpc_server import Peer, Server
from ..supervisor.kernel.bounded_read import read_file
from .credentials import CredentialsError, load_credentials
from .generation import Generation, InForce
from .lockout import TrialResult, try_files
from .retrial import Retrial, same_trust
from .transport_settings import TransportError, transport_limits

T = TypeVar("T")

# So many certificates are tried on the event loop, a millisecond or two each. More are tried by a
# thread, because they would hold up every call.
_TRIED_HERE: Final = 8


class GenerationError(Exception):
    """These files cannot be taken up; ``mistakes`` are for the operator, each with its key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class PreparedGeneration:
    """One that can be put in force; ``warnings`` are for the one who has asked for it."""

    generation: Generation
    tried: int
    """How many clients that are connected were asked whether they would still get in."""
    warnings: tuple[str, ...] = ()
    retrial: Retrial | None = None
    """Of clients that are connected; None where it lets in whom the one in force lets in."""


def read_generation(
    configuration: bytes, policy: bytes, settings: Mapping[str, Any], name: str, path: str
) -> Generation:
    """Everything that these bytes and the files of their ``[tls]`` say. ``settings``: those of
    penstockd, some of which stay as they are while it runs. ``path``: of the configuration.

    Raises GenerationError, with the line of each mistake that is the server's to find. All others
    were found by the supervisor, before it has asked.
    """
    try:
        return _read(configuration, policy, settings, name)
    except GenerationError as error:
        raise _located(error, configuration, path) from error


def _located(error: GenerationError, configuration: bytes, path: str) -> GenerationError:
    own = [each for each in error.mistakes if each.startswith("[")]
    others = [each for each in error.mistakes if each not in own]
    return GenerationError([*others, *map(str, located(path, configuration, own))])


def _read(
    configuration: bytes,
    policy: bytes,
    settings: Mapping[str, Any],
    name: str,
    *,
    begins: bool = False,
) -> Generation:
    mistakes: list[str] = []
    try:
        parsed: Policy | None = parse_policy(policy)
    except PolicyError as error:
        parsed, mistakes = None, [f"policy: {each}" for each in error.mistakes]
    try:
        config = in_force_by(parse_config(configuration), settings)
    except ConfigError as error:
        raise GenerationError(mistakes + error.mistakes) from error
    try:
        transport_limits(config)
    except TransportError as error:
        mistakes += str(error).splitlines()
    return with_credentials(config, parsed, name, mistakes, begins=begins)


def first_generation(backend: LocalBackend, config_path: str) -> Generation:
    """The one that a server begins with. Raises GenerationError.

    A certificate that is not valid now is no reason not to begin, because the jobs of an earlier
    server wait to be taken over; see ``Credentials.untimely``.
    """
    configuration = backend.configuration_bytes
    if not configuration:  # of a supervisor of an earlier version
        try:
            configuration = read_file(config_path, MAX_FILE_BYTES)
        except OSError as error:
            raise GenerationError([str(error)]) from error
    settings = json.loads(backend.reloads.welcome.settings)
    policy, name = backend.policy_bytes, backend.generation
    try:
        return _read(configuration, policy, settings, name, begins=True)
    except GenerationError as error:
        raise _located(error, configuration, config_path) from error


def with_credentials(
    config: Config,
    policy: Policy | None,
    name: str,
    mistakes: list[str],
    *,
    begins: bool = False,
) -> Generation:
    """The generation of this configuration and policy, with the files of ``[tls]`` as they are now.

    Raises GenerationError with ``mistakes`` and those of the files; always if there is no policy.
    ``begins``: it is a server's first.
    """
    try:
        credentials = load_credentials(config)
        if credentials.untimely is not None and not begins:
            raise CredentialsError([f"[tls] certificate: {credentials.untimely}"])
    except CredentialsError as error:
        raise GenerationError(mistakes + error.mistakes) from error
    if mistakes or policy is None:
        raise GenerationError(mistakes)
    return Generation(config, policy, credentials, name)


class Preparation:
    """Prepares generations for one server, one at a time."""

    def __init__(self, in_force: InForce, server: Server) -> None:
        self._in_force = in_force
        self._server = server
        self._threads = trio.CapacityLimiter(1)

    async def prepare(self, read: Callable[[], Generation]) -> PreparedGeneration:
        """What ``read`` makes of the files, once it was tried on the clients that are connected.
        ``read`` runs in a thread, and raises GenerationError; so does this.

        Clients that connect during the trial are not tried. Cancelled: the thread ends by itself,
        and nothing comes of it.

        Cancellation: minimum cleanup; C33.
        """
        generation = await trio.to_thread.run_sync(
            read, abandon_on_cancel=True, limiter=self._threads
        )
        verdict = await self._tried(generation)
        if nobody := _nobody(self._in_force.current.policy, generation.policy):
            verdict = replace(verdict, lockout=nobody)
        warnings: tuple[str, ...] = ()
        if verdict.lockout and not generation.config.allow_lockout:
            raise GenerationError(
                [
                    f"{verdict.lockout}; if that is meant, write allow_lockout = true into the "
                    "configuration, and reload again"
                ]
            )
        if verdict.lockout:
            warnings = (f"allow_lockout: {verdict.lockout}",)
        elif not verdict.asked:
            warnings = ("no client is connected, so whether these files admit any was not tried",)
        retrial = await self._retried(generation)
        return PreparedGeneration(generation, verdict.asked, warnings, retrial)

    async def _retried(self, new: Generation) -> Retrial | None:
        """Of the clients connected now. A checkpoint only if these are many."""
        if same_trust(self._in_force.current, new):
            return None
        retrial = Retrial(new)
        peers = self._server.connected()

        def trial() -> None:
            for peer in peers:
                retrial.refusal_of(peer)

        await self._in_place(trial, peers)
        return retrial

    async def _tried(self, new: Generation) -> TrialResult:
        """What these files would do to the clients connected now. A checkpoint only if these are
        many."""
        peers = self._server.connected()
        old = self._in_force.current.credentials.context
        credentials = new.credentials
        trial = partial(try_files, old, credentials.context, peers, credentials.revocations.covers)
        return await self._in_place(trial, peers)

    async def _in_place(self, trial: Callable[[], T], peers: Sequence[Peer]) -> T:
        """Runs it in a thread where there are many of these."""
        if len({peer.certificate for peer in peers}) <= _TRIED_HERE:
            return trial()
        return await trio.to_thread.run_sync(trial, abandon_on_cancel=True, limiter=self._threads)


def _nobody(before: Policy, now: Policy) -> str:
    """Why no client could call anything any more, or "". Not that those who are connected are gone:
    that may be meant. But a policy without clients is more likely a file that was cut off, and one
    that revokes each of them more likely a mistake."""
    if _callers(now) or not _callers(before):
        return ""
    if now.clients:
        return "policy: it revokes every client that it names, so no client could call anything"
    return "policy: it names no client, and the one in force does, so no client could call anything"


def _callers(policy: Policy) -> set[str]:
    return policy.clients.keys() - policy.revoked.clients
