"""What people read, to the letter."""

import itertools
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.printing import LinePrinter, timestamp
from penstock.cli.shell_words import shell_line
from penstock.cli.terminal import harmless
from penstock.proto import command_pb2 as pb
from penstock.text import job_text

NO_USAGE = pb.ResourceUsage()


def test_a_running_job() -> None:
    """The sentence, an empty line, and a table of 25 columns."""
    job = pb.Job(handle="48213", state=pb.JOB_STATE_RUNNING)
    usage = pb.ResourceUsage(cpu_percent=23.4, memory_bytes=32_000_000, operations_per_s=2370)
    assert job_text.status_text(job, usage) == (
        "Job 48213 is running.\n"
        "\n"
        "=========================\n"
        "|CPU:      | 23%        |\n"
        "|Memory:   | 32MB       |\n"
        "|Disk I/O: | 2.37k iops |\n"
        "========================="
    )


def test_a_wider_value_widens_all_of_the_table() -> None:
    """Rules and rows stay one rectangle."""
    lines = job_text.table([("A:", "x"), ("B:", "y" * 30)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2] == f"|B:        | {'y' * 30} |"


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (pb.EndRecord(reason="exited", exit_code=0), "Job 7 exited with code 0."),
        (pb.EndRecord(reason="stopped", stopped_by="alice"), "Job 7 was stopped by alice."),
        (pb.EndRecord(reason="out_of_memory", signal=9), "Job 7 was killed: out of memory."),
        (pb.EndRecord(reason="signaled", signal=11), "Job 7 was killed by signal 11."),
        (pb.EndRecord(reason="timed_out"), "Job 7 was stopped: its time was up."),
        (
            pb.EndRecord(reason="storage_full"),
            "Job 7 was stopped: it had more on the disk than its class allows.",
        ),
        (pb.EndRecord(reason="lost", detail="gone"), "Job 7 was lost: gone."),
    ],
)
def test_how_a_job_ended(end: pb.EndRecord, sentence: str) -> None:
    """Each reason has its sentence, and the table holds totals; what was not measured is not 0."""
    end.cpu_total_s, end.memory_peak_bytes = 1.5, 1_000_000
    text = job_text.status_text(pb.Job(handle="7", state=pb.JOB_STATE_FINISHED, end=end), NO_USAGE)
    assert text.startswith(f"{sentence}\n\n====")
    assert "|CPU:      | 1.5s       |" in text
    assert "|Memory:   | 1MB        |" in text
    assert "|Disk I/O: | unmeasured |" in text
    assert text.endswith("=========================")


def test_what_was_not_measured_is_said() -> None:
    """Every figure, also where another one is 0."""
    job = pb.Job(handle="7", state=pb.JOB_STATE_RUNNING)
    assert job_text.status_text(job, NO_USAGE).count("| unmeasured |") == 3
    idle = pb.ResourceUsage(cpu_percent=0, memory_bytes=0, operations_per_s=0)
    assert "unmeasured" not in job_text.status_text(job, idle)
    job = pb.Job(handle="7", state=pb.JOB_STATE_FINISHED, end=pb.EndRecord(reason="exited"))
    assert job_text.status_text(job, NO_USAGE).count("| unmeasured |") == 3
    assert "code 0" not in job_text.sentence(job)  # nor was that
    job.end.read_bytes = job.end.write_bytes = 0
    assert "|Disk I/O: | 0B         |" in job_text.status_text(job, NO_USAGE)


