"""What README and docs/ show can be typed, is read, and does what they say."""

import ast
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _docs_site import place_of, relinked
from cli_verbs import COMMANDS, GROUPS
from documents import PAGES, ROOT, Block, anchors, blocks, command_lines, inline_code, keys_of

from penstock.cli.root import Verbs, root
from penstock.cli.user_contexts import parsed
from penstock.cli.verbs import VERBS
from penstock.jobs.backends.base import JobSpec
from penstock.operate.verb_table import VERBS as VERBS_OF_D
from penstock.operate.verb_table import verb_module
from penstock.policy.configuration import parse_config
from penstock.policy.decision import Denial, GrantedStart, may_start
from penstock.policy.grammar import Match
from penstock.policy.policy_file import Policy, PolicyError, parse_policy
from penstock.policy.toml_tables import Table
from penstock.rpc.limits import SERVER_DEFAULTS

POLICY_TABLES = {"classes", "commands", "clients", "output", "revoked", "on_revoke"}
SAMPLE = (ROOT / "src/penstock/policies/sample-root.toml").read_bytes()


def completed(text: str) -> bytes:
    """A part of a policy, with what its names stand for elsewhere."""
    values = tomllib.loads(text)
    classes, commands = values.get("classes", {}), values.get("commands", {})
    needed = {command["class"] for command in commands.values()} - set(classes)
    for name in sorted(needed):
        text += f"\n[classes.{name}]\n"
    granted = {"anything"}
    for name, client in values.get("clients", {}).items():
        granted |= set(client.get("commands", ()))
        if "commands" not in client:
            text += f'\n[clients.{name}]\ncommands = ["anything"]\n'
    for name in sorted(granted - set(commands)):
        text += f'\n[commands.{name}]\npath = "/bin/true"\nclass = "any"\n'
    if granted - set(commands) and "any" not in classes:
        text += "\n[classes.any]\n"
    return text.encode()


def of_slot(text: str) -> bytes:
    """A policy with a command that takes one."""
    command = f'[commands.x]\npath = "/bin/x"\nclass = "c"\narguments = [{text}]\n'
    return f"[classes.c]\n{command}".encode()


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_every_toml_block_is_read(block: Block) -> None:
    """By the parser of policies, of penstockd's configuration or of a user's contexts, without a
    mistake."""
    if block.text.startswith("{"):
        parse_policy(of_slot(block.text.strip()))
        return
    values = tomllib.loads(block.text)
    if set(values) & POLICY_TABLES:
        assert set(values) <= POLICY_TABLES
        parse_policy(completed(block.text))
    elif "contexts" in values:
        contexts = parsed(block.text, Path("/home/alice/.config/penstock/contexts.toml"))
        assert contexts.wrong_names() + contexts.unknown_keys() == []
    else:
        parse_config(block.text.encode())


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_block_compiles_and_its_imports_exist(block: Block) -> None:
    """What it does is what tests/system/test_standalone.py does."""
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for line in block.text.splitlines():
        if re.match(r"(from|import) ", line):
            exec(line, {})


def policy_of(page: str, number: int = 0) -> Policy:
    found = [block for block in blocks("toml") if block.page.name == page]
    return parse_policy(completed(found[number].text))


def test_the_readmes_policy_is_what_its_comments_say() -> None:
    """It grants that one program with these arguments, and to her alone."""
    policy = policy_of("README.md")
    grammar = policy.commands["logs"].grammar
    assert isinstance(grammar.match(["-n", "20", "dpkg.log"]), Match)
    assert not isinstance(grammar.match(["-f", "dpkg.log"]), Match)
    assert {name: client.commands for name, client in policy.clients.items()} == {"alice": {"logs"}}


def granted(policy: Policy, client: str, command: str, arguments: list[str]) -> bool:
    spec = JobSpec(command, tuple(arguments))
    return isinstance(may_start(policy, client, spec), GrantedStart)


def test_the_readmes_policy_grants_what_is_started_by_it() -> None:
    """What its comment types, and what the example of the library in docs/embed.md does."""
    policy = policy_of("README.md")
    example, _ = [block for block in blocks("python") if block.page.name == "embed.md"]
    match = re.search(r'start\("(\w+)", JobSpec\("(\w+)", \((.*?)\)\)\)', example.text)
    assert match is not None
    client, command, arguments = match[1], match[2], re.findall(r'"([^"]*)"', match[3])
    assert granted(policy, client, command, arguments)
    text = (ROOT / "README.md").read_text()
    typed = re.search(r"what clients type: penstock start (.*)", text)
    assert typed is not None
    command, *arguments = shlex.split(typed[1])
    assert granted(policy, "alice", command, arguments)


