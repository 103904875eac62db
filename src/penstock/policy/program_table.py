"""Programs by what a client's words can make of them (data, read by programs.py).

Each entry is written from the program's own documentation: the manual page of that name, section 1
or 8, or what it prints for ``--help``; where that is another document, the comment names it. Which
programs to look at was learned from collections such as https://gtfobins.github.io, whose four
questions are ours: does it give a shell, run a program, read a file or write one? No table is
complete, and a program that does not stand here is not thereby safe.
"""

from typing import Final

# Shells: they run program text, or a script, that an argument names or that they read from their
# input. Once the script is fixed, what follows it belongs to the script.
SHELLS: Final = """
    ash bash csh dash elvish es fish hush ion ksh lksh mksh mrksh nu oksh osh pdksh posh
    powershell pwsh rbash rc rksh rzsh sash scsh sh static-sh tcsh xonsh yash ysh zsh awk bawk
    goawk original-awk gawk mawk nawk bun cjs clisp clj clojure coffee coffeescript crystal
    csharp csi cython d8 dart deno dotnet-script ecl elixir erl escript eshell expect expectk
    factor frink gauche gforth ghci ginsh gjs gosh gprolog groovy groovysh gst guile hugs hy iex
    ipy ipython irb janet java jjs jrunscript js jshell julia jupyter jython kawa kotlin ksshell
    lua luajit luatex micropython mit-scheme mono mruby neko nimscript node nodejs ocaml octave
    octave-cli parrot pdb perl phantomjs php phpdbg picolisp pike pil pry ptpython py.test pypy
    python pythonw qjs quickjs R Rscript racket raku rakudo rdmd regina rexx rhino ruby runghc
    runhaskell rust-script sage sbcl scala scala-cli scheme scilab slsh sml smlnj swift swipl
    tclsh texlua tixwish ts-node tsx tasksh vala wasmer wasmtime wish wolfram wolframscript yap
    yabasic zx byebug cobcrun jimsh bpython fennel moon nickle bsh perl6 lli idle clang-repl
    jbang fsi fsharpi pyspark gap magma math mathematica matlab Rgui vlang kotlinc-jvm erb
    osascript luau nwjs tcl chicken-csi chicken picat zeek bro dgsh j2 k6 locust sysbench pylint
"""
# These give a shell wherever a text of the client's stands, because they take commands, expressions
# or files of them in several ways, so that no first argument makes the others harmless.
COMMAND_READERS: Final = """
    dc ed ex m4 red sed gsed ssed make gmake bmake pmake remake mk gnuplot gp maxima mlr crash
    psql pgcli usql mysql mysqlsh mariadb mycli sqlite sqlite3 litecli duckdb sqlplus sqlcl isql
    sqlcmd tsql bteq cqlsh mongo mongosh redis-cli valkey-cli clickhouse clickhouse-client
    clickhouse-local impala-shell beeline hive influx cypher-shell db2 dbaccess osql fbsql gdb
    cgdb lldb dbx dlv rr r2 radare2 rizin frida bpftrace stap dtrace scanmem gdb-multiarch edb
    msfconsole volatility sqlmap tdbtool bconsole debugfs jtag openocd vi vim vimdiff view rview
    rvim gvim gview evim eview nvim nvi elvis vile editor sensible-editor emacs emacsclient
    xemacs mg zile jove jed joe jmacs jpico jstar rjoe nano rnano pico micro helix hx kak ne
    mcedit pluma gedit kate code codium subl vigr vipw vidir vipe tex latex pdftex pdflatex
    xetex xelatex lualatex luahbtex context mf mpost mptopdf latexmk dvips bibtex8 arara
    tectonic gs ghostscript gsx gimp inkscape blender freecad openscad soffice libreoffice
    lowriter localc loffice scribus povray smbclient rpcclient virsh lftp ftp ncftp tnftp pftp
    sftp psftp telnet gdisk fdisk dosbox qemu minicom picocom runscript kermit tig lazygit mc
    ranger nnn vifm lf ncdu broot mutt neomutt alpine pine irssi weechat w3m lynx links elinks
    dialog cscript pytest nosetests phpunit rspec jest mocha behat robot pgbench rabbitmqctl
    rabbitmq-diagnostics xfs_io guestfish spark-shell lvm jdb monit kafka-console-consumer
    nodetool wpa_cli cscope global gpg-connect-agent vtysh instmodsh ettercap bettercap
    mitmproxy mitmdump mitmweb gmic wrk wrk2 asciidoctor asciidoc gtags darktable-cli gdbtui
    vimtutor k9s percona-toolkit
"""
# Wrappers run a program that their arguments name, and what follows it is that program's. So they
# are harmless once the program is fixed and harmless itself.
WRAPPERS: Final = """
    env nice ionice timeout gtimeout time gtime multitime chrt taskset numactl setsid nohup
    stdbuf unbuffer strace ltrace uftrace valgrind flock lckdo setlock softlimit chpst setuidgid
    envdir envuidgid argv0 cpulimit prlimit choom catchsegv rlwrap rlfe grc torify torsocks
    tsocks proxychains proxychains4 proxychains3 proxyboundhelper faketime eatmydata chronic
    cgexec aa-exec runcon setarch linux32 linux64 i386 x86_64 uname26 setpriv chroot fakeroot
    fakechroot fakeroot-ng proot pseudo sudo doas runuser pkexec run0 unshare nsenter firejail
    bwrap bubblewrap systemd-run systemd-inhibit systemd-cat systemd-socket-activate
    dbus-run-session dbus-launch ssh-agent s6-setuidgid s6-envdir s6-softlimit s6-setsid
    xvfb-run start-stop-daemon daemon daemonize logsave hyperfine perf heaptrack gdbserver
    pgrphack fghack schroot lxc-execute lxc-usernsexec xargs gxargs userv sg minijail0 nsjail
    systemd-nspawn wine wine64 box64 box86 distcc ccache sccache icecc tini tini-static
    dumb-init catatonit gosu su-exec uclampset coresched s6-ioconnect s6-fghack s6-background
    s6-nice s6-setlock s6-env s6-tcpserver pidproxy memusage sotruss latrace turbostat trace-cmd
    schedtool nocache datefudge trickle nq tsp gprofng memray py-spy austin kcov bear scan-build
    intercept-build scan-build-py nsys ncu nvprof vtune likwid-perfctr pg_virtualenv aws-vault
    chamber envchain doppler infisical dotenv direnv honcho foreman overmind pipexec cset
    switch_root luit gdb-add-index verynice noroot xtrace
"""
# Runners run a program, or a text for a shell, that an argument, a file or their input names.
RUNNERS: Final = """
    script scriptlive operf parallel sem rush pexec watch entr tcpserver tcpsvd udpsvd multilog
    supervisord supervisorctl pm2 forever nodemon watchexec watchman runsv runsvdir sv svc
    execlineb ts ifne mispipe pee cgclassify newrole capsh sudoedit su newgrp gksudo gksu kdesu
    kdesudo ksu super calife systemd-analyze machinectl busctl service rc-service invoke-rc.d
    systemctl systemd-resolve loginctl timedatectl hostnamectl localectl initctl openrc
    dbus-send gdbus qdbus gpg-agent keychain xinit startx xpra xterm uxterm lxterm rxvt urxvt
    konsole gnome-terminal kitty alacritty foot st wezterm tilix terminator x-terminal-emulator
    xfce4-terminal mate-terminal xdotool xdg-open run-mailcap mailcap gtk-launch dex exo-open
    tmux tmate screen dtach abduco byobu zellij reptyr openvt open-vt agetty getty mingetty at
    batch crontab cron anacron fcrontab run-parts logrotate ssh dbclient autossh mosh et sshpass
    ssh-copy-id ssh-add plink pscp scp rsync rclone rdiff-backup rsh rlogin rexec remsh socat nc
    ncat netcat nc6 cryptcat pwncat socket tcpserve inetd xinetd stunnel openvpn pppd vpnc
    wg-quick ip ifup ifdown dhclient udhcpc hostapd docker docker-compose podman podman-compose
    buildah nerdctl ctr crictl runc crun youki kata-runtime singularity apptainer ch-run udocker
    lxc lxc-attach lxc-start lxd incus kubectl oc helm minikube k3s k0s kind kustomize skaffold
    tilt toolbox distrobox flatpak flatpak-spawn snap pbuilder cowbuilder sbuild debootstrap
    mock vagrant virt-install terraform tofu terragrunt packer pulumi ansible ansible-playbook
    ansible-console ansible-pull ansible-test ansible-galaxy salt salt-call salt-ssh puppet
    facter chef-client chef-solo knife cdist fab invoke inv pyinfra nomad consul vault-agent
    envconsul consul-template aws gcloud eb az git git-shell hg svn svnadmin svnlook cvs bzr brz
    darcs fossil jj p4 gitk git-lfs repo cmake ctest cpack ninja samu meson scons waf bazel
    bazelisk buck buck2 rake gradle gradlew mvn mvnw ant sbt lein mill just task earthly dagger
    doit tup redo autoconf automake autoreconf m4sh libtool cargo go dotnet msbuild xbuild nuget
    composer ghc stack cabal ghcup rebar rebar3 mix opam dune nimble shards dub zig nim swiftc
    gnatmake kotlinc pip pipx pipenv conda mamba micromamba poetry pdm hatch flit uv uvx tox nox
    easy_install twine virtualenv gem bundle bundler cpan cpanm cpanp luarocks npm npx pnpm pnpx
    yarn yarnpkg bunx corepack bower grunt gulp webpack vite parcel lerna nx volta nvm nodenv
    pyenv rbenv asdf mise apt apt-get aptitude apt-key dpkg dpkg-source dpkg-buildpackage
    debuild debconf dpkg-reconfigure rpm rpmbuild rpmdb rpmquery rpmverify yum dnf dnf5 microdnf
    tdnf zypper pacman yay paru makepkg apk xbps-install emerge ebuild slackpkg installpkg opkg
    ipkg pkg pkg_add pkgin brew port nix nix-shell nix-build nix-env nix-collect-garbage guix
    spack alien fpm checkinstall swupd urpmi less more most pg pager lesspipe zless zmore bzless
    xzless sensible-pager sensible-browser man info pinfo yelp bat batcat moar ov xmore delta
    perldoc pydoc ri godoc tldr cheat mail mailx nail s-nail sendmail exim exim4 postfix
    procmail maildrop fetchmail getmail msmtp formail apache2ctl apachectl httpd apache2 nginx
    uwsgi gunicorn php-fpm lighttpd thttpd mini_httpd fcgiwrap spawn-fcgi caddy varnishd
    varnishncsa postgres mysqld mongod redis-server memcached snmpd mount fuse fusermount
    mount.fuse dmsetup cryptmount kexec modprobe insmod ld ldd update-alternatives check_by_ssh
    check_nrpe nrpe check_cups check_memory check_raid check_log check_statusfile check_ssl_cert
    genie binfmt qemu-user unionfs cowsay cowthink restic borg duplicity bacula-fd certbot
    acme.sh lego dstat perlbug reportbug bashbug gtester rtorrent transmission-cli aria2c mpv
    mplayer vlc cvlc feh sxiv zathura xscreensaver i3 i3-msg sway swaymsg awesome cage weston
    dwm bspwm bspc herbstclient lp cupsfilter fzf sk peco percol dmenu rofi zenity yad slurm
    srun sbatch salloc qsub qrsh bsub mpirun mpiexec orterun prun aprun jsrun condor_submit
    parallel-ssh pssh pdsh clush dsh cssh mussh firefox chromium chrome google-chrome
    chromium-browser electron nw homectl portablectl coredumpctl bootctl resolvectl networkctl
    oomctl journalctl gtkterm tftpd atftpd sshd dropbear telnetd rshd tor i2pd aoss ab ldconfig
    pidstat prove corelist dh_install debconf-apt-progress systemd-sysext puma unicorn thin
    sidekiq resque rails rackup flask django-admin uvicorn hypercorn celery circusd svscan
    supervise ttyrec asciinema termrec gotty ttyd wetty shellinabox kitten wsl gio gapplication
    flatpak-builder x-www-browser www-browser gnome-open kde-open ssmtp esmtp nullmailer-inject
    postalias collect2 lto-dump llc opt clang-tidy clang-check antlr4 jcmd jconsole coursier cs
    ivy maven gst-launch-1.0 gst-launch mencoder dvdauthor growisofs eslint rollup esbuild karma
    nyc ava vitest playwright puppeteer cypress ng vue create-react-app expo cordova ionic
    jshint tsc mysqladmin mysqlimport mysqlcheck mysqlbinlog mysqlslap mysqlpump mysql_upgrade
    mariadb-admin mariabackup xtrabackup pg_ctl pg_basebackup pg_upgrade pg_receivewal initdb
    cassandra couchdb solr elasticsearch logstash kibana spark-submit hadoop hdfs flink storm
    airflow dagster luigi prefect dbt visudo sudoreplay login sulogin chsh useradd usermod zfs
    zpool btrfs cryptsetup mdadm multipath wpa_supplicant nmcli dnsmasq named unbound rndc
    mosquitto neofetch fastfetch xdg-user-dir guestmount virt-customize virt-builder
    virt-sysprep kvm VBoxManage vmrun xl xm bhyve firecracker limactl lima colima multipass
    sphinx-build mkdocs jekyll hugo protoc thrift swig bison losetup nbd-client iscsiadm cobc
    vlang odin ponyc dmd ldc2 valac csc vbc mcs crystal-play ssh-import-id fuser iptables
    ip6tables ebtables jupyter-notebook jupyter-lab jupyter-console spyder rstudio dmesg mtr
    finger whois cancel top htop iftop whiptail nmtui haproxy squid proftpd vsftpd pure-ftpd
    dovecot doveadm postmulti keepalived corosync crm pcs drbdadm collectd telegraf fluentd
    fluent-bit vector filebeat rsyslogd syslog-ng syslogd incrond incrontab lsyncd unison
    rsnapshot backupninja burp bareos-fd gh-ost mysqlbackup mariadb-backup mariadb-import
    mariadb-check mariadb-slap mariadb-upgrade mariadb-binlog mariadb-install-db mariadbd
    mysqld_safe mariadbd-safe sshfs curlftpfs gocryptfs encfs veracrypt automount udisksctl
    umount ntpd chronyd dhcpcd ifplugd netplan openconnect sshuttle strongswan ipsec racoon
    tincd knockd snort suricata fail2ban-client fail2ban-server aide rkhunter chkrootkit lynis
    doxygen dblatex fop a2x helmfile argocd flux werf kpt eksctl heroku fly flyctl vercel
    netlify wrangler serverless sls sam cdk gitlab-runner act buildkite-agent circleci jmeter
    gatling artillery newman mkinitcpio dracut update-initramfs grub-mkconfig mkosi debos
    cloud-init needrestart unattended-upgrade etckeeper equivs-build aptly reprepro dput gbp
    quilt dh lintian systemd-mount systemd-umount systemd-repart systemd-ask-password
    systemd-tty-ask-password-agent systemd-stdio-bridge dbus-daemon pkcon pkttyagent gsettings
    dconf mkhomedir_helper javadoc jstatd jhsdb jinfo jmap jstack mvnDebug gsutil bq pkcs11-tool
    p11tool certtool modutil opensc-tool softhsm2-util osslsigncode xmlsec1 vault op sops summon
    berglas pygmentize deb-systemd-invoke dpkg-preconfigure debconf-communicate
    debconf-set-selections ucf zstdless lzless lzmore xzmore slogin ssh-argv0 rmt rmt-tar
    sftp-server pg_createcluster pg_ctlcluster pg_upgradecluster pg_dropcluster pg_backupcluster
    pg_restorecluster pg_recvlogical pg_archivecleanup repmgr barman pgbackrest wal-g patroni
    patronictl pgbouncer pgpool proxysql orchestrator influxd prometheus alertmanager
    grafana-cli grafana-server traefik envoy waypoint boundary consul-k8s krew kubeadm kubelet
    k3d microk8s juju charmcraft snapcraft lxc-create unionfs-fuse squashfuse s3fs s3cmd swaks
    sieve sieve-test spamc spamassassin amavisd opendkim clamd clamdscan freshclam mimedefang
    sa-learn mb2md offlineimap mbsync isync goimapnotify newsboat newsbeuter podget streamlink
    castero znc bitlbee matterbridge hubot stunnel4 ssldump sslh socklog ngircd inspircd
    asterisk freeswitch kamailio fetchnews leafnode innd rtpproxy motion zoneminder
    mjpg_streamer liquidsoap icecast ices darkice xmms2 mpd mpc ncmpcpp cmus moc mocp skopeo
    crane regctl umoci cosign dive semgrep rubocop flake8 phpstan psalm ansible-lint
    golangci-lint tflint checkov pre-commit lefthook lint-staged fio stress-ng dbench
    kafka-run-class zkCli zkServer pass gopass step bird birdc apt-cache apt-config apt-mark lpr
    hg-ssh arpwatch ulogd dovecot-lda gitolite-shell gitea gogs forgejo gitlab-rails gitlab-rake
    mattermost netdata glances munin-run munin-node nagios icinga2 zabbix_agentd zabbix_server
    sensu-agent salt-minion puppetserver chef-apply inspec kitchen serverspec goss testinfra
    molecule tmuxinator tmuxp teamocil
"""
# Readers read the file that an argument names, wherever it is. So a text that may begin with a
# slash or with ".." leaves every directory that was meant.
READERS: Final = """
    arp ascii85 aspell base32 base58 base64 basenc basez bat batcat bsdcat bzcat cat cksum
    clamscan cmp column comm csplit csvtool cut dd diff diff3 dos2unix egrep eqn espeak expand
    fgrep file fmt fold grep hd head hexdump highlight iconv ispell join jq look lz4cat lzcat
    md5sum msgattrib msgcat msgconv msgfilter msgmerge msguniq nl nm nroff objdump od pandoc
    paste pic pr ptx readelf rev rgrep rg sdiff sha1sum sha224sum sha256sum sha384sum sha512sum
    b2sum shuf soelim zsoelim sort split strings sum tac tail tbl troff groff ul unexpand uniq
    uuencode wc xmllint xsltproc xxd xzcat yq zcat zgrep zstdcat ag ack ugrep tex2html enscript
    a2ps colordiff wdiff dmidecode efax exiftool ffprobe identify mediainfo pdftotext catdoc
    antiword xls2csv redcarpet markdown cmark atobm ssh-keyscan ntpdate openssl gpg gpgv age
    minisign vcat pv tre-agrep hexyl bc units tic infocmp xmodmap xpad wall write csvcut csvgrep
    csvsql xsv qsv visidata miller gojq jaq dasel xq hq htmlq pup tailf multitail lnav zdiff
    zcmp bzgrep xzgrep lzgrep zipgrep unzip zipinfo ar bsdtar logger mailq fping nasm as gcc-nm
    dig host nslookup kdig delv shasum piconv zipdetails javap jdeps wodim cdrecord setterm
    loadkeys getent dmesg mysqlbinlog gcov bzegrep bzfgrep bzdiff bzcmp lzegrep lzfgrep lzcmp
    lzdiff xzegrep xzfgrep xzcmp xzdiff zegrep zfgrep zstdgrep inotifywait inotifywatch fswatch
    mysqldumpslow rst2html rst2man rst2latex rst2odt rst2xml jsonnet dhall hurl siege vegeta
    pod2text pod2man pod2html pod2usage podchecker ptargrep ptardiff zdump addr2line size dwp
    funzip ausearch aureport john hashcat hydra medusa nikto dot neato fdp sfdp twopi circo
    kubeval ldapsearch ldapmodify ldapadd xmlstarlet xmlwf tidy tomlq xq-python recode-sr-latin
    msgfmt msgunfmt msginit msggrep msgexec xgettext pcregrep pcre2grep agrep glimpse nghttp
    h2load httping fc-scan fc-query desktop-file-validate appstreamcli oras trivy syft grype
    shellcheck hadolint yamllint nfdump lpr mongorestore mongoimport mongofiles bsondump ruff
    mypy bandit codespell vale proselint markdownlint jsonlint csvlint iperf iperf3 netperf
    ggrep gcat ghead gtail gsort gcut bsdcpio mdless vimcat pygmentize ccat lolcat figlet toilet
    boxes
"""
# Writers write, make or remove the file that an argument names, or give it other rights.
WRITERS: Final = """
    cp mv ln install rm rmdir unlink touch truncate tee gtee shred wipe srm mkdir mkfifo mknod
    chmod chown chgrp setfacl chattr setfattr chcon setcap sponge split csplit gzip gunzip bzip2
    bunzip2 xz unxz lzma unlzma zstd unzstd lz4 lzip lzop brotli pigz unpigz pbzip2 lrzip
    compress uncompress zip unzip 7z 7za 7zr 7zz p7zip rar unrar arj lha lzh zpaq unar ar dar
    cabextract cpio pax tar gtar bsdtar bsdcpio star unsquashfs mksquashfs genisoimage mkisofs
    xorriso xorrisofs dd ddrescue dcfldd mkfs mkswap mke2fs tune2fs parted sfdisk wget curl axel
    lwp-download lwp-request GET httpie http xh youtube-dl yt-dlp ffmpeg avconv sox convert
    magick mogrify montage composite import scrot gm rsvg-convert wkhtmltopdf wkhtmltoimage
    weasyprint pandoc ps2pdf pdftk qpdf mutool gpg openssl patch ctags etags indent clang-format
    black gofmt rustfmt prettier perltidy uudecode rename prename mmv vidir convmv rdfind fdupes
    jdupes fallocate mktemp tempfile logger tcpdump tshark dumpcap wireshark ngrep objcopy strip
    ranlib ld.gold ld.bfd ld.lld lld gold as nasm yasm ssh-keygen keytool certutil pk12util
    dos2unix unix2dos recode fromdos todos tftp atftp nft iptables-save ip6tables-restore
    iptables-restore ipset sysctl hwclock gcore pg_dump pg_restore pg_dumpall mysqldump
    mongodump mongoexport sqldiff rrdtool etcdctl redis-benchmark svnrdump hdparm smartctl
    xkbcomp xwd ptar streamzip enc2xs h2xs jar jarsigner jlink jmod jpackage flex lex yacc byacc
    gperf re2c ragel flatc bindgen cbindgen llvm-ar gcc-ar gcc-ranlib postmap losetup ecpg
    createdb wodim mydumper myloader mariadb-dump wipefs swaplabel blkdiscard badblocks e2image
    e2label resize2fs fsck e2fsck fstrim hardlink bzexe gzexe znew zforce zipcloak zipnote
    zipsplit zstdmt pzstd unlz4 lz4c savelog make-ssl-cert c_rehash h2ph zic localedef
    iconvconfig jimage dpkg-deb dpkg-divert dpkg-statoverride dpkg-split systemd-tmpfiles
    systemd-sysusers systemd-firstboot glib-compile-schemas gdk-pixbuf-csource dot neato fdp
    sfdp twopi circo ldapsearch dsymutil yaml2obj obj2yaml gprof update-mime-database
    mkfontscale mkfontdir fc-cache gtk-update-icon-cache inotifywait dvipdfmx xdvipdfmx pdfunite
    pdfseparate pdftoppm pdftocairo pdfimages gpgsplit gpgtar gpg-zip ptardiff xgettext msgfmt
    jpegtran cjpeg djpeg optipng pngquant pngcrush jpegoptim cwebp dwebp gifsicle flac lame
    oggenc opusenc mkvmerge mkvextract mp4box MP4Box exiv2 jhead eyed3 id3v2 tesseract unoconv
    mkvpropedit swfextract rhash par2 split-file makeconv pkgdata icupkg genrb kinit ktutil oras
    trivy syft grype age rage step HandBrakeCLI iperf iperf3 iozone bonnie++ bonnie mongorestore
    mongoimport mongofiles ldapmodify ldapadd lvcreate lvresize lvremove lvconvert vgcreate
    vgremove pvcreate pvremove fio stress-ng nfdump nfcapd softflowd argus rasplit gcp gmv gln
    grm gmkdir gtouch gchmod gchown ginstall streamlink skopeo crane arecord parecord pw-record
    jackrec rec grim wf-recorder gphoto2 scanimage v4l2-ctl fswebcam raspistill libcamera-still
"""
