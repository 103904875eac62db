"""``penstock agent status|stop|run``, as ``cli.agent_process`` and front ends start it."""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from ..cli.error_report import report_error
from ..cli.invocation import current
from .agent_address import DEFAULT_NAME, AgentAddress, Listening, PlaceError, PlaceTaken
from .agent_probe import probe
from .failure_log import FailureLog
from .likeness import kind, likeness
from .wire import WireError

_PR_SET_DUMPABLE: Final = 4
_PATIENCE_S: Final = 3.0
_LESS_PATIENCE_S: Final = 0.5
"""Once one has not answered: all of them together have to within the command line's 10 s."""
_USAGE: Final = "usage: python -m penstock.agent run|status|stop [NAME] [IDLE_SECONDS] [--json]"


def run(words: Sequence[str]) -> int:
    """Returns the exit status."""
    as_json = "--json" in words
    action, *rest = [word for word in words if word != "--json"] or [""]
    name = rest[0] if rest else os.environ.get("PENSTOCK_CONTEXT") or DEFAULT_NAME
    name, _, wanted = name.partition("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        own = kind(likeness(os.environb))
        place = AgentAddress(runtime, name, own)
        if action == "run" and wanted not in ("", own):
            _report_unlike(AgentAddress(runtime, name, wanted))
            return 1
        if action == "run":
            return _run(place, float(rest[1]) if len(rest) > 1 else None)
        if action in ("status", "stop"):
            return _ask(place, action, as_json=as_json)
    except (PlaceError, OSError, WireError) as error:
        _report(error, as_json=as_json)
        return 1
    print(_USAGE, file=sys.stderr)
    return 2


def _report(error: Exception, *, as_json: bool) -> None:
    """As the command line does, which has gone on as this process."""
    current().form.json = as_json
    report_error(str(error), 1, error, code="FAILED_PRECONDITION", reason="SYSTEM")


def _run(place: AgentAddress, idle_s: float | None) -> int:
    """Is the agent, to its end. Raises PlaceError if there is one."""
    os.umask(0o077)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Before the rest is loaded, because of several that are started at once all but one end here.
    try:
        listening = Listening(place)
    except PlaceTaken:
        raise
    except (PlaceError, OSError) as error:
        # Standard error is /dev/null where a front end has started us.
        if place.ours:
            FailureLog(place.log).write(f"Error: {error}")
        raise
    try:
        _keep_memory_private()
        _allow_descriptors()
        from .serving import serve_here

        with contextlib.suppress(FileNotFoundError):
            place.log.unlink()
        serve_here(place, listening, idle_s)
    except BaseException as error:
        FailureLog(place.log).write_traceback(error)
        listening.leave()
        raise
    # Not by returning: a thread may hang in a write to a reader that stands still.
    os._exit(0)


def _report_unlike(place: AgentAddress) -> None:
    """The front end that has started us is unlike us, so that it will never ask us: it reads there
    not to try again at once."""
    if place.ours:
        FailureLog(place.log).write("Error: an agent is not like the front end that has started it")


def _keep_memory_private() -> None:
    """No core dump, and no other process of the user's may look into this one: it has keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _allow_descriptors() -> None:
    """As many as the system lets us have: each front end has five."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _ask(place: AgentAddress, action: str, *, as_json: bool) -> int:
    """Each of that context, of whatever kind: stop would otherwise leave passphrases."""
    answers: list[tuple[AgentAddress, dict[str, Any]]] = []
    errors: list[Exception] = []
    for each in place.of_every_kind():
        try:
            found = probe(each, action, _PATIENCE_S if not errors else _LESS_PATIENCE_S)
        except (OSError, WireError) as error:
            errors.append(error)
        else:
            answers += [] if found is None else [(each, found | {"own": each is place})]
    if not answers and not errors:
        answers = [(place, {"name": place.name, "pid": 0})]
    for where, said in answers:
        lines = [json.dumps(said)] if as_json else _described(said, action, _went_wrong(where))
        print("\n".join(lines))
    for each_error in errors:
        _report(each_error, as_json=as_json)
    return 1 if errors else 0


def _went_wrong(place: AgentAddress) -> list[str]:
    """Where it is said, because nothing else of an agent in the background tells it."""
    return [f"What went wrong is in {place.log}"] if place.ours and place.log.exists() else []


def _described(found: dict[str, Any], action: str, wrong: list[str]) -> list[str]:
    if not found["pid"]:
        return [" ".join([f"No agent runs for {found['name']}.", *wrong])]
    if action == "stop":
        rest = found["running"]
        later = f" once {_lines(rest)} {'has' if rest == 1 else 'have'} ended" if rest else ""
        return [f"The agent for {found['name']} (pid {found['pid']}) ends{later}."]
    whose = "" if found["own"] else ", of processes unlike this one,"
    lines = [
        f"The agent for {found['name']}{whose} runs as pid {found['pid']}, "
        f"version {found['version']}, "
        f"since {_seconds(found['since_s'])}.",
        f"Command lines: {found['running']} now, {found['served']} in all. "
        f"Passphrases in memory: {found['passphrases']}.",
    ]
    connections = found["connections"]
    assert isinstance(connections, list)
    for each in connections:
        lines.append(
            f"Connection to {each['address']} with {each['certificate']}, since "
            f"{_seconds(each['since_s'])}: {_lines(each['calls'])}."
        )
    if not connections:
        lines.append("No connection.")
    return [*lines, *wrong]


def _lines(count: object) -> str:
    return "1 command line" if count == 1 else f"{count} command lines"


def _seconds(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:.0f} s"
