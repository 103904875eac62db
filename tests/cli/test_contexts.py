"""What contexts.toml means, and what is said of one that is wrong: file, line and key."""

import os
import re
from pathlib import Path

import pytest

from penstock.cli import setting_sources as setting_sources_module
from penstock.cli.context_file import contexts_path, read_contexts
from penstock.cli.flags import Settings, SettingsError
from penstock.cli.setting_sources import setting_sources
from penstock.cli.toml_statements import line_of, statements
from penstock.cli.user_contexts import parsed

FILE = Path("/home/alice/.config/penstock/contexts.toml")
BY_HAND = """\
# mine
current = "prod"

[contexts.prod]  # the real one
address = "penstock.example.org:9000"
ca = "prod/ca.crt"
certificate = "/etc/alice.crt"
key = "~/alice.key"
passphrase_file = "pass"
colour = "red"

[contexts]
"b.c".address = "[::1]:80"
d = { address = "d", ca = "ca" }

[groups]
web = [
  "prod",
  "b.c",
]
"""


def test_a_file_made_by_hand() -> None:
    """In every form of a table; relative paths begin where the file is."""
    found = parsed(BY_HAND, FILE)
    assert found.current == "prod"
    assert found.named["prod"].values == {
        "address": "penstock.example.org:9000",
        "ca": "/home/alice/.config/penstock/prod/ca.crt",
        "certificate": "/etc/alice.crt",
        "key": os.path.expanduser("~/alice.key"),
        "passphrase_file": "/home/alice/.config/penstock/pass",
    }
    assert found.named["b.c"].values == {"address": "[::1]:80"}
    assert found.named["d"].values["ca"] == "/home/alice/.config/penstock/ca"
    assert found.groups == {"web": ("prod", "b.c")}
    assert found.named["b.c"].groups == ("web",)
    assert found.wrong_names() == []
    (note,) = found.unknown_keys()
    assert note.startswith(f"{FILE} line 10, contexts.prod.colour is a key that this version")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('x = 1\ncurrent = "a', "(from line 2 on)"),
        ("[contexts]\n\n[contexts]\n", "line 3"),
        ("\ncurrent = 1", "line 2, current: must be text"),
        ("contexts = 1", "line 1, contexts: must be a table"),
        ("[contexts]\nx = 1", "line 2, contexts.x: must be a table"),
        ("[contexts.a]\n# c\naddress = ''", "line 3, contexts.a.address: must be text"),
        ('[contexts.a]\naddress = "a b"', "line 2, contexts.a.address: 'a b' is no address"),
        ("[contexts.a]\nca = ['x']", "line 2, contexts.a.ca: must be text"),
        ("[contexts.a]\nca = 'x\\u0000'\nkey = 'x'", "line 3, contexts.a.key: needs certificate"),
        ("contexts.a.certificate = 'x'", "line 1, contexts.a.certificate: needs key beside it"),
        (
            "[contexts.a]\nca = '~nosuchuser/x'",
            "line 2, contexts.a.ca: there is no home directory for '~nosuchuser'",
        ),
        (
            "[contexts.a]\nserver_name = 'a:1'\n",
            "line 2, contexts.a.server_name: server_name: 'a:1' is no name of a server",
        ),
        (
            "[contexts.a]\nserver_fingerprint = 'ab'\n",
            "contexts.a.server_fingerprint: server_fingerprint: 'ab' is no SHA-256 fingerprint",
        ),
        ('[contexts."@a"]', """line 1, contexts."@a": '@a' cannot be the name"""),
        ("[groups]\nweb = 'a'", "line 2, groups.web: must be a list"),
        ("[groups]\nweb = [\n 'a',\n 1]", "line 2, groups.web: must be a list"),
        ("[groups]\n'-x' = []", "line 2, groups.-x: '-x' cannot be the name of a group"),
        ("[groups]\nweb = ['a', 'a']", "line 2, groups.web: names a context twice"),
        ("x = " + "[" * 10_000, f"{FILE}: "),
        ("x = " + "9" * 5_000, f"{FILE}: "),
    ],
)
def test_mistakes_name_file_line_and_key(text: str, message: str) -> None:
    """Each in one line."""
    with pytest.raises(SettingsError) as caught:
        parsed(text, FILE)
    assert message in str(caught.value)
    assert str(FILE) in str(caught.value)


