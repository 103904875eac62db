"""What a line that is wrong is told to be instead; help by name, and the version."""

import json

import pytest
from fake_service import FakeServer, fake_server

from penstock import __version__
from penstock.cli.ready_help import ready_help
from penstock.cli.usage_hints import HABITS
from penstock.cli.verbs import VERBS


async def told(server: FakeServer, *words: str, status: int = 2) -> str:
    """The last line of the error."""
    done = await server.run_cli(*words)
    assert (done.code, done.out) == (status, b""), done
    return done.err.decode().splitlines()[-1]


async def test_verbs_that_are_typed_wrongly() -> None:
    """By likeness, among aliases and in groups too; or as other programs call them."""
    async with fake_server() as server:
        for words, text in (
            (["strart", "ls"], "No such command 'strart'. (Did you mean one of: 'start',"),
            (["log", "1"], "Did you mean 'logs'?"),
            (["certs", "isue", "x"], "No such command 'isue'. Did you mean 'issue'?"),
            (["context", "lst"], "Did you mean"),
            (["help", "strart"], "No such command 'strart'. (Did you mean one of: 'start',"),
            (["help", "certs", "isue"], "Did you mean 'issue'?"),
            (["delete", "1"], "Here that is 'rm'."),
            (["exec", "ls"], "Here that is 'run'."),
            (["xyzzy"], "No such command 'xyzzy'."),
        ):
            assert text in await told(server, *words), words


def test_habits_are_of_verbs_that_are_there() -> None:
    """And none of them is one."""
    assert set(HABITS.values()) <= set(VERBS)
    assert not set(HABITS) & set(VERBS)


@pytest.mark.parametrize(("verb", "status"), [("start", 2), ("run", 125)])
async def test_an_unknown_option_in_front_of_a_command(verb: str, status: int) -> None:
    """Is a mistake, and no command that is not granted; what the job gets stands behind."""
    async with fake_server() as server:
        line = await told(server, verb, "--nonsense", "ls", status=status)
        assert "No such option '--nonsense'. What COMMAND takes stands behind it" in line
        assert "in front of a COMMAND that begins with a dash write --" in line
        assert "Did you mean" in await told(server, verb, "--tiemout", "1", "ls", status=status)
        assert server.service.starts == []
    async with fake_server() as server:
        for words in (["start", "--", "--odd", "-x"], ["start", "ls", "--nonsense", "--", "-x"]):
            assert (await server.run_cli(*words)).code == 0
        starts = [(each.command, list(each.argv)) for each in server.service.starts]
        assert starts == [("--odd", ["-x"]), ("ls", ["--nonsense", "--", "-x"])]


async def test_a_global_option_behind_a_verb() -> None:
    """What is like it is not meant, so it is not named."""
    async with fake_server() as server:
        for words, form in (
            (["list", "--no-agent"], "penstock --no-agent list"),
            (["start", "--addr", "x:1", "ls"], "penstock --addr HOST:PORT start"),
            (["context", "ls", "--ca=x"], "penstock --ca FILE context ls"),
        ):
            line = await told(server, *words)
            assert line.endswith(f"'. It stands in front of the verb: {form}"), line
            assert "Did you mean" not in line


async def test_the_mistake_as_json() -> None:
    """Before and behind the verb; nothing but the object is printed."""
    async with fake_server() as server:
        for words in (
            ["-o", "json", "start", "--nonsense", "ls"],
            ["start", "-o", "json", "--nonsense", "ls"],
            ["-ojson", "strart"],
            ["signal", "1", "-o", "json"],
        ):
            done = await server.run_cli(*words)
            assert (done.code, done.out) == (2, b"")
            error = json.loads(done.err)["error"]
            assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "USAGE")
            assert error["exit_status"] == 2


async def test_the_version_and_help_by_name() -> None:
    """The version asks no server; help is that of --help, from its page or made anew."""
    async with fake_server() as server:
        for words in (["--version"], ["-o", "text", "--version"]):
            done = await server.run_cli(*words)
            assert (done.code, done.out.decode()) == (0, f"penstock {__version__}\n")
        for words in ([], ["start"], ["ps"], ["certs", "issue"], ["help"]):
            help_of = (await server.run_cli(*words, "--help")).out
            assert help_of.startswith(b"Usage: penstock")
            assert (await server.run_cli("help", *words)).out == help_of
            assert ready_help(["help", *words]) == help_of.decode()
            narrow = {"COLUMNS": "60"}
            made = (await server.run_cli("help", *words, environment=narrow)).out
            assert made == (await server.run_cli(*words, "--help", environment=narrow)).out
            assert made != help_of
