"""penstock context, by the real binary: the file, and connections by it."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from fake_service import HANDLE, Done, FakeServer, FakeService, chunk, fake_server
from patience import patient
from pki import shared_pki
from ports import reserved_port

from penstock.pki.issue import issue, make_ca
from penstock.rpc.call_errors import RpcError, StatusCode

UNSET = {f"PENSTOCK_{name}": "" for name in ("ADDR", "CA", "CERT", "KEY")}


class User:
    """Who has a directory for settings, and no PENSTOCK_* in the environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "penstock" / "contexts.toml"
        self.environment = {"XDG_CONFIG_HOME": str(home), "HOME": str(home)}

    def penstock(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock.cli", *words],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environment, **more},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )

    def add(self, name: str, *words: str, addr: str = "a:1") -> subprocess.CompletedProcess[str]:
        """With alice's files."""
        return self.penstock("context", "add", name, *flags(addr), *words)

    async def on(self, server: FakeServer, *words: str, **more: str) -> Done:
        return await server.run_cli(*words, environment=UNSET | self.environment | more)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def flags(addr: str, client: str = "alice") -> list[str]:
    pki = shared_pki()
    pair = pki.clients[client]
    values = {"addr": addr, "ca": pki.ca, "cert": pair.certificate, "key": pair.key}
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_from_nothing_to_nothing(user: User) -> None:
    """The first one becomes the current one; what is written is what one would write."""
    empty = user.penstock("context", "ls").stdout
    assert empty.split() == ["NAME", "ADDRESS", "CERTIFICATE", "GROUPS"]
    done = user.add("prod", "--group", "web")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Context prod is a:1, the current one.\n"
    pki = shared_pki()
    alice = pki.clients["alice"]
    assert user.file.read_text() == (
        'current = "prod"\n\n[contexts.prod]\naddress = "a:1"\n'
        f'ca = "{pki.ca}"\ncertificate = "{alice.certificate}"\nkey = "{alice.key}"\n'
        '\n[groups]\nweb = ["prod"]\n'
    )
    assert stat.S_IMODE(user.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(user.file.parent.stat().st_mode) == 0o700
    assert user.add("lab", "--group", "web", addr="b:2").stdout == "Context lab is b:2.\n"
    lines = user.penstock("context", "ls").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["*", "prod", "a:1", str(alice.certificate), "web"],
        ["lab", "b:2", str(alice.certificate), "web"],
    ]
    assert user.penstock("context", "use", "lab").stdout == (
        "Context lab is b:2, the current one.\n"
    )
    done = user.penstock("context", "rm", "prod", "lab")
    assert done.stdout == "Removed context prod.\nRemoved context lab.\n"
    assert "No context is the current one now" in done.stderr
    assert user.file.read_text().split() == ["[groups]"]


def test_json_of_each(user: User) -> None:
    """One object a context; what is not set is left out."""
    made = user.penstock("-o", "json", "context", "add", "prod", *flags("a:1"), "--group", "web")
    alice = shared_pki().clients["alice"]
    prod = {
        "name": "prod",
        "address": "a:1",
        "ca": str(shared_pki().ca),
        "certificate": str(alice.certificate),
        "key": str(alice.key),
        "groups": ["web"],
        "current": True,
    }
    assert json.loads(made.stdout) == prod
    user.add("lab")
    assert json.loads(user.penstock("context", "use", "lab", "-o", "json").stdout)["current"]
    shown = [
        json.loads(line)
        for line in user.penstock("context", "ls", "-o", "json").stdout.splitlines()
    ]
    del prod["current"]
    assert shown[0] == prod
    assert [each["name"] for each in shown] == ["prod", "lab"]
    assert json.loads(user.penstock("context", "rm", "prod", "-o", "json").stdout) == prod
    assert user.penstock("context", "ls", "-q").stdout == "lab\n"


def test_add_takes_the_rest_from_the_environment_and_keeps_whole_paths(user: User) -> None:
    """But no passphrase; files that are not there are named."""
    for name in ("ca.crt", "a.crt", "a.key"):
        (user.home / name).touch(0o600)
    variables = {"PENSTOCK_ADDR": "e:1", "PENSTOCK_CA": "ca.crt", "PENSTOCK_KEY_PASSPHRASE": "x"}
    words = ("context", "add", "e", "--cert", "./a.crt")
    done = user.penstock(*words, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert "give --key (or PENSTOCK_KEY)" in done.stderr
    done = user.penstock(*words, **variables, PENSTOCK_KEY="b.key")
    assert done.returncode == 2
    assert f"{user.home}/b.key (PENSTOCK_KEY): No such file" in done.stderr
    assert not user.file.exists()
    assert user.penstock(*words, **variables, PENSTOCK_KEY="a.key").returncode == 0
    assert (
        f'certificate = "{user.home}/a.crt"\nkey = "{user.home}/a.key"\n' in user.file.read_text()
    )


def test_a_path_that_is_not_utf_8_is_refused(user: User) -> None:
    """TOML has no other text; with the place that it came from."""
    ca = os.fsencode(user.home / "ca.") + b"\xff"
    Path(os.fsdecode(ca)).touch(0o600)
    user.add("prod")
    before = user.file.read_bytes()
    alice = shared_pki().clients["alice"]
    words = ("--addr", "e:1", "--cert", str(alice.certificate), "--key", str(alice.key))
    done = user.penstock("context", "add", "e", *words, PENSTOCK_CA=os.fsdecode(ca))
    assert (done.returncode, done.stdout) == (2, "")
    assert "udcff' (PENSTOCK_CA) is not UTF-8, so that no TOML file can have it\n" in done.stderr
    assert done.stderr.count("\n") == 1
    assert user.file.read_bytes() == before


def test_a_name_like_a_template_is_a_name(user: User) -> None:
    """Of a context that is not there, and not of a group of some pattern."""
    user.add("prod")
    for name in (r"\1", r"\g<x>", "\\"):
        done = user.penstock("--context", name, "status", "1")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: --context: there is no context ")


def test_a_context_that_is_there_is_changed_on_demand(user: User) -> None:
    """What a hand has written stays."""
    user.add("prod")
    text = user.file.read_text()
    user.file.write_text("# mine\n" + text + '# why\ncolour = "red"\n')
    done = user.add("prod", addr="c:3")
    assert done.returncode == 6
    assert done.stderr == "Error: context prod is there already; --replace changes it\n"
    assert user.add("prod", "--replace", addr="c:3").returncode == 0
    after = user.file.read_text()
    assert after == "# mine\n" + text.replace("a:1", "c:3") + '# why\ncolour = "red"\n'
    done = user.penstock("context", "ls")
    assert done.returncode == 0
    assert "line 10, contexts.prod.colour is a key that this version does not know" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("use", "prdo"), 2, "there is no context 'prdo' in {file}: did you mean 'prod'?"),
        (("rm", "prod", "x"), 2, "there is no context 'x' in {file}"),
        (("add", "@x"), 2, "'@x' cannot be the name of a context"),
        (("add", "x", "--group", "a b"), 2, "'a b' cannot be the name of a group"),
        (("add", "x", "--addr", "a b"), 2, "'a b' is no address"),
        (("test", "x"), 2, "there is no context 'x'"),
    ],
)
def test_mistakes(user: User, words: tuple[str, ...], status: int, text: str) -> None:
    """One line, and the file is as it was."""
    user.add("prod")
    before = user.file.read_bytes()
    done = user.penstock("context", *words)
    assert done.returncode == status
    assert text.format(file=user.file) in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert user.file.read_bytes() == before


