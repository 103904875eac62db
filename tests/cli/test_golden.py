"""What people see of the first verbs, on terminals of 80 and 200 columns and through pipes.

The files are in tests/cli/golden/; tests/lib/golden.py says how they are written anew.
"""

import time

import pytest
from fake_service import HANDLE, FakeServer, FakeService, chunk, fake_server, terminal
from golden import check_golden, shown

from penstock.proto import command_pb2 as pb
from penstock.text import job_text

HOUR = 3600 * 10**9
LONG = "select name, owner from jobs where state = 'running' and \x1b[31m name like '%ü漢字%'"
WORDS = {
    "start": ["start", "ls", "-la", "/srv"],
    "start-quiet": ["start", "-q", "ls"],
    "status": ["status", HANDLE],
    "status-unknown": ["status", "7"],
    "status-several": ["status", HANDLE, "7"],
    "stop": ["stop", HANDLE],
    "stop-several": ["stop", HANDLE, "48215"],
    "list": ["list"],
    "list-quiet": ["list", "-q"],
    "list-whole": ["list", "--no-trunc"],
    "stream": ["stream", HANDLE],
    "whoami": ["whoami"],
    "commands": ["commands"],
    "commands-one": ["commands", "query"],
    "can-start": ["can", "start", "ls", "-la"],
    "attach": ["attach", HANDLE],
    "kill": ["kill", "-s", "HUP", HANDLE, "48215"],
    "pause": ["pause", "48215"],
    "resume": ["resume", "48215"],
    "rm": ["rm", "7", "5"],
    "run": ["run", "ls", "-la"],
    "signal": ["signal", "--tree", HANDLE, "TERM"],
    "stop-beginning": ["stop", "sleep"],
    "wait": ["wait", HANDLE],
    "stream-part": ["stream", "--stderr", HANDLE],
    "stream-quiet": ["stream", "-q", HANDLE],
}


def jobs() -> list[pb.Job]:
    """Of every kind; their ages stay what they are for minutes."""
    now = time.time_ns()
    begun, long_ago = now - 5 * 24 * HOUR, now - 90 * 24 * HOUR
    running, ended = pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED
    made = [
        pb.Job(handle="48300", command="echo", state=pb.JOB_STATE_STARTING),
        pb.Job(handle=HANDLE, command="ls", argv=["/bin/ls", "-la", "/srv/a b"], state=running),
        pb.Job(handle="48214.2", command="query", argv=["/bin/psql", LONG], state=running),
        pb.Job(handle="48215", name="sleeper", command="idle", paused=True, state=running),
        pb.Job(handle="7", command="backup", state=ended, ended_ns=long_ago + HOUR),
        pb.Job(handle="5", command="burn", state=ended, ended_ns=long_ago + HOUR // 2400),
    ]
    for job in made[1:]:
        job.started_ns = long_ago if job.ended_ns else begun
    made[-2].end.CopyFrom(pb.EndRecord(reason="exited", exit_code=3))
    made[-1].end.CopyFrom(pb.EndRecord(reason="out_of_memory", signal=9))
    return made


def granted() -> pb.WhoAmIResponse:
    """Of a client with two commands, whose certificate never ends."""
    small = pb.Limits(
        cpu_cores=0.1,
        memory_bytes=100_000_000,
        disk_read_bytes_per_s=10_000_000,
        disk_write_bytes_per_s=10_000_000,
        processes=64,
        output_bytes=1 << 30,
        output_when_full="drop_oldest",
    )
    query = pb.GrantedCommand(
        name="query",
        program="/usr/bin/psql",
        usage=[
            "query [-x] -d CHOICE TEXT{1,4} [--format (aligned|csv|html)] [--output PATH]",
            "CHOICE: one of jobs, owners, machines, users, histories (5 in all)",
            "TEXT: a text that matches [ -~]{1,\x1b80}",
            "PATH: a path beneath /srv (no '..', not beginning with '-')",
        ],
        description="Asks the records of jobs.",
        env_keys=["LANG", "PGTZ"],
        stdin=True,
        timeout_s=300,
        grace_s=10,
        class_name="small",
        limits=small,
        signals=["HUP"],
    )
    date = pb.GrantedCommand(
        name="date", program="/bin/date", usage=["date"], class_name="free", any_signal=True
    )
    return pb.WhoAmIResponse(
        client_id="alice",
        certificate=pb.Certificate(serial="2f0a", fingerprint="5e" * 32, not_after_ns=2**63 - 1),
        verbs=["list", "start", "status", "stop"],
        quotas=[
            pb.Quota(name="max_running", limit=8, used=2),
            pb.Quota(name="starts_per_minute", limit=120, used=17, free_after_s=43.2),
            pb.Quota(name="output.client", limit=4 << 30, used=1_234_567_890),
            pb.Quota(name="of_tomorrow", limit=1),
        ],
        client_limits=pb.Limits(cpu_cores=1.5, memory_bytes=4_000_000_000),
        commands=[date, query],
        command_count=2,
    )


def service() -> FakeService:
    made = FakeService()
    made.jobs = jobs()
    made.who_am_i.CopyFrom(granted())
    job = pb.Job(handle=HANDLE, state=pb.JOB_STATE_RUNNING)
    usage = pb.ResourceUsage(cpu_percent=23.4, memory_bytes=32_000_000, operations_per_s=2370)
    made.statuses[HANDLE] = pb.StatusResponse(job=job, status=job_text.status_text(job, usage))
    made.removals["7"] = None
    made.end = pb.EndRecord(reason="exited", exit_code=3)
    made.messages = [
        chunk(b"total 12\n\x1b[1mbold"),
        chunk(b" problem\n", stream=2, offset=17),
        pb.StreamOutputResponse(
            finished=pb.EndRecord(reason="exited", exit_code=3, output_bytes=26),
            offset=26,
            next_offset=26,
        ),
    ]
    return made


async def on_terminal(server: FakeServer, words: list[str], columns: int) -> str:
    """What stands on it, both streams, and the exit status."""
    async with terminal(columns) as (theirs, screen):
        environment = {"TERM": "xterm-256color"}
        done = await server.run_cli(*words, out=theirs, err=theirs, environment=environment)
    return f"==== a terminal of {columns} columns\n{shown(screen)}==== exit status {done.code}\n"


async def through_pipes(server: FakeServer, words: list[str], columns: int) -> str:
    """What went through two of them, where COLUMNS says how wide a terminal is."""
    done = await server.run_cli(*words, environment={"COLUMNS": str(columns)})
    apart = f"==== standard output\n{shown(done.out)}==== standard error\n{shown(done.err)}"
    return f"{apart}==== exit status {done.code}\n"


# Each is four processes, so the quick run has one verb of each form.
SOON = (
    *("start", "status", "status-unknown", "stop-several", "list", "stream", "whoami"),
    *("commands", "can-start", "attach", "rm", "stop-beginning"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SOON)) for name in WORDS]
)
async def test_what_people_see(name: str, request: pytest.FixtureRequest) -> None:
    """A terminal's width decides how much of a line there is; a pipe has all, of every line."""
    async with fake_server(service()) as server:
        narrow, wide = [await on_terminal(server, WORDS[name], columns) for columns in (80, 200)]
        piped, same = [await through_pipes(server, WORDS[name], columns) for columns in (80, 200)]
    assert piped == same
    update = request.config.getoption("--update-golden")
    check_golden(name, f"{narrow}\n{wide}\n{piped}", update=update)
