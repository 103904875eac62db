"""What stands in front of COMMAND: passed on as it is, and a mistake there is one of usage."""

import asyncclick as click
import pytest
from fake_service import HANDLE, FakeService, fake_server, finished

from penstock.cli.times import seconds_of
from penstock.cli.verbs import VERBS


@pytest.mark.parametrize("verb", ["start", "run"])
async def test_time_environment_and_name_are_asked_for(verb: str) -> None:
    """KEY alone is our own value; what stands behind the command is the job's."""
    service = FakeService()
    service.messages = [finished()]
    async with fake_server(service) as server:
        options = ["--timeout", "1h30m", "--env", "A=x=y", "-e", "OWN", "--env", "EMPTY="]
        options += ["--name", "web-1", "--label", "team=db", "--label", "nightly"]
        done = await server.run_cli(
            verb, *options, "ls", "--env", "-d", "-q", environment={"OWN": "our own"}
        )
    assert done.code == 0, done.err
    (start,) = service.starts
    assert (start.command, list(start.argv)) == ("ls", ["--env", "-d", "-q"])
    assert start.timeout_s == 5400
    assert (start.name, dict(start.labels)) == ("web-1", {"team": "db", "nightly": ""})
    assert dict(start.env) == {"A": "x=y", "OWN": "our own", "EMPTY": ""}


async def test_quiet_is_the_handle_alone() -> None:
    """For pid=$(penstock start -q ...); an object with -o json as ever."""
    async with fake_server() as server:
        for words in (["start", "-q"], ["run", "-dq"]):
            done = await server.run_cli(*words, "ls")
            assert (done.code, done.out, done.err) == (0, f"{HANDLE}\n".encode(), b""), words
        done = await server.run_cli("start", "-q", "-o", "json", "ls")
        assert done.out.startswith(b'{"handle": "48213"')


@pytest.mark.parametrize("words", [["start", "-d"], ["run", "--detach"]])
async def test_detached_is_a_start(words: list[str]) -> None:
    """The same words, no stream, no stop; and it fails as a start does."""
    async with fake_server() as server:
        done = await server.run_cli(*words, "ls", "-la")
        assert (done.code, done.err) == (0, b"")
        assert done.out == f"Starting ls with -la...\nSuccess! PID: {HANDLE}\n".encode()
        done = await server.run_cli("-o", "json", *words, "ls", environment={"PENSTOCK_ADDR": "["})
        assert done.code == 2
    assert (server.service.streams, server.service.stops) == ([], [])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nonsense"], "No such option '--nonsense'"),
        (["--envv", "A=1"], "No such option '--envv'"),
        (["-x"], "No such option '-x'"),
        (["--timeout", "0"], "'0' is no duration"),
        (["--timeout", "-1"], "'-1' is no duration"),
        (["--timeout", "nan"], "'nan' is no duration"),
        (["--timeout", "5x"], "'5x' is no duration"),
        (["--env", "=x"], "has no key"),
        (["--env", "PENSTOCK_TEST_NOT_THERE"], "is not in our environment"),
        (["--env", "A=1", "-e", "A=1"], "'A' is given twice"),
        (["--label", "=x"], "has no key"),
        (["--label", "a", "--label", "a=1"], "'a' is given twice"),
    ],
)
async def test_a_mistake_in_front_of_the_command(words: list[str], text: str) -> None:
    """Usage, before the server is asked: as a command it would only be one that is not granted."""
    for verb in ("start", "run"):
        with pytest.raises(click.UsageError) as caught:
            await VERBS[verb].make_context(verb, [*words, "ls"])
        assert text in caught.value.format_message()


async def test_the_status_of_such_a_mistake() -> None:
    """As of every mistake of usage."""
    async with fake_server() as server:
        for verb, code in (("start", 2), ("run", 125)):
            done = await server.run_cli(verb, "--nonsense", "ls")
            assert (done.code, done.out) == (code, b"")
            assert b"No such option '--nonsense'" in done.err
        assert server.service.starts == []


async def test_bytes_of_our_environment_that_no_request_can_carry() -> None:
    """Shown, as in an argument."""
    async with fake_server() as server:
        process_environment = {"ODD": b"\xff".decode("utf-8", "surrogateescape")}
        done = await server.run_cli("start", "-e", "ODD", "ls", environment=process_environment)
    assert done.code == 2
    assert b"'\\xff' is not UTF-8" in done.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("2d", 172_800), ("1h1m1s", 3661)]
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, or the units of --since."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "m5", "1e3", "٣", "1h 5m", "9" * 5000])
def test_what_is_no_duration(text: str) -> None:
    """Nothing else, and the message is short."""
    with pytest.raises(ValueError, match=r"is no duration: write seconds") as caught:
        seconds_of(text)
    assert len(str(caught.value)) < 200
