"""What people read, to the letter."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import render
from penstock.cli.printing import LinePrinter, timestamp
from penstock.cli.terminal import harmless
from penstock.proto import command_pb2 as pb

NO_USAGE = pb.ResourceUsage()


def test_a_running_job() -> None:
    """The sentence, an empty line, and a table of 25 columns."""
    job = pb.Job(handle="48213", state=pb.JOB_STATE_RUNNING)
    usage = pb.ResourceUsage(cpu_percent=23.4, memory_bytes=32_000_000, operations_per_s=2370)
    assert render.status_text(job, usage) == (
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
    lines = render.table([("A:", "x"), ("B:", "y" * 30)]).splitlines()
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
    """Each reason has its sentence, and the table holds totals."""
    end.cpu_total_s, end.memory_peak_bytes = 1.5, 1_000_000
    text = render.status_text(pb.Job(handle="7", state=pb.JOB_STATE_FINISHED, end=end), NO_USAGE)
    assert text.startswith(f"{sentence}\n\n====")
    assert "|CPU:      | 1.5s       |" in text
    assert "|Memory:   | 1MB        |" in text


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
    assert render.si(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.00001, "0s"),
        (0.012, "0.012s"),
        (1.5, "1.5s"),
        (59.96, "1m0s"),
        (1234, "20m34s"),
        (3599.9, "1h0m"),
        (86399, "1d0h"),
        (273_600, "3d4h"),
        (1e9, "11574d2h"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Never an exponent, whatever the size."""
    assert render.duration(seconds) == text


def test_a_line_end_of_two_characters_is_one_however_it_is_cut() -> None:
    """On a terminal a carriage return shows only where no line feed follows it."""
    whole = LinePrinter(timestamps=False, escape=True)
    assert whole.feed(1, 0, b"a\r\nb\rc") + whole.flush(0) == "a\nb\\x0dc"
    cut = LinePrinter(timestamps=False, escape=True)
    assert cut.feed(1, 0, b"a\r") == "a"
    assert cut.held_bytes(1) == 1
    assert cut.feed(2, 0, b"!") == "!"
    assert cut.feed(1, 0, b"\nb\r") == "\nb"
    assert cut.flush(0) == "\\x0d"
    assert cut.held_bytes(1) == 0


def test_times_are_utc_milliseconds() -> None:
    """2026-11-23T11:21:38.123Z."""
    assert timestamp(1_795_432_898_123_456_789) == "2026-11-23T11:21:38.123Z"


@given(text=st.text(alphabet="ab\n\r\té"), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_timestamps_stand_at_line_starts_however_the_bytes_are_cut(
    text: str, cuts: list[int]
) -> None:
    """Every line has one at its start and nowhere else; the text is otherwise unchanged."""
    data = text.encode()
    points = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    printer = LinePrinter(timestamps=True, escape=False)
    printed = "".join(printer.feed(1, 0, data[a:b]) for a, b in itertools.pairwise(points))
    printed += printer.flush(0)
    stamp = f"{timestamp(0)} "
    *complete, rest = text.split("\n")
    assert printed == "".join(f"{stamp}{line}\n" for line in complete) + (
        stamp + rest if rest else ""
    )


def test_bad_bytes_are_marked_and_streams_do_not_mix_their_characters() -> None:
    """Half a character of stdout is not completed by stderr."""
    printer = LinePrinter(timestamps=False, escape=False)
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


def test_escapes_are_readable() -> None:
    """A title-setting escape shows as text; ordinary text of any script stays."""
    assert harmless("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07"
    assert harmless("größe 漢字\tok\n") == "größe 漢字\tok\n"
    assert harmless("a\r\nb\rc") == "a\nb\\x0dc"
    assert harmless("\u202eexe.txt") == "\\u202eexe.txt"
