"""A shell on a server of a test's, and how it has to end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fake_service import FakeServer, FakeService, chunk, fake_server, finished
from penstock_shell import ShellOnTerminal, penstock_shell

ENDED = 128
CTRL_C, CTRL_D, CTRL_U, UP, TAB = "\x03", "\x04", "\x15", "\x1b[A", "\t"


@asynccontextmanager
async def shell_of(
    service: FakeService | None = None, *arguments: str, **options: Any
) -> AsyncIterator[tuple[FakeServer, ShellOnTerminal]]:
    """A server, and a shell that is connected to it."""
    variables = options.pop("variables", {})
    async with (
        fake_server(service) as server,
        penstock_shell(server.environment() | variables, *arguments, **options) as shell,
    ):
        yield server, shell


async def left(shell: ShellOnTerminal, code: int) -> None:
    """It has ended so, and the terminal is as it was before."""
    assert await shell.end() == code, shell.shown
    assert shell.attributes() == shell.before
    for mode, undone in (("?2004h", "?2004l"), ("?25l", "?25h"), ("?1049h", "?1049l")):
        assert shell.raw.rfind(f"\x1b[{mode}") <= shell.raw.rfind(f"\x1b[{undone}"), mode


def a_stream(*, ends: bool) -> FakeService:
    """Of a job that has printed two lines, and has ended or goes on."""
    service = FakeService()
    service.messages = [chunk(b"one\ntwo\n")]
    if ends:
        service.messages.append(finished())
    else:
        service.stream_may_end = trio.Event()
    return service


async def encrypted_key(server: FakeServer, directory: Path) -> Path:
    """The client's key, whose passphrase is "secret"."""
    plain = await trio.Path(server.environment()["PENSTOCK_KEY"]).read_bytes()
    encrypted = load_pem_private_key(plain, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    key = directory / "alice.key"
    key.touch(0o600)
    key.write_bytes(encrypted)
    return key