def test_names_in_groups_that_no_context_has(user: User) -> None:
    """ls lists all and fails; other verbs need no group."""
    user.add("prod")
    user.file.write_text(user.file.read_text() + '[groups]\nweb = ["prod", "prd"]\n')
    done = user.penstock("context", "ls")
    assert done.returncode == 2
    assert "prod" in done.stdout
    assert "line 9, groups.web: there is no context 'prd': did you mean 'prod'?" in done.stderr
    assert user.penstock("context", "use", "prod").returncode == 0


def test_a_link_stays_a_link(user: User) -> None:
    """As dotfiles' managers keep the file elsewhere."""
    real = user.home / "dotfiles.toml"
    real.write_text("# mine\n")
    user.file.parent.mkdir()
    user.file.symlink_to(real)
    user.add("prod")
    assert user.file.is_symlink()
    assert real.read_text().startswith('# mine\n\ncurrent = "prod"\n')
    names = {"dotfiles.toml", "dotfiles.toml.lock", "penstock"}
    assert {path.name for path in user.home.iterdir()} == names
    # So a writer by another name of the file has the same lock.
    assert [path.name for path in user.file.parent.iterdir()] == ["contexts.toml"]


async def test_changes_at_the_same_time_lose_nothing(user: User) -> None:
    """Of many shells; a reader sees each file whole."""
    names = [f"n{number}" for number in range(8)]
    seen = 0

    async def change(name: str) -> None:
        done = await trio.to_thread.run_sync(user.add, name, "--group", "all")
        assert done.returncode == 0, done.stderr

    async def look(stop: trio.Event) -> None:
        nonlocal seen
        while not stop.is_set():
            done = await trio.to_thread.run_sync(user.penstock, "context", "ls", "-q")
            assert (done.returncode, done.stderr) == (0, "")
            seen += 1

    async with trio.open_nursery() as readers:
        stop = trio.Event()
        readers.start_soon(look, stop)
        async with trio.open_nursery() as writers:
            for name in names:
                writers.start_soon(change, name)
        stop.set()
    assert seen
    assert sorted(user.penstock("context", "ls", "-q").stdout.split()) == names
    assert {path.name for path in user.file.parent.iterdir()} == {
        "contexts.toml",
        "contexts.toml.lock",
    }


