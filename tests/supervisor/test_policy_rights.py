"""Who a policy speaks of, what users it needs, what it must not hand out, and the samples."""

from importlib.resources import files
from pathlib import Path

import pytest

from penstock.policy.client_ids import valid_client_id
from penstock.policy.configuration import parse_config
from penstock.policy.environment import reserved_key
from penstock.policy.grammar import Match
from penstock.policy.policy_file import Policy, PolicyError, parse_policy
from penstock.supervisor.policy_checks import disk_warnings, policy_warnings, shell_warnings
from penstock.supervisor.storage.filesystems import kind_by
from penstock.supervisor.users.command_user_checks import check_mode


@pytest.mark.parametrize(
    "key",
    [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "ENV",
        "GIT_SSH_COMMAND",
        "IFS",
        "PATH",
        "NODE_OPTIONS",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "RUBYLIB",
        "JAVA_TOOL_OPTIONS",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
        "HOSTALIASES",
        "MALLOC_CHECK_",
        "GLIBC_TUNABLES",
        "TERMINFO",
        "TERMINFO_DIRS",
        "BASH_FUNC_ls",
        "SHELLOPTS",
        "LESSOPEN",
        "PAGER",
        *("KUBECONFIG", "MAKEFLAGS", "SVN_SSH", "VIMINIT", "SYSTEMD_PAGER", "HGRCPATH"),
        *("DOTNET_STARTUP_HOOKS", "CORECLR_PROFILER", "CORECLR_PROFILER_PATH", "GTK_MODULES"),
        *("R_PROFILE", "R_PROFILE_USER", "PSQLRC", "GOFLAGS", "ERL_FLAGS", "LESSEDIT"),
        *("DOCKER_CONFIG", "XDG_CONFIG_HOME"),
        *("RSYNC_CONNECT_PROG", "ZIPOPT", "APT_CONFIG", "AWS_CONFIG_FILE", "RIPGREP_CONFIG_PATH"),
        *("WGETRC", "GCC_EXEC_PREFIX", "EXINIT", "GEM_PATH", "NPM_CONFIG_SCRIPT_SHELL"),
        *("SSLKEYLOGFILE", "npm_config_node_options", "http_proxy", "HTTPS_PROXY", "all_proxy"),
        *("BUNDLE_GEMFILE", "JAVA_OPTS", "SBT_OPTS", "IBM_JAVA_OPTIONS", "CATALINA_OPTS"),
        *("CURL_HOME", "NETRC", "GNUPGHOME", "KRB5_CONFIG", "SSL_CERT_FILE", "SSH_ASKPASS"),
        *("INPUTRC", "SCREENRC", "TMUX_TMPDIR", "FZF_DEFAULT_OPTS", "BAT_PAGER", "MANOPT"),
        *("PROMPT_COMMAND", "BASH_LOADABLES_PATH", "ZDOTDIR", "FPATH", "KSH_ENV", "COMSPEC"),
        *("COMPILER_PATH", "CPATH", "PKG_CONFIG_PATH", "CMAKE_PREFIX_PATH", "RUSTC_WRAPPER"),
        *("CARGO_BUILD_RUSTC", "GOPATH", "CC", "LDFLAGS", "QT_PLUGIN_PATH", "GST_PLUGIN_PATH"),
        *("TEXINPUTS", "TEXMFCNF", "GS_LIB", "GUILE_LOAD_PATH", "TCLLIBPATH", "LUA_INIT_5_4"),
        *(
            "OCAMLRUNPARAM",
            "GHCRTS",
            "JULIA_LOAD_PATH",
            "R_LIBS_USER",
            "MYSQL_HOME",
            "PGSERVICEFILE",
        ),
        *("ODBCINI", "TNS_ADMIN", "ANSIBLE_CONFIG", "TF_CLI_CONFIG_FILE", "HELM_PLUGINS", "MAGIC"),
        *("MAGICK_CONFIGURE_PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET"),
        *(
            "LISTEN_FDS",
            "MIX_ENV",
            "PS4",
            "GTK_IM_MODULE_FILE",
            "FONTCONFIG_FILE",
            "VK_ICD_FILENAMES",
        ),
        *("SCRIPT_FILENAME", "QUERY_STRING", "GMON_OUT_PREFIX", "HEAPPROFILE", "MPLBACKEND", "HG"),
        *("__EGL_VENDOR_LIBRARY_FILENAMES", "HYDRA_LAUNCHER_EXEC", "I_MPI_HYDRA_BOOTSTRAP_EXEC"),
        *("SDL_DYNAMIC_API", "SLURM_TASK_PROLOG", "PROTOC", "TERMINAL", "LVM_SYSTEM_DIR", "PGPORT"),
        *("GREP_OPTIONS", "MY_TOOL_EDITOR", "ANY_PAGER", "SOME_OPTS", "LOGNAME", "PIP_INDEX_URL"),
    ],
)
def test_reserved_environment_keys(key: str) -> None:
    """What would change the program rather than its work cannot be granted."""
    assert reserved_key(key)
    command = '[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\nenv_allowed = ["%s"]\n'
    with pytest.raises(PolicyError, match=f"commands.x.env_allowed: {key} would"):
        parse_policy((command % key).encode())


