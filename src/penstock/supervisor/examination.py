"""Everything that must be right before penstockd starts or takes files up, looked at in one pass.

Theory of operation. A start, a reload and ``penstockd check`` ask ``examine``, and only this; so
what one accepts the others accept, as far as they look at one moment of the host. It reads the
configuration and the policy once, and everything after that is about these bytes. It changes
nothing: no directory is made, no lock is taken, no socket is opened. It goes on past mistakes: a
policy is read although the configuration has some, programs are looked at although the policy has
some, and what can be read of a file that is no TOML is looked at, too, so that an operator sees all
of them at once. What would follow from a mistake only is
not looked at: with a wrong ``server_user``, for example, no user.

Not looked at here: files of ``[tls]``, which are the server's to read (server/credentials.py); what
the kernel of this host holds (host_facts.py); and what is in use at the moment (locks, ports).
"""

import errno
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..policy.configuration import Config, read_config
from ..policy.mistakes import FileMistake, located, unlocated
from ..policy.policy_file import Policy, read_policy
from ..policy.settings_in_force import in_force, setting_changes, unsendable
from ..policy.toml_recovery import TomlRest
from ..policy.toml_tables import MAX_FILE_BYTES, NOT_TOML
from . import startup
from .kernel.bounded_read import read_file
from .place_checks import group_mistakes, place_mistakes
from .policy_on_host import PolicyOnHost, look_up
from .standpoint import Standpoint, standpoint_here
from .users.user_names import User

_REMEDIES: Final[Mapping[int | None, str]] = {
    errno.ENOENT: "create it, or name another one",
    errno.EACCES: "run this as a user who can read it",
}


@dataclass(slots=True)
class Examined:
    """What was read and found.

    Without ``mistakes`` all of it is there and good, and may be put into force; ``on_host`` holds
    open programs, which ``close`` closes if they are not. With mistakes, what is there is for
    further looking only: a configuration or policy that could be read has defaults in the place
    of mistakes. ``unchecked`` says what only penstockd's own user could have looked at.
    """

    config_path: str
    standpoint: Standpoint
    config_data: bytes = b""
    config: Config | None = None
    policy_data: bytes = b""
    policy: Policy | None = None
    server_user: User | None = None
    on_host: PolicyOnHost | None = None
    misread: bool = False
    """A key of one of the files is wrong, so that what was read is not what the file says."""
    mistakes: list[FileMistake] = field(default_factory=list)
    unchecked: list[FileMistake] = field(default_factory=list)

    def good(self) -> tuple[Config, Policy, PolicyOnHost, User]:
        """All of it, if there are no mistakes. Raises StartupError with those that there are."""
        config, policy, on_host, user = self.config, self.policy, self.on_host, self.server_user
        if self.mistakes or not (config and policy and on_host and user):
            raise startup.StartupError([str(mistake) for mistake in self.mistakes])
        return config, policy, on_host, user

    def close(self) -> None:
        """Closes the programs. May be called again."""
        if self.on_host is not None:
            self.on_host.close()


def examine(
    config_path: str,
    *,
    library: bool = False,
    standpoint: Standpoint | None = None,
    running: Config | None = None,
) -> Examined:
    """Reads configuration and policy and looks at everything that they name. Never raises for what
    an operator could put right.

    ``library``: no server will be started. ``standpoint``: as which user penstockd would run; if
    left out, as this process. ``running``: with what the penstockd runs that is to take the files
    up, so that what needs a restart counts as it is there; it must be good for that restart all the
    same. May wait for a directory service and for disks.
    """
    found = Examined(config_path, standpoint or standpoint_here())
    data = _read(found, config_path, "")
    if data is None:
        return found
    found.config_data = data
    config, texts = read_config(data, library=library)
    wrong = {text.partition(":")[0] for text in texts}
    policy_path = ""
    after: tuple[Config, User] | None = None
    judged = config if running is None else in_force(config, running)
    if _no_toml(texts):
        rest = TomlRest(data)
        texts += rest.further
        if rest.data is not None:
            judged, further = read_config(rest.data, library=library)
            policy_path = judged.policy
            found.mistakes += _meant(rest, config_path, further)
    elif "file" not in wrong:
        found.config, policy_path = config, config.policy
        too_long = unsendable(config)
        texts += too_long
        if not wrong & {"server_user", "job_uids"}:
            texts += _find_server_user(found, judged, library=library)
        if found.server_user is not None:
            mistakes, unchecked = place_mistakes(
                *(judged, found.server_user, found.standpoint), server=not library, wrong=wrong
            )
            texts += mistakes
            found.unchecked += located(config_path, data, unchecked)
        if running is None and "cgroup_parent" not in wrong:
            texts += group_mistakes(judged, found.standpoint)
        if running is not None:
            mistakes, after = _after_a_restart(found, config, running, wrong)
            texts += [text for text in mistakes if text not in texts]
        found.misread = bool(too_long)
    found.misread |= bool(wrong)
    found.mistakes += located(config_path, data, texts)
    if policy_path:
        _examine_policy(found, judged, policy_path, after)
    paths = tuple(path for path in (config_path, policy_path) if path and os.path.exists(path))
    own = startup.check_own_files(paths, found.standpoint.uid, code=found.standpoint.own)
    found.mistakes += [unlocated(text) for text in own]
    return found


