"""Imports go one way; the layers are those of docs/architecture.md."""

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "penstock"
GENERATED = SOURCE / "proto"
# What of supervisor/ both sides share; everything else there is the supervisor's own.
PURE = {
    *(
        "config",
        "config_changes",
        "counters",
        "environment",
        "grammar",
        "isolation_policy",
        "limits",
        "output_policy",
        "patterns",
        "policy",
    ),
    *("protocol", "shells", "control_policy", "signal_names", "silence", "uid_range"),
}
# Not pure, and of both sides all the same: how a line of a log is written.
SHARED = {"lines"}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too, absolute, at module level or not."""
    package = ("penstock", *path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "penstock" or not node.module:
                found |= {f"{module}.{name.name}" for name in node.names}
            else:
                found.add(module)
    return found


def files(layer: str) -> list[Path]:
    path = SOURCE / layer
    if path.is_file():
        return [path]
    return [file for file in sorted(path.rglob("*.py")) if GENERATED not in file.parents]


def layer_of(module: str) -> str | None:
    """The part of penstock that a module is in; None outside."""
    parts = module.split(".")
    return parts[1] if parts[0] == "penstock" and len(parts) > 1 else None


ALLOWED = {
    "supervisor": {"supervisor"},
    "concurrency/interrupts.py": set(),
    "concurrency/plain_errors.py": set(),
    "jobs": {"interrupts", "jobs", "plain_errors", "supervisor"},
    "rpc": {"interrupts", "plain_errors", "rpc"},
    "pki/names.py": {"supervisor"},
    "pki/issue.py": {"certnames"},
    "client/identity.py": {"certs", "rpc"},
    "pki/crl.py": {"certs"},
    "server/credentials.py": {"certs", "crl", "rpc", "supervisor"},
    "text/stream_decoder.py": set(),
    "text/job_text.py": {"proto"},
    "server/audit.py": {"audit_lines", "jobs"},
    "server/audit_lines.py": set(),
    "server/authn.py": {"certs", "supervisor"},
    "server/authz.py": {"supervisor"},
    "server/rate_limits.py": {"supervisor"},
    "server/refusal_budget.py": set(),
    "server/repeat_budget.py": set(),
    "server/admission.py": {
        *("audit", "authn", "credentials", "lockout", "refusals", "rpc", "statuses"),
        *("supervisor", "unread"),
    },
    "server/lockout.py": {"certs", "rpc"},
    "server/unread_changes.py": {"supervisor"},
    "server/methods.py": {"rpc"},
    "server/convert.py": {"jobs", "proto", "supervisor"},
    "server/error_status.py": {"jobs", "rpc"},
    "server/parse.py": {"jobs", "messages", "proto", "statuses", "supervisor"},
    "server/output_stream.py": {"jobs", "messages", "proto", "requests", "text"},
    "server/access.py": {
        *("audit", "audit_lines", "authn", "authz", "jobs", "methods", "quota", "refusals"),
        *("repeats", "requests", "rpc", "statuses", "supervisor"),
    },
    "server/service_control.py": {
        *("authz", "decisions", "jobs", "messages", "proto", "render", "requests", "statuses"),
        "supervisor",
    },
    "server/service_start.py": {
        *("authn", "authz", "decisions", "jobs", "messages", "proto", "requests", "rpc"),
        *("statuses", "supervisor"),
    },
    "server/service_input.py": {"authz", "decisions", "jobs", "proto", "requests", "statuses"},
    "client/client.py": {"backoff", "identity", "interrupts", "proto", "rpc"},
    "client/retry.py": {"backoff", "client", "interrupts", "rpc"},
    "client/backoff.py": set(),
    "client/verify.py": {"proto"},
    "client/follow.py": {
        *("backoff", "client", "interrupts", "plain_errors", "proto", "received", "rpc"),
    },
    "client/send_input.py": {"backoff", "client", "interrupts", "plain_errors", "proto", "rpc"},
    "cli": {
        *("cli", "client", "feed", "follow", "certs", "identity", "proto", "render", "rpc", "text"),
        *("backoff", "interrupts", "plain_errors", "received", "retry", "__version__"),
    },
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    """No cycle and no short cut between the layers."""
    for file in files(layer):
        above = {layer_of(name) for name in imported(file)} - {None} - ALLOWED[layer]
        assert not above, f"{file.relative_to(SOURCE)} imports {above}"


def test_every_file_is_in_a_layer() -> None:
    """A new file has its place said here."""
    tops = {path.name for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    entries = {"__init__.py", "penstockd.py", "server/main.py", "server/service.py"}
    assert tops - {"__pycache__", "policies", "proto"} == set(ALLOWED) | entries


def test_the_supervisor_is_the_standard_library_and_itself() -> None:
    """Nothing that can be installed is ever imported by root."""
    for file in files("supervisor"):
        for name in imported(file):
            assert layer_of(name) == "supervisor" or name.split(".")[0] in (
                sys.stdlib_module_names | {"supervisor"}
            ), f"{file.name} imports {name}"


def test_the_job_library_needs_trio_and_nothing_else() -> None:
    """No gRPC, no TLS, no certificates; and of the supervisor only what is pure."""
    for file in files("jobs"):
        for name in imported(file):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"trio", "penstock"}, f"{file.name}: {name}"
            assert top != "ssl"
            if layer_of(name) == "supervisor":
                parts = name.split(".")
                assert len(parts) < 3 or parts[2] in PURE | SHARED, f"{file.name} imports {name}"


def test_purerpcs_connection_and_h2_are_not_imported() -> None:
    """Our codec stands in for them; importing purerpc's connection patches h2 for the process."""
    foreign = {"purerpc.grpclib.connection", "h2", "hyperframe"}
    for file in sorted(SOURCE.rglob("*.py")):
        names = imported(file)
        assert not {n for n in names if n in foreign or n.split(".")[0] in foreign}, file


def test_pure_modules_do_no_io_and_never_wait() -> None:
    """Decisions are plain functions of values."""
    pure = [SOURCE / "supervisor" / f"{name}.py" for name in sorted(PURE)]
    pure += [
        SOURCE / name
        for name in (
            *(
                "server/authz.py",
                "server/rate_limits.py",
                "server/methods.py",
                "server/refusal_budget.py",
                "server/repeat_budget.py",
                "server/parse.py",
            ),
            *("server/convert.py", "server/audit_lines.py"),
        )
    ]
    pure += [
        SOURCE / name for name in ("client/backoff.py", "client/verify.py", "text/job_text.py")
    ]
    pure += [
        SOURCE / "jobs" / name for name in ("states.py", "call_errors.py", "record_counter.py")
    ]
    pure += [
        SOURCE / "rpc" / name for name in ("frames.py", "pending_handshakes.py", "receiver.py")
    ]
    for file in pure:
        tree = ast.parse(file.read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef | ast.Await)]
        tops = {name.split(".")[0] for name in imported(file)}
        assert not tops & {"socket", "subprocess", "trio", "select"}, file.name
