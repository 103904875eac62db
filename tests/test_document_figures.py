"""The figures that README and docs/ give of penstock itself are those of the code."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, command_lines
from this_run import new_group

# The page, its words with {} for the figure, where the code has it, and by what it is divided.
FIGURES = [
    ("cli.md", "they connect again for up to {} s", "client.retry:RETRY_S", 1),
    ("cli.md", "before the answer waits up to {} s for it", "cli.interrupted_start:ANSWER_S", 1),
    ("cli.md", "for `--reconnect` seconds ({})", "client.retry:GIVE_UP_S", 1),
    ("cli.md", "pauses of {} s that double", "client.backoff:FIRST_PAUSE_S", 1),
    ("cli.md", "that double up to {} s; 0 is not at all", "client.backoff:LONGEST_PAUSE_S", 1),
    ("cli.md", "asked for a heartbeat every {} s", "client.resumption:HEARTBEAT_S", 1),
    (
        "operations.md",
        "restarts it when it dies, with {} s of delay",
        "supervisor.server_process:_FIRST_DELAY_S",
        1,
    ),
    ("operations.md", "doubling to {} s", "supervisor.server_process:_LAST_DELAY_S", 1),
    (
        "operations.md",
        "(to {} s if it had come up)",
        "supervisor.server_process:_CAME_UP_DELAY_S",
        1,
    ),
    (
        "operations.md",
        "a line is at most {} bytes (PIPE_BUF)",
        "supervisor.logs.log_lines:LINE_BYTES",
        1,
    ),
    ("operations.md", "Every line is at most {} KiB", "server.audit_lines:MAX_LINE_BYTES", 1024),
    (
        "operations.md",
        "each argv in it at most {} KiB of JSON",
        "server.audit_lines:MAX_VALUE_BYTES",
        1024,
    ),
    ("operations.md", "| refusals | {};", "server.refusal_budget:PER_MINUTE", 1),
    ("operations.md", "for at most {} kinds at once", "server.repeat_budget:MAX_KNOWN", 1),
    (
        "operations.md",
        "| audit log | {} MiB of blocks ahead",
        "jobs.output.preallocation:AHEAD_BYTES",
        2**20,
    ),
    (
        "operations.md",
        "while at least {} MiB stay free",
        "jobs.output.preallocation:LEAST_LEFT_BYTES",
        2**20,
    ),
    ("output.md", "entries of {} bytes", "jobs.output.segment_index:ENTRY_BYTES", 1),
    ("output.md", "records of {} bytes for what was refused", "jobs.output.gaps:_RECORD_BYTES", 1),
    ("output.md", "the last is older than {} ms", "jobs.output.segment_chain:MERGE_NS", 1_000_000),
    (
        "output.md",
        "at least {} KiB, at most 32 MiB",
        "jobs.output.segment_chain:LEAST_SEGMENT_BYTES",
        1024,
    ),
    (
        "output.md",
        "at most {} MiB, and ends where",
        "jobs.output.segment_chain:MOST_SEGMENT_BYTES",
        2**20,
    ),
    ("output.md", "moves at most {} KiB at a time", "jobs.output.segment_chain:SPLICE_BYTES", 1024),
    (
        "output.md",
        "its log has {} MiB of blocks ahead",
        "jobs.output.preallocation:AHEAD_BYTES",
        2**20,
    ),
    ("output.md", "and its index {} KiB", "jobs.output.segment:_INDEX_AHEAD_BYTES", 1024),
    (
        "output.md",
        "{} MiB of the disk always stay free",
        "jobs.output.segment_chain:RESERVE_BYTES",
        2**20,
    ),
    (
        "output.md",
        "(gap: quota) until {} MiB is free again",
        "jobs.output.output_quota:_RESUME_BYTES",
        2**20,
    ),
    ("output.md", "Chunks end at multiples of {} KiB", "jobs.output.cursor:CHUNK_BYTES", 1024),
    (
        "output.md",
        "the last {} MiB of encoded messages",
        "server.output_stream:_CACHE_BYTES",
        2**20,
    ),
    ("output.md", "one wake-up in {} ms", "jobs.output.capture:COALESCE_S", 0.001),
    (
        "architecture.md",
        "`jobs/backends/requests.py`: {} unanswered ones",
        "jobs.backends.requests:_MOST_UNANSWERED",
        1,
    ),
    (
        "architecture.md",
        "callers have left; {} MiB",
        "jobs.backends.supervisor_connection:_MOST_WAITING_BYTES",
        2**20,
    ),
    (
        "architecture.md",
        "`jobs/output/digest_threads.py`: {} at once",
        "jobs.output.digest_threads:DIGEST_THREADS",
        1,
    ),
    (
        "architecture.md",
        "one, with {} directories in memory",
        "jobs.file_removals:_MOST_UNWANTED",
        1,
    ),
    (
        "cancellation.md",
        "KILL; a process that is there {} s (`UNKILLABLE_S`) later",
        "jobs.job:UNKILLABLE_S",
        1,
    ),
    ("cancellation.md", "after {} s (`RECORD_PATIENCE_S`)", "jobs.job:RECORD_PATIENCE_S", 1),
    ("cancellation.md", "then {} s of grace and 10 s for KILL", "jobs.manager:SHUTDOWN_GRACE_S", 1),
    ("cancellation.md", "| {} s, then KILL |", "jobs.standalone:_END_S", 1),
    ("cancellation.md", "KILL {} s after the grace", "jobs.backends.local:_KILL_ANSWER_S", 1),
    ("policy.md", "at most {} requests for a start at once", "server.rate_limits:COSTLY_BURST", 1),
    (
        "policy.md",
        "requests for a start at once and {} a second",
        "server.rate_limits:COSTLY_PER_S",
        1,
    ),
    ("policy.md", "A tree of more than {} levels", "supervisor.storage.disk_usage:MOST_LEVELS", 1),
    (
        "policy.md",
        "together take at most {} ms of CPU a second",
        "supervisor.storage.storage_watch:LOOK_CPU_S",
        0.001,
    ),
    ("security.md", "so each client has {} at once", "server.rate_limits:COSTLY_BURST", 1),
    (
        "README.md",
        "by default {} GiB of a job",
        "policy.output_policy:OutputPolicy().job_bytes",
        2**30,
    ),
]


def text_of(page: str) -> str:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    return " ".join(path.read_text().split())


@pytest.mark.parametrize(
    ("page", "words", "where", "unit"), FIGURES, ids=lambda each: str(each)[:40]
)
def test_a_figure_is_that_of_the_code(page: str, words: str, where: str, unit: float) -> None:
    """In words that stand on the page once at least, each with the same figure."""
    module, _, name = where.partition(":")
    value = importlib.import_module(f"penstock.{module}")
    for part in name.split("."):
        value = getattr(value, part.removesuffix("()"))
        value = value() if part.endswith("()") else value
    before, after = words.split("{}")
    shown = re.findall(rf"{re.escape(before)}(\d[\d,.]*\d|\d){re.escape(after)}", text_of(page))
    assert shown, f"{page} does not say: {words}"
    assert isinstance(value, int | float)
    assert {float(each.replace(",", "")) for each in shown} == {round(value / unit, 6)}


def test_the_doctor_of_the_operations_page_sees_both_files(tmp_path: Path) -> None:
    """Its lines, on a configuration of this test's: it finds what the policy's users lack."""
    (line,) = {line for _, line in command_lines() if "penstockd doctor --config" in line}
    config, policy = tmp_path / "penstockd.toml", tmp_path / "policy.toml"
    policy.write_text(
        '[classes.c]\n[commands.x]\npath = "/bin/true"\nclass = "c"\nuser = "no-such"\n'
    )
    config.write_text(
        f'policy = "{policy}"\nserver_user = "61190"\nwork_root = "{tmp_path}"\n'
        f'cgroup_parent = "{new_group("doctor")}"\n'
        '[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
    )
    words = line.replace("/etc/penstock/penstockd.toml", str(config)).split()
    assert str(config) in words
    program = [sys.executable, "-m", "penstock.penstockd"]
    done = subprocess.run([*program, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "cgroups" in lines
    assert "missing" in lines["users"]
    assert "commands.x.user" in lines["users"]
