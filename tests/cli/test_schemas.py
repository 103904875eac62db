"""penstock schema: what -o json prints is described, by version, and as JSON Schema has it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from cli_verbs import COMMANDS
from json_schema import mistakes
from patience import patient

from penstock.cli.json_schemas import DESCRIBED, ERROR, VERSION, schema_of
from penstock.cli.printing import json_line
from penstock.cli.verb_forms import OUTPUT_BEHIND
from penstock.proto import command_pb2 as pb


def penstock(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", *words],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def test_every_verb_with_json_has_a_schema() -> None:
    """An other name of a verb has that one's."""
    with_json = {id(each) for each in COMMANDS.values() if OUTPUT_BEHIND in each.params}
    assert with_json == {id(COMMANDS[name]) for name in DESCRIBED if name != ERROR}


def wrong(value: Any, verb: str) -> list[str]:
    schema = schema_of(verb)
    return mistakes(value, schema, schema)


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("can start", {"granted": True}),
        (
            "can start",
            {"granted": False, "code": "NOT_FOUND", "message": "no", "rule": "x"},
        ),
        ("context ls", {"name": "here", "address": "a:1", "groups": ["db"], "current": True}),
        ("context test", {"steps": [{"step": "files", "ok": True, "detail": "fine"}]}),
    ],
)
def test_what_is_no_message(verb: str, value: object) -> None:
    """Described by hand, each with what it cannot lack."""
    assert wrong(value, verb) == []
    assert wrong({}, verb) != []


FULL = pb.StreamOutputResponse(
    data=b"\xff\x00",
    stream=pb.STREAM_STDERR,
    offset=2**64 - 1,
    time_ns=-1,
    heartbeat=True,
    job=pb.Job(
        handle="7",
        os_pid=-1,
        argv=["a", ""],
        labels={"a": "1"},
        state=pb.JOB_STATE_FINISHED,
        timeout_s=float("inf"),
        limits=pb.Limits(cpu_cores=0.5, processes=2**32 - 1),
        end=pb.EndRecord(exit_code=0, gaps=[pb.Gap(to_offset=1)]),
    ),
)


def test_our_version_alone() -> None:
    """What is printed where no server is configured."""
    assert wrong(json.loads(penstock("-o", "json", "version").stdout), "version") == []


def test_errors() -> None:
    """Of a verb that asks a server, of a mistake of usage, of a file of ours."""
    for words, status in (
        (["status", "1"], 2),
        (["list", "--nonsense"], 2),
        (["--addr", "a:1", "--ca", "/gone", "--cert", "/gone", "--key", "/gone", "list"], 2),
        (["wait"], 125),
    ):
        done = penstock("-o", "json", *words)
        error = json.loads(done.stderr)
        assert wrong(error, ERROR) == []
        assert (done.returncode, error["error"]["exit_status"]) == (status, status)
    assert penstock("schema", "error").stdout == f"{json.dumps(schema_of(ERROR), indent=2)}\n"


def test_what_is_printed_is_what_is_described() -> None:
    """Of every kind of a field."""
    assert wrong(json.loads(json_line(FULL)), "stream") == []
    unknown = pb.Job(state=99)  # type: ignore[arg-type]  # of a later version
    assert wrong(json.loads(json_line(unknown)), "list") == []


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"handle": 7},
        {"os_pid": 2**31},
        {"os_pid": True},
        {"started_ns": 7},
        {"started_ns": "x"},
        {"state": "GONE"},
        {"limits": {"cpu_cores": "much"}},
        {"argv": "x"},
        {"labels": {"a": 1}},
        {"nonsense": 1},
    ],
)
def test_what_is_not_described_is_found(value: object) -> None:
    """So that the tests here see what they look for."""
    assert wrong(value, "list") != []


def test_a_schema_is_printed_of_one_verb_or_of_all() -> None:
    """Each says its version."""
    one, same, every = (
        penstock("schema", "list"),
        penstock("schema", "ps"),
        penstock("schema"),
    )
    assert (one.returncode, one.stderr) == (0, "")
    assert json.loads(one.stdout) == json.loads(same.stdout) == schema_of("list")
    assert json.loads(one.stdout)["$id"] == f"urn:penstock:cli:{VERSION}:list"
    assert json.loads(every.stdout) == {verb: schema_of(verb) for verb in DESCRIBED}


def test_what_has_no_schema() -> None:
    """Usage, with those that there are."""
    done = penstock("schema", "completion")
    assert done.returncode == 2
    assert "'completion' has no schema; there are: start, run, stop" in done.stderr
