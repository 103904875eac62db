"""Completion tried in real bash, zsh and fish, on a pseudo-terminal."""

from pathlib import Path

import pytest
from fake_service import FakeService, fake_server
from shells import SHELLS, need, shell_on_terminal

from penstock.proto import command_pb2 as pb

JOBS = [
    pb.Job(
        handle="48213", command="logs", argv=["/bin/tail", "-n", "20"], state=pb.JOB_STATE_RUNNING
    ),
    pb.Job(
        handle="70001",
        name="nightly",
        command="idle",
        argv=["/bin/sleep"],
        state=pb.JOB_STATE_RUNNING,
    ),
]


# Most of a test's time is its shell's start and Python's, once each Tab.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in SHELLS[1:]]


@pytest.fixture(params=[SHELLS[0], *SLOW])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


async def test_verbs_options_and_choices(shell: str, tmp_path: Path) -> None:
    """Without a server. What is unique is inserted whole, with a blank behind it."""
    async with shell_on_terminal(shell, tmp_path, {"LANG": "C.UTF-8"}) as typed:
        assert await typed.arguments("penstock vers\t-o js\t") == ["version", "-o", "json"]
        assert await typed.arguments("penstock str\t--no-f\t7") == ["stream", "--no-follow", "7"]
        assert await typed.arguments("penstock certs is\t--hos\tx alice") == [
            *("certs", "issue", "--host", "x", "alice")
        ]
        # Behind COMMAND everything is the job's.
        assert await typed.arguments("penstock start ls --std\t") == ["start", "ls", "--std"]


async def test_files_are_the_shells_own(shell: str, tmp_path: Path) -> None:
    """With its quoting, in a directory too."""
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "ca.crt").touch()
    async with shell_on_terminal(shell, tmp_path, {"LANG": "C.UTF-8"}) as typed:
        assert await typed.arguments("penstock --ca a\tc\tversion") == [
            *("--ca", "a b/ca.crt", "version")
        ]
        assert await typed.arguments("penstock --ca='a b'/c\tversion") == [
            *("--ca=a b/ca.crt", "version")
        ]
        *_, directory = await typed.arguments("penstock certs init --dir a\t")
        assert directory.rstrip("/") == "a b"  # zsh takes back the slash that ends a line


# Blanks, what cuts words in bash, what every shell obeys, and what a terminal would.
HARD = [
    "a b",
    "x:y=z",
    "it's",
    'say "hi"',
    "$HOME;ls",
    "~tilde",
    "#no",
    "new\nline",
    "\x1b[31m",
    "*",
]


async def test_values_that_must_be_quoted(shell: str, tmp_path: Path) -> None:
    """Each reaches the program as it is, typed from nothing, half-way, and inside of quotes."""
    service = FakeService()
    slot = pb.ArgumentSlot(kind="enum", choices=HARD)
    repeat = pb.ArgumentSlot(kind="repeat", min=1, max=9, slots=[slot])
    service.who_am_i.commands.add(name="speak", slots=[repeat])
    async with (
        fake_server(service) as server,
        shell_on_terminal(shell, tmp_path, server.environment()) as typed,
    ):
        begun = "penstock start sp\t"
        assert await typed.arguments(f"{begun}a\tx\tn\t") == [
            *("start", "speak", "a b", "x:y=z", "new\nline")
        ]
        assert await typed.arguments(f"{begun}x:y\ti\ts\t\\$\t") == [
            *("start", "speak", "x:y=z", "it's", 'say "hi"', "$HOME;ls")
        ]
        assert await typed.arguments(f"{begun}'a\t\\~\t\\#\t\\*\t") == [
            *("start", "speak", "a b", "~tilde", "#no", "*")
        ]
        assert await typed.arguments(f"{begun}'a b' \"it\t") == ["start", "speak", "a b", "it's"]
        shown = await typed.offered("penstock start speak ", "tilde", "line")
        assert "\x1b[31m" not in shown.replace("\x1b[31m\x1b", "")


