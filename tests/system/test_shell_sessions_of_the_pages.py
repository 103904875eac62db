"""What docs/shell.md types is typed into the shell on a real server, and what it shows comes."""

import os
import signal

import pytest
import trio
from documents import ROOT, Block, blocks
from patience import patient
from penstock_shell import penstock_shell
from running import running_server
from shell_sessions import play

pytestmark = pytest.mark.system

SAMPLE = ROOT / "src" / "penstock" / "policies" / "sample-root.toml"
RESTART = "(the server is killed, and started again)"


@pytest.mark.root
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "block",
    [
        # That with the restart always, because it is what nothing else shows.
        pytest.param(each, marks=[pytest.mark.slow] * (RESTART not in each.text), id=str(each))
        for each in blocks("penstock")
    ],
)
async def test_a_session_happens_as_its_page_shows(block: Block) -> None:
    """Each block begins with a fresh server of the sample policy, and ends as its shell is left;
    the terminal is then as it was."""
    with running_server(SAMPLE.read_text()) as server:

        async def kill() -> None:
            os.kill(server.server_pid(), signal.SIGKILL)

        async with penstock_shell(server.environment("alice"), columns=150, rows=50) as shell:
            with trio.fail_after(patient(60)):
                assert await play(block, shell, {RESTART: kill}) == 0
            assert shell.attributes() == shell.before


def test_the_page_has_sessions() -> None:
    """In one of which the server is restarted."""
    found = blocks("penstock")
    assert {each.page.name for each in found} == {"shell.md"}
    assert len(found) >= 4
    assert sum(RESTART in each.text for each in found) == 1
