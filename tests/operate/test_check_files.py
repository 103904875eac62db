"""What ``penstockd check`` finds: every mistake of every file in one pass, and where it stands."""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checked_place import IS_ROOT, SERVER_UID, Place, checked_place
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import HOUR

from penstock.operate.findings import CheckReport
from penstock.operate.full_check import check_files
from penstock.operate.verb_table import call_verb
from penstock.supervisor.examination import examine


@pytest.fixture
def place() -> Iterator[Place]:
    with checked_place() as found:
        yield found


def check(place: Place) -> CheckReport:
    """What is found; and that nothing was changed by looking."""
    before = listing(place.directory)
    _, report = check_files(str(place.config))
    assert listing(place.directory) == before
    return report


def listing(directory: Path) -> list[tuple[str, int, int]]:
    paths = sorted(directory.rglob("*"))
    return [(str(each), each.stat().st_mtime_ns, each.stat().st_mode) for each in paths]


def test_good_files_have_no_mistake(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, and one line that says what was good."""
    assert check(place).mistakes == []
    assert call_verb(["check", "--config", str(place.config)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert f"{place.policy} are good: 1 class, 2 commands, 2 clients" in out
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_every_mistake_of_all_files_is_named_in_one_pass(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys, grammar, programs, paths, users, certificates, addresses and limits of the transport:
    each with file, line, key and remedy."""
    policy, config = str(place.policy), str(place.config)
    lines = {
        (policy, place.spoil(place.policy, "min = 1, max = 9", "min = 9, max = 1")): "swap them",
        (policy, place.spoil(place.policy, "/bin/ls", "/no/such")): "No such file",
        (policy, place.spoil(place.policy, f"{place.directory}/data", "/no/root")): "create it",
        (policy, place.spoil(place.policy, '["seq"]', '["sleep"]')): "use one of ls, seq",
        (policy, place.spoil(place.policy, '"100MB"', '"much"')): 'write for example "100MB"',
    }
    place.set("drain_sec", "1")
    place.config.write_text(place.config.read_text() + "[transport]\nstreams = 0\n")
    text = place.config.read_text().splitlines()
    place.pki.ca.write_text("no certificate\n")
    place.pki.server.key.chmod(0o644)
    place.set("listen", '"192.0.2.1:8443"')
    lines |= {
        (config, text.index("drain_sec = 1") + 1): "did you mean 'drain_s'?",
        (config, text.index("streams = 0") + 1): "write an integer from 1",
        (config, text.index(f'key = "{place.pki.server.key}"') + 1): "chmod 600",
        (config, 3): "name an address that this machine has",
    }
    report = check(place)
    found = {(each.file, each.line): each for each in report.mistakes}
    for where, remedy in lines.items():
        assert where in found, (where, [str(each) for each in report.mistakes])
        assert remedy in str(found[where])
        assert found[where].key
    assert any("client_ca" in str(each) or "[tls]" in str(each) for each in report.mistakes)
    assert call_verb(["check", "--config", config]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert set(shown.err.splitlines()) >= {str(each) for each in report.mistakes}


SPOILT: dict[str, Callable[[Place], object]] = {
    "not-toml": lambda place: place.policy.write_text("[classes\n"),
    "config-not-toml": lambda place: place.config.write_text("policy = 1 1\n"),
    "no-policy": lambda place: place.policy.unlink(),
    "no-config": lambda place: place.config.unlink(),
    "policy-writable": lambda place: place.policy.chmod(0o666),
    "state-of-others": lambda place: (place.directory / "state").mkdir(mode=0o755),
    "run-dir-holds": lambda place: place.set("run_dir", f'"{place.directory}"'),
    "work-root-a-file": lambda place: place.set("work_root", f'"{place.policy}"'),
    "audit-nowhere": lambda place: place.set("audit_log", '"/no/such/audit.jsonl"'),
    "expired": lambda place: place.set("certificate", f'"{place.pki.expired_client.certificate}"'),
    "other-key": lambda place: place.set("key", f'"{place.pki.clients["alice"].key}"'),
    "unresolvable": lambda place: place.set("listen", '"no-such-host.invalid:8443"'),
    "workdir": lambda place: place.spoil(place.policy, '"/bin/ls"', '"/bin/ls"\nworkdir = "/no"'),
    "script": lambda place: place.spoil(place.policy, '"/bin/ls"', '"/etc/passwd"'),
    "owner": lambda place: place.spoil(place.policy, '/data" }', '/data", owners = ["nonesuch"] }'),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_mistake_alone_is_found_and_has_a_remedy(place: Place, name: str) -> None:
    SPOILT[name](place)
    mistakes = check(place).mistakes
    assert mistakes
    assert all(each.remedy or "; " in each.text for each in mistakes), mistakes


def test_a_file_that_is_no_toml_is_looked_at_as_far_as_it_can_be_read(place: Place) -> None:
    """The lines that cannot be read, and what is wrong elsewhere; in both files."""
    first = place.spoil(place.policy, 'path = "/bin/ls"', "path = /bin/ls")
    second = place.spoil(place.policy, "[clients.alice]\n", "[clients.alice]\nmax_running = \n")
    second += 1
    third = place.spoil(place.policy, "/usr/bin/seq", "/no/such")
    place.set("drain_s", "5s")
    found = {(each.file, each.line): str(each) for each in check(place).mistakes}
    policy, config = str(place.policy), str(place.config)
    assert found.keys() == {(policy, first), (policy, second), (policy, third), (config, 1)}
    assert "not TOML" in found[policy, first]
    assert "not TOML" in found[policy, second]
    assert "commands.seq.path: /no/such" in found[policy, third]


def test_what_the_host_does_not_hold_is_a_mistake(place: Place) -> None:
    """A class that requires what nothing here can hold would have each start refused."""
    line = place.spoil(place.policy, 'needs = { all = "best_effort" }', 'storage = "1GB"')
    texts = [str(each) for each in check(place).mistakes]
    wrong = [text for text in texts if "classes.small.storage: storage is required" in text]
    assert len(wrong) == 1
    assert "so starts of ls, seq are refused" in wrong[0]
    assert f"{place.policy}:{line}: " in wrong[0]


def test_what_gives_a_shell_is_a_warning_and_no_mistake(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    line = place.spoil(place.policy, "/usr/bin/seq", "/usr/bin/env")
    place.spoil(place.policy, "int = { min = 1, max = 9 }", 'pattern = "[a-z]{1,9}"')
    assert call_verb(["check", "--config", str(place.config)]) == 0
    err = capsys.readouterr().err
    assert f"warning: {place.policy}:{line - 1}: commands.seq: /usr/bin/env runs other pro" in err


@contextlib.contextmanager
def listening(place: Place) -> Iterator[None]:
    """Another program has the port."""
    port = int(place.config.read_text().partition("127.0.0.1:")[2].partition('"')[0])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


def test_a_certificate_that_others_can_write_and_a_port_in_use_are_warnings(place: Place) -> None:
    place.pki.ca.chmod(0o666)
    with listening(place):
        report = check(place)
    assert report.mistakes == []
    found = {each.key: str(each) for each in report.warnings}
    assert "can be written by others; chmod go-w" in found["tls.client_ca"]
    assert "is in use now" in found["listen"]
    assert "listen" not in {each.key for each in check(place).warnings}


def test_certificates_and_lists_that_will_keep_clients_out_are_warnings(place: Place) -> None:
    """A server's without names, which each client must pin, and a list that ends soon."""
    pki = place.pki
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    plain = pki.authority.issue("plain", "host.example", usage=usage)
    crl = pki.write_crl(days=2)
    if IS_ROOT:
        os.chown(plain.key, SERVER_UID, SERVER_UID)
    lines = {"certificate": plain.certificate, "key": plain.key, "crl": crl}
    text = place.config.read_text().partition("[tls]\n")
    kept = [line for line in text[2].splitlines() if line.split(" ")[0] not in lines]
    added = [f'{key} = "{path}"' for key, path in lines.items()]
    place.config.write_text("\n".join([text[0] + "[tls]", *added, *kept]) + "\n")
    report = check(place)
    assert report.mistakes == []
    found = {each.key: str(each) for each in report.warnings}
    der = x509.load_pem_x509_certificate(plain.certificate.read_bytes())
    assert f"--server-fingerprint {der.fingerprint(SHA256()).hex()}" in found["tls.certificate"]
    assert "write it anew: penstock certs crl" in found["tls.crl"]
    pki.write_crl(days=30)
    assert "tls.crl" not in {each.key for each in check(place).warnings}


def test_certificates_by_which_clients_do_not_get_in_are_warnings(place: Place) -> None:
    """A server takes them: without a host's name, soon over, a leaf in the place of the CA."""
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    pair = place.pki.authority.issue(
        *("nameless", "localhost"), usage=usage, not_before=-24 * HOUR, not_after=HOUR
    )
    if IS_ROOT:
        os.chown(pair.key, SERVER_UID, SERVER_UID)
    for key, path in {"certificate": pair.certificate, "key": pair.key}.items():
        place.set(key, f'"{path}"')
    place.set("client_ca", f'"{place.pki.clients["alice"].certificate}"')
    report = check(place)
    assert report.mistakes == []
    texts = [str(each) for each in report.warnings if each.key.startswith("tls.")]
    assert len(texts) == 3
    for words in ("names no host (no subjectAltName", "expires on ", "is no CA's"):
        assert any(words in text for text in texts), texts


def test_as_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, with the same exit status."""
    line = place.spoil(place.policy, "/usr/bin/seq", "/no/such")
    assert call_verb(["check", "--config", str(place.config), "-o", "json"]) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    found = json.loads(shown.out)
    assert found["ok"] is False
    (mistake,) = found["mistakes"]
    assert (mistake["file"], mistake["line"]) == (str(place.policy), line)
    assert mistake["key"] == "commands.seq.path"
    assert found["policy"] == str(place.policy)


@pytest.mark.root
def test_another_user_is_told_what_only_root_can_find_out(place: Place) -> None:
    """Whoever can read the files may ask: what is wrong for root is named, and what cannot be seen
    is said to be unchecked. Nothing is said of a port that may be penstockd's own."""
    place.spoil(place.policy, "/usr/bin/seq", "/no/such")
    (place.directory / "run").mkdir(mode=0o750)
    code = (
        "import os, sys, json\n"
        "from dataclasses import asdict\n"
        "from penstock.operate.full_check import check_files\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"_, report = check_files({str(place.config)!r})\n"
        "print(json.dumps([[str(each) for each in found] for found in\n"
        "    (report.mistakes, report.warnings, report.unchecked)]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", code]
    with listening(place):
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    mistakes, warnings, unchecked = json.loads(done.stdout)
    assert not [text for text in warnings if "listen" in text]
    assert [text.partition(": ")[2] for text in mistakes] == [
        "commands.seq.path: /no/such: No such file or directory; install it, or name another one"
    ]
    joined = "\n".join(unchecked)
    assert "[tls] key" in joined
    assert "limits, isolation and quotas: only root" in joined


def test_a_key_that_the_servers_user_cannot_read_is_found(place: Place) -> None:
    if not IS_ROOT:
        pytest.skip("needs root: the server runs as another user")
    os.chown(place.pki.server.key, 0, 0)
    (mistake,) = check(place).mistakes
    assert mistake.key == "tls.key"
    assert "Permission denied" in str(mistake)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[transport]\n" + ".".join(["a"] * 5000) + " = 1\n", "tables within tables"),
        ("[transport]\nstreams = 0x" + "f" * 20_000 + "\n", "far too many digits"),
        ('[transport]\nstreams = "' + "9" * 300_000 + '"\n', "all settings together"),
    ],
    ids=["nested", "digits", "long"],
)
def test_settings_that_no_message_could_hold(place: Place, more: str, said: str) -> None:
    """penstockd would end with its jobs as it hands them to its server, so no file has them."""
    place.config.write_text(place.config.read_text() + more)
    found = examine(str(place.config))
    found.close()
    assert [said in str(each) for each in found.mistakes] == [True]
    assert any(said in str(each) for each in check(place).mistakes)


def test_a_path_that_no_message_could_hold(place: Place) -> None:
    place.set("audit_log", f'"/{"a" * 300_000}"')
    found = examine(str(place.config))
    found.close()
    assert any("all settings together" in str(each) for each in found.mistakes)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        pytest.param("server_user", '"no-such-user"', "server_user: ", marks=pytest.mark.root),
        pytest.param(
            "job_uids",
            f'"{SERVER_UID - 9}-{SERVER_UID}"',
            "server_user: '65530' lies in job_uids",
            marks=pytest.mark.root,
        ),
        ("work_root", '"/dev/null"', "work_root: /dev/null is no directory"),
        ("run_dir", '"/dev/null"', "run_dir: /dev/null is no directory"),
        ("state_dir", '"/dev/null"', "state_dir: /dev/null is no directory"),
        ("work_root", '"/var/tmp/other-work"', ""),
        pytest.param(
            "cgroup_parent",
            '"/cgroup.procs/x"',
            "Not a directory; name another group",
            marks=pytest.mark.root,
        ),
    ],
)
def test_a_reload_refuses_what_no_restart_could_use(
    place: Place, key: str, value: str, words: str
) -> None:
    """Though it is not taken up before: the restart may come at night, and would end in a failure.
    As check says it, with the place."""
    first = examine(str(place.config))
    first.close()
    place.set(key, value)
    found = examine(str(place.config), running=first.config)
    found.close()
    texts = [str(each) for each in found.mistakes]
    assert bool(texts) is bool(words), texts
    if words:
        assert any(f"{place.config}:" in text and words in text for text in texts), texts
        assert set(texts) <= {str(each) for each in check_files(str(place.config))[1].mistakes}


@pytest.mark.root
def test_job_uids_are_the_configurations(place: Place) -> None:
    """Though what is wrong with them is found among the policy's users."""
    uid = pwd.getpwnam("daemon").pw_uid
    place.set("job_uids", f'"{uid}-{uid + 9}"')
    wrong = [each for each in check(place).mistakes if each.key == "job_uids"]
    assert "is for clients alone" in wrong[0].what
    assert {each.file for each in wrong} == {str(place.config)}


@pytest.mark.root
def test_without_the_servers_user_nothing_is_said_of_owners(place: Place) -> None:
    """A chown to root would be wrong as soon as the user is right."""
    place.set("server_user", '"no-such-user"')
    report = check(place)
    assert any("there is no user 'no-such-user'" in str(each) for each in report.mistakes)
    assert not any("belongs to user" in str(each) for each in report.warnings)
