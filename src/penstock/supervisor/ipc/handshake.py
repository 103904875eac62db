"""What the server learns first: which supervisor it has, by which policy, within what limits."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...policy.generation_hash import generation_hash
from ...policy.limit_classes import GROUP_LIMIT_NAMES, Enforcement, held_without_groups, with_quotas
from ..cgroups import Hierarchy, Swept
from ..isolation import Offers
from . import protocol
from .sealed_files import sealed
from .server_socket import ServerPeer
from .welcome_message import SweptCounts, Welcome

USER_MODE_WARNINGS: Final = (
    "no limits: penstockd does not run as root, so no job is held to its class",
    "no separation: jobs, server and supervisor are one user, so a job could read or change "
    "logs, records and keys",
)

# Ids of swept jobs that are named one by one, because a message has an end, and max_jobs need not.
_MOST_SWEPT: Final = 2000
# Of userless, for the same reason; a START of a client that is not named is refused as well.
_MOST_USERLESS_CHARACTERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class FilesTold:
    """What a server learns of the files in force. ``settings`` are those that this process runs
    with, as settings_in_force.py writes them."""

    policy_hash: str
    policy: bytes
    configuration: bytes
    settings: str
    max_jobs: int


class Greeting:
    """WELCOME, the bytes of policy and configuration in sealed memory files, and a descriptor that
    ends all jobs."""

    def __init__(
        self,
        files: FilesTold,
        hierarchy: Hierarchy | None,
        offers: Offers,
        device: str | None,
        quotas: Sequence[Enforcement] = (),
    ) -> None:
        """``quotas`` are what the file system of ``work_root`` holds, project_quota's entries."""
        self.files = files
        """Replaced as a whole, by a reload."""
        self.reload: Mapping[str, str] = {}
        """The latest reload, until a server has taken it up, or begun with its files."""
        self._device = device
        self._quotas = quotas
        self.swept = Swept()
        """What an earlier supervisor had left; reported until a server has taken calls."""
        self.userless: Mapping[str, str] = {}
        """Clients that have no user, and why, so that no server promises them a start."""
        self.warnings = () if os.geteuid() == 0 else USER_MODE_WARNINGS
        self._hierarchy = hierarchy
        self._offers = offers

    def shown_userless(self) -> dict[str, str]:
        """As many of ``userless`` as a message has room for."""
        return dict(_shortened(self.userless))

    def send(self, peer: ServerPeer) -> None:
        """Sends it with files of the peer's own. Raises OSError."""
        files = {"policy": self.files.policy, "configuration": self.files.configuration}
        with contextlib.ExitStack() as closing:
            fds: dict[str, int] = {}
            for name, data in files.items():
                fds[name] = sealed(name, data)
                closing.callback(os.close, fds[name])
            kill_fd = self._hierarchy.kill_fd() if self._hierarchy is not None else None
            if kill_fd is not None:
                fds["kill"] = kill_fd
                closing.callback(os.close, kill_fd)
            peer.send(self._message(tuple(fds)), list(fds.values()))

    def _message(self, fds: tuple[str, ...]) -> Welcome:
        if self._hierarchy is not None:
            kind, limits = self._hierarchy.kind, self._hierarchy.capabilities(self._device)
        else:
            kind = "tree"
            limits = [
                Enforcement(name, "unavailable", detail="no root") for name in GROUP_LIMIT_NAMES
            ]
            limits += held_without_groups()
        limits = with_quotas(limits, self._quotas)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        swept = self.swept
        return Welcome(
            version=protocol.VERSION,
            mode="root" if os.geteuid() == 0 else "user",
            cgroups=kind,
            boot_id=boot_id,
            policy=self.files.policy_hash,
            limits=(*limits, *self._offers.entries.values()),
            max_jobs=self.files.max_jobs,
            swept=SweptCounts(swept.jobs[:_MOST_SWEPT], swept.processes, len(swept.left)),
            warnings=tuple(self.warnings),
            fds=fds,
            beats=True,
            settings=self.files.settings,
            looks=self._hierarchy is not None,
            userless=self.shown_userless(),
            generation=generation_hash(self.files.configuration, self.files.policy),
            reload=self.reload,
        )


def _shortened(userless: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    left = _MOST_USERLESS_CHARACTERS
    for client, why in userless.items():
        left -= len(client) + len(why)
        if left < 0:
            return
        yield client, why
