"""What the first page shows is true."""

import re
from pathlib import Path

from penstock.supervisor.grammar import Match
from penstock.supervisor.policy import parse_policy

ROOT = Path(__file__).resolve().parent.parent


def blocks(language: str) -> list[str]:
    """The code of one language in README.md."""
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_policy_is_one() -> None:
    """It is read without a mistake and grants what its comment says."""
    (text,) = blocks("toml")
    policy = parse_policy(text.encode())
    grammar = policy.commands["logs"].grammar
    assert isinstance(grammar.match(["-n", "20", "dpkg.log"]), Match)
    assert not isinstance(grammar.match(["-f", "dpkg.log"]), Match)
    assert policy.clients["alice"].commands == {"logs"}


def test_the_library_example_compiles_and_its_names_exist() -> None:
    """The imports are run; the rest is what tests/system/test_standalone.py does."""
    (text,) = blocks("python")
    compile(text, "README.md", "exec")
    for line in text.splitlines():
        if line.startswith("from penstock"):
            exec(line)


def test_every_page_that_is_linked_exists() -> None:
    """In README and in docs/."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
