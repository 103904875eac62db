"""Imports go one way; the layers are those of docs/architecture.md."""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "penstock"
GENERATED = SOURCE / "proto"
# What each package may import of penstock, besides itself.
ALLOWED = {
    "policy": set(),
    "supervisor": {"policy"},
    "concurrency": set(),
    "text": {"proto"},
    "jobs": {"concurrency", "policy", "supervisor"},
    "rpc": {"concurrency"},
    "pki": {"policy"},
    "server": {
        *("concurrency", "jobs", "pki", "policy", "proto", "rpc", "supervisor", "text"),
        "__version__",
    },
    "client": {"concurrency", "pki", "proto", "rpc"},
    "cli": {"client", "concurrency", "pki", "proto", "rpc", "text", "__version__"},
    "agent": {"cli", "client", "concurrency", "rpc", "__version__"},
    "operate": {"pki", "policy", "rpc", "server", "supervisor", "text", "__version__"},
}
# The supervisor's rooms: each imports only those before it. Its files at the top are after all.
ROOMS = (
    *("kernel", "logs", "users", "files", "cgroups", "isolation", "storage", "ipc", "job"),
    "",
)
# Of the supervisor's folder, what the server's processes import: pure, but for how a line of a log
# is written.
SHARED = {
    *("cgroups.counters", "ipc.from_server", "ipc.from_supervisor", "ipc.command_spec"),
    *("ipc.message_base", "ipc.message_forms", "ipc.message_record"),
    *("ipc.protocol", "ipc.reload_messages", "ipc.silence", "ipc.started", "ipc.welcome_message"),
    "logs.log_lines",
}
# Of server/: each file imports only those before it, and of other packages only what is named.
SERVER = {
    "audit_lines": set(),
    "methods": {"rpc"},
    "convert": {"jobs", "policy", "proto", "supervisor"},
    "granted_commands": {"jobs", "policy", "proto"},
    "error_status": {"jobs", "rpc"},
    "parse": {"jobs", "policy", "proto"},
    "authn": {"pki", "policy"},
    "rate_limits": {"policy"},
    "refusal_budget": set(),
    "repeat_budget": set(),
    "tls_files": {"pki"},
    "credentials": {"pki", "policy", "rpc", "supervisor"},
    "transport_settings": {"policy", "rpc"},
    "generation": {"policy"},
    "lockout": {"pki", "rpc"},
    "retrial": {"rpc"},
    "preparation": {"jobs", "policy", "rpc", "supervisor"},
    "audit": {"jobs"},
    "output_stream": {"jobs", "proto", "text"},
    "admission": {"rpc"},
    "decision_lines": {"rpc"},
    "access": {"jobs", "policy", "rpc"},
    "service_read": {"jobs", "proto", "rpc", "text"},
    "service_watch": {"jobs", "proto", "rpc"},
    "service_info": {"policy", "proto", "rpc", "__version__"},
    "service_whoami": {"policy", "proto", "rpc"},
    "service_control": {"jobs", "policy", "proto", "text"},
    "service_input": {"jobs", "proto"},
    "service_start": {"jobs", "policy", "proto", "rpc", "supervisor"},
    "service": {"jobs", "proto", "rpc"},
    "lost_rights": {"jobs", "policy", "rpc"},
    "switching": {"jobs", "rpc", "supervisor"},
    "hangups": set(),
    "files_in_place": {"jobs"},
    "endings": {"jobs", "rpc"},
    "main": ALLOWED["server"],
    "__main__": set(),
    "__init__": set(),
}
# Plain functions of values: no I/O, no waiting.
PURE = (
    *("policy/*.py", "text/*.py", "rpc/http2/*.py", "rpc/limits.py", "rpc/token_bucket.py"),
    "rpc/status_codes.py",
    *(f"supervisor/{name.replace('.', '/')}.py" for name in sorted(SHARED - {"logs.log_lines"})),
    *("jobs/states.py", "jobs/job_errors.py", "jobs/end_record.py", "jobs/verdict.py"),
    *("rpc/tls/pending_handshakes.py", "client/backoff.py", "client/verify.py"),
    "agent/wire.py",
    *(
        f"server/{name}.py"
        for name in (
            *("rate_limits", "methods", "refusal_budget", "repeat_budget", "parse"),
            *("convert", "granted_commands", "audit_lines", "tls_files"),
        )
    ),
)