@pytest.mark.parametrize(
    ("end", "notes"),
    [
        (pb.EndRecord(reason="exited", oom_kills=0, throttled_s=0.2), []),
        (
            pb.EndRecord(reason="exited", oom_kills=1),
            ["1 of its processes was killed: out of memory."],
        ),
        (pb.EndRecord(reason="out_of_memory", oom_kills=1), []),
        (
            pb.EndRecord(reason="out_of_memory", oom_kills=3),
            ["2 other of its processes were killed: out of memory."],
        ),
        (
            pb.EndRecord(reason="exited", throttled_s=12.34),
            ["It was throttled for 12.3s by its CPU limit."],
        ),
        (
            pb.EndRecord(
                reason="stopped", escalated=True, processes_killed=3, stop_reason="too loud"
            ),
            ["KILL was needed: it ended 3 processes.", "The reason given: too loud"],
        ),
        (
            pb.EndRecord(reason="exited", processes_killed=1),
            ["KILL ended 1 process that was left."],
        ),
        (
            pb.EndRecord(
                reason="exited", gaps=[pb.Gap(from_offset=3, to_offset=4), pb.Gap(to_offset=2)]
            ),
            ["Of its output 3 bytes are not kept."],
        ),
    ],
)
def test_what_the_reason_of_an_end_does_not_tell(end: pb.EndRecord, notes: list[str]) -> None:
    """Behind the table of a status, and behind the sentence where there is none."""
    assert job_text.end_notes(end) == notes
    text = job_text.status_text(pb.Job(handle="7", state=pb.JOB_STATE_FINISHED, end=end), NO_USAGE)
    assert text.splitlines()[7:] == notes
    assert job_text.is_plain(end) == (
        end.reason == "exited" and not any("kill" in note.lower() for note in notes)
    )


def test_what_a_stop_took() -> None:
    """Seconds where they are news."""
    quick = pb.EndRecord(reason="stopped", signal=15)
    assert job_text.stop_notes(quick, 0.02) == []
    assert job_text.stop_notes(quick, 4.5) == ["That took 4.5s; KILL was not needed."]
    quick.processes_killed = 2  # children of a shell: the first signal was not for them
    assert job_text.stop_notes(quick, 0.02) == []
    assert job_text.stop_notes(quick, 3) == ["That took 3s; KILL ended 2 processes that were left."]
    hard = pb.EndRecord(reason="stopped", escalated=True, processes_killed=1)
    assert job_text.stop_notes(hard, 2.01) == ["KILL was needed after 2.01s: it ended 1 process."]


