"""A job has what is documented, whatever penstockd was started with."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor_process import IS_ROOT, MODES, SUPERVISOR, command, running_supervisor

from penstock.policy.class_parser import DEFAULT_STORAGE_BYTES
from penstock.policy.limit_classes import Rlimit
from penstock.policy.rlimit_policy import DEFAULTS
from penstock.supervisor.job.rlimits import _NUMBERS

SUPERVISOR_COMMAND = [sys.executable, "-I", "-S", "-E", str(SUPERVISOR)]
INFINITY = resource.RLIM_INFINITY
# Run by the job. What signals it has is read before Python has set its own.
TELL = f"""
import ctypes, json, os, resource
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
io = libc.syscall({252 if os.uname().machine == "x86_64" else 31}, 1, 0)
print(json.dumps({{
    "limits": {{name: resource.getrlimit(number) for name, number in {_NUMBERS!r}.items()}},
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "policy": os.sched_getscheduler(0),
    "io": io >> 13,  # its class
    "personality": libc.personality(0xffffffff),
    "slack": libc.prctl(30, 0, 0, 0, 0),
    "no huge pages": libc.prctl(42, 0, 0, 0, 0),
    "umask": os.umask(0),
    "descriptors": [int(fd) for fd in os.listdir("/proc/self/fd")],
}}))
"""
AS_DOCUMENTED = {
    "nice": 0,
    "policy": os.SCHED_OTHER,
    "io": 0,
    "personality": 0,
    "slack": 50_000,
    "no huge pages": 0,
    "umask": 0o022,
    "descriptors": [0, 1, 2, 3],  # the last is the listing itself
}
ODD = {
    "limits": """
for name in ("CPU", "FSIZE", "DATA", "STACK", "CORE", "NPROC", "MEMLOCK", "AS", "NOFILE",
             "MSGQUEUE", "RTTIME", "SIGPENDING"):
    number = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(number)[1]
    wanted = {"NOFILE": 64, "DATA": 1 << 30, "AS": 1 << 31}.get(name, 1 << 20)
    resource.setrlimit(number, (wanted if hard < 0 else min(wanted, hard), hard))
""",
    "nice": "os.setpriority(os.PRIO_PROCESS, 0, 10)",
    "a batch": "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
    "an idle disk": f"libc.syscall({251 if os.uname().machine == 'x86_64' else 30}, 1, 0, 3 << 13)",
    "no random addresses": "libc.personality(0x0040000)",
    "late timers": "libc.prctl(29, 10**9, 0, 0, 0)",
    "no huge pages": "libc.prctl(41, 1, 0, 0, 0)",
    "umask": "os.umask(0o777)",
    "signals ignored": """
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
""",
    "signals blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "no descriptors": "os.closerange(0, 3)",
    "more descriptors": """
for fd in range(20, 60):
    os.dup2(os.open("/dev/null", os.O_RDWR), fd, inheritable=True)
""",
}


def started_with(setting: str) -> list[str]:
    """A program that does this to itself and becomes a supervisor."""
    start = f"""
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
{setting}
os.execv(sys.argv[1], sys.argv[1:])
"""
    return [sys.executable, "-c", start, *SUPERVISOR_COMMAND]


def python(name: str, text: str, *, root: bool, extra: str = "") -> str:
    fixed = f"fixed = ['-I', '-c', '''{text}''']\n{extra}"
    return command(name, "/usr/bin/python3", root=root, extra=fixed)


def expected(*, root: bool, **changed: list[int]) -> dict[str, list[int]]:
    """The documented limits, of a class that says nothing of its storage: as far as this process's
    own hard ones, where nobody can raise those."""
    raised = root and _may_raise()
    changed = {"fsize": [DEFAULT_STORAGE_BYTES] * 2, **changed}
    found = {}
    for name, limit in DEFAULTS.items():
        hard = resource.getrlimit(_NUMBERS[name])[1]
        pair = [INFINITY if value is None else value for value in (limit.soft, limit.hard)]
        pair = changed.get(name, pair)
        free = hard < 0 or raised
        found[name] = [value if free else min(value % 2**64, hard) for value in pair]
    return found


@pytest.mark.parametrize(
    "root", [pytest.param(root, marks=[pytest.mark.slow] * (root != MODES[0])) for root in MODES]
)
@pytest.mark.parametrize("odd", ODD)
def test_a_job_has_what_is_documented(root: bool, odd: str) -> None:
    """Limits, priorities, signals, mode and descriptors."""
    text = python("tell", TELL, root=root)
    text += command("signals", "/bin/cat", root=root, extra='fixed = ["/proc/self/status"]')
    with running_supervisor(text, root=root, program=started_with(ODD[odd])) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tell")
            told = json.loads(job.read())
            limits = told.pop("limits")
            usual = dict(AS_DOCUMENTED)
            if odd == "nice" and not root:
                usual["nice"] = 10  # which only root ends, and penstockd says
                assert "jobs run with nice 10" in supervisor.log
            assert told == usual
            if root or odd != "limits":
                assert limits == expected(root=root)
            peer.end(job)
            job = peer.start("signals")
            lines = dict(line.split(":\t", 1) for line in job.read().decode().splitlines())
            for name in ("SigIgn", "SigBlk", "SigCgt", "SigPnd"):
                assert int(lines[name], 16) == 0, name
            peer.end(job)


@pytest.mark.parametrize("root", MODES)
def test_a_class_sets_its_own(root: bool) -> None:
    """Over the defaults; the program sees them from its first instruction on."""
    classes = """[classes.own]
