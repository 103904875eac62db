"""The configuration of penstockd: defaults, forms, and every mistake by its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.addresses import Address
from penstock.policy.configuration import Config, ConfigError, check_server_user, parse_config
from penstock.policy.uid_range import UidRange

CONFIG = """
listen = "[::1]:9443"
state_dir = "/var/lib/penstock"
run_dir = "/run/penstock"
work_root = "/var/tmp/penstock"
policy = "/etc/penstock/policy.toml"
server_user = "penstock"
cgroup_parent = "/system.slice/penstock.server.service"
orphan_timeout_s = 10
on_shutdown = "stop"
drain_s = 2.5
server_silence_s = 30
supervisor_silence_s = 90
max_jobs = 64
audit_log = "/var/log/penstock.jsonl"
reload = "auto"
reflection = true
allow_lockout = true
supervisor_dir = "/var/lib/penstock-own"
job_uids = "70000-70099"
transport = { streams = 50 }

[tls]
certificate = "/etc/penstock/server.crt"
key = "/etc/penstock/server.key"
client_ca = "/etc/penstock/ca.crt"
crl = "/etc/penstock/crl.pem"
key_passphrase_file = "/etc/penstock/passphrase"
legacy_certificates = true
"""
MINIMAL = """
policy = "/p"
[tls]
certificate = "/c"
key = "/k"
client_ca = "/a"
"""


def test_reads_every_key() -> None:
    """What is written comes out."""
    assert parse_config(CONFIG.encode()) == Config(
        listen=(Address("::1", 9443),),
        state_dir="/var/lib/penstock",
        run_dir="/run/penstock",
        work_root="/var/tmp/penstock",
        policy="/etc/penstock/policy.toml",
        server_user="penstock",
        supervisor_dir="/var/lib/penstock-own",
        job_uids=UidRange(70000, 70099),
        cgroup_parent="/system.slice/penstock.server.service",
        orphan_timeout_s=10.0,
        on_shutdown="stop",
        drain_s=2.5,
        server_silence_s=30.0,
        supervisor_silence_s=90.0,
        max_jobs=64,
        tls_certificate="/etc/penstock/server.crt",
        tls_key="/etc/penstock/server.key",
        tls_client_ca="/etc/penstock/ca.crt",
        tls_key_passphrase_file="/etc/penstock/passphrase",
        tls_crl="/etc/penstock/crl.pem",
        legacy_certificates=True,
        allow_lockout=True,
        reflection=True,
        transport={"streams": 50},
        audit_log="/var/log/penstock.jsonl",
        reload="auto",
    )


def test_defaults() -> None:
    """Loopback only; the audit log and the jobs' directories follow the state directory."""
    config = parse_config(MINIMAL.replace("[tls]", 'state_dir = "/s"\n[tls]').encode())
    assert config.listen == (Address("127.0.0.1", 8443),)
    assert (config.audit_log, config.work_root) == ("/s/audit.jsonl", "/s-work")
    assert (config.run_dir, config.cgroup_parent) == ("/run/penstock", None)
    assert (config.orphan_timeout_s, config.drain_s, config.max_jobs) == (600.0, 5.0, 512)
    assert (config.server_silence_s, config.supervisor_silence_s) == (20.0, 60.0)
    assert config.server_user is None
    assert (config.supervisor_dir, str(config.job_uids)) == ("/s-root", "1879200000-1879265535")
    assert not config.legacy_certificates
    assert config.reload == "off"


def test_library_needs_neither_address_nor_certificates() -> None:
    """Without gRPC nothing listens; what is there is still checked."""
    config = parse_config(b'policy = "/p"', library=True)
    assert (config.listen, config.tls_key) == ((), "")
    with pytest.raises(ConfigError, match=r"tls\.key"):
        parse_config(b'policy = "/p"\n[tls]\ncertificate = "/c"\nclient_ca = "/a"', library=True)
    with pytest.raises(ConfigError, match="tls"):
        parse_config(b'policy = "/p"')


