"""What README and docs/cli.md type is typed on a real server, and what they show comes."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from dialogue import make_programs, play
from documents import ROOT, Block, blocks
from patience import patient
from ports import reserved_port
from running import CLIENTS, IS_ROOT, SERVER_UID, running_server
from this_run import own_directory

pytestmark = pytest.mark.system

SAMPLE = ROOT / "src" / "penstock" / "policies" / "sample-root.toml"
SECTION = "## Your first own job"


@pytest.mark.root
@pytest.mark.parametrize(
    "block",
    [
        # The README's always, because it is what people type first.
        pytest.param(each, marks=[pytest.mark.slow] * (each.page.name != "README.md"), id=str(each))
        for each in blocks("console")
        if each.page.name != "policy-cookbook.md"  # of a policy of its own: test_cookbook.py
    ],
)
def test_a_dialogue_happens_as_its_page_shows(block: Block, tmp_path: Path) -> None:
    """Each block begins with a fresh server of the sample policy, and nothing configured."""
    with running_server(SAMPLE.read_text()) as server:
        make_programs(tmp_path / "bin")
        environments = {}
        for client in CLIENTS:
            home = tmp_path / client
            home.mkdir()
            environment = server.environment(client)
            environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
            environments[client] = environment | {"HOME": str(home)}
        play(block, environments, str(tmp_path))


def test_the_first_own_job_is_had_as_the_readme_says() -> None:
    """From its certificates on, as an ordinary user, by the very lines; the installation itself is
    what this test runs on."""
    text = (ROOT / "README.md").read_text().partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    installation, *rest = re.findall(r"^```(sh|toml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "pip install" in installation[1]
    policies = [part for language, part in rest if language == "toml"]
    assert len(policies) == 1
    with own_directory("first") as home:
        make_programs(home / "penstock" / "bin")
        (home / "first").mkdir()
        (home / "first" / "policy.toml").write_text(policies[0])
        for path in (home, home / "first"):
            if IS_ROOT:
                os.chown(path, SERVER_UID, SERVER_UID)
        lines = "".join(part for language, part in rest if language == "sh")
        assert "mkdir first && cd first" in lines
        with reserved_port() as port:
            script = lines.replace("mkdir first", "true").replace("8443", str(port))
            done = subprocess.run(
                ["bash", "-c", f'trap "kill %1; wait" EXIT\n{script}'],
                env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                cwd=home,
                user=SERVER_UID if IS_ROOT else None,
                group=SERVER_UID if IS_ROOT else None,
                extra_groups=[] if IS_ROOT else None,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=patient(60),
                check=False,
            )
        said = done.stdout + done.stderr + (home / "first" / "penstockd.log").read_text()
        last = Path("/var/log/dpkg.log").read_text().splitlines()[-3:]
        usage = r"^logs +small +1h +logs \[-n NUMBER\] PATH$"
        assert re.search(usage, done.stdout, re.MULTILINE), said
        assert "\n".join(last) + "\n" in done.stdout, said
        assert re.search(r"^Success! PID: \d+$", done.stdout, re.MULTILINE), said
        assert "The job exited with code 0." in done.stderr, said
        assert done.stderr.count("Error: ") == 1, said
        assert "Error: argument 1, '/etc/passwd', is not granted" in done.stderr, said