@pytest.mark.parametrize("key", ["HOME", "PENSTOCK_JOB"])
def test_a_jobs_own_keys_are_no_clients(key: str) -> None:
    """Every request that sets one is refused, so a policy that admits it would say nothing."""
    command = '[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\nenv_allowed = ["%s"]\n'
    with pytest.raises(PolicyError, match=f"commands.x.env_allowed: {key} is penstock's own"):
        parse_policy((command % key).encode())


def test_other_environment_keys_can_be_granted() -> None:
    """Plain settings of a program."""
    for key in (
        "LANG",
        "LC_ALL",
        "TZ",
        "COLUMNS",
        "TERM",
        "MY_LD_PRELOAD",
        "BUILD_ID",
        "DATA_PATH",
    ):
        assert not reserved_key(key)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("alice", True),
        ("a", True),
        ("0.build_agent-7", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("", False),
        ("Alice", False),
        ("-alice", False),
        (".alice", False),
        ("alice\n", False),
        ("alice\0", False),
        ("\u0430lice", False),  # a Cyrillic letter that looks like a
        ("alice bob", False),
        ("alice/bob", False),
        ("spiffe://example.org/ci", True),
        ("spiffe://example.org/ci/Runner_1", True),
        ("spiffe://example.org", True),
        ("spiffe://example.org/", False),
        ("spiffe://Example.org/ci", False),
        ("spiffe://example.org/ci?x", False),
        ("spiffe://example.org/ci#x", False),
        ("spiffe://example.org/../ci", False),
        ("spiffe://example.org/ci/.", False),
        ("spiffe://example.org/ci/..", False),
        ("spiffe://example.org/...", True),
        ("spiffe://example.org:80/ci", False),
        ("spiffe://u@example.org/ci", False),
        ("spiffe://example.org/c%69", False),
        ("spiffe:///ci", False),
        ("https://example.org/ci", False),
        ("spiffe://example.org/ci\n", False),
        ("spiffe://e/" + "a" * 2048, False),
    ],
)
def test_client_ids(text: str, valid: bool) -> None:
    """A plain name, or a SPIFFE id in its one spelling."""
    assert valid_client_id(text) is valid


def _user(name: str) -> tuple[int, int]:
    users = {"root": (0, 0), "penstock": (65530, 65530), "jobs": (65531, 65531)}
    users |= {"wheel": (65532, 0), "friend": (65533, 65530)}
    return (int(name), int(name)) if name.isdigit() else users[name]


@pytest.mark.parametrize(
    ("user", "root", "mistake"),
    [
        ('user = "65531"', True, None),
        ('user = "jobs"', True, None),
        ("", True, None),
        ('user = "auto"', True, None),
        ('user = "auto"', False, None),
        ('user = "root"', True, "is root"),
        ('user = "0"', True, "is root"),
        ('user = "00"', True, "is root"),
        ('user = "penstock"', True, "server's own user"),
        ('user = "65530"', True, "server's own user"),
        ('user = "ghost"', True, "does not exist"),
        ('user = "wheel"', True, "has root's group"),
        ('user = "friend"', True, "has the server's group"),
        ("", False, None),
        ('user = "65530"', False, None),
        ('user = "penstock"', False, None),
        ('user = "jobs"', False, "only root can change it"),
        ('user = "root"', False, "only root can change it"),
    ],
)
def test_users_by_mode(user: str, root: bool, mistake: str | None) -> None:
    """As root a job never has root's or the server's rights; otherwise it has the only ones."""
    text = f'[classes.c]\n[commands.x]\npath = "/bin/x"\nclass = "c"\n{user}\n'
    policy = parse_policy(text.encode())
    found = check_mode(policy, root=root, server=(65530, 65530), resolve_user=_user)
    if mistake is None:
        assert found == []
    else:
        (text,) = found
        assert text.startswith("commands.x.user: ")
        assert mistake in text


