"""Options by what a client's words can make of them (data, read by programs.py).

Like program_table.py written from each program's own documentation.
"""

from typing import Final

# Options, or words of their kind, and what each gives whatever other arguments there are:
# `gives option option;`. One that ends with "=" has its value in the same word.
OPTIONS: Final = """
iptables ip6tables: execute -M --modprobe=
dig host kdig: read -f -k
dmesg: read -F --file
protoc: execute --plugin= --descriptor_set_in=; write --cpp_out= --python_out=
find: execute -exec -execdir -ok -okdir; write -delete -fprint -fprint0 -fprintf -fls; read
    -files0-from
fd fdfind: execute -x --exec -X --exec-batch; read --ignore-file --base-directory --search-path
tar gtar: execute -I --use-compress-program --to-command --checkpoint-action -F --info-script
    --new-volume-script --rsh-command --rmt-command; write -C --directory -f --file -g
    --listed-incremental --index-file; read -T --files-from -X --exclude-from
bsdtar: execute --use-compress-program; write -C -f -s; read -T -X
star: execute compress-program= -rsh= rsh=
cpio: execute --rsh-command; write -D --directory -F --file -O; read -E --pattern-file
pax: execute -o; write -f -w -r -s
zip: execute -TT --unzip-command -T --test; write -O --output-file -b; read -@ -i -x
unzip: write -d
7z 7za 7zr 7zz: write -o -w; read -i -x -si
rar unrar: execute -ilog -z; read -x@ -n@
sort: execute --compress-program; write -o --output -T --temporary-directory; read --files0-from
    --random-source
split: execute --filter; write --additional-suffix
xargs gxargs: read -a --arg-file
rg: execute --pre --hostname-bin; read -f --file --ignore-file --pre-glob
ag ack: execute --pager --ackrc; read -p --path-to-ignore -f --files-from
ugrep: execute --filter --pager
grep egrep fgrep rgrep zgrep ugrep: read -f --file --exclude-from --include-from
sed gsed: shell -e --expression -f --file -s; write -i --in-place
awk gawk mawk nawk: shell -f --file -e --source -E --exec -i --include -l --load; write -d
    --dump-variables -o --pretty-print -p --profile -D
perl: shell -e -E -M -m -I -x -d; write -i
ruby jruby: shell -e -r -I -x -C; write -i
python pypy: shell -c -m
php: shell -r -R -B -E -F -f -d -c -z -a -S -t
node nodejs: shell -e --eval -p --print -r --require --import --loader --experimental-loader
    --inspect --inspect-brk --env-file
bash sh dash ksh zsh ash fish mksh: shell -c -s -i --rcfile --init-file --init-command -C
lua luajit: shell -e -l -i
java: shell -jar -cp -classpath --class-path -javaagent: -agentlib: -agentpath: -XX:OnError=
    -XX:OnOutOfMemoryError= -Xrunjdwp: -p --module-path -Djava.library.path= @
javac: execute -processor -processorpath --processor-path -J; write -d -s -h
emacs emacsclient: shell -e --eval --execute --eval -l --load -f --funcall --script -q
vi vim nvim view ex rvim: shell -c --cmd + -S -s -u -U -i; write -w -W -V
ed red: shell -p --prompt
make gmake: shell -f --file --makefile --eval -C --directory -I --include-dir -E SHELL=; write -o
    -W
gdb: shell -ex --eval-command -iex -x --command -ix --init-command --args -cd -d
lldb: shell -o -O -s -S -k -K --one-line --source --batch
sqlite3: shell -cmd -init
psql: shell -c --command -f --file -v --set --variable; write -o --output -L --log-file
mysql mariadb: shell -e --execute --init-command --defaults-file --defaults-extra-file
    --plugin-dir; write --tee
mongo mongosh: shell --eval -f --file
redis-cli: read --eval -x --pipe; write --rdb --functions-rdb
git: execute -c --exec-path --upload-pack --receive-pack --exec -C --git-dir --work-tree
    --config-env --open-files-in-pager -O --ext-diff --textconv --template --hook --extcmd -x
    --show-signature --paginate -p --filter; write --output -o --separate-git-dir; read --no-index
    --pathspec-from-file -F --file
hg: execute --config -R --repository --cwd --debugger
svn: execute --diff-cmd --diff3-cmd --editor-cmd --config-option --config-dir; read -F --file
ssh dbclient: execute -o -F -S -E -I -J -W -L -R -D -w
scp sftp: execute -S -o -D -F -J -b
rsync: execute -e --rsh --rsync-path -M --remote-option --daemon --config --early-input; write
    --log-file --write-batch -b --backup-dir -T --temp-dir --delete --remove-source-files
    --partial-dir; read --files-from --exclude-from --include-from --password-file --read-batch
    --filter -f
ssh-keygen: execute -D -w; write -f
ssh-add: execute -s -S
curl: execute --engine --proxy-header -K --config; write -o --output -O --remote-name --output-dir
    -D --dump-header -c --cookie-jar --trace --trace-ascii --libcurl --stderr --hsts --alt-svc
    --etag-save; read -T --upload-file -d --data --data-binary --data-urlencode -F --form
    -b --cookie --netrc-file -E --cert --key file:
wget: execute --use-askpass -e --execute --config; write -O --output-document -P --directory-prefix
    -o --output-file -a --append-output --save-cookies --warc-file; read -i --input-file
    --post-file --body-file --load-cookies
aria2c: execute --on-download-complete --on-download-start --on-download-error --on-download-stop
    --on-bt-download-complete --conf-path; write -o --out -d --dir -l --log; read -i --input-file
openssl: execute -engine -provider -provider-path -config -keyform; write -out -keyout -writerand;
    read -in -inkey -CAfile -rand -passin
gpg gpg2: execute --exec-path --photo-viewer --options --gpg-program --agent-program
    --dirmngr-program; write -o --output --homedir; read --passphrase-file --load-extension
dd: write of=; read if=
date: read -f --file -r --reference
file: read -f --files-from -m --magic-file
wc du: read --files0-from -X --exclude-from
diff: read --from-file --to-file -X --exclude-from
jq: read -f --from-file --rawfile --slurpfile --argfile -L --library-path
yq: write -i --inplace; read -f --from-file --front-matter
xmllint: write -o --output; read --load-trace --path --noent --xinclude
xsltproc: write -o --output; execute --load-trace
tee: write -a --append
cp mv ln install: write -t --target-directory -S --suffix; execute --strip-program
gcc g++ cc c++ cpp c89 c99 clang clang++ gfortran gnat gdc gccgo: execute -wrapper -B -fplugin=
    -specs= -Xclang -load -fuse-ld= --gcc-toolchain= -no-integrated-as -Wl, -Wp, -Wa, -iprefix;
    write -o -MF -MD -dumpdir -save-temps; read -include -imacros -I -x @ -T
tcc: shell -run -B; write -o
rustc: execute -C -Clinker= --codegen --extern -L; write -o --out-dir --emit
as ld gold: write -o -Map; read @ -T --script -plugin -R
nm objdump size ar: execute --plugin; read @
go: execute -toolexec -exec -gccgoflags -ldflags -overlay -modfile; write -o -C
cmake: execute -P -E -C -D -S -B --build --install --debugger
ninja: execute -f -C -t
mvn gradle ant: execute -f --file -D -I --init-script -b --build-file -p --project-dir -s
    --settings -buildfile -lib -P
npm pnpm yarn: execute --script-shell --prefix --node-options --globalconfig --userconfig -C
pip: execute -r --requirement -e --editable -t --target --prefix --root --global-option
    --install-option --config-settings -i --index-url --extra-index-url -f --find-links; write
    --log --cache-dir -d -w
apt apt-get aptitude: execute -o --option -c --config-file
dpkg: execute -i --install --pre-invoke --post-invoke --root --admindir --instdir -D
    --status-logger
rpm: execute -i --install -U --upgrade --eval -E --pipe --define -D --root --dbpath --rcfile --load
    --macros
yum dnf: execute -c --config --installroot --setopt --enableplugin --disableplugin
pacman: execute --config --hookdir -U --upgrade -r --root
man: execute -P --pager -H --html -C --config-file -B -L -M --manpath -l --local-file
less more: execute -k --lesskey-src --lesskey-file -K +; write -o -O --log-file; read -t -T
    --tag-file
journalctl systemctl loginctl: execute --root --image -H --host -M --machine; write --vacuum-size
    --rotate --output-dir; read -D --directory --file --cursor-file
docker podman nerdctl: execute run exec create build -v --volume --mount --privileged -H --host
    --config --entrypoint --device; write cp export save; read --env-file -f --file
kubectl oc: execute exec run debug cp apply create edit plugin -f --filename --kubeconfig --editor;
    read --from-file
ip tc bridge: execute netns vrf exec; read -b -batch
ss: read -F --filter -D
nmap: execute --script --script-args --datadir --servicedb --interactive; write -oN -oX -oG -oA -oS
    --append-output; read -iL --excludefile --script-args-file
tcpdump: execute -z --postrotate-command; write -w; read -F -r -V
tshark wireshark: execute -X -o -C; write -w; read -r -R
socat: execute EXEC: SYSTEM: SHELL:; write OPEN: CREATE: FILE: GOPEN: -lf; read OPEN: FILE: GOPEN:
nc ncat netcat: execute -e --exec -c --sh-exec --lua-exec; write -o --output -x --hex-dump
mount: execute -t --types -o --options -i; write --bind -B
mail mailx: execute -S -a -A ~ -I; write -E; read -f -q
sendmail exim exim4: execute -be -bd -C -D -X -ps -oP
crontab at batch: execute -f -e -
screen tmux: execute -c -X -f -S -L new-session new-window run-shell if-shell source-file
script scriptlive: execute -c --command; write -O -B -I -T -f --log-out
strace ltrace: write -o --output; execute -u -l --library
time gtime: write -o --output
valgrind perf: execute --trace-children --tool= --db-command record stat --vgdb-prefix=; write -o
    --output --log-file= --xml-file=
watch: execute -x --exec
env: execute -S --split-string -C --chdir
flock: execute -c --command
su runuser: execute -c --command --session-command -s --shell
logrotate: execute -m --mail; write -s --state -l --log
run-parts: execute --arg --regex
tcpserver: execute -x
logger: read -f --file -u --socket
shuf: write -o --output; read --random-source
csplit: write -f --prefix -b --suffix-format
patch: execute -e --ed; write -o --output -r --reject-file -d --directory -B -z; read -i --input
ctags etags: execute --options -D --_xformat; write -o -f; read -L
convert magick mogrify identify: execute msl: ephemeral: delegate: -write -script; write -path;
    read @ text: label:@ caption:@
ffmpeg avconv ffprobe: write -report -dump; read -i -filter_script -f -protocol_whitelist
sox: execute |; write --plot
pandoc: execute -F --filter -L --lua-filter --pdf-engine -t --to; write -o --output
    --extract-media; read --include-in-header --metadata-file --defaults --data-dir --template -d
gs ghostscript: execute -dNOSAFER -c -f -sOutputFile= -o -sOutputFile=%pipe% -I @; write
    -sOutputFile= -o --permit-file-write=; read --permit-file-read= --permit-file-all=
tex latex pdftex pdflatex xetex xelatex luatex lualatex: execute --shell-escape -shell-escape
    --shell-restricted -enable-write18 --enable-write18 --lua; write -output-directory
    --output-directory -jobname --jobname -recorder
troff groff nroff: execute -U -S -I -P -m -M
enscript a2ps: execute -I --filter -E --delegate; write -o --output
blender gimp inkscape: execute --python -P --python-expr --python-text --batch -b --actions --shell
    --batch-interpreter
iperf iperf3: write --logfile; read -F --file --authorized-users-path
fio: execute --client --exec_prerun; write --output --write_bw_log
skopeo crane oras: write dir: oci: docker-archive: oci-archive: -o --output
bird: execute -c -d; write -s -P
pylint: execute --load-plugins --rcfile --init-hook
mypy flake8 rubocop semgrep: execute --config-file --config --append-config -r --require
rrdtool: read --include; write --daemon
exiftool: execute -config -if -p -userParam -execute; write -w -o -tagsFromFile
    -overwrite_original; read -@ -api
update-alternatives: execute --install --set; write --admindir --altdir --log
restic borg duplicity: execute --password-command --rsh -o --option --ssh-options --rclone.program;
    read --password-file --files-from --exclude-file
certbot: execute --pre-hook --post-hook --deploy-hook --renew-hook --manual-auth-hook
    --manual-cleanup-hook; write --logs-dir --work-dir --config-dir
openvpn: execute --up --down --config --plugin --route-up --tls-verify --auth-user-pass-verify
    --client-connect --script-security; write --log --status --writepid
nginx httpd apache2: execute -c -f -g -C -D -d -p
ansible ansible-playbook: execute -a -m -e --extra-vars -i --inventory -M --module-path
    --ssh-common-args --ssh-extra-args; read --vault-password-file --private-key
terraform tofu: execute -chdir= -var-file= -backend-config= -plugin-dir=; write -out= -state=
    -state-out=
sysctl: read -p --load -f; write -w --write
iptables-restore nft: execute -M --modprobe; read -f --file
pg_dump pg_dumpall pg_restore: write -f --file; execute -c
mysqldump mariadb-dump: write -r --result-file -T --tab; execute --init-command --defaults-file
    --defaults-extra-file
xxd: write -r
chmod chown chgrp touch truncate: read --reference -r
fzf: execute --preview --bind --with-shell --history --tmux --become
bat batcat: execute --pager --generate-config-file; read --config-file --theme
less man git: execute --pager
hping3: shell exec; read -E --file -j --sign
tic infocmp: write -o; read -A -B
gzip xz zstd: write -o -S --output-dir-flat --suffix; read -D --files --filelist
ffuf wfuzz sqlmap: execute --os-shell --os-cmd --eval --tamper -input-cmd
pytest: execute -p -c --rootdir --confcutdir --pdbcls -o; write --junitxml --basetemp
"""
# Modules of `python -m` that run, import or write what their own arguments name; any other is the
# script itself (docs.python.org/3/py-modindex.html).
PYTHON_MODULES: Final = """
    IPython asyncio bdb bpython build cProfile cgitb code codeop compileall conda coverage cython
    debugpy dis distutils doctest ensurepip hatch http.server idlelib inspect ipdb ipykernel isort
    jupyter line_profiler memory_profiler mypy nose nox pdb pdm pickle pip pipenv pipx poetry
    profile ptpython pty pudb py_compile pydoc pyclbr pylint pytest runpy scalene setuptools site
    sqlite3 tarfile timeit tox trace tracemalloc turtledemo unittest uv venv viztracer virtualenv
    webbrowser zipapp zipfile json.tool modulefinder gzip base64 cmd ast tokenize tabnanny symtable
    filecmp mimetypes uu quopri encodings.rot_13 nntplib ftplib telnetlib smtpd
    wsgiref.simple_server xmlrpc.server lib2to3 flask django uvicorn gunicorn hypercorn celery
    invoke fabric black ruff bandit pyflakes pycodestyle twine wheel pstats
"""
# Options of interpreters whose value is an argument of its own, and no script: `python3 -X utf8`.
VALUED: Final = """
python pypy: -X -W --check-hash-based-pycs
perl: -I -M -m -C -x
ruby irb: -I -r -C -E -K
sh ash bash dash ksh mksh rbash yash zsh: -o +o -O +O --rcfile --init-file
node nodejs: -r --require --import --loader --experimental-loader -C --conditions
awk gawk mawk nawk original-awk goawk: -v -F -i -l --assign --field-separator --include --load
lua luajit: -l
php: -d -c -z
java: -cp -classpath --class-path -p --module-path --add-modules
make gmake: -C -I -j -l -o -W --directory --include-dir --jobs
psql mysql mariadb: -d -h -p -P -u -U -v --dbname --host --port --user --username --set
sed gsed: -l --line-length
tclsh wish: -encoding
R Rscript: -e -g
guile: -L -C -x -l
octave: -p --path
julia: -t -p -J -C --project --threads
groovy scala: -cp -classpath --classpath
expect: -f
swipl: -p -t -g -f
deno: --config --import-map
"""
# Beginnings of names, and the program of which every name that begins so is one.
FAMILIES: Final = {
    "git-": "git",
    "qemu-": "qemu-user",
    "ld-": "ld",
    "ld.": "ld",
    "docker-": "docker",
    "kubectl-": "kubectl",
    "mount.": "mount",
    "pyenv-": "pyenv",
    "cargo-": "cargo",
    "npm-": "npm",
    "perl-": "perl",
    "lxc-": "lxc",
    "ansible-": "ansible",
    "nix-": "nix",
    "kafka-": "kafka-run-class",
    "pt-": "percona-toolkit",
    "llvm-": "llvm-ar",
    "mkfs.": "mkfs",
    "fsck.": "fsck",
    "gp-": "gprofng",
    "s6-": "s6-env",
}
# What may follow the name of a program that is built in another way, such as `bash-static`.
FLAVOURS: Final = """
    static nox gtk gtk2 gtk3 gtk-3 lucid motif athena tiny basic huge nogui x x11 qt dbg dev debug
    minimal multiarch cli cgi fpm embed single multi gnu bsd traditional openbsd full common exe bin
    real orig original distrib wrapped wrapper system legacy pgtk snapshot
"""