def _after_a_restart(
    found: Examined, fresh: Config, running: Config, wrong: Collection[str]
) -> tuple[list[str], tuple[Config, User] | None]:
    """Mistakes of settings that are taken up by a restart only, which must not be the moment to
    find them. And with what the policy would be judged then, if that is not what it is with now."""
    changes = setting_changes(running, running, fresh)
    waiting = {each.key for each in changes if each.when == "restart"}.difference(wrong)
    if not waiting or "job_uids" in wrong:
        return [], None
    try:
        root = found.standpoint.root
        user = startup.find_server_user(fresh, root=root, no_server=False)
    except startup.StartupError as error:
        return error.mistakes if "server_user" not in wrong else [], None
    mistakes, _ = place_mistakes(fresh, user, found.standpoint, server=True, wrong=wrong)
    mistakes += group_mistakes(fresh, found.standpoint)
    mistakes = [text for text in mistakes if text.partition(":")[0] in waiting]
    return mistakes, (fresh, user) if waiting & {"server_user", "job_uids"} else None


def _examine_policy(
    found: Examined, config: Config, path: str, after: tuple[Config, User] | None
) -> None:
    data = _read(found, path, "policy")
    if data is None:
        return
    found.policy_data = data
    policy, texts = read_policy(data)
    found.misread |= bool(texts)
    if _no_toml(texts):
        rest = TomlRest(data)
        texts += rest.further
        if rest.data is not None and not rest.top_lost:
            policy, further = read_policy(rest.data)
            on_host = look_up(policy, config.job_uids, found.server_user, found.standpoint)
            on_host.close()
            found.mistakes += _meant(rest, path, further + on_host.mistakes)
    elif not any(text.startswith("file: ") for text in texts):
        found.policy = policy
        found.on_host = look_up(policy, config.job_uids, found.server_user, found.standpoint)
        texts += found.on_host.mistakes
        if after is not None:
            then = look_up(policy, after[0].job_uids, after[1], found.standpoint)
            then.close()
            texts += [text for text in then.mistakes if text not in texts]
        found.unchecked += located(path, data, found.on_host.unchecked)
    of_policy = [text for text in texts if not text.startswith("job_uids: ")]
    found.mistakes += located(path, data, of_policy)
    of_config = [text for text in texts if text not in of_policy]
    found.mistakes += located(found.config_path, found.config_data, of_config)


def _no_toml(texts: Sequence[str]) -> bool:
    return any(text.startswith(NOT_TOML) for text in texts)


def _meant(rest: TomlRest, path: str, texts: Sequence[str]) -> list[FileMistake]:
    """Mistakes of what is left of a file that is no TOML, which no lost line can have caused."""
    assert rest.data is not None
    return [each for each in located(path, rest.data, texts) if rest.counts(each.line)]


def _read(found: Examined, path: str, key: str) -> bytes | None:
    """``key``: the one of the configuration that names the file; "" for the configuration."""
    try:
        return read_file(path, MAX_FILE_BYTES)
    except OSError as error:
        text = error.strerror or str(error)
        if "; " not in text:
            text += f"; {_REMEDIES.get(error.errno, 'name another one')}"
        text = f"{key}: {path}: {text}" if key else f"file: {text}"
        found.mistakes += located(found.config_path, found.config_data, [text])
        return None


def _find_server_user(found: Examined, config: Config, *, library: bool) -> list[str]:
    try:
        root = found.standpoint.root
        found.server_user = startup.find_server_user(config, root=root, no_server=library)
    except startup.StartupError as error:
        return error.mistakes
    return []
