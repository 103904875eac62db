"""docs/policy-cookbook.md as something that runs: its policy, cases, scripts and sessions."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "policy-cookbook.md"
IS_ROOT = os.geteuid() == 0
CLASSES = """
[classes.small]
cpu = "100%"
memory = "100MB"
processes = 64
needs = { all = "best_effort" }
[classes.medium]
memory = "1GB"
needs = { all = "best_effort" }
"""
# Accounts of the page; numbers without an entry in passwd, so that none of the machine is borrowed.
USERS = {
    name: 65541 + number
    for number, name in enumerate(("backup", "deploy", "dbdump", "orders", "restart-web"))
}
_LOG = "GET / 200\nGET /cart 200\nGET /pay 500\n"


@dataclass(frozen=True)
class Session:
    """A line that a client types, and what it is shown; ``stdin`` and ``kept`` are files."""

    client: str
    words: tuple[str, ...]
    shown: str
    stdin: str
    kept: bool


def of_page(language: str) -> list[Block]:
    return [block for block in blocks(language) if block.page == PAGE]


class Kitchen:
    """A directory that stands for /srv, /opt and others of the page."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._places = {
            "/var/log/app": str(directory / "log"),
            "/srv/": f"{directory}/srv/",
            "/opt/scripts": str(directory / "scripts"),
            "/etc/penstock/pgpass": str(directory / "pgpass"),
        }
        # Programs that need a service, by what stands in for them: echo prints its arguments.
        for path, other in (
            ("/usr/lib/postgresql/15/bin/pg_dump", "/bin/echo"),
            ("/usr/bin/systemctl", "/bin/true"),
        ):
            stand_in = directory / Path(path).name
            shutil.copy(other, stand_in)
            self._places[path] = str(stand_in)
        self._pattern = re.compile("|".join(map(re.escape, self._places)))

    def placed(self, text: str) -> str:
        """A text of the page, with the places of this run."""
        return self._pattern.sub(lambda match: self._places[match[0]], text)

    def policy(self) -> str:
        """All recipes as one policy, in the form that this process's rights admit."""
        text = self.placed("\n".join(block.text for block in of_page("toml")))
        if not IS_ROOT:
            return CLASSES + re.sub(r"^user = .*\n", "", text, flags=re.MULTILINE)
        for name, uid in USERS.items():
            text = text.replace(f'user = "{name}"', f'user = "{uid}"')
        return CLASSES + text

    def cases(self) -> str:
        return self.placed("\n".join(block.text for block in of_page("cases")))

    def sessions(self) -> Iterator[Session]:
        for block in of_page("console"):
            for line, shown in re.findall(
                r"^(\w+\$ .*\n)((?:(?!\w+\$ ).*\n)*)", block.text, re.MULTILINE
            ):
                client, _, typed = self.placed(line).partition("$ penstock run ")
                typed, kept, _ = typed.partition(" > ")
                typed, _, stdin = typed.partition(" < ")
                words = tuple(shlex.split(typed.replace("--stdin ", "")))
                yield Session(client, words, self.placed(shown), stdin.strip(), bool(kept))

    def fill(self) -> None:
        """The files that the sessions speak of."""
        for name in ("log", "srv/site", "srv/backup", "srv/app/releases/v1.12.0", "srv/orders"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "scripts").mkdir()
        (self.directory / "log/web.log").write_text(_LOG)
        (self.directory / "srv/site/index.html").write_text("<h1>Shop</h1>\n")
        (self.directory / "orders.csv").write_text("1\n2\n3\n")
        (self.directory / "pgpass").write_text("db.example.org:*:*:dump:open sesame\n")
        (self.directory / "pgpass").chmod(0o600)
        for block in (*of_page("sh"), *of_page("python")):
            match = re.search(r"^# (/opt/scripts/[\w.]+)", block.text, re.MULTILINE)
            assert match is not None
            Path(self.placed(match[1])).write_text(self.placed(block.text))
        self._commit()
        for path in (self.directory, *self.directory.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        if IS_ROOT:
            owners = {"srv/backup": "backup", "srv/app": "deploy", "srv/orders": "orders"}
            for name, user in owners.items():
                top = self.directory / name
                for path in (top, *top.rglob("*")):
                    os.chown(path, USERS[user], USERS[user])
            os.chown(self.directory / "pgpass", USERS["dbdump"], USERS["dbdump"])

    def _commit(self) -> None:
        source = self.directory / "srv/app/source"
        source.mkdir()
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1"}
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        for words in (
            ("init", "-q"),
            (*who, "commit", "-q", "--allow-empty", "-m", "First change"),
            (*who, "commit", "-q", "--allow-empty", "-m", "Second change"),
        ):
            subprocess.run(["git", "-C", str(source), *words], env=env, check=True)