def test_every_mistake_of_a_file_is_named() -> None:
    """Not the first alone."""
    with pytest.raises(SettingsError) as caught:
        parsed("current = 1\n[contexts.a]\naddress = 2\n[groups]\nx = 3", FILE)
    assert [f"line {line}," in str(caught.value) for line in (1, 3, 5)] == [True] * 3


def test_names_that_no_context_has() -> None:
    """Of the current one and in groups, with the one that was meant; other verbs go on."""
    text = 'current = "prdo"\n[contexts.prod]\n[contexts.b]\n[groups]\nweb = ["b", "x"]\n'
    found = parsed(text, FILE)
    assert found.wrong_names() == [
        f"{FILE} line 1, current: there is no context 'prdo': did you mean 'prod'?",
        f"{FILE} line 5, groups.web: there is no context 'x': there are prod, b",
    ]
    with pytest.raises(SettingsError, match=r"line 1, current: .* did you mean 'prod'\?"):
        found.current_one()
    with pytest.raises(SettingsError, match=r"--context: .* did you mean 'prod'\?"):
        found.one("pord", "--context")


def test_lines_of_values_over_several_lines() -> None:
    """And of what only a table around it has."""
    text = '\n[a]\nx = [\n 1,\n]\ny = """\n[b]\n"""\n[[c]]\nz.q = 1\r\n'
    found = statements(text)
    assert "".join(each.text for each in found) == text
    lines = [line_of(found, key) for key in (["a"], ["a", "x"], ["a", "y"], ["c", "z", "q"])]
    assert lines == [2, 3, 6, 10]
    assert [line_of(found, key) for key in (["b"], ["a", "w"], ["c", "w"])] == [1, 2, 9]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/penstock/contexts.toml"),
        ({"XDG_CONFIG_HOME": "x", "HOME": "/h"}, "/h/.config/penstock/contexts.toml"),
        ({"XDG_CONFIG_HOME": "", "HOME": "/h"}, "/h/.config/penstock/contexts.toml"),
    ],
)
def test_where_the_file_is(environment: dict[str, str], expected: str) -> None:
    """A relative XDG_CONFIG_HOME is ignored, as its specification says."""
    assert str(contexts_path(environment)) == expected


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file, with two contexts; ``a`` is current."""
    path = tmp_path / "penstock" / "contexts.toml"
    path.parent.mkdir()
    for name in ("ca", "a.crt", "a.key", "b.crt", "b.key", "pass"):
        (path.parent / name).touch()
    path.write_text(
        'current = "a"\n'
        + "".join(
            f'[contexts.{name}]\naddress = "{name}"\nca = "ca"\n'
            f'certificate = "{name}.crt"\nkey = "{name}.key"\n{more}'
            for name, more in (("a", ""), ("b", 'passphrase_file = "pass"\n'))
        )
    )
    path.chmod(0o600)
    return path


ENVIRONMENT = {
    "PENSTOCK_ADDR": "env",
    "PENSTOCK_CA": "/env/ca",
    "PENSTOCK_CERT": "/env/crt",
    "PENSTOCK_KEY": "/env/key",
}


def found(config: Path, settings: Settings, **environment: str) -> str:
    """Address, CA, certificate, key and passphrase file, without the directories of contexts."""
    variables = {"XDG_CONFIG_HOME": str(config.parent.parent), **environment}
    values = setting_sources(settings, variables).values
    keys = ("address", "ca", "certificate", "key", "passphrase_file")
    shown = [values[key].text if key in values else "-" for key in keys]
    return " ".join(shown).replace(f"{config.parent}/", "")


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        (Settings(), {}, "a ca a.crt a.key -"),
        (Settings(context="b"), {}, "b ca b.crt b.key pass"),
        (Settings(), {"PENSTOCK_CONTEXT": "b"}, "b ca b.crt b.key pass"),
        (Settings(context="a"), {"PENSTOCK_CONTEXT": "b"}, "a ca a.crt a.key -"),
        # The environment comes before the current context, and a named one before it.
        (Settings(), ENVIRONMENT, "env /env/ca /env/crt /env/key -"),
        (Settings(), ENVIRONMENT | {"PENSTOCK_CONTEXT": "b"}, "env /env/ca /env/crt /env/key -"),
        (Settings(context="b"), ENVIRONMENT, "b ca b.crt b.key pass"),
        # Setting by setting, as kubectl has it: another server, the same identity.
        (Settings(address="x"), {}, "x ca a.crt a.key -"),
        (Settings(address="x", context="b"), ENVIRONMENT, "x ca b.crt b.key pass"),
        (Settings(), {"PENSTOCK_ADDR": "env"}, "env ca a.crt a.key -"),
        # A certificate and its key are one: no other source gives half of them.
        (Settings(key="/k"), {}, "a ca - /k -"),
        (Settings(key="/k", context="b"), {}, "b ca - /k -"),
        (Settings(key="/k", context="b"), ENVIRONMENT, "b ca /env/crt /k -"),
        (Settings(certificate="/c", key="/k", context="b"), {}, "b ca /c /k -"),
        (Settings(), {"PENSTOCK_CERT": "/c"}, "a ca /c - -"),
        # A passphrase is the key's; the environment's comes before the current context's.
        (Settings(passphrase_file="p", context="b"), {}, "b ca b.crt b.key p"),
        (
            Settings(),
            {"PENSTOCK_CONTEXT": "b", "PENSTOCK_KEY_PASSPHRASE_FILE": "p"},
            "b ca b.crt b.key p",
        ),
        (
            Settings(),
            {"PENSTOCK_CONTEXT": "b", "PENSTOCK_KEY_PASSPHRASE": "p"},
            "b ca b.crt b.key -",
        ),
        (Settings(context="b"), {"PENSTOCK_KEY_PASSPHRASE": "p"}, "b ca b.crt b.key pass"),
    ],
)
def test_flags_before_environment_before_context(
    config: Path, settings: Settings, environment: dict[str, str], expected: str
) -> None:
    """Setting by setting."""
    assert found(config, settings, **environment) == expected


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        (Settings(context="c"), {}, "c c.name aa.. /c/ca"),
        (Settings(server_name="x", context="c"), {}, "c x aa.. /c/ca"),
        # They are of the server at that address.
        (Settings(address="y", context="c"), {}, "y - - /c/ca"),
        (Settings(address="y", server_name="x", context="c"), {}, "y x - /c/ca"),
        (Settings(), {"PENSTOCK_CONTEXT": "c", "PENSTOCK_ADDR": "e"}, "e - - /c/ca"),
        (Settings(), {"PENSTOCK_CONTEXT": "c", "PENSTOCK_SERVER_NAME": "e"}, "c e aa.. /c/ca"),
        # Of a context that is named the environment changes neither.
        (Settings(context="a"), {"PENSTOCK_SERVER_NAME": "e"}, "a - - ca"),
        (Settings(context="c"), {"PENSTOCK_SERVER_NAME": "e"}, "c c.name aa.. /c/ca"),
        (Settings(address="y", context="c"), {"PENSTOCK_SERVER_NAME": "e"}, "y e - /c/ca"),
        # What is pinned needs no CA, so no context is looked for.
        (
            Settings(server_fingerprint="b" * 64),
            {key: text for key, text in ENVIRONMENT.items() if key != "PENSTOCK_CA"},
            "env - bb.. -",
        ),
    ],
)
def test_what_a_servers_certificate_must_be(
    config: Path, settings: Settings, environment: dict[str, str], expected: str
) -> None:
    """Its name and its fingerprint come with the address."""
    config.write_text(
        config.read_text() + '[contexts.c]\naddress = "c"\nca = "/c/ca"\n'
        f'server_name = "c.name"\nserver_fingerprint = "{"a" * 64}"\n'
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(setting_sources_module, "_check_there", lambda value: None)
        variables = {"XDG_CONFIG_HOME": str(config.parent.parent), **environment}
        values = setting_sources(settings, variables).values
    keys = ("address", "server_name", "server_fingerprint", "ca")
    shown = " ".join(values[key].text if key in values else "-" for key in keys)
    for digits in ("a" * 64, "b" * 64):
        shown = shown.replace(digits, f"{digits[:2]}..")
    assert shown.replace(f"{config.parent}/", "") == expected


def test_contexts_are_read_only_where_they_count(config: Path) -> None:
    """A broken file does not matter to a command line that needs none."""
    config.write_text("broken")
    assert found(config, Settings(), **ENVIRONMENT) == "env /env/ca /env/crt /env/key -"
    for settings, more in ((Settings(), {}), (Settings(context="a"), ENVIRONMENT)):
        with pytest.raises(SettingsError, match=r"contexts\.toml: .*line 1"):
            found(config, settings, **more)


def test_a_file_of_a_context_that_is_gone_is_named_with_its_line(config: Path) -> None:
    """What opens it later knows only its path."""
    (config.parent / "a.key").unlink()
    with pytest.raises(SettingsError, match=r"line 6, contexts\.a\.key: .*a\.key: No such file"):
        found(config, Settings())


def test_of_several_files_that_are_gone_the_first_is_named(config: Path) -> None:
    """The same one each time, because sets of texts have another order in each process."""
    files = [config.parent / name for name in ("ca", "b.crt", "b.key", "pass")]
    for file in files:
        file.unlink()
    for file in files:
        with pytest.raises(SettingsError, match=f": {re.escape(str(file))}: No such file"):
            found(config, Settings(context="b"))
        file.touch()
    assert found(config, Settings(context="b")) == "b ca b.crt b.key pass"


def test_a_context_that_is_not_there_is_an_error(tmp_path: Path, config: Path) -> None:
    """Said with what named it, also where there is no file."""
    with pytest.raises(SettingsError, match="PENSTOCK_CONTEXT: there is no context 'x'"):
        found(config, Settings(), PENSTOCK_CONTEXT="x")
    nowhere = tmp_path / "other" / "penstock" / "contexts.toml"
    with pytest.raises(SettingsError, match="--context: there is no context 'x', because there"):
        found(nowhere, Settings(context="x"))
    assert found(nowhere, Settings()) == "- - - - -"


def test_a_file_that_others_can_write_is_refused(config: Path) -> None:
    """It says which servers are trusted; as ssh refuses its own."""
    for mode in (0o620, 0o602):
        config.chmod(mode)
        with pytest.raises(SettingsError, match=f"mode {mode:04o}.*; run: chmod go-w"):
            read_contexts(config)
    config.chmod(0o644)
    assert read_contexts(config) is not None
    if os.geteuid() == 0:
        os.chown(config, 65530, -1)
        with pytest.raises(SettingsError, match=r"another user \(uid 65530\)"):
            read_contexts(config)


def test_what_is_no_file_is_refused(config: Path) -> None:
    """At once: a pipe is not waited for. Nothing is in /dev/null."""
    config.unlink()
    config.mkdir()
    with pytest.raises(SettingsError, match="is no file"):
        read_contexts(config)
    config.rmdir()
    os.mkfifo(config, 0o600)
    with pytest.raises(SettingsError, match="is no file"):
        read_contexts(config)


def test_a_file_that_is_no_text_is_refused(config: Path) -> None:
    """With its line; and one that is too large."""
    config.write_bytes(b"# a\n# \xff\n")
    with pytest.raises(SettingsError, match=r"contexts\.toml line 2: not UTF-8"):
        read_contexts(config)
    config.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(SettingsError, match="larger than 1 MiB"):
        read_contexts(config)