async def test_verbs_use_the_current_context_and_a_named_one(user: User) -> None:
    """Flag, variable, current one; --context also behind the verb."""
    async with fake_server() as server:
        with reserved_port() as dead:
            user.add("dead", addr=f"127.0.0.1:{dead}")
            user.add("live", addr=f"127.0.0.1:{server.port}")
            quick = ("--connect-timeout", "0")
            assert (await user.on(server, *quick, "list")).code == 3
            for words in (
                ("--context", "live", "list"),
                ("list", "--context", "live"),
                ("start", "--context", "live", "ls", "--context", "x"),
            ):
                assert (await user.on(server, *words)).code == 0, words
            assert server.service.starts[0].argv == ["--context", "x"]
            assert (await user.on(server, "list", PENSTOCK_CONTEXT="live")).code == 0
            # A context that is named comes before the environment, and that before the current one.
            address = {"PENSTOCK_ADDR": f"127.0.0.1:{dead}"}
            assert (await user.on(server, "--context", "live", "list", **address)).code == 0
            address = {"PENSTOCK_ADDR": f"127.0.0.1:{server.port}"}
            assert (await user.on(server, "list", **address)).code == 0
            done = await user.on(server, "context", "use", "live", **address)
            assert b"PENSTOCK_ADDR in the environment comes before it" in done.err
            assert (await user.on(server, "list")).code == 0
            done = await user.on(server, "version")
            assert b"you are alice" in done.out


