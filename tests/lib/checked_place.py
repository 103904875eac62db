"""A good configuration with a policy and certificates, whose files a test then spoils."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pki import Pki, make_pki
from ports import reserved_port
from this_run import group, job_uids, own_directory

IS_ROOT = os.geteuid() == 0
SERVER_UID = 65530

POLICY = """\
[classes.small]
memory = "100MB"
needs = { all = "best_effort" }

[commands.ls]
path = "/bin/ls"
class = "small"
arguments = [
    { optional = { enum = ["-l", "-a"] } },
    { path = { root = "@dir/data" } },
]

[commands.seq]
path = "/usr/bin/seq"
class = "small"
arguments = [{ int = { min = 1, max = 9 } }]

[clients.alice]
commands = ["ls", "seq"]

[clients.bob]
commands = ["seq"]
"""


@dataclass(frozen=True)
class Place:
    """Where the files are."""

    directory: Path
    pki: Pki

    @property
    def config(self) -> Path:
        return self.directory / "penstockd.toml"

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    def spoil(self, file: Path, old: str, new: str) -> int:
        """Replaces a text that stands there once; the line on which it stood, from 1 on."""
        text = file.read_text()
        assert text.count(old) == 1, (old, text)
        file.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    def set(self, key: str, value: str) -> None:
        """A key of the configuration, in the place of the one that is there, or as a new one."""
        text = self.config.read_text()
        line = f"{key} = {value}\n"
        text, count = re.subn(rf"^{key} = .*\n", lambda _: line, text, flags=re.MULTILINE)
        self.config.write_text(text if count else line + text)


@contextlib.contextmanager
def checked_place(policy: str = POLICY) -> Iterator[Place]:
    """Files that penstockd would start with, as the user of this process; nothing is made yet."""
    with own_directory("check") as directory, reserved_port() as port:
        (directory / "certs").mkdir(mode=0o755)
        pki = make_pki(directory / "certs")
        (directory / "data").mkdir(mode=0o755)
        root = ""
        if IS_ROOT:
            os.chown(pki.server.key, SERVER_UID, SERVER_UID)
            root = f'server_user = "{SERVER_UID}"\njob_uids = "{job_uids()}"\n'
        place = Place(directory, pki)
        place.policy.write_text(policy.replace("@dir", str(directory)))
        place.config.write_text(
            f'policy = "{place.policy}"\nlisten = "127.0.0.1:{port}"\n'
            f'state_dir = "{directory}/state"\nrun_dir = "{directory}/run"\n'
            f'work_root = "{directory}/work"\nsupervisor_dir = "{directory}/own"\n'
            f'cgroup_parent = "{group("check")}"\n{root}'
            f'[tls]\ncertificate = "{pki.server.certificate}"\nkey = "{pki.server.key}"\n'
            f'client_ca = "{pki.ca}"\n'
        )
        yield place