def test_a_needed_key_that_stands_below_a_table_is_one_mistake() -> None:
    """It is there, and only its place is wrong."""
    policy = next(line for line in CONFIG.splitlines() if line.startswith("policy = "))
    text = CONFIG.replace(f"{policy}\n", "").replace("[tls]\n", f"[tls]\n{policy}\n")
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode())
    assert caught.value.mistakes == [
        "tls.policy: stands below [tls]; move it above the first table"
    ]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        (
            '"/var/lib/penstock-own"',
            '"/var/tmp/penstock"',
            "work_root: '/var/tmp/penstock' lies within supervisor_dir, which only root can enter",
        ),
        (
            '"/var/lib/penstock-own"',
            '"/var/log"',
            "audit_log: '/var/log/penstock.jsonl' lies within supervisor_dir, which only root",
        ),
        ('"70000-70099"', '"70000"', "job_uids: '70000' is no range of ids; write the first and"),
        ('"70000-70099"', '"0-70"', "job_uids: '0-70' has root in it"),
        ('"70000-70099"', "70000", "job_uids: 70000 is not a string"),
        (
            '"/var/lib/penstock-own"',
            '"/var/lib/penstock/own"',
            "supervisor_dir: '/var/lib/penstock/own' lies within state_dir, where the server",
        ),
        ('"[::1]:9443"', '"9443"', "listen: '9443' is no address and port"),
        ('"[::1]:9443"', '"::1:9443"', "listen: '::1:9443' is no address"),
        ('"[::1]:9443"', '"127.0.0.1:70000"', "listen: '127.0.0.1:70000' is no"),
        ('"[::1]:9443"', '""', "listen: '' is no address"),
        ('"[::1]:9443"', '["[::1]:1", "[::1]:1"]', "listen: [::1]:1 is named twice"),
        ('"[::1]:9443"', '["[::1]:1", "x"]', "listen: 'x' is no address"),
        ('"[::1]:9443"', "[]", "listen: 0 addresses; name from 1 to 16"),
        ('"[::1]:9443"', str(["a:1"] * 17), "listen: 17 addresses; name from 1 to 16"),
        ('"[::1]:9443"', "[1]", "listen: holds what is not a string"),
        ('"[::1]:9443"', "9443", "listen: 9443 is not a string; write an address and a port"),
        ('"[::1]:9443"', '"a..b:1"', "listen: 'a..b:1' is no"),
        ('"[::1]:9443"', '"0:1"', "listen: '0:1' is no"),
        ('"[::1]:9443"', '"-:1"', "listen: '-:1' is no"),
        ('"[::1]:9443"', '"[fe]:1"', "listen: '[fe]:1' is no"),
        ('"[::1]:9443"', f'"{"a" * 64}:1"', "listen: 'aaaa"),
        ("max_jobs = 64", f"max_jobs = 0x{'f' * 4000}", "max_jobs: a number of far too many"),
        ("max_jobs = 64", f"max_jobs{'.a' * 3000} = 1", "max_jobs: tables within"),
        ('"/var/lib/penstock"', '"state"', "state_dir: 'state' is not an absolute path"),
        ('"/var/lib/penstock"', '"/"', "state_dir: '/' cannot be used"),
        ('"/run/penstock"', f'"/{"r" * 100}"', "run_dir: "),
        ('policy = "/etc/penstock/policy.toml"\n', "", "policy: is missing"),
        ('server_user = "penstock"', 'server_user = "root"', "server_user: is root"),
        ('server_user = "penstock"', 'server_user = "0"', "server_user: is root"),
        ('server_user = "penstock"', "server_user = 61190", "server_user: 61190 is not a string"),
        ('server_user = "penstock"', 'server_user = "a:b"', "server_user: 'a:b' is no user"),
        ("/system.slice/penstock.server.service", "/", "cgroup_parent: '/' is no group"),
        (
            "/system.slice/penstock.server.service",
            "/a/../b",
            "cgroup_parent: '/a/../b' is no group",
        ),
        (
            "/system.slice/penstock.server.service",
            "penstock",
            "cgroup_parent: 'penstock' is no group",
        ),
        ("[tls]", "[tls]\nreload = 'auto'", "tls.reload: stands below [tls]; move it above the"),
        ("[tls]", "[tls]\ntransport = 1", "tls.transport: unknown key"),
        ("orphan_timeout_s = 10", "orphan_timeout_s = 0", "orphan_timeout_s: 0 is out of range"),
        ("orphan_timeout_s = 10", "orphan_timeout_s = nan", "orphan_timeout_s: nan is out of"),
        ("orphan_timeout_s = 10", "orphan_timeout_s = inf", "orphan_timeout_s: inf is out of"),
        ("drain_s = 2.5", 'drain_s = "5s"', "drain_s: '5s' is out of range"),
        ("drain_s = 2.5", "drain_s = true", "drain_s: True is out of range"),
        ('on_shutdown = "stop"', 'on_shutdown = "keep"', "on_shutdown: 'keep' is unknown"),
        ("max_jobs = 64", "max_jobs = 0", "max_jobs: 0 is out of range"),
        ("max_jobs", "max_job", "max_job: unknown key; did you mean 'max_jobs'?"),
        ('key = "/etc/penstock/server.key"\n', "", "tls.key: is missing"),
        ('key = "/etc', 'kee = "/etc', "tls.kee: unknown key"),
        (
            "certificates = true",
            'certificates = "yes"',
            "tls.legacy_certificates: 'yes' is not true or false",
        ),
    ],
)
def test_names_each_mistake(old: str, new: str, mistake: str) -> None:
    """Where, what, and after a semicolon what to do."""
    assert old in CONFIG
    with pytest.raises(ConfigError) as caught:
        parse_config(CONFIG.replace(old, new, 1).encode())
    matching = [text for text in caught.value.mistakes if text.startswith(mistake)]
    assert matching, caught.value.mistakes
    assert "; " in matching[0]


def test_user_depends_on_who_runs_it() -> None:
    """Root needs somebody to become; nobody else can become anybody."""
    with_user, without = parse_config(CONFIG.encode()), parse_config(MINIMAL.encode())
    assert check_server_user(with_user, root=True) == []
    assert check_server_user(without, root=False) == []
    assert "is missing" in check_server_user(without, root=True)[0]
    assert "only root" in check_server_user(with_user, root=False)[0]


_LINE = st.tuples(
    st.sampled_from(
        ["listen", "state_dir", "run_dir", "policy", "server_user", "drain_s", "max_jobs", "tls"]
    ),
    st.sampled_from(["1", "nan", "true", '"x"', '"/x"', "[]", "{}", '"\\u0000"', '{key = "/k"}']),
).map(" = ".join)


@given(
    st.binary(max_size=200) | st.lists(_LINE, max_size=5).map("\n".join).map(str.encode),
    st.booleans(),
)
def test_any_bytes_are_a_configuration_or_refused(data: bytes, library: bool) -> None:
    """Nothing but ConfigError comes out, and it says something."""
    try:
        config = parse_config(data, library=library)
    except ConfigError as error:
        assert all(error.mistakes), error.mistakes  # noqa: PT017  only some bytes are refused
    else:
        assert config.policy.startswith("/")
