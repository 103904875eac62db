"""What a granted command gives by accident, by program and by the options that do it."""

import pytest

from penstock.policy import programs
from penstock.policy.grammar import Grammar
from penstock.policy.patterns import parse_pattern
from penstock.policy.prefixes import may_begin
from penstock.policy.programs import names_of
from penstock.policy.shells import shell_warning
from penstock.policy.slots import (
    EnumSlot,
    IntSlot,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
)

WORD = PatternSlot(parse_pattern("[a-z]{1,20}"))
TEXT = PatternSlot(parse_pattern("[^a]{1,99}"))
DASHED = PatternSlot(parse_pattern("-{1,2}[a-z-]{1,20}"))
PATH = PathSlot("/srv")


def warned(line: str, *slots: Slot, stdin: bool = False) -> str | None:
    """Of a command line whose first words are fixed."""
    path, *fixed = line.split()
    if "/" not in path:
        path = f"/usr/bin/{path}"
    return shell_warning(path, tuple(fixed), Grammar(slots), stdin=stdin)


RUN_PROGRAMS = """
    python3.11 python3.13t python3-dbg pypy3 perl5.36.0 perl5.36-x86_64-linux-gnu ruby3.1 lua5.4
    luajit-2.1.0-beta3 tclsh8.6 guile-3.0 php8.2 nodejs node20 bash-static zsh-static rzsh ksh93
    dash fish pwsh x86_64-linux-gnu-python3.11 R Rscript julia ghci runghc raku elixir iex
    jshell groovy vim.basic vim.tiny vim-nox vim.gtk3 nvim view rvim ex ed emacs-nox emacs29
    emacsclient nano pico sqlite3 psql-15 mysql mariadb redis-cli mongosh duckdb sqlplus
    gdb-multiarch lldb-14 gnuplot dc m4 make bmake pdflatex xelatex gs soffice smbclient lftp
    ftp telnet env nice ionice timeout time chrt taskset setsid nohup stdbuf script strace
    ltrace perf valgrind xargs parallel watch entr flock start-stop-daemon sudo doas su runuser
    pkexec setpriv chroot unshare nsenter bwrap firejail proot fakeroot systemd-run
    systemd-nspawn dbus-run-session ssh-agent ssh scp sftp rsync socat nc.traditional nc.openbsd
    ncat docker docker-compose podman kubectl helm runc crun ctr lxc-attach singularity git hg
    svn tmux screen dtach at batch crontab run-parts pip3.11 npm npx yarn gem bundle cargo go
    mvn gradle ant cmake ninja apt-get dpkg rpm dnf yum pacman apk snap flatpak nix-shell
    terraform ansible-playbook vagrant less more man mail mutt xterm unbuffer rlwrap torsocks
    proxychains4 qemu-x86_64-static ld-linux-x86-64.so.2 ld.so busybox toybox pytest-3 tox uv
    poetry conda openvpn nginx mount logrotate update-alternatives fzf
"""
READ_FILES = """
    cat head tail less grep base64 xxd od strings diff sort nl tac rev cut jq xmllint file
"""


def test_a_path_or_word_can_be_a_program() -> None:
    """By each of its names, which distributions make longer."""
    assert [name for name in RUN_PROGRAMS.split() if not warned(name, WORD)] == []
    assert [name for name in RUN_PROGRAMS.split() if not warned(name, PATH)] == []


@pytest.mark.parametrize(
    "line",
    [
        *(
            "find -name",
            "fd -e",
            "tar -cf",
            "bsdtar -xf",
            "sort -k",
            "split -b",
            "zip -q",
            "gcc-12",
        ),
        *(
            "clang++-14 -c",
            "rg -n",
            "openssl version",
            "curl -s",
            "wget -q",
            "tcpdump -i",
            "nmap -sn",
        ),
        *(
            "cp -a",
            "mv -n",
            "ln -s",
            "install -m",
            "dd",
            "tee",
            "truncate -s",
            "chmod",
            "chown root",
        ),
        *("7z x", "unzip -l", "rar x", "ffmpeg", "convert", "pandoc", "patch -p1", "gpg --verify"),
    ],
)
def test_a_word_can_be_an_option_or_a_file_to_write(line: str) -> None:
    """What a text of the client's is for these programs."""
    assert warned(line, WORD)


@pytest.mark.parametrize(
    "line",
    [
        *("python3 -m pdb", "python3 -I -m pdb", "python3 -m cProfile", "python3 -m trace --count"),
        *("python3.12 -m runpy", "python3 -m doctest", "python3 -m pytest", "pypy3 -m pip install"),
        *("perl -I", "perl -n", "ruby -r", "node -r", "node --require", "php -f", "bash -x"),
        *("awk -f", "gawk --file", "sed -f", "sed -n -f", "gdb -x", "gdb -batch -x", "psql -f"),
        *("rg --pre", "tar -xf /a -I", "tar --use-compress-program", "tar -cI", "find / -exec"),
        *("find /srv -execdir", "sort --compress-prog", "split --filter", "make -f", "git -C"),
        *("gcc -B", "gcc -wrapper", "ssh -F", "rsync -e", "curl -K", "curl --config", "wget -e"),
        *(
            "nmap --script",
            "tcpdump -z",
            "jq -f",
            "date -f",
            "file -f",
            "grep -f",
            "wc --files0-from",
        ),
        *("ss -F", "ip -batch", "base64 --x -", "mysql -e", "java -jar", "docker run", "emacs -l"),
        *("vim.tiny -S", "timeout 5 /bin/sh", "nice -n 10 /usr/bin/python3 -m pdb", "env python3"),
        *("busybox sh", "busybox awk -f", "/bin/toybox env", "coreutils --coreutils-prog=env"),
        *("xargs -0 /bin/bash", "setsid /usr/bin/perl -w", "find /srv -exec /bin/sh", "watch -x"),
    ],
)
def test_options_by_their_words(line: str) -> None:
    """The administrator's option whose value is a path of the client's; abbreviated, in a cluster,
    and in a program that a program runs."""
    if line.startswith("base64"):
        assert not warned(line, PATH)
    else:
        assert warned(line, PATH), line


@pytest.mark.parametrize("line", ["python3 -m timeit", "python3 -c", "perl -e", "sh -c", "ruby -e"])
def test_program_text(line: str) -> None:
    """A text of the client's that is run."""
    assert warned(line, TEXT)
    assert warned(line, WORD)


def test_a_text_that_can_be_any_path_reads_any_file() -> None:
    """One that can begin with a slash or with two dots."""
    for name in READ_FILES.split():
        assert warned(name, PatternSlot(parse_pattern("[/a-z]{1,40}"))), name
        assert warned(name, PatternSlot(parse_pattern("[a-z/.]{1,40}"))), name
    for name in ("cat", "head", "grep", "diff"):
        assert not warned(name, WORD)
        assert not warned(name, PATH)


@pytest.mark.parametrize(
    ("line", "slots"),
    [
        ("/opt/tool/run", (TEXT, PATH)),
        ("ls -la", (WORD, PATH)),
        ("find", (PATH, LiteralSlot("-name"), LiteralSlot("*.log"))),
        ("find -L", (PATH, LiteralSlot("-exec"), LiteralSlot("/opt/x"), LiteralSlot(";"))),
        ("tar --use-compress-program=zstd -cf /out", (PATH,)),
        ("tar -I zstd -cf /out", (PATH,)),
        ("tar -xvf", (IntSlot(1, 9),)),
        ("python3 -I /opt/run.py", (WORD, TEXT, DASHED)),
        ("python3 -m penstock_report", (WORD,)),
        ("python3 -X utf8 /opt/x.py", (PATH,)),
        ("timeout 5 /usr/bin/tail -n 5", (PATH,)),
        ("nice /bin/ls", (WORD,)),
        ("setsid /usr/bin/python3 /opt/x.py", (WORD,)),
        ("busybox tail -n 5", (PATH,)),
        ("sed -n 1,5p", (PATH,)),
        ("awk {print}", (PATH,)),
        ("grep -c", (WORD, PATH)),
        ("rg -n", (LiteralSlot("x"), PATH)),
        ("rg --pre /opt/pre x", (PATH,)),
        ("date", (EnumSlot(("-u", "-R")),)),
        ("sort", (OptionalSlot((EnumSlot(("-n", "-r")),)), PATH)),
        ("env", ()),
        ("psql -c select", ()),
    ],
)
def test_what_is_fixed_is_the_administrators(line: str, slots: tuple[Slot, ...]) -> None:
    """His own words may do what they like, and a path is beneath its root."""
    assert warned(line, *slots) is None


def test_what_can_follow_an_option() -> None:
    """Past what is optional, and again in a repeat."""
    flag, value = LiteralSlot("--pre"), EnumSlot(("a", "b"))
    assert warned("rg", flag, OptionalSlot((value,)), PATH)
    assert warned("rg", flag, RepeatSlot((value,), 0, 2), PATH)
    assert warned("rg", RepeatSlot((PATH, flag), 1, 2))
    assert not warned("rg", flag, RepeatSlot((value,), 1, 2), PATH)
    assert not warned("rg", RepeatSlot((PATH, flag), 1, 1))
    assert warned("rg", EnumSlot(("-n", "--pre")), PATH)
    assert warned("tail", DASHED) is None
    assert warned("date", PatternSlot(parse_pattern("-{1,2}[a-z=/]{1,20}")))


def test_a_program_that_is_read_from_the_input() -> None:
    """Where a client may send some, and no script is named before."""
    for line in ("sh", "sh -s", "python3 -", "python3 -I", "psql -d db", "bash /dev/stdin"):
        assert warned(line, stdin=True), line
    for line in ("sh /opt/x.sh", "python3 -c pass", "cat"):
        assert warned(line, stdin=True) is None


@pytest.mark.parametrize(
    "line",
    [
        *("ed /srv/x", "vim.basic /srv/x", "psql db", "sqlite3 /srv/db", "gdb -q /srv/bin", "dc"),
        *("python3 -i /srv/x.py", "python3 -Ii /srv/x.py", "perl -d /srv/x.pl", "erl -s mod"),
        *(
            "psql -f -",
            "awk -f -",
            "make -f /dev/stdin",
            "curl --config -",
            "rsync --files-from=- b:",
        ),
        *("parallel", "parallel /usr/bin/gzip", "xargs /bin/rm", "xargs -n1 /bin/cp"),
        *("at now", "batch", "ssh host", "chroot /srv", "unshare -r", "script -q /dev/null"),
        *("deno repl", "bun repl", "/usr/lib/openssh/sftp-server", "timeout 5 /usr/bin/psql db"),
    ],
)
def test_what_is_done_with_the_input(line: str) -> None:
    """Also where a file is fixed: commands, arguments, or a shell where no program is named."""
    assert warned(line, stdin=True), line
    if line.split()[0] not in ("dc", "deno", "bun"):  # which have nothing else to read
        assert warned(line) is None, line


@pytest.mark.parametrize(
    "line",
    [
        *(
            "python3 /srv/x.py -i",
            "psql -c select db",
            "sed s/a/b/",
            "awk -f /srv/x.awk",
            "tar -xf -",
        ),
        *("chroot /srv /bin/true", "nice /bin/cat", "sqlite3 -cmd .dump /srv/db", "xargs -0"),
        *("deno run /srv/x.ts", "grep -f /srv/x", "ssh -l x host /bin/true", "base64 -d"),
    ],
)
def test_an_input_that_is_no_program(line: str) -> None:
    """Of what is fixed otherwise."""
    assert warned(line, stdin=True) is None


def test_a_word_that_is_no_script() -> None:
    """What follows it is."""
    for line in ("deno eval", "bun x", "crystal eval", "deno run", "dart run", "wasmtime run"):
        assert warned(line, TEXT), line
    assert warned("deno run /srv/x.ts", TEXT) is None


def test_a_link_to_another_program() -> None:
    """Its own name says nothing; where the name says what a program of many does, it counts."""
    grammar = Grammar((PATH,))
    for leads_to in ("/usr/bin/python3.11", "/usr/bin/env"):
        why = shell_warning("/opt/report", (), grammar, resolved=leads_to)
        assert (why or "").startswith("/opt/report is a link, and /usr/bin/"), why
    for leads_to in ("/opt/report", "/bin/cat", "/bin/busybox", "/bin/systemctl"):
        assert shell_warning("/opt/report", (), grammar, resolved=leads_to) is None


MORE_PROGRAMS = """
    tini dumb-init gosu su-exec uclampset coresched haproxy sshfs doxygen mariadb-dump
    mariadb-backup mydumper pt-archiver gh-ost vault memusage sotruss pg_virtualenv luit keepalived
    fail2ban-server collectd rsyslogd cscope rmt llvm-objcopy-14 mkfs.ext4 fsck.ext4
    x86_64-linux-gnu-gp-collect-app zstdless lzless tcl8.6 chicken-csi
    mitmdump k6 wrk fio skopeo pre-commit kafka-topics.sh pass openconnect sshuttle
    pgbackrest barman
"""


def test_programs_that_were_missing_once() -> None:
    """Each with a text of the client's."""
    assert [name for name in MORE_PROGRAMS.split() if not warned(name, TEXT)] == []


@pytest.mark.parametrize(
    ("source", "text", "can"),
    [
        ("--[a-z]{1,9}", "--pre", True),
        ("-{0,2}[a-z]{1,9}", "--pre", True),
        ("[-a-z]{1,9}", "--pre", False),  # a class does not admit a dash at the beginning
        ("[a-z]{0,3}x{1,2}", "xx", True),
        ("a{2}b", "ab", False),
        ("abc", "abcd", False),
        ("abc", "", True),
    ],
)
def test_what_a_pattern_can_begin_with(source: str, text: str, can: bool) -> None:
    """As its matching has it."""
    assert may_begin(PatternSlot(parse_pattern(source)), text) is can


def test_the_tables_are_what_they_seem() -> None:
    """Each option has a gift, and no name is in two lists that judge it in the same way."""
    assert len(programs.LISTED) > 1000
    for name, options in programs.OPTIONS.items():
        assert options, name
        assert {option.gives for option in options} <= set(programs.GIVES), name
    assert not programs.SHELLS & programs.COMMAND_READERS
    assert not programs.WRAPPERS & programs.RUNNERS
    assert {"gcc", "gcc-12"} <= names_of("/usr/bin/x86_64-linux-gnu-gcc-12")
