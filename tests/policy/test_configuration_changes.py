"""What is said of a configuration that has changed: each key, and what it takes."""

import dataclasses
import json
from typing import Any

import pytest

from penstock.policy.configuration import Config, parse_config
from penstock.policy.configuration_changes import changes, settings

TEXT = 'policy = "/p"\n{top}[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n{tls}'


def config(top: str = "", tls: str = "", more: str = "") -> Config:
    return parse_config((TEXT.format(top=top, tls=tls) + more).encode())


def lines(fresh: Config, runs: Config | None = None) -> list[str]:
    told = settings(runs or config())
    return changes(told, json.loads(json.dumps(told)), fresh)


def test_nothing_is_said_of_what_is_as_it_runs() -> None:
    """Nor of what SIGHUP takes from the file."""
    assert lines(config()) == []
    assert lines(config("allow_lockout = true\n")) == []


@pytest.mark.parametrize(
    ("fresh", "says"),
    [
        (config(tls='crl = "/l"\n'), "[tls] crl was not set, is '/l', and was not read: SIGUSR2"),
        (config("max_jobs = 7\n"), "max_jobs was 512, is 7, and was not read: it takes a restart"),
        (
            config('listen = "[::1]:1"\n'),
            "listen was ['127.0.0.1:8443'], is ['[::1]:1'], and was not read: it takes a restart",
        ),
        (
            config(more="[transport]\nidle_s = 3.0\n"),
            "[transport] idle_s was not set, is 3.0, and was not read: SIGUSR2",
        ),
        (
            config(tls="legacy_certificates = true\n"),
            "[tls] legacy_certificates was False, is True, and was not read: SIGUSR2",
        ),
    ],
)
def test_each_key_is_said_by_its_name(fresh: Config, says: str) -> None:
    """With what it takes, once."""
    (line,) = lines(fresh)
    assert line.startswith(says)


def test_every_setting_there_is_can_be_told() -> None:
    """Also those that nobody has thought of here: whatever is no longer as it runs has a line."""
    running = config()
    for field in dataclasses.fields(Config):
        if field.name == "allow_lockout":
            continue
        value: Any = getattr(running, field.name)
        other: Any = {"a": 1} if isinstance(value, dict) else f"{value}x"
        fresh = dataclasses.replace(running, **{field.name: other})
        assert len(lines(fresh)) == 1, field.name


def test_what_the_server_has_read_anew_and_penstockd_has_not() -> None:
    """After a SIGUSR2 each runs with another file; an earlier penstockd may know fewer keys."""
    fresh = config("max_jobs = 7\n", 'crl = "/l"\n')
    supervisor = settings(config())
    del supervisor["drain_s"]
    (line,) = changes(settings(fresh), supervisor, fresh)
    assert line.startswith("max_jobs was 512")
