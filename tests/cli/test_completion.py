"""What completion offers where, what it imports, and what it does without a server."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import asyncclick as click
import pytest
import trio
from fake_service import FakeService, fake_server
from patience import patient
from pki import shared_pki

from penstock.cli.completing.candidates import SOURCES, Candidate, Offer, offer_at
from penstock.cli.completing.completion_cache import CompletionCache
from penstock.cli.completing.places import find_place
from penstock.cli.flags import Settings
from penstock.cli.root import root
from penstock.cli.verbs import ALIASES, VERBS
from penstock.pki.issue import issue, make_ca, renew
from penstock.proto import command_pb2 as pb

TELL = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
from penstock.cli import main
main()
"""

OF_CERTS = ["init", "issue", "renew", "revoke", "crl", "show", "trust"]


def values(*words: str) -> list[str]:
    """What is offered for the last of these words."""
    return [each.value for each in offer_at(find_place(root, words)).candidates]


def kind(*words: str) -> str:
    return offer_at(find_place(root, words)).kind


def test_verbs() -> None:
    """In the order of --help; another name of one only where it is begun."""
    assert values("") == [name for name in VERBS if name not in ALIASES]
    assert values("-o", "json", "sta") == ["start", "status"]
    assert values("ps") == ["ps"]
    assert values("certs", "") == OF_CERTS
    assert values("nonsense", "") == values("")


def test_options() -> None:
    """Those of the verb, without what is given already; none behind COMMAND or --."""
    assert {"--addr", "--ca", "--help"} - {*values("-")} <= {"--help"}
    assert values("stream", "7", "--no-t") == ["--no-timestamps"]
    assert values("stream", "--no-timestamps", "--no-t") == []
    assert values("certs", "issue", "--host", "a", "--hos") == ["--host"]  # may be repeated
    assert values("start", "ls", "--st") == []
    assert values("stop", "--", "--gr") == []


def test_values_of_options() -> None:
    """In a word of their own, or behind the option in one."""
    assert values("-o", "j") == ["json"]
    assert values("-oj") == ["-ojson"]
    assert values("list", "-ao", "") == ["text", "json"]
    assert values("completion", "") == ["bash", "zsh", "fish"]
    assert "TERM" in values("signal", "7", "")
    assert kind("--ca", "x") == kind("--ca=x") == kind("certs", "issue", "--passphrase-file", "")
    assert kind("--ca", "x") == "files"
    assert kind("certs", "init", "--dir=") == "directories"
    assert (kind("--addr", ""), values("--addr", "")) == ("values", [])


def test_names_that_a_ca_has_issued_for(tmp_path: Path) -> None:
    """To renew or to revoke; of a new one there is nothing to offer, and of a damaged index."""
    make_ca(tmp_path)
    issue(tmp_path, "alice")
    issue(tmp_path, "alan", hours=1, server_names=["localhost"])
    renew(tmp_path, "alice")
    where = ("--dir", str(tmp_path))
    assert values("certs", "revoke", *where, "al") == ["alice", "alan"]
    assert values("certs", "renew", *where, "") == ["alice", "alan"]
    assert values("certs", "issue", *where, "") == values("certs", "renew", "") == []
    (tmp_path / "index.jsonl").write_text("[1]\n{")
    assert values("certs", "renew", *where, "") == []


def test_verbs_behind_help() -> None:
    """Those of a group behind its name."""
    assert values("help", "sta") == ["start", "status"]
    assert values("help", "certs", "") == [
        "init",
        "issue",
        "renew",
        "revoke",
        "crl",
        "show",
        "trust",
    ]
    assert values("help", "list", "") == []