needs = { all = "best_effort" }
[classes.own.rlimits]
nofile = { soft = 32, hard = 64 }
fsize = "1MiB"
cpu = "90s"
core = "unlimited"
"""
    text = python("tell", TELL, root=root, extra='class = "own"\n')
    with running_supervisor(text, root=root, clients=classes) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tell")
            limits = json.loads(job.read())["limits"]
            own = {"nofile": [32, 64], "fsize": [1 << 20] * 2, "cpu": [90] * 2}
            assert limits == expected(root=root, core=[INFINITY] * 2, **own)
            peer.end(job)


@pytest.mark.parametrize("root", MODES)
def test_what_cannot_be_raised_is_said(root: bool) -> None:
    """A hard limit that is too low: which one, what follows, what to do. Jobs run, with less."""
    setting = """
resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
"""
    if root:
        # What a container without CAP_SYS_RESOURCE is: the bounding set is what exec leaves.
        setting += "libc.prctl(24, 24, 0, 0, 0)\n"
    text = python("tell", TELL, root=root)
    with running_supervisor(text, root=root, program=started_with(setting)) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tell")
            limits = json.loads(job.read())["limits"]
            assert (limits["cpu"], limits["nofile"]) == ([1000, 1000], [512, 512])
            peer.end(job)
        log = supervisor.log
    assert "RLIMIT_CPU is 1000 and cannot be raised, so that the kernel kills penstockd" in log
    assert "LimitCPU=infinity" in log
    assert "no job gets more than" in log
    assert "nofile 512" in log
    assert "at most 14 jobs at once" in log


@pytest.mark.root
def test_a_hard_limit_that_is_too_low_is_raised() -> None:
    """Where the kernel lets root do it: jobs have what is documented, and nothing is to be said."""
    if not _may_raise():
        pytest.skip("NOT RUN: this process has no CAP_SYS_RESOURCE; in tools/vm it has")
    setting = """
for name in ("CPU", "FSIZE", "DATA", "AS", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "STACK",
             "NPROC"):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
"""
    text = python("tell", TELL, root=True)
    with running_supervisor(text, root=True, program=started_with(setting)) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tell")
            told = json.loads(job.read())["limits"]
            changed = {"fsize": Rlimit(DEFAULT_STORAGE_BYTES, DEFAULT_STORAGE_BYTES)}
            for name, limit in ({**DEFAULTS, **changed}).items():
                pair = [-1 if value is None else value for value in (limit.soft, limit.hard)]
                assert [-1 if value == INFINITY else value for value in told[name]] == pair, name
            peer.end(job)
        lines = Path(f"/proc/{supervisor.process.pid}/limits").read_text().splitlines()
        found = {line[:25].strip(): line[25:].split()[:2] for line in lines[1:]}
        for name in ("cpu time", "file size", "data size", "address space"):
            assert found[f"Max {name}"] == ["unlimited", "unlimited"], name
        assert int(found["Max open files"][0]) > 4096
        assert "cannot be raised" not in supervisor.log
        assert "jobs at once, not max_jobs" not in supervisor.log


def _may_raise() -> bool:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return bool(int(lines["CapEff"], 16) >> 24 & 1)


def test_its_own_are_raised_as_far_as_they_can() -> None:
    """`ulimit -S` of whoever starts it costs neither penstockd nor its server anything."""
    with running_supervisor("", root=IS_ROOT, program=started_with(ODD["limits"])) as supervisor:
        lines = Path(f"/proc/{supervisor.process.pid}/limits").read_text().splitlines()
        found = {line[:25].strip(): line[25:].split()[:2] for line in lines[1:]}
        for name in ("cpu time", "file size", "data size", "address space", "processes"):
            soft, hard = found[f"Max {name}"]
            assert soft == hard, name
        assert found["Max open files"][0] == found["Max open files"][1]
        assert found["Max stack size"][0] == str(8 << 20)
        assert "cannot be raised, so that" not in supervisor.log


def test_the_whole_of_it_without_descriptors(tmp_path: Path) -> None:
    """penstockd itself, from its entry on: a mistake is found, nothing is written astray."""
    config = tmp_path / "penstockd.toml"
    config.write_text("policy = 1\n")
    start = "import os, sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    program = [sys.executable, "-c", start, sys.executable, "-m", "penstock.penstockd"]
    done = subprocess.run([*program, "--config", str(config)], timeout=60, check=False)
    assert done.returncode == 2
    assert config.read_text() == "policy = 1\n"
