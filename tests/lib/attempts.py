"""What one process may try to do to another, as a program that a job runs.

With a process id of 0 it is the victim: it makes what can be attacked, says where that is, and
waits. With another it is the attacker, and prints for each attempt whether it had an effect. The
standard library of the host's Python only, as this is given to it as text.
"""

PROGRAM = r"""
import contextlib, ctypes, errno, fcntl, json, os, signal, socket, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    "x86_64": dict(ptrace=101, setpriority=141, ioprio_set=251, tgkill=234, prlimit64=302,
        process_vm_readv=310, kcmp=312, pidfd_getfd=438, process_madvise=440, migrate_pages=256,
        move_pages=279, shmget=29, shmat=30, mq_open=240, rt_sigqueueinfo=129, setpgid=109),
    "aarch64": dict(ptrace=117, setpriority=140, ioprio_set=30, tgkill=131, prlimit64=261,
        process_vm_readv=270, kcmp=272, pidfd_getfd=438, process_madvise=440, migrate_pages=238,
        move_pages=239, shmget=194, shmat=196, mq_open=180, rt_sigqueueinfo=138, setpgid=154),
}[os.uname().machine]
SECRET, KEY, NAME = b"secret-of-the-victim", 0x50454e53, "penstock-attempt-@mark"
LOCKED = "/usr/bin/env"

def call(name, *arguments):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

def victim():
    os.environ["SECRET"] = SECRET.decode()
    held = ctypes.create_string_buffer(SECRET, 4096)
    for place in ("/tmp", "/var/tmp", "/dev/shm", "."):
        with open(os.path.join(place, NAME), "wb") as file:
            file.write(SECRET)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + NAME)
    listener.listen()
    loopback = socket.socket()
    loopback.bind(("127.0.0.1", 0))
    loopback.listen()
    call("shmget", KEY, 4096, 0o1600)
    call("mq_open", NAME.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    lock = open(LOCKED, "rb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
    for _ in range(9):
        call("rt_sigqueueinfo", os.getpid(), int(signal.SIGRTMIN),
             struct.pack("iiiiii104x", int(signal.SIGRTMIN), 0, -1, 0, os.getpid(), os.getuid()))
    print(json.dumps({"pid": os.getpid(), "uid": os.getuid(), "cwd": os.getcwd(),
        "address": ctypes.addressof(held), "port": loopback.getsockname()[1]}), flush=True)
    while True:
        signal.pause()

def attack(pid, about):
    proc = f"/proc/{pid}/"
    address, uid = about["address"], about["uid"]
    def read(name, size=64):
        with open(proc + name, "rb") as file:
            file.read(size)
    def write(name, text):
        with open(proc + name, "wb", buffering=0) as file:
            file.write(text)
    def memory():
        with open(proc + "mem", "rb", buffering=0) as file:
            file.seek(address)
            if file.read(len(SECRET)) != SECRET:
                raise OSError(errno.EIO, "other bytes")
    def change_memory():
        with open(proc + "mem", "r+b", buffering=0) as file:
            file.seek(address)
            file.write(SECRET)
    def take_output():
        os.chmod(proc + "fd/1", 0o600)
        os.close(os.open(proc + "fd/1", os.O_RDONLY | os.O_NONBLOCK))
    def print_as_it():
        os.close(os.open(proc + "fd/1", os.O_WRONLY | os.O_NONBLOCK))
    def through_root():
        with open(proc + "root/tmp/" + NAME, "rb") as file:
            file.read()
    def through_cwd():
        with open(proc + "cwd/" + NAME, "rb") as file:
            file.read()
    def own_way():
        with open(os.path.join(about["cwd"], NAME), "rb") as file:
            file.read()
    def vm_read():
        data = ctypes.create_string_buffer(16)
        own = struct.pack("QQ", ctypes.addressof(data), 16)
        call("process_vm_readv", pid, own, 1, struct.pack("QQ", address, 16), 1, 0)
    def pidfd(act):
        fd = os.pidfd_open(pid)
        try:
            act(fd)
        finally:
            os.close(fd)
    def memory_advice(fd):
        call("process_madvise", fd, struct.pack("QQ", address & ~4095, 4096), 1, 20, 0)
    def file_of(place):
        def act():
            with open(os.path.join(place, NAME), "rb") as file:
                file.read()
        return act
    def abstract():
        with socket.socket(socket.AF_UNIX) as handle:
            handle.connect("\0" + NAME)
    def loopback():
        with socket.socket() as handle:
            handle.connect(("127.0.0.1", about["port"]))
    def lock():
        with open(LOCKED, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        raise OSError(errno.EIO, "not in its way")
    def counts():
        for line in open("/proc/self/status"):
            if line.startswith("SigQ:") and int(line.split()[1].split("/")[0]) >= 9:
                return
        raise OSError(errno.EIO, "counted apart")
    def all_of_the_user():
        os.setpriority(os.PRIO_USER, uid, 2)
        if os.getpriority(os.PRIO_PROCESS, pid) != 2:
            raise OSError(errno.EIO, "of others only")
    def queue():
        info = struct.pack("iiiiii104x", int(signal.SIGURG), 0, -1, 0, os.getpid(), os.getuid())
        call("rt_sigqueueinfo", pid, int(signal.SIGURG), info)
    attempts = {
        "environ": lambda: read("environ"), "maps": lambda: read("maps"),
        "mem-read": memory, "mem-write": change_memory, "pagemap": lambda: read("pagemap", 8),
        "smaps": lambda: read("smaps"), "io": lambda: read("io"), "auxv": lambda: read("auxv"),
        "syscall": lambda: read("syscall"), "personality": lambda: read("personality"),
        "mountinfo": lambda: read("mountinfo"), "ns": lambda: os.readlink(proc + "ns/mnt"),
        "exe": lambda: os.readlink(proc + "exe"), "cwd": lambda: os.readlink(proc + "cwd"),
        "root": through_root, "cwd-file": through_cwd, "map_files":
        lambda: os.listdir(proc + "map_files"), "fd-list": lambda: os.listdir(proc + "fd"),
        "fdinfo": lambda: read("fdinfo/1"), "fd-output-read": take_output,
        "fd-output-write": print_as_it, "timerslack": lambda: read("timerslack_ns"),
        "oom_score_adj": lambda: write("oom_score_adj", b"1000"),
        "coredump_filter": lambda: write("coredump_filter", b"0"),
        "clear_refs": lambda: write("clear_refs", b"1"), "autogroup":
        lambda: write("autogroup", b"19"), "comm-write": lambda: write("comm", b"other"),
        "kill": lambda: os.kill(pid, signal.SIGURG), "kill-0": lambda: os.kill(pid, 0),
        "cont": lambda: os.kill(pid, signal.SIGCONT), "tgkill":
        lambda: call("tgkill", pid, pid, int(signal.SIGURG)), "pidfd-signal":
        lambda: pidfd(lambda fd: signal.pidfd_send_signal(fd, signal.SIGURG)),
        "sigqueue": queue, "setpgid": lambda: os.setpgid(pid, 0),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 1),
        "priority-user": all_of_the_user,
        "ioprio": lambda: call("ioprio_set", 1, pid, 3 << 13),
        "policy": lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
        "affinity": lambda: os.sched_setaffinity(pid, os.sched_getaffinity(0)),
        "rlimit": lambda: call("prlimit64", pid, 4, struct.pack("QQ", 0, 0), None),
        "rlimit-read": lambda: call("prlimit64", pid, 4, None, ctypes.create_string_buffer(16)),
        "madvise": lambda: pidfd(memory_advice),
        "migrate": lambda: call("migrate_pages", pid, 64, b"\1" + bytes(7), b"\1" + bytes(7)),
        "ptrace": lambda: call("ptrace", 16, pid, 0, 0), "vm-read": vm_read,
        "kcmp": lambda: call("kcmp", pid, os.getpid(), 0, 1, 1),
        "getfd": lambda: pidfd(lambda fd: call("pidfd_getfd", fd, 1, 0)),
        "tmp": file_of("/tmp"), "var-tmp": file_of("/var/tmp"), "shm": file_of("/dev/shm"),
        "workdir": own_way, "sysv-shm": lambda: call("shmget", KEY, 0, 0),
        "mqueue": lambda: call("mq_open", NAME.encode(), os.O_RDONLY, 0, None),
        "user-counts": counts, "abstract-socket": abstract, "loopback": loopback, "flock": lock,
        "cmdline": lambda: read("cmdline"), "status": lambda: read("status"),
        "stat": lambda: read("stat"), "limits": lambda: read("limits"),
        "cgroup": lambda: read("cgroup"), "affinity-read": lambda: os.sched_getaffinity(pid),
        "priority-read": lambda: os.getpriority(os.PRIO_PROCESS, pid),
    }
    found = {}
    for name, act in attempts.items():
        try:
            act()
            found[name] = ""
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno, str(error.errno))
    print(json.dumps(found), flush=True)
    # Last, as the victim may be gone afterwards. What it says is of no use: the kernel counts
    # those, too, to whom it sends nothing. Whether the victim has ended is the answer.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)

if sys.argv[1] == "0":
    victim()
else:
    attack(int(sys.argv[1]), dict(address=int(sys.argv[2]), uid=int(sys.argv[3]),
                                  port=int(sys.argv[4]), cwd=sys.argv[5]))
"""
