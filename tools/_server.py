"""A penstockd for a first look: a directory with certificates, policy and configuration."""

import contextlib
import ctypes
import json
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from _env import SERVER_UID, Environment, clean_environ, is_root, job_uids, run_as_server_user
from _test_run import current_run

CLIENTS = ("alice", "bob", "carol")
_START_TIMEOUT_S = 120.0
# The server's drain and the supervisor's own bounds are below this.
_END_TIMEOUT_S = 120.0
_PR_SET_PDEATHSIG = 1
_ASK_TIMEOUT_S = 120.0
# In a directory that tools/demo --serve has made its own.
_MARKER = ".penstock-demo"
# What the classes of the sample for root say.
# What the sample for root requires of the host, in each of its classes.
_NEEDS = re.compile(r"^needs = \{ disk = .*\}$", re.MULTILINE)
# What both samples grant to tail.
_LOGS = '{ path = { root = "/var/log" } }'


class Unexpected(Exception):
    """Something did not go as it must; the text says what."""


@dataclass(frozen=True)
class Place:
    """The directory of a server and what is in it."""

    directory: Path
    port: int

    @property
    def certificates(self) -> Path:
        return self.directory / "certs"

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    @property
    def config(self) -> Path:
        return self.directory / "penstockd.toml"

    @property
    def settings(self) -> Path:
        return self.directory / "penstock.env"

    def environ(self, client: str) -> dict[str, str]:
        """What the CLI needs to be this client."""
        return {
            "PENSTOCK_ADDR": f"127.0.0.1:{self.port}",
            "PENSTOCK_CA": str(self.certificates / "ca.crt"),
            "PENSTOCK_CERT": str(self.certificates / f"{client}.crt"),
            "PENSTOCK_KEY": str(self.certificates / f"{client}.key"),
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_free(port: int) -> None:
    """Raises Unexpected if somebody else listens there, who would be taken for the server."""
    with socket.socket() as probe:
        # As the server does: connections of before that linger are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unexpected(
                f"port {port} of 127.0.0.1 cannot be had: {error.strerror}; name another: --port"
            ) from None


def take_directory(directory: Path) -> None:
    """Makes a directory, or takes an empty one or one that was served before.

    Anybody else's is left as it is: Raises Unexpected.
    """
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o755)  # the server's user comes through
    elif not directory.is_dir():
        raise Unexpected(f"{directory} is no directory; name one, or a new one")
    elif any(directory.iterdir()) and not (directory / _MARKER).exists():
        raise Unexpected(
            f"{directory} holds files that are not this program's; name a new or empty directory"
        )
    (directory / _MARKER).touch()


def check_reachable(directory: Path) -> None:
    """Raises Unexpected if the server's user cannot come this far, as below a home directory."""
    if run_as_server_user(["/bin/sh", "-c", 'cd "$0"', str(directory)]).returncode != 0:
        raise Unexpected(
            f"{directory} cannot be entered by the server's user {SERVER_UID}; "
            "choose one outside of home directories, such as /var/tmp/penstock-demo"
        )


def certificate_commands(place: Place) -> list[list[str]]:
    """What makes the CA and every certificate that is not there yet, typed in the directory."""
    folder = ["--dir", place.certificates.name]
    commands = []
    if not (place.certificates / "ca.crt").exists():
        commands.append(["certs", "init", *folder])
    if not (place.certificates / "server.crt").exists():
        names = ["--host", "127.0.0.1", "--host", "localhost"]
        commands.append(["certs", "issue", "server", *names, *folder])
    for client in CLIENTS:
        if not (place.certificates / f"{client}.crt").exists():
            commands.append(["certs", "issue", client, *folder])
    return commands