def test_the_terminal_of_the_readme_is_the_sample_policys() -> None:
    """Each start there, and each refusal to the letter."""
    policy = parse_policy(SAMPLE)
    text = next(block.text for block in blocks("console") if "alice$ penstock start" in block.text)
    starts = re.findall(r"^(\w+)\$ penstock start (.*)\n.*\n(.*)$", text, re.MULTILINE)
    assert len(starts) == 3
    for client, line, answer in starts:
        command, *arguments = shlex.split(line)
        decision = may_start(policy, client, JobSpec(command, tuple(arguments)))
        if isinstance(decision, Denial):
            assert answer == f"Error: {decision.message}"
        else:
            assert answer.startswith("Success!")


def test_the_small_policy_grants_what_its_page_says() -> None:
    """docs/first-policy.md: the lines, no other that it names, and the usage in the refusal."""
    policy = policy_of("first-policy.md")
    for line in ("-la /srv", "/srv/www"):
        assert granted(policy, "alice", "ls", line.split())
    for line in ("-R /srv", "/etc", ""):
        decision = may_start(policy, "alice", JobSpec("ls", tuple(line.split())))
        assert isinstance(decision, Denial)
        assert decision.message.endswith("[-l|-a|-la] PATH(/srv)")
    text = (ROOT / "docs/first-policy.md").read_text()
    assert "`ls -R /srv`,\n`ls /etc`, `ls` and" in text
    assert "`[-l|-a|-la] PATH(/srv)`" in text


def test_a_fixed_script_is_run_as_its_page_says() -> None:
    """docs/policy.md: what becomes of `penstock start backup daily`."""
    text = (ROOT / "docs/policy.md").read_text()
    match = re.search(r"`penstock start (\w+) (.*?)` then runs `(.*?)`", text)
    assert match is not None
    block = next(block.text for block in blocks("toml") if f"[commands.{match[1]}]" in block.text)
    command = parse_policy(completed(block)).commands[match[1]]
    assert command.argv([match[2]])[1:] == shlex.split(match[3])[1:]
    assert command.path == shlex.split(match[3])[0]


def test_the_mistakes_are_named_as_their_page_shows() -> None:
    """docs/first-policy.md: to the letter."""
    shown = next(block.text for block in blocks("") if "max_runing" in block.text)
    text = """
[classes.c]
[commands.ls]
path = "/bin/ls"
class = "c"
timeout = "90"
arguments = [
    { literal = "a" }, { literal = "b" }, { repeat = { slot = { pattern = "[a-z]+" }, max = 2 } },
]
[clients.alice]
commands = ["ls"]
max_runing = 1
"""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode())
    assert sorted(str(caught.value).splitlines()) == sorted(shown.splitlines())


SLOTS = [
    code
    for page, code in inline_code()
    if page.name == "policy.md"
    and re.match(r"\{ (literal|enum|int|pattern|path|optional|repeat) ", code)
]


@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_that_is_shown_is_one(slot: str) -> None:
    """In docs/policy.md, which writes a backslash as a file does."""
    parse_policy(of_slot(slot))


def keys_read(
    monkeypatch: pytest.MonkeyPatch, parse: Callable[[bytes], object], text: bytes
) -> dict[str, set[str]]:
    """Which keys each table of a file is asked for."""
    asked: dict[str, set[str]] = {}
    finish = Table.finish

    def finished(self: Any) -> None:
        asked.setdefault(self._path, set()).update(self._asked)
        finish(self)

    with monkeypatch.context() as patch:
        patch.setattr(Table, "finish", finished)
        parse(text)
    return asked


def test_the_lists_of_keys_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/policy.md has every key that the parser knows, and no other."""
    asked = keys_read(monkeypatch, parse_policy, completed("[output]\n[clients.alice.limits]\n"))
    page = "docs/policy.md"
    assert keys_of(page, "## Classes") == asked["classes.any"]
    assert keys_of(page, "## Commands") == asked["commands.anything"]
    assert keys_of(page, "## Clients") == asked["clients.alice"]
    assert keys_of(page, "## Output") == asked["output"]


CONFIG = (
    b'policy = "/p"\nserver_user = "61190"\n'
    b'[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
)


def test_the_list_of_the_configuration_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/operations.md has every key of penstockd's, and no other; and defaults as they are."""
    shown: set[str] = set()
    for key in keys_of("docs/operations.md", "### Settings"):
        shown.update(re.sub(r"^\[tls\]", "", key).strip("[] ").split(", "))
    asked = keys_read(monkeypatch, parse_config, CONFIG)
    assert shown == (asked[""] | asked["tls"]) - {"tls"}
    config = parse_config(CONFIG)
    text = (ROOT / "docs/operations.md").read_text()
    compared = set()
    for name, default in re.findall(
        r"^- \*\*`(\w+)`\*\* \(default ([\w.]+)\):", text, re.MULTILINE
    ):
        if hasattr(config, name):
            compared.add(name)
            assert default == f"{getattr(config, name):g}" or default == "false", name
    assert len(compared) >= 6
    (listen,) = config.listen
    assert listen.host == "127.0.0.1"
    assert f"**`listen`** (default `{listen}`)" in text
    assert f"**`state_dir`** (default `{config.state_dir}`)" in text
    assert f"**`run_dir`** (default `{config.run_dir}`)" in text