# Each would make a file named "hit", or become something else, where it is not quoted as the place
# wants it. Some begin or end with a quote, because that is where readline has its own mind. None
# ends with what separates commands, because behind it, quoted or not, bash completes commands.
PAYLOADS = [
    "$(touch hit)",
    ";touch hit;x",
    "&touch hit&x",
    "|touch hit",
    ">hit",
    "(touch hit)",
    "'",
    "''",
    '"',
    '""',
    "';touch hit;'",
    '";touch hit;"',
    "\\",
    "v\\",
    "\\';touch hit;#",
    '\\";touch hit;#',
    "#",
    "v~",
    "x=~:~",
    "?[a]{b,c}",
    "$HOME",
    "=ls",
    "^a^b",
]
# Each on a line of its own, because behind a backtick bash asks for no completion, and penstock
# reads "\!" of zsh as bash would.
ALONE = ["`touch hit`", "'`touch hit`\"`touch hit`!!", "!!", "v!! !x", "v!", "'!!'", "it's !\""]
HIDDEN = [
    "\n$(touch hit)\n",
    "v\n`touch hit`",
    "\n;touch hit;",
    "'\ntouch hit\n'",
    '"\ntouch hit\n"!!',
    "\rtouch hit\r",
    "\x1b[31m\x03\x7f",
]


@pytest.mark.parametrize(
    "quote",
    [
        "",
        pytest.param("'", marks=pytest.mark.slow),
        pytest.param('"', marks=pytest.mark.slow),
        pytest.param("$'", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("begun", ["", pytest.param("v", marks=pytest.mark.slow)])
async def test_no_value_of_a_server_runs_a_command(
    shell: str, begun: str, quote: str, tmp_path: Path
) -> None:
    """Each reaches the program as it is from any quote that is open, or is not offered there."""
    if shell == "fish" and quote == "$'":
        quote = "" if begun else "\\"  # there is no such quote there, and \v is a control character
    payloads = [begun + payload for payload in [*PAYLOADS, "~", "~root"]]
    if shell == "fish" and not begun and quote in ("", "\\"):
        # It would be a home directory, because fish does not quote it.
        payloads = payloads[:-2]
    hidden = [begun + payload for payload in HIDDEN]
    alone = [begun + payload for payload in ALONE]
    service = FakeService()
    service.who_am_i.commands.add(
        name="speak", slots=[pb.ArgumentSlot(kind="enum", choices=[text]) for text in payloads]
    )
    for number, text in enumerate(hidden):
        slot = pb.ArgumentSlot(kind="enum", choices=[text])
        service.who_am_i.commands.add(name=f"hide{number}", slots=[slot])
    for number, text in enumerate(alone):
        slot = pb.ArgumentSlot(kind="enum", choices=[text])
        service.who_am_i.commands.add(name=f"alone{number}", slots=[slot])
    home = pb.ArgumentSlot(kind="enum", choices=["~"])
    service.who_am_i.commands.add(name="home", slots=[home])
    async with (
        fake_server(service) as server,
        shell_on_terminal(shell, tmp_path, {**server.environment(), "LANG": "C.UTF-8"}) as typed,
    ):
        tabs = f"{quote}{begun}\t" * len(payloads)
        found = await typed.arguments(f"penstock start speak {tabs}")
        assert found[2:] == payloads
        for number, text in enumerate(alone):
            found = await typed.arguments(f"penstock start alone{number} {quote}{begun}\t")
            assert found[2:] == [text]
        for number, text in enumerate(hidden):
            line = f"penstock start hide{number} {quote}{begun}\t"
            if shell == "bash" and quote in ("'", '"'):
                assert (await typed.arguments(f"{line}{quote}"))[2:] == [begun]
            else:
                assert (await typed.arguments(line))[2:] == [text]
        if shell == "fish":
            assert await typed.arguments("penstock start home \t") == ["start", "home"]
        # What a line does behind its program is done before the next one is read.
        assert await typed.arguments("penstock version") == ["version"]
        assert not (tmp_path / "hit").exists()


async def test_handles_of_the_server(shell: str, tmp_path: Path) -> None:
    """Only those that still run, for a verb that needs one."""
    service = FakeService()
    service.jobs = JOBS
    async with (
        fake_server(service) as server,
        shell_on_terminal(shell, tmp_path, server.environment()) as typed,
    ):
        assert await typed.arguments("penstock stop 4\t--no-w\t") == ["stop", "48213", "--no-wait"]
        assert await typed.arguments("penstock stop ni\t") == ["stop", "nightly"]
        await typed.offered("penstock status ", "48213", "70001")