def test_contexts_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one that is there can stand; none of a file that is wrong."""
    file = tmp_path / "penstock" / "contexts.toml"
    file.parent.mkdir()
    file.write_text("[contexts.lab]\n[contexts.prod]\n[groups]\nweb = ['lab']\n")
    file.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for words in (["--context"], ["list", "--context"], ["context", "use"], ["context", "rm"]):
        assert values(*words, "") == ["lab", "prod"], words
    assert values("context", "test", "p") == ["prod"]
    assert values("context", "add", "x", "--group", "") == ["web"]
    assert values("context", "add", "") == values("certs", "issue", "") == []
    file.write_text("[contexts")
    assert values("--context", "") == []


def parameters(group: click.Group) -> list[tuple[str, click.Parameter]]:
    found = [(group.name, each) for each in group.params]
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            found += parameters(verb)
        found += [(name, each) for each in verb.params]
    return found


def test_where_each_value_comes_from_is_said() -> None:
    """So that one of a new verb is not forgotten."""
    for verb, each in parameters(root):
        flag = isinstance(each, click.Option) and (each.is_flag or each.count)
        if not flag and not isinstance(each.type, click.Choice):
            assert (each.name or "").removeprefix("own_") in SOURCES, (verb, each.name)


def complete(
    *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As fish asks. Its standard error ends with every module that was imported."""
    return subprocess.run(
        [sys.executable, "-c", TELL, "__complete", "fish", "penstock", *words],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def offered(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return [text.partition("\t")[0] for text in done.stdout.split("\0")[1:-1]]


def configured(tmp_path: Path, port: int, **changed: str) -> dict[str, str]:
    pair = shared_pki().clients["alice"]
    return {
        "PENSTOCK_ADDR": f"127.0.0.1:{port}",
        "PENSTOCK_CA": str(shared_pki().ca),
        "PENSTOCK_CERT": str(pair.certificate),
        "PENSTOCK_KEY": str(pair.key),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **changed,
    }


@pytest.mark.parametrize("words", [["st"], ["stream", "--"], ["-o", ""], ["--ca", ""]])
def test_what_needs_no_server_imports_nothing_heavy(words: list[str]) -> None:
    """A key press costs as little as Python and the declarations."""
    done = complete(*words)
    assert done.returncode == 0
    modules = {*done.stderr.splitlines()[-1].split()}
    heavy = ("trio", "google", "cryptography", "penstock.client", "penstock.rpc", "penstock.pki")
    assert not {name for name in modules if name.startswith(heavy)}


async def test_jobs_are_asked_for_once_in_some_seconds(tmp_path: Path) -> None:
    """From a file that the user alone can read; another certificate has its own."""
    service = FakeService()
    service.jobs = [
        pb.Job(handle="48213", command="logs", state=pb.JOB_STATE_RUNNING),
        pb.Job(handle="48000", command="logs", state=pb.JOB_STATE_FINISHED),
    ]
    async with fake_server(service) as server:
        environment = configured(tmp_path, server.port)

        async def asked(*words: str, **changed: str) -> list[str]:
            found = await trio.to_thread.run_sync(
                lambda: complete(*words, environment=environment | changed)
            )
            return offered(found)

        assert await asked("stop", "") == ["48213"]
        assert await asked("kill", "") == await asked("attach", "") == ["48213"]
        assert await asked("status", "") == ["48213", "48000"]
        assert await asked("rm", "") == ["48000"]
        assert await asked("rm", "48000", "") == []
        assert await asked("wait", "482") == ["48213"]
        service.jobs = []
        assert await asked("status", "") == ["48213", "48000"]
        bob = str(shared_pki().clients["bob"].certificate)
        key = str(shared_pki().clients["bob"].key)
        assert await asked("status", "", PENSTOCK_CERT=bob, PENSTOCK_KEY=key) == []
    (directory,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_names_commands_and_their_arguments(tmp_path: Path) -> None:
    """What is granted, slot after slot; a server that does not tell is asked again later."""
    service = FakeService()
    service.jobs = [
        pb.Job(handle="48213", name="nightly", command="logs", state=pb.JOB_STATE_RUNNING)
    ]
    number = pb.ArgumentSlot(kind="int", min=0, max=1000)
    count = [pb.ArgumentSlot(kind="literal", text="-n"), number]
    files = pb.ArgumentSlot(kind="enum", choices=["app.log", "web.log"])
    service.who_am_i.commands.add(
        name="logs",
        program="/usr/bin/tail",
        usage=["logs [-n INT] (app.log|web.log)"],
        slots=[pb.ArgumentSlot(kind="optional", slots=count), files],
    )
    service.who_am_i.commands.add(name="date", program="/bin/date")
    async with fake_server(service) as server:
        environment = configured(tmp_path, server.port)

        async def asked(*words: str) -> list[str]:
            return offered(
                await trio.to_thread.run_sync(lambda: complete(*words, environment=environment))
            )

        assert await asked("status", "") == ["nightly", "48213"]
        assert await asked("stop", "ni") == ["nightly"]
        assert await asked("run", "") == ["logs", "date"]
        assert await asked("run", "--raw", "logs", "") == ["-n", "app.log", "web.log"]
        assert await asked("start", "logs", "-n", "") == []
        assert await asked("start", "logs", "-n", "20", "a") == ["app.log"]
        assert await asked("start", "logs", "app.log", "") == []
        assert await asked("start", "date", "") == []
        assert await asked("start", "unknown", "") == []


def test_a_server_that_is_not_there_is_silence(tmp_path: Path) -> None:
    """And is not asked again at once."""
    environment = configured(tmp_path, 1)
    assert offered(complete("status", "", environment=environment)) == []
    modules = complete("status", "", environment=environment).stderr.split()
    assert "penstock.client.client" not in modules


async def test_a_server_that_does_not_answer_is_left_after_a_second(tmp_path: Path) -> None:
    """Measured from outside, the start of Python included."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    environment = configured(tmp_path, port)
    begin = time.monotonic()
    done = await trio.to_thread.run_sync(lambda: complete("status", "", environment=environment))
    assert offered(done) == []
    assert 1 <= time.monotonic() - begin < patient(3)
    await listeners[0].aclose()


def test_nothing_is_asked_of_the_user_nor_read_that_blocks(tmp_path: Path) -> None:
    """A key with a passphrase, a pipe as a passphrase's file, no certificate: no candidate."""
    encrypted = tmp_path / "alice.key"
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    encrypted.chmod(0o600)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for changed in (
        {"PENSTOCK_KEY": str(encrypted)},
        {"PENSTOCK_KEY_PASSPHRASE_FILE": str(pipe)},
        {"PENSTOCK_CERT": str(tmp_path / "none")},
        {"PENSTOCK_CERT": str(pipe)},
        {"PENSTOCK_CERT": "/dev/zero"},
        {"PENSTOCK_ADDR": "no address/"},
    ):
        environment = configured(tmp_path, 1, **changed)
        assert offered(complete("status", "", environment=environment)) == []


def test_a_cached_answer_has_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the clock was set back, and of a file that others could write nothing is taken."""
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    cache = CompletionCache(Settings(), environment)
    cache.write("jobs", [1])
    cache.write("other", 2)
    assert (cache.read("jobs"), cache.read("other")) == ([1], 2)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6)
    assert cache.read("jobs") is None
    monkeypatch.setattr(time, "time", lambda: now - 60)
    assert cache.read("jobs") is None
    monkeypatch.setattr(time, "time", lambda: now)
    (path,) = (tmp_path / "penstock").iterdir()
    path.chmod(0o602)
    assert cache.read("jobs") is None
    path.chmod(0o600)
    for text in ("{", "[]", json.dumps({"jobs": 1}), json.dumps({"jobs": ["x", 1]})):
        path.write_text(text)
        assert cache.read("jobs") is None
    path.unlink()
    path.symlink_to(tmp_path)
    assert cache.read("jobs") is None


def test_of_a_certificate_only_a_file_s_beginning_is_read(tmp_path: Path) -> None:
    """Whatever stands there by mistake; that tells certificates apart all the same."""
    file = tmp_path / "file"
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for text in (b"one", b"another"):
        file.write_bytes(text)
        os.truncate(file, 1024**4)  # behind the text of holes alone
        cache = CompletionCache(Settings(certificate=str(file)), environment)
        assert cache.read("jobs") is None
        cache.write("jobs", text.decode())
        assert cache.read("jobs") == text.decode()


def test_no_word_with_a_nul_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would part two for the shell, so that the next one is taken for what shows it."""
    monkeypatch.setitem(SOURCES, "command", lambda place: Offer(candidates=HELD))
    assert values("start", "") == ["a"]


HELD = [Candidate("a\0b"), Candidate("a")]


def test_without_a_place_to_write_there_is_no_cache(tmp_path: Path) -> None:
    """Relative names count for nothing, as the specification of these directories has it."""
    (tmp_path / "penstock").touch()
    cache = CompletionCache(Settings(), {"XDG_CACHE_HOME": str(tmp_path)})
    cache.write("jobs", [1])
    assert cache.read("jobs") is None
    home = CompletionCache(Settings(), {"XDG_CACHE_HOME": "x", "HOME": str(tmp_path / "home")})
    home.write("jobs", [1])
    assert len(list((tmp_path / "home" / ".cache" / "penstock").iterdir())) == 1


@pytest.mark.parametrize("arguments", [[], ["bash"], ["tcsh", "x"], ["zsh"], ["fish"]])
def test_other_shells_are_a_mistake(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "__complete", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        timeout=patient(30),
    )
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("line", "replaced", "lines"),
    [
        ("penstock stat", "stat", ["status"]),
        ("penstock -o 'j", "j", ["json"]),
        ("penstock certs issue --dir=", "", []),
        ("penstock completion ''f", "''f", ["fish"]),
        # What readline replaces is not what we see: it has another quote in mind.
        ("penstock completion ", "$(penstock completion ", []),
    ],
)
def test_bash_gets_what_replaces_its_part_of_the_word(
    line: str, replaced: str, lines: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "__complete", "bash", line, replaced],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=patient(30),
    )
    assert done.stdout.splitlines()[1:] == lines