UNITS = {"KiB": 1024, "MiB": 1024 * 1024, "s": 1}
LIMIT_ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (\d[^|]*) \|", re.MULTILINE)


def told(cell: str, count: int) -> list[float]:
    """The first numbers of a cell; "16, 64, 512 MiB" has one unit for all."""
    found = re.findall(r"(\d[\d.]*)(?: (KiB|MiB|s)\b)?", re.sub(r"(\d),(\d)", r"\1\2", cell))[
        :count
    ]
    common = UNITS.get(found[-1][1], 1)
    return [float(number) * UNITS.get(unit, common) for number, unit in found]


def test_the_defaults_of_transport_limits_are_as_their_page_says() -> None:
    """docs/rpc.md: each row that begins with a number for each of its names."""
    compared = 0
    for names, cell in LIMIT_ROW.findall((ROOT / "docs/rpc.md").read_text()):
        limits = re.findall(r"`(\w+)`", names)
        limits = [limits[0] + each if each.startswith("_") else each for each in limits]
        defaults = [getattr(SERVER_DEFAULTS, each) for each in limits]
        shown = told(cell, len(limits))
        shown += shown[-1:] * (len(limits) - len(shown))  # one for both
        assert shown == [getattr(each, "burst", each) for each in defaults], limits
        compared += len(limits)
    assert compared > 25


def verb_of(words: list[str]) -> Any:
    """The command of the CLI that these words name, and how many of them do."""
    verbs: Verbs = root
    command: Any = verbs.get_command(None, words[0])
    if words[0] in GROUPS and len(words) > 1:
        return command.commands.get(words[1]), 2
    return command, 1


def options(command: Any) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


def typed() -> list[tuple[str, list[str]]]:
    """Every line for `penstock` that a page shows, with where."""
    found = []
    for page, line in command_lines():
        if re.match(r"(/\S*/)?penstock( -o json)? (?!\[|-)[a-z]", line):
            words = re.sub(r"[…\[\]|]", " ", line).split()[1:]
            found.append((page.name, words[2:] if words[0] == "-o" else words))
    return found


def test_every_line_for_penstock_names_a_verb_and_its_options() -> None:
    """And every verb is shown in docs/cli.md."""
    lines = typed()
    assert len(lines) > 20
    for page, words in lines:
        command, count = verb_of(words)
        assert command is not None, (page, words)
        if words[0] in ("start", "run") or words[:2] == ["can", "start"]:
            continue  # what follows is the job's
        given = {word for word in words[count:] if word.startswith("-")}
        assert given <= options(command), (page, words)


def test_every_line_for_penstockd_names_a_verb_and_its_options() -> None:
    """And each verb of the operator's is shown in docs/operations.md."""
    shown: dict[str, set[str]] = {}
    for page, line in command_lines():
        if not re.match(r"(/\S*/)?penstockd [a-z]", line):
            continue
        words = re.sub(r"[…\[\]|]", " ", line).split()[1:]
        name = next((each for each in (" ".join(words[:2]), words[0]) if each in VERBS_OF_D), "")
        assert name, (page.name, line)
        shown.setdefault(name, set()).add(page.name)
        own = words[: words.index("--")] if "--" in words else words
        known = {each for a in verb_module(name).parser()._actions for each in a.option_strings}
        assert {word for word in own if word.startswith("-")} <= known, (page.name, line)
    assert {name for name, pages in shown.items() if "operations.md" in pages} == set(VERBS_OF_D)


def test_the_list_of_verbs_is_complete() -> None:
    """docs/cli.md: every verb with every option that is its own."""
    head, *sections = (ROOT / "docs/cli.md").read_text().split("\n## ")
    text = head + next(each for each in sections if each.startswith("The verbs\n"))
    shown = set(re.findall(r"`(--?[a-z][a-z-]*)", text))
    for name in set(VERBS) - {*GROUPS, "ps"}:
        assert re.search(rf"`{name}\b", text), name
        own = {each for each in options(verb_of([name])[0]) if each.startswith("--")}
        assert own - {"--help", "--stdin", "--all"} <= shown, name
    for name, command in COMMANDS.items():
        if " " in name:
            assert re.search(rf"`{name}\b", text), name
            own = {each for each in options(command) if each.startswith("--")}
            assert own - {"--help", "--dir"} <= shown, name