def imported(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too, by its absolute name."""
    package = ("penstock", *path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                full = f"{module}.{name.name}"
                found.add(full if module == "penstock" or is_module(full) else module)
    return found


def is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def files(folder: str) -> list[Path]:
    found = sorted((SOURCE / folder).rglob("*.py"))
    return [file for file in found if GENERATED not in file.parents]


def package_of(module: str) -> str | None:
    """The part of penstock that a module is in; None outside."""
    parts = module.split(".")
    return parts[1] if parts[0] == "penstock" and len(parts) > 1 else None


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    """No cycle and no short cut between the packages."""
    for file in files(package):
        above = {package_of(name) for name in imported(file)} - {None, package} - ALLOWED[package]
        assert not above, f"{file.relative_to(SOURCE)} imports {above}"


def test_every_package_is_in_a_layer_and_the_layers_have_no_circle() -> None:
    """A new package has its place said here; entries at the top are named one by one."""
    tops = {path.name for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    entries = {"__init__.py", "penstockd.py", "__pycache__", "policies", "proto"}
    assert tops - entries == set(ALLOWED)
    placed: set[str] = {"proto", "__version__"}
    for package, below in ALLOWED.items():
        assert below <= placed, package
        placed.add(package)


def test_the_supervisors_rooms_go_one_way() -> None:
    """Also for who runs one of them alone: kernel and logs need nothing above them."""
    folders = {path.parent.name for path in (SOURCE / "supervisor").glob("*/__init__.py")}
    assert folders == set(ROOMS) - {""}
    for file in files("supervisor"):
        place = room(file.relative_to(SOURCE).with_suffix("").parts)
        for name in imported(file):
            if package_of(name) == "supervisor":
                other = room(tuple(name.split(".")[1:]))
                assert ROOMS.index(other) <= ROOMS.index(place), f"{file}: {name}"


def room(parts: tuple[str, ...]) -> str:
    """Of ('supervisor', 'job', 'spawn'): job; of what stands at the top: nothing."""
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def test_the_supervisor_is_the_standard_library_itself_and_policy() -> None:
    """Nothing that can be installed is ever imported by root."""
    for file in (*files("supervisor"), *files("policy")):
        for name in imported(file):
            assert (
                package_of(name) in ("supervisor", "policy")
                or name.split(".")[0] in sys.stdlib_module_names
            ), f"{file.name} imports {name}"


@pytest.mark.parametrize("file", SERVER)
def test_a_file_of_the_server_imports_only_those_before_it(file: str) -> None:
    """Decisions know no handlers, handlers no process; each with what it needs of others."""
    allowed = set(SERVER) if file == "__main__" else set(list(SERVER)[: list(SERVER).index(file)])
    for name in imported(SOURCE / "server" / f"{file}.py"):
        if package_of(name) == "server":
            assert name.split(".")[2] in allowed, name
        elif package_of(name) is not None:
            assert package_of(name) in SERVER[file] | {"concurrency"}, name


def test_every_file_of_the_server_has_its_place() -> None:
    assert {path.stem for path in (SOURCE / "server").glob("*.py")} == set(SERVER)


@pytest.mark.parametrize("package", ["jobs", "server"])
def test_of_the_supervisor_only_what_is_shared_is_imported(package: str) -> None:
    """Its messages and their form, counters of groups, lines of a log."""
    for file in files(package):
        for name in imported(file):
            if package_of(name) == "supervisor":
                assert name.removeprefix("penstock.supervisor.") in SHARED | READ, (file, name)


# How the server reads files and takes its listening sockets; not pure, and of both all the same.
READ = {"kernel.bounded_read", "socket_passing"}


def test_the_job_library_needs_trio_and_nothing_else() -> None:
    """No gRPC, no TLS, no certificates."""
    for file in files("jobs"):
        for name in imported(file):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"trio", "penstock"}, f"{file.name}: {name}"
            assert top != "ssl"


@pytest.mark.parametrize("room", ["http2", "tls"])
def test_a_room_of_the_transport_knows_the_limits_and_itself(room: str) -> None:
    """Neither knows the other nor what puts both together: rpc's own files. That http2 is free of
    I/O is with the pure modules below."""
    below = {"penstock.rpc.limits", "penstock.rpc.token_bucket"}
    for file in files(f"rpc/{room}"):
        of_rpc = {name for name in imported(file) if package_of(name) == "rpc"}
        outside = {name for name in of_rpc if not name.startswith(f"penstock.rpc.{room}.")}
        assert outside - {f"penstock.rpc.{room}"} <= below, file.name


def test_what_the_transports_rooms_share_needs_none_of_them() -> None:
    """The limits nothing, and a bucket nothing but those."""
    for name, allowed in (("limits", set()), ("token_bucket", {"penstock.rpc.limits"})):
        found = imported(SOURCE / "rpc" / f"{name}.py")
        assert {each for each in found if package_of(each) is not None} <= allowed, name


def test_purerpcs_connection_and_h2_are_not_imported() -> None:
    """Our codec stands in for them; importing purerpc's connection patches h2 for the process."""
    foreign = {"purerpc.grpclib.connection", "h2", "hyperframe"}
    for file in sorted(SOURCE.rglob("*.py")):
        names = imported(file)
        assert not {n for n in names if n in foreign or n.split(".")[0] in foreign}, file


@pytest.mark.parametrize("pattern", PURE)
def test_pure_modules_do_no_io_and_never_wait(pattern: str) -> None:
    """Decisions are plain functions of values."""
    found = sorted(SOURCE.glob(pattern))
    assert found
    for file in found:
        tree = ast.parse(file.read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef | ast.Await)]
        tops = {name.split(".")[0] for name in imported(file)}
        assert not tops & {"socket", "subprocess", "trio", "select"}, file.name


def test_each_package_says_what_it_may_import_and_where_to_begin() -> None:
    """A reader who opens a folder learns both from its first lines."""
    packages = {path.parent for path in files("") if path.name == "__init__.py"} - {SOURCE}
    assert len(packages) > len(ALLOWED)
    for package in sorted(packages):
        text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        sentences = re.split(r"(?<=[.:;]) ", " ".join(text.split()))
        # Neither how its files may import each other nor which others import it is meant.
        own = [each for each in sentences if "mport" in each and "each other" not in each]
        assert [each for each in own if "import it" not in each or "imports" in each], package
        assert [each for each in sentences if each.startswith("Begin with")], package


def test_no_file_and_no_class_has_the_name_of_another() -> None:
    """A name says where to look: in a trace, in a search, in a sentence."""
    sources = files("")
    names = Counter(path.name for path in sources if not path.name.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []
    classes = Counter(
        node.name
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []
