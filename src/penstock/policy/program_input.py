"""What programs make of a client's input, and words that are no script (data, read by programs.py).

Like program_table.py written from each program's own documentation.
"""

from typing import Final

# Programs that run commands which they read from their input, whatever file or database they are
# given, unless an option names the commands: ed and vim have `!`, psql and sqlite3 `\!` and
# `.shell`.
COMMANDS_BY_INPUT: Final = """
    dc ed ex red gnuplot gp maxima crash psql pgcli usql mysql mysqlsh mariadb mycli sqlite sqlite3
    litecli duckdb sqlplus sqlcl isql sqlcmd tsql bteq cqlsh mongo mongosh redis-cli valkey-cli
    clickhouse-client clickhouse-local impala-shell beeline hive influx cypher-shell db2 dbaccess
    osql fbsql gdb cgdb gdbtui lldb dbx dlv rr r2 radare2 rizin scanmem debugfs fdisk gdisk
    smbclient rpcclient virsh lftp ftp ncftp tnftp pftp sftp psftp telnet vi vim vimdiff view rview
    rvim gvim nvim elvis vile xfs_io guestfish lvm jdb pdb wpa_cli vtysh gpg-connect-agent
    instmodsh cscope erl iex gforth swipl sbcl ecl guile mit-scheme gap magma ghci irb
    debconf-communicate sftp-server rmt rmt-tar at batch parallel xfs_db zeek jshell
"""
# Programs that run a shell, or a login, unless their arguments name a program. The shell reads what
# was their input.
SHELL_BY_DEFAULT: Final = """
    chroot unshare nsenter fakeroot fakeroot-ng fakechroot proot firejail setarch linux32 linux64
    i386 x86_64 schroot dbus-run-session script scriptlive su runuser newgrp sg login sulogin run0
    pkexec minijail0 ssh dbclient rsh rlogin slogin autossh mosh capsh toolbox distrobox lxc-attach
    singularity apptainer nix-shell tmux byobu screen dtach abduco openvt luit systemd-nspawn
    torsocks datefudge faketime
"""
# Programs that turn what they read into arguments of the program that they run.
ARGUMENTS_BY_INPUT: Final = "xargs gxargs"
# Options with which an interpreter reads commands from its input also when it has a script.
INTERACTIVE: Final = """
python pypy ipython bpython ptpython: -i
perl: -d
ruby: -rirb -rpry -rdebug
node nodejs: -i --interactive
lua luajit julia racket ocaml raku perl6 clisp scala micropython: -i
php: -a --interactive
guile: -l
R: --interactive
octave octave-cli: --persist
tclsh wish expect: -i
"""
# Words that choose what an interpreter does, and are no script: `deno eval TEXT`.
SUBCOMMANDS: Final = """
deno: bench eval install jupyter lsp repl run serve task test x
bun: create exec install repl run test x
dart: compile run test
crystal: eval play run spec tool
swift: build package repl run test
scala-cli scala: repl run shebang
wasmer wasmtime: exec run
node nodejs: inspect debug
jupyter: console execute lab nbconvert notebook run
janet luau kotlin racket: repl run
"""