ANY_PATH = 'arguments = [{path = {root = "/srv"}}]'


@pytest.mark.parametrize(
    ("command", "warned"),
    [
        ('path = "/bin/sh"', True),
        ('path = "/bin/sh"\nfixed = ["-c", "date"]', False),
        ('path = "/bin/sh"\nfixed = ["-c"]\narguments = [{pattern = "[a-z]{1,9}"}]', True),
        ('path = "/bin/sh"\narguments = [{literal = "-c"}, {literal = "date"}]', False),
        ('path = "/usr/bin/python3.11"\narguments = [{path = {root = "/srv"}}]', True),
        ('path = "/usr/bin/python3"\narguments = [{literal = "--version"}]', False),
        (
            'path = "/usr/bin/python3"\narguments = [{literal = "/opt/x.py"}, {pattern = "a"}]',
            False,
        ),
        ('path = "/usr/bin/find"\narguments = [{pattern = "[a-z]{1,9}"}]', True),
        ('path = "/usr/bin/find"\narguments = [{path = {root = "/srv"}}]', False),
        (
            'path = "/bin/tar"\narguments = [{repeat = {slot = {pattern = "-{2}x"}, max = 2}}]',
            True,
        ),
        ('path = "/usr/bin/awk"\narguments = [{optional = {pattern = "[^/]{1,99}"}}]', True),
        ('path = "/usr/bin/env"\narguments = [{path = {root = "/srv"}}]', True),
        ('path = "/usr/bin/env"', False),
        ('path = "/usr/bin/git"\narguments = [{path = {root = "/srv"}}]', True),
        ('path = "/usr/bin/xargs"\narguments = [{enum = ["-0"]}]', False),
        (
            'path = "/lib64/ld-linux-x86-64.so.2"\narguments = [{path = {root = "/srv"}}]',
            True,
        ),
        ('path = "/bin/ls"\narguments = [{pattern = "[a-z]{1,9}"}]', False),
        (f'path = "/usr/bin/python3"\nfixed = ["-X", "utf8"]\n{ANY_PATH}', True),
        (f'path = "/usr/bin/python3.11"\nfixed = ["-W", "ignore"]\n{ANY_PATH}', True),
        (f'path = "/usr/bin/python3"\nfixed = ["-I", "/opt/x.py"]\n{ANY_PATH}', False),
        (f'path = "/usr/bin/python3"\nfixed = ["-X", "utf8", "/opt/x.py"]\n{ANY_PATH}', False),
        (f'path = "/bin/bash"\nfixed = ["-o", "pipefail"]\n{ANY_PATH}', True),
        *(
            (f'path = "/usr/bin/{name}"\n{ANY_PATH}', True)
            for name in (
                *("pager", "editor", "sensible-pager", "ip", "prlimit", "capsh", "choom"),
                *("pkexec", "run0"),
            )
        ),
        ('path = "/usr/bin/x86_64-linux-gnu-gcc-12"\narguments = [{pattern = "-{2}x"}]', True),
    ],
)
def test_warns_of_shells(command: str, warned: bool) -> None:
    """Programs that run programs, where the client chooses the text; not where it cannot."""
    policy = parse_policy(f'[classes.c]\n[commands.x]\nclass = "c"\n{command}\n'.encode())
    warnings = shell_warnings(policy)
    assert len(warnings) == warned, warnings
    assert all(text.startswith("commands.x: ") for text in warnings)