TOOLS = sorted({line for _, line in command_lines() if line.startswith("tools/")})


@pytest.mark.parametrize("line", TOOLS)
def test_every_line_for_a_tool_names_one_and_its_options(line: str) -> None:
    """They are in its source, or in what it shares with others."""
    words = line.split()
    tool = ROOT / words[0].rstrip(",.")
    assert tool.is_file(), line
    sources = [tool, *tool.parent.glob("_*.py"), *(ROOT / "tools").glob("_*.py")]
    source = "".join(each.read_text() for each in sources)
    for word in words[1:]:
        if word.startswith("--"):
            assert f'"{word}"' in source, line
        elif re.match(r"(src|tests)/[\w/.]+$", word):
            assert (ROOT / word).exists(), line


def test_every_file_that_is_named_exists() -> None:
    """Source, tests and tools, as the pages call them; a star stands for some."""
    wrong = []
    for page, code in inline_code():
        if match := re.fullmatch(
            r"((?:src|tests|tools|docs|docker|certs|proto)/[\w./*-]+)(::\w+)?", code
        ):
            found = list(ROOT.glob(match[1].rstrip("/")))
            function = f"def {match[2][2:]}(" if match[2] else ""
            if not found or (function and function not in found[0].read_text()):
                wrong.append((page.name, code))
    assert wrong == []


def test_every_module_that_is_named_exists() -> None:
    """By the end of its path, as `jobs/lifecycle.py`; the changelog names what there was then."""
    tops = [ROOT / name for name in ("src", "tests", "tools")]
    files = [f"/{path.relative_to(ROOT)}" for top in tops for path in top.rglob("*.py")]
    named = {
        (page.name, code)
        for page, code in inline_code()
        if re.fullmatch(r"[\w/]+\.py", code) and page.name != "CHANGELOG.md"
    }
    wrong = {each for each in named if not any(file.endswith(f"/{each[1]}") for file in files)}
    # Says why there is no such file.
    assert wrong == {("architecture.md", "job/job.py")}
    assert len(named) > 100


def test_the_site_has_every_page_once() -> None:
    """mkdocs.yml, in whose order they are read; ``mkdocs build --strict`` checks their links."""
    nav = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [place_of(str(page.relative_to(ROOT))) for page in PAGES]
    assert sorted(nav) == sorted(filter(None, pages))
    assert None not in pages


def test_links_of_a_page_are_those_of_the_site() -> None:
    """In both directions, with their anchors; what is between fences stays as it is."""
    assert relinked("[a](docs/cli.md#input)", "README.md") == "[a](cli.md#input)"
    assert (
        relinked("[a](../README.md), [b](rpc.md)", "docs/cli.md") == "[a](README.md), [b](rpc.md)"
    )
    assert relinked("[a](../docs/cli.md)", "certs/README.md") == "[a](cli.md)"
    text = "[a](#here) [b](https://example.org/docs/x)\n```\n[a](docs/cli.md)\n```\n"
    assert relinked(text, "README.md") == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_says_for_whom_it_is(page: Path) -> None:
    """In its first sentence."""
    title, _, beginning, *_ = page.read_text().splitlines()
    assert title.startswith("# ")
    assert beginning.startswith("For ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_stand_apart(page: Path) -> None:
    """A list, a table or code right below a paragraph is a part of it to most Markdown readers."""
    wrong, before, fenced = [], "", False
    for line in page.read_text().splitlines():
        fence = line.lstrip().startswith("```")
        begins = re.match(r"[-*] |\d+\. |\||```", line) and not fenced
        goes_on = re.match(r" *[-*] | *\d+\. |\|| {2,}\S|#", before)
        if begins and before and not (goes_on and not line.startswith("```")):
            wrong.append(line)
        fenced, before = fenced != fence, line
    assert wrong == []


LONGEST = 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_of_prose_is_longer_than_a_screen_is_wide(page: Path) -> None:
    """Code between fences excepted. What does not fit into a table is a paragraph or a list.

    The appendix of docs/cancellation.md is a table for tests/test_cancellation_table.py.
    """
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > LONGEST]
    if page.name == "cancellation.md":
        long = [line for line in long if not line.startswith("|")]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a page, and to a part of it that is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other), target