async def test_what_we_say_to_type_next_goes_to_the_same_server(user: User) -> None:
    """A job of that handle would be another one with the current context."""
    service = FakeService()
    service.messages = [chunk(b"x\n")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server:
        user.add("other", addr="127.0.0.1:1")
        user.add("live", addr=f"127.0.0.1:{server.port}")
        words = ("stream", "--context", "live", HANDLE)
        environment = UNSET | user.environment
        for form in ("text", "json"):
            async with server.cli("-o", form, *words, environment=environment) as cli:
                await cli.wait_for(b"x\n" if form == "text" else b"eAo=")
                cli.process.send_signal(signal.SIGTERM)
                await cli.process.wait()
            said = (await cli.done()).err.decode()
            assert f"go on with: penstock --context live stream {HANDLE} --offset 2" in said
            service.stream_read = trio.Event()


async def steps(user: User, server: FakeServer, *words: str, **more: str) -> tuple[Done, str]:
    """What ``context test`` has found: the steps, the last one with ! if it failed."""
    done = await user.on(server, "-o", "json", "context", "test", *words, **more)
    found = json.loads(done.out)["steps"]
    return done, " ".join(each["step"] + ("" if each["ok"] else "!") for each in found)


async def test_a_context_that_works(user: User) -> None:
    """Says each step, and who we are."""
    async with fake_server() as server:
        user.add("live", addr=f"localhost:{server.port}")
        done = await user.on(server, "context", "test")
        assert (done.code, done.err) == (0, b"")
        first, *lines = done.out.decode().splitlines()
        assert first == f"Testing context live: localhost:{server.port}"
        assert [line.split()[:2] for line in lines] == [
            [step, "ok"] for step in ("file", "name", "tcp", "tls", "client")
        ]
        assert "alice's, until" in lines[0]
        assert lines[-1].endswith("we are alice; the server is penstock 1")
        done, found = await steps(user, server, "live")
        assert found == "file name tcp tls client"
        answer = json.loads(done.out)
        assert (answer["context"], answer["client_id"]) == ("live", "alice")
        # Without contexts: what other verbs would use.
        done = await server.run_cli("context", "test")
        assert done.out.startswith(b"Testing what is set: 127.0.0.1:")


async def test_each_step_that_fails(user: User) -> None:
    """The first that does is named, with what to look at, and its exit status."""
    pki = shared_pki()
    make_ca(user.home)
    issue(user.home, "alice")
    async with fake_server() as server:
        with reserved_port() as dead:
            cases: list[tuple[dict[str, object], str, int, str]] = [
                ({"key": user.home / "alice.key"}, "file!", 2, "is not the key of"),
                ({"addr": "host.invalid:1"}, "file name!", 3, "host.invalid port 1"),
                ({"addr": f"127.0.0.1:{dead}"}, "file name tcp!", 3, "Connection refused"),
                ({"ca": user.home / "ca.crt"}, "file name tcp tls!", 3, "not of the CA in"),
                (
                    {"cert": user.home / "alice.crt", "key": user.home / "alice.key"},
                    "file name tcp tls client!",
                    3,
                    "it must be of a CA that it trusts",
                ),
            ]
            alice = pki.clients["alice"]
            good: dict[str, object] = {
                "addr": f"127.0.0.1:{server.port}",
                "ca": pki.ca,
                "cert": alice.certificate,
                "key": alice.key,
            }
            for changes, expected, code, text in cases:
                words = [
                    word
                    for name, value in (good | changes).items()
                    for word in (f"--{name}", str(value))
                ]
                assert user.penstock("context", "add", "x", "--replace", *words).returncode == 0
                done, found = await steps(user, server)
                assert (found, done.code) == (expected, code), done.err
                assert text in done.err.decode(), changes
                assert text in json.loads(done.out)["steps"][-1]["detail"]


async def test_a_client_that_the_policy_does_not_have(user: User) -> None:
    """The last step; one that may not ask is known nevertheless."""
    service = FakeService()
    service.info_error = RpcError(StatusCode.UNAUTHENTICATED, "no client of ours")
    async with fake_server(service) as server:
        user.add("live", addr=f"127.0.0.1:{server.port}")
        done, found = await steps(user, server)
        assert (found, done.code) == ("file name tcp tls client!", 5)
        assert b"no client of ours" in done.err
        service.info_error = RpcError(StatusCode.PERMISSION_DENIED, "it may not ask")
        done, found = await steps(user, server)
        assert (found, done.code) == ("file name tcp tls client", 0)
