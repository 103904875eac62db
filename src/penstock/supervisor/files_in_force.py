"""Which files this process decides by, and how others take their place while jobs run.

Everything that depends on the files is replaced in one call, ``switch``, which the loop cannot
interrupt. Nothing of it is changed before all that can fail has succeeded: own limits are raised,
and the kernel has taken the clients' totals.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ..policy.configuration import Config
from ..policy.mistakes import located
from ..policy.policy_file import Policy
from ..policy.settings_in_force import SettingChange, setting_changes, settings_text
from ..policy.toml_tables import dotted
from . import startup
from .cgroups import Hierarchy, TotalRefused, group_name
from .client_listeners import Listeners
from .dispatch import Dispatcher
from .files.program_files import other_programs
from .files_read import FilesRead, files_read, read_files
from .ipc.handshake import FilesTold, Greeting
from .ipc.reload_messages import Switch, few_texts
from .job import rlimits
from .job.start_check import StartCheck
from .kernel.child_work import ChildWork, WorkDone
from .kernel.loop import Loop
from .reload_sides import NewFiles, NotRead, SwitchRefused
from .users.command_users import CommandUsers, allocate_new, open_allocated, userless_clients

READ_S: Final = 10.0
"""How long reading and looking up may take: disks and directory services are asked."""
_STILL: Final = (
    "the process that has read them last still waits for a disk or a directory service; try again "
    "when that answers"
)


class FilesInForce:
    """The files of one penstockd with a server, from its start on.

    It is the own side of a reload (reload_exchange.py). ``quotas``: the file system holds jobs to
    their bounds, as project_quota.py found; ``lower`` is what rlimits.raise_own has said already.
    """

    def __init__(
        self,
        loop: Loop,
        config_path: str,
        config: Config,
        grants: StartCheck,
        parts: tuple[Dispatcher, Greeting, Hierarchy | None, Listeners],
        *,
        quotas: bool,
        lower: Sequence[str],
    ) -> None:
        self._loop = loop
        self._config_path = config_path
        self.config = config
        """With the running values of what needs a restart, whatever the file says by now."""
        self._of_server = config
        self._grants = grants
        self._requests, self._welcome, self._hierarchy, self._listeners = parts
        self._quotas = quotas
        self._lower = lower
        self._reading: ChildWork | None = None
        self._read_last: ChildWork | None = None
        self._waiting: list[SettingChange] = []
        """Settings of the latest reload that wait for another server, or for a restart."""

    @property
    def generation(self) -> str:
        """The hash of what is in force."""
        return self._grants.generation

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._grants.policy

    def named(self) -> tuple[str, Config]:
        """The path of the configuration, and what is in force."""
        return self._config_path, self.config

    def is_taken_up(self) -> None:
        """A server has taken up the latest reload, or has begun with its files."""
        self._welcome.reload = {}

    def server_begins(self) -> None:
        """A server begins with what is in force, also with what counts for a whole server."""
        self._of_server = self.config
        self._waiting = [each for each in self._waiting if each.when != "next server"]

    def status(self) -> tuple[dict[str, object], dict[str, bytes]]:
        """For the operator: what is in force, and the bytes of its files by their names."""
        told = self._welcome.files
        about: dict[str, object] = {
            "config": self._config_path,
            "generation": self.generation,
            "policy_hash": self.policy.hash,
            "cgroups": "none" if self._hierarchy is None else self._hierarchy.kind,
            "jobs": len(self._requests.jobs),
            "running": [job.describe() for job in self._requests.jobs.values()],
            "max_jobs": told.max_jobs,
            "settings": told.settings,
            "waiting": [str(each) for each in self._waiting],
        }
        return about, {"policy": told.policy, "configuration": told.configuration}

    def read(self, on_read: Callable[[NewFiles | Sequence[str] | NotRead], None]) -> None:
        """Reads every file, in a child: see OwnSide."""
        running, path, listeners = self.config, self._config_path, self._listeners
        reads_users = self._hierarchy is not None and self._grants.users.allocated is None
        policy = self.policy

        def done(work: WorkDone) -> None:
            self._reading = None
            if work.failure:
                on_read(NotRead(f"{path}: the files could not be read: {work.failure}"))
            else:
                on_read(files_read(work.data, work.descriptors, running))

        if self._read_last is not None and self._read_last.is_left:
            left = NotRead(f"{path}: the files could not be read: {_STILL}")
            self._loop.after(0, lambda: on_read(left))
            return
        self._reading = self._read_last = ChildWork(
            self._loop,
            lambda: read_files(
                *(path, running, policy, listeners),
                quotas=self._quotas,
                client_users=reads_users,
            ),
            READ_S,
            done,
        )

    def cancel(self) -> None:
        """Gives up reading, if that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def switch(self, files: NewFiles, number: int, asked_by: str) -> Switch:
        """Puts the files into force. Raises SwitchRefused; nothing has changed then."""
        assert isinstance(files, FilesRead)
        config, policy = files.effective, files.policy
        users = self._users_of(files)
        try:
            lower = rlimits.raise_own(policy.classes.values(), startup.needed_descriptors(config))
        except OSError as error:
            raise SwitchRefused([f"{error.filename}: {error.strerror}"]) from error
        self._change_totals(files)
        # Nothing that follows can fail.
        files.warnings += [text for text in lower if text not in self._lower]
        self._lower = lower
        max_jobs = startup.most_jobs(config)
        files.warnings += startup.fewer_jobs(max_jobs, config.max_jobs)
        files.warnings += allocate_new(users, policy)
        before = self._grants
        self._grants = StartCheck(
            policy=policy,
            generation=files.generation,
            programs=files.programs(),
            users=users,
            owners=files.on_host.owners,
        )
        self._listeners.take_up(config.listen, files.take_sockets())
        settings = setting_changes(self.config, self._of_server, files.config)
        if self._listeners.handed:  # a warning says that the key is not heeded
            settings = [each for each in settings if each.key != "listen"]
        self._waiting = [each for each in settings if each.when != "now"]
        changes = [
            *map(str, settings),
            *files.policy_changes,
            *other_programs(before.programs, self._grants.programs),
        ]
        before.programs.close()
        self.config = config
        self._requests.take_up(self._grants, max_jobs)
        self._welcome.files = FilesTold(
            *(policy.hash, files.policy_data, files.config_data),
            settings_text(config),
            max_jobs,
        )
        self._welcome.userless = userless_clients(users, policy)
        self._welcome.reload = {"asked_by": asked_by, "before": before.generation}
        return Switch(
            number=number,
            max_jobs=max_jobs,
            warnings=few_texts(self._welcome.warnings),
            userless=self._welcome.shown_userless(),
            changes=few_texts(changes),
        )

    def _users_of(self, files: FilesRead) -> CommandUsers:
        """The users of these files' commands. Clients keep the ids that they have."""
        found, allocated = files.on_host.users, self._grants.users.allocated
        if allocated is None:
            root, entries = self._hierarchy is not None, files.client_users
            allocated = open_allocated(files.policy, self.config, root=root, entries=entries)
        return CommandUsers(found.named, found.groups, allocated, files.accounts)

    def _change_totals(self, files: FilesRead) -> None:
        """A client that is gone keeps its totals as long as jobs of it run."""
        if self._hierarchy is None:
            return
        policy = files.policy
        names = {group_name(name): name for name in policy.clients}
        totals = {name: policy.clients[client].totals.limits for name, client in names.items()}
        try:
            self._hierarchy.change_totals(totals)
        except TotalRefused as error:
            where = dotted("clients", names[error.name], "limits")
            text = f"{where}: cannot be held now: {error}"
            found = located(files.config.policy, files.policy_data, [text])
            raise SwitchRefused(list(map(str, found))) from error
