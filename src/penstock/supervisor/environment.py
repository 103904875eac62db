"""Environment keys that no client may set (pure).

Each of these makes some loader, interpreter, library or tool run or read what the
client chooses, so that a granted command line would become another one.
"""

import re
from typing import Final

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)

# ld.so(8), and what glibc itself drops for set-user-id programs (unsecvars.h).
_LOADER: Final = frozenset(
    {
        "GCONV_PATH",
        "GETCONF_DIR",
        "GLIBC_TUNABLES",
        "HOSTALIASES",
        "LOCALDOMAIN",
        "LOCPATH",
        "NIS_PATH",
        "NLSPATH",
        "RESOLV_HOST_CONF",
        "RES_OPTIONS",
        "TZDIR",
    }
)
# bash(1), dash(1).
_SHELL: Final = frozenset(
    {
        "BASHOPTS",
        "BASH_ENV",
        "BASH_XTRACEFD",
        "CDPATH",
        "ENV",
        "GLOBIGNORE",
        "IFS",
        "PATH",
        "PROMPT_COMMAND",
        "PS0",
        "PS1",
        "PS2",
        "PS4",
        "SHELL",
        "SHELLOPTS",
    }
)
_TOOLS: Final = frozenset(
    {
        "AWKLIBPATH",
        "AWKPATH",
        "BROWSER",
        "CLASSPATH",
        "DOCKER_CONFIG",
        "DOCKER_HOST",
        "DOTNET_STARTUP_HOOKS",
        "EDITOR",
        "GOFLAGS",
        "GTK_MODULES",
        "GTK_PATH",
        "HGRCPATH",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "KUBECONFIG",
        "LESS",
        "LESSCLOSE",
        "LESSEDIT",
        "LESSKEY",
        "LESSOPEN",
        "MAKEFILES",
        "MAKEFLAGS",
        "MANPAGER",
        "MFLAGS",
        "OPENSSL_CONF",
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "PAGER",
        "PSQLRC",
        "PSQL_EDITOR",
        "PSQL_PAGER",
        "RSYNC_RSH",
        "SVN_EDITOR",
        "SVN_SSH",
        "TAR_OPTIONS",
        "TERMCAP",
        "VIMINIT",
        "VISUAL",
        "XDG_CONFIG_DIRS",
        "XDG_CONFIG_HOME",
        "XDG_DATA_DIRS",
        "XDG_DATA_HOME",
        "_JAVA_OPTIONS",
    }
)
# Every job has these; a policy may set them otherwise for a command, a request may not.
OWN_KEYS: Final = frozenset({"PATH", "HOME", "PENSTOCK_JOB"})
RESERVED_KEYS: Final = _LOADER | _SHELL | _TOOLS
RESERVED_PREFIXES: Final = (
    "BASH_FUNC_",
    "CORECLR_",
    "DYLD_",
    "ERL_",
    "GIT_",
    "LD_",
    "LUA_",
    "MALLOC_",
    "NODE_",
    "PERL",
    "PHP",
    "PYTHON",
    "RUBY",
    "R_ENVIRON",
    "R_PROFILE",
    "SSH_",
    "SYSTEMD_",
    "TERMINFO",
    "ZDOTDIR",
)


def valid_key(key: str) -> bool:
    """Can this be a key at all? No ``=``, no NUL, at most 255 characters."""
    return _KEY.fullmatch(key) is not None


def reserved_key(key: str) -> bool:
    """Would setting this key change what runs, rather than what it works on?"""
    return key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES)