@pytest.mark.parametrize(
    ("top", "named", "warned"),
    [
        ("", '"mallory"', True),
        ("", '"alice"', False),
        ("", "", False),
        ('on_revoke = "keep"', '"mallory"', False),
    ],
)
def test_warns_of_a_key_at_the_end(top: str, named: str, warned: bool) -> None:
    """What was meant for those whom [revoked] names, and belongs to the last client."""
    end = '[clients.alice]\ncommands = []\non_revoke = "stop"\n'
    policy = parse_policy(f"{top}\n[revoked]\nclients = [{named}]\n{end}".encode())
    warnings = policy_warnings(policy)
    assert len(warnings) == warned, warnings
    for text in warnings:
        assert text.startswith("clients.alice.on_revoke: counts for alice alone")
        assert "jobs of mallory run on" in text


def sample(form: str) -> Policy:
    """A packaged sample."""
    return parse_policy((files("penstock") / "policies" / f"sample-{form}.toml").read_bytes())


def test_samples_are_good() -> None:
    """No mistake in the mode that each is for, and no shell."""
    for form, root in (("root", True), ("user", False)):
        policy = sample(form)
        assert check_mode(policy, root=root, server=(65530, 65530), resolve_user=_user) == []
        assert shell_warnings(policy) == []


def test_samples_differ_in_rights_only() -> None:
    """The same commands, clients and limits; users and needs apart."""
    root, user = sample("root"), sample("user")
    assert root.clients == user.clients
    assert root.commands.keys() == user.commands.keys()
    for name, command in root.commands.items():
        other = user.commands[name]
        assert (command.user, other.user) == ("auto", "auto")
        assert command.argv([]) == other.argv([])
        assert command.grammar == other.grammar
        assert (command.class_name, command.timeout_s) == (other.class_name, other.timeout_s)
    for name, limit_class in root.classes.items():
        assert limit_class.limits == user.classes[name].limits
        assert set(user.classes[name].needs.values()) == {"best_effort"}
        assert "best_effort" not in limit_class.needs.values()


def test_sample_grants_what_documents_show() -> None:
    """The specification's example, and three clients with their own lists in three classes."""
    policy = sample("root")
    assert isinstance(policy.commands["ls"].grammar.match(["-la", "/srv"]), Match)
    follow = ["-n", "20", "-f", "/var/log/dpkg.log"]
    assert isinstance(policy.commands["tail"].grammar.match(follow), Match)
    assert set(policy.clients) == {"alice", "bob", "carol"}
    assert len({client.commands for client in policy.clients.values()}) == 3
    assert {command.class_name for command in policy.commands.values()} == {
        "small",
        "medium",
        "large",
    }
    limits = {name: limit_class.limits for name, limit_class in policy.classes.items()}
    assert [
        (limit.cpu_cores, limit.memory_bytes, limit.disk_write_bytes_per_s, limit.processes)
        for limit in (limits["small"], limits["medium"], limits["large"])
    ] == [
        (0.10, 100 * 10**6, 10 * 10**6, 64),
        (0.25, 10**9, 50 * 10**6, 256),
        (0.50, 8 * 10**9, 100 * 10**6, 1024),
    ]


def test_records_that_share_a_disk_with_jobs_are_warned_of(tmp_path: Path) -> None:
    """Not where they have one each; and where no blocks can be kept, that is said too."""
    text = f'policy = "/p"\nstate_dir = "{tmp_path}/state"\nwork_root = "%s"\n'
    shared = parse_config((text % f"{tmp_path}/work").encode(), library=True)
    assert "share a file system without quotas" in disk_warnings(shared)[0]
    apart = parse_config((text % "/proc/work").encode(), library=True)
    assert not [text for text in disk_warnings(apart) if "share" in text]


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv rw - btrfs /dev/vdb rw
31 30 0:41 / /srv/with\040blank rw - fuse.sshfs host: rw
32 22 0:42 / /srvs rw - xfs /dev/vdc rw
33 22 0:43 / /twice rw - ext4 /dev/vdd rw
34 33 0:44 / /twice rw - zfs pool rw
damaged
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/penstock", "ext4"),
        ("/srv", "btrfs"),
        ("/srv/penstock", "btrfs"),
        ("/srv/with blank/x", "fuse"),
        ("/srvs/x", "xfs"),
        ("/twice", "zfs"),
    ],
)
def test_which_file_system_a_path_is_on(path: str, kind: str) -> None:
    """By the nearest mount above it, and the last one there."""
    assert kind_by(MOUNTS, path) == kind
    assert kind_by("", path) == ""