def test_a_running_job_that_is_held_up_or_loses_a_process() -> None:
    """The table stays what it is; sentences come behind it."""
    usage = pb.ResourceUsage(cpu_percent=10, oom_kills=2, throttled_s=61)
    text = job_text.status_text(pb.Job(handle="7", state=pb.JOB_STATE_RUNNING), usage)
    assert text.splitlines()[7:] == [
        "2 of its processes were killed: out of memory.",
        "It was throttled for 1m1s by its CPU limit.",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (2370, "2.37k"),
        (32e6, "32M"),
        (5e18, "5E"),
        (2**64, "18.4E"),
        (999.7e18, "1000E"),
    ],
)
def test_si(value: float, text: str) -> None:
    """Three significant digits, never four before a prefix would do."""
    assert job_text.si(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.00001, "0s"),
        (0.012, "0.012s"),
        (1.5, "1.5s"),
        (59.96, "1m"),
        (1234, "20m34s"),
        (3599.9, "1h"),
        (86399, "1d"),
        (273_600, "3d4h"),
        (1e9, "11574d2h"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Never an exponent, whatever the size."""
    assert job_text.duration(seconds) == text


def test_times_are_utc_milliseconds() -> None:
    """2026-11-23T11:21:38.123Z."""
    assert timestamp(1_795_432_898_123_456_789) == "2026-11-23T11:21:38.123Z"
    assert timestamp(0) == "-"  # has not happened


@given(text=st.text(alphabet="ab\n\r\té"), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_timestamps_stand_at_line_starts_however_the_bytes_are_cut(
    text: str, cuts: list[int]
) -> None:
    """Every line has one at its start and nowhere else; the text is otherwise unchanged."""
    data = text.encode()
    points = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    printer = LinePrinter(timestamps=True)
    printed = "".join(printer.feed(1, 0, data[a:b]) for a, b in itertools.pairwise(points))
    printed += printer.flush(0)
    stamp = f"{timestamp(0)} "
    *complete, rest = text.split("\n")
    assert printed == "".join(f"{stamp}{line}\n" for line in complete) + (
        stamp + rest if rest else ""
    )


def test_bad_bytes_are_marked_and_streams_do_not_mix_their_characters() -> None:
    """Half a character of stdout is not completed by stderr."""
    printer = LinePrinter(timestamps=False)
    assert printer.feed(1, 0, b"\xc3") == ""
    assert printer.feed(2, 0, b"\xff!") == "\ufffd!"
    assert printer.feed(1, 0, b"\xa9") == "é"
    assert printer.feed(1, 0, b"\xe2\x82") == ""
    assert printer.flush(0) == "\ufffd"


@given(st.text())
def test_nothing_that_steers_a_terminal_gets_through(text: str) -> None:
    """No C0 or C1 control but line end and tab, no bidi control, whatever the job prints."""
    shown = harmless(text)
    assert not [c for c in shown if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )
    assert harmless(shown) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0xE0041, "\\U000e0041"),  # a tag letter
        (0xE0001, "\\U000e0001"),
        (0xE0100, "\\U000e0100"),  # variation selectors
        (0xFE0F, "\\ufe0f"),
        (0x180B, "\\u180b"),
        (0x200B, "\\u200b"),  # zero width
        (0x200D, "\\u200d"),
        (0x2060, "\\u2060"),
        (0xFEFF, "\\ufeff"),
        (0x00AD, "\\u00ad"),  # soft hyphen
        (0x034F, "\\u034f"),
        (0x115F, "\\u115f"),  # fillers
        (0x3164, "\\u3164"),
        (0xFFA0, "\\uffa0"),
        (0x2800, "\\u2800"),
        (0x1D173, "\\U0001d173"),  # musical format characters
        (0xE000, "\\ue000"),  # private use
        (0x0378, "\\u0378"),  # not assigned
        (0x10FFFF, "\\U0010ffff"),
        (0x9B, "\\u009b"),  # C1
        (0x7F, "\\x7f"),
        (0x2028, "\\u2028"),
    ],
)
def test_what_cannot_be_seen_is_shown(number: int, shown: str) -> None:
    """In the midst of other text, too; each escape names one character alone."""
    assert harmless(f"a{chr(number)}b") == f"a{shown}b"


@pytest.mark.slow
def test_every_character_that_python_takes_for_no_print_is_shown_but_blanks() -> None:
    """Of all of Unicode."""
    through = {chr(number) for number in range(0x110000) if harmless(chr(number)) == chr(number)}
    odd = {character for character in through if not character.isprintable()}
    assert all(character in "\n\t" or unicodedata.category(character) == "Zs" for character in odd)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["echo", "a b", "", "x"], "echo 'a b' '' x"),
        (["echo", "it's", '"$HOME"'], """echo 'it'"'"'s' '"$HOME"'"""),
        (["echo", "two\nlines", "tab\t'"], "echo $'two\\nlines' $'tab\\t\\''"),
        (["echo", "\x1b[1m", "back\\\x07"], "echo $'\\x1b[1m' $'back\\\\\\x07'"),
        (["echo", "\U000e0041", "größe"], "echo $'\\U000e0041' 'größe'"),
    ],
)
def test_a_command_line_is_shown_as_one_would_type_it(words: list[str], line: str) -> None:
    """bash reads the same words from it, and a terminal shows all of them."""
    assert shell_line(words) == line
    assert harmless(line) == line
    bash = shutil.which("bash")
    if bash is not None:
        script = f"printf '%s\\0' {line}"
        read = subprocess.run(
            [bash, "-c", script], stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C.UTF-8"}
        )
        assert read.stdout.decode().split("\0")[:-1] == words


def test_escapes_are_readable() -> None:
    """A title-setting escape shows as text; ordinary text of any script stays."""
    assert harmless("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07"
    assert harmless("größe 漢字\tok\n") == "größe 漢字\tok\n"
    assert harmless("a\r\nb\rc") == "a\nb\\x0dc"
    assert harmless("\u202eexe.txt") == "\\u202eexe.txt"