def write_files(place: Place, environment: Environment) -> None:
    """Configuration, sample policy, settings and the server's folders; certificates are there."""
    if not place.policy.exists():  # else it may have been edited
        form = "sample-root.toml" if is_root() else "sample-user.toml"
        sample = (_package(environment) / "policies" / form).read_text()
        place.policy.write_text(sample.replace(_LOGS, root_slot(Path("/var/log"))))
    place.config.write_text(_config_text(place))
    programs = place.directory / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("penstock", "penstockd"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(environment.script(name))
    place.settings.write_text(_settings_text(place, programs))
    state, work = place.directory / "state", place.directory / "work"
    state.mkdir(mode=0o700, exist_ok=True)
    work.mkdir(mode=0o711, exist_ok=True)
    if is_root():
        os.chown(state, SERVER_UID, SERVER_UID)
        # Private keys are refused where others can read them: the server's belongs to its user.
        os.chown(place.certificates / "server.key", SERVER_UID, SERVER_UID)


def root_slot(root: Path) -> str:
    """The slot of a policy for paths below a directory, naming the users that may write it, as
    penstockd requires: such as syslog, whose group may write Ubuntu's /var/log."""
    status = root.stat()
    groups = {status.st_gid} if status.st_mode & stat.S_IWGRP else set()
    owners = {
        user.pw_name
        for user in pwd.getpwall()
        if user.pw_uid == status.st_uid or user.pw_gid in groups - {0}
        if user.pw_uid not in (0, os.geteuid())
    }
    named = f", owners = {json.dumps(sorted(owners))}" if owners else ""
    return f'{{ path = {{ root = "{root}"{named} }} }}'


def _package(environment: Environment) -> Path:
    code = "import penstock, os; print(os.path.dirname(penstock.__file__))"
    done = subprocess.run(
        [environment.python, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def _config_text(place: Place) -> str:
    directory = place.directory
    settings = {
        "listen": f"127.0.0.1:{place.port}",
        "policy": str(place.policy),
        "state_dir": str(directory / "state"),
        "run_dir": str(directory / "run"),
        "work_root": str(directory / "work"),
        "cgroup_parent": f"/{group_name()}",
        "orphan_timeout_s": 10,
        "drain_s": 2,
        **(
            {"server_user": str(SERVER_UID), "job_uids": job_uids(os.getpid())} if is_root() else {}
        ),
    }
    tls = {
        "certificate": str(place.certificates / "server.crt"),
        "key": str(place.certificates / "server.key"),
        "client_ca": str(place.certificates / "ca.crt"),
    }
    # A JSON string or number is a TOML one too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    lines += ["", "[tls]", *(f"{key} = {json.dumps(value)}" for key, value in tls.items())]
    return "\n".join(lines) + "\n"


def _settings_text(place: Place, programs: Path) -> str:
    lines = [
        "# Makes `penstock` speak to this server as alice:  . " + str(place.settings),
        "# For another client, set PENSTOCK_CERT and PENSTOCK_KEY to the files of bob or carol.",
        *(f"export {name}='{value}'" for name, value in place.environ("alice").items()),
        f"export PATH='{programs}':\"$PATH\"",
    ]
    return "\n".join(lines) + "\n"


def requires_limits(place: Place) -> bool:
    """Is the policy the sample for root, as it comes?"""
    return _NEEDS.search(place.policy.read_text()) is not None


def make_best_effort(place: Place) -> None:
    """The sample policy with every limit tried instead of required."""
    text = place.policy.read_text()
    place.policy.write_text(_NEEDS.sub('needs = { all = "best_effort" }', text))


@contextlib.contextmanager
def running(
    place: Place, environment: Environment, log: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """A penstockd that listens; at the end it is told to end, and waited for.

    ``log``: where its lines go, None for our standard error. Raises Unexpected.
    """
    check_free(place.port)
    process = subprocess.Popen(
        [environment.script("penstockd"), "--config", place.config.name],
        cwd=place.directory,
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        stderr=log,
        process_group=0,  # ^C is for this program, which then ends the server in order
        preexec_fn=end_with_parent,  # noqa: PLW1509  this program has one thread
    )
    try:
        _wait_listening(place, process)
        _check_answers(place, environment)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Unexpected(f"penstockd did not end within {_END_TIMEOUT_S:g} s") from None
    if status != 0:
        raise Unexpected(f"penstockd ended with exit status {status}")


def end_with_parent() -> None:
    """Should this program be killed, what it starts ends too (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_listening(place: Place, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unexpected(f"penstockd ended with exit status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", place.port), 1):
            return
        time.sleep(0.05)  # before the port exists there is no event to wait for
    raise Unexpected(f"penstockd does not listen after {_START_TIMEOUT_S:g} s")


def _check_answers(place: Place, environment: Environment) -> None:
    """It is our server that listens, with our certificates. Raises Unexpected."""
    done = subprocess.run(
        # Its port takes connections before it has a server.
        [environment.script("penstock"), "version", "--connect-timeout", f"{_ASK_TIMEOUT_S:g}"],
        env={**clean_environ(), **place.environ(CLIENTS[0])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_ASK_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Unexpected(f"penstockd does not answer {CLIENTS[0]}: {done.stderr.strip()}")


def group_name() -> str:
    """The parent group of this program's server, with the name of the run of tests it is in."""
    run = current_run()
    return f"{run.prefix if run else 'penstock-'}demo-{os.getpid()}"


def left_groups() -> list[str]:
    """Groups of this program's server that are still there, in any hierarchy."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup"):
            group = Path(fields.split()[4]) / group_name()
            found += [str(group)] if group.exists() else []
    return found
