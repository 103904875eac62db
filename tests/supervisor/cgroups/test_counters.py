"""Texts of several kernels to numbers; each file of tests/kernels says where it is from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.supervisor.cgroups.counters import (
    COUNTED,
    Counters,
    Pressure,
    Stall,
    flat,
    number,
    parse,
    parse_pressure,
)

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


def texts(kernel: str) -> dict[str, str]:
    """The files of one capture: "### NAME", then its lines."""
    found: dict[str, str] = {}
    for line in (KERNELS / f"{kernel}.txt").read_text().splitlines():
        if line.startswith("### "):
            name = line.removeprefix("### ")
            found[name] = ""
        elif not line.startswith("# "):
            found[name] += line + "\n"
    return found


EXPECTED = {
    "v1-4.19": Counters(
        cpu_total_s=1.23456789,
        periods=120,
        throttled_periods=100,
        throttled_s=2.5,
        memory_used_bytes=50331648,
        reclaimable_bytes=10485760 + 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=60002304,
        read_bytes=16384,
        write_bytes=4096,
        read_ops=4,
        write_ops=1,
        processes=7,
        oom_kills=0,
    ),
    "v1-5.10": Counters(
        cpu_total_s=0.003024728,
        periods=1,
        throttled_periods=0,
        throttled_s=0.0,
        memory_used_bytes=1048576,
        reclaimable_bytes=524288,
        cache_bytes=524288,
        memory_peak_bytes=1572864,
        read_bytes=0,
        write_bytes=0,
        read_ops=0,
        write_ops=0,
        processes=1,
        oom_kills=2,
    ),
    "hybrid-6.18": Counters(
        cpu_total_s=0.242469,
        periods=30,
        throttled_periods=23,
        throttled_s=2.067543051,
        memory_used_bytes=23977984,
        reclaimable_bytes=0,
        cache_bytes=0,
        memory_peak_bytes=49999872,
        read_bytes=3002368,
        write_bytes=3010560,
        read_ops=5,
        write_ops=5,
        processes=1,
        oom_kills=1,
    ),
    "v2-5.10": Counters(
        cpu_total_s=1.5,
        periods=40,
        throttled_periods=31,
        throttled_s=0.25,
        memory_used_bytes=50331648,
        reclaimable_bytes=10485760 + 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=None,
        read_bytes=4100,
        write_bytes=8192,
        read_ops=2,
        write_ops=2,
        processes=7,
        oom_kills=3,
    ),
    "v2-6.1": Counters(
        cpu_total_s=1.5,
        periods=40,
        throttled_periods=31,
        throttled_s=0.25,
        memory_used_bytes=50331648,
        reclaimable_bytes=10485760 + 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=99999744,
        read_bytes=4096,
        write_bytes=8192,
        read_ops=1,
        write_ops=2,
        processes=None,  # "max" is no number
        oom_kills=2,
    ),
    "v2-6.18": Counters(
        cpu_total_s=0.242459,
        periods=30,
        throttled_periods=23,
        throttled_s=1.892049,
        memory_used_bytes=23961600,
        reclaimable_bytes=12288,
        cache_bytes=12288,
        memory_peak_bytes=49999872,
        read_bytes=3002368,
        write_bytes=3010560,
        read_ops=5,
        write_ops=5,
        processes=1,
        oom_kills=1,
    ),
}


@pytest.mark.parametrize("kernel", EXPECTED)
def test_every_kernels_text_is_understood(kernel: str) -> None:
    """The same quantities under the names and in the units of each; two disks are added up."""
    assert parse(texts(kernel)) == EXPECTED[kernel]


def test_every_capture_is_tested() -> None:
    """A new file has its numbers here."""
    assert {path.stem for path in KERNELS.glob("*.txt")} == set(EXPECTED)


def test_pressure_is_told_as_far_as_the_kernel_does() -> None:
    """Linux 5.10 has no line of full CPU pressure; a kernel without PSI has no file at all."""
    old, new = texts("v2-5.10"), texts("hybrid-6.18")
    assert parse_pressure(old["cpu.pressure"]) == Pressure(
        Stall(12.34, 5.06, 1.0, 123.456789), None
    )
    assert parse_pressure(old["io.pressure"]) == Pressure(
        Stall(1.5, 0.3, 0.06, 2.0), Stall(1.0, 0.2, 0.04, 1.5)
    )
    assert parse_pressure(new["cpu.pressure"]) == Pressure(
        Stall(5.97, 1.07, 0.22, 1.470035), Stall(5.97, 1.07, 0.22, 1.469733)
    )
    assert parse_pressure("") is None


@pytest.mark.parametrize(
    "text",
    [
        "some avg10=0.00 avg60=0.00 avg300=0.00",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=",
        "some avg10=0.00 avg60=0.0",
        "some avg10=nan avg60=0.00 avg300=0.00 total=1",
        "some avg10=-1.00 avg60=0.00 avg300=0.00 total=1",
        "some avg10=1e9 avg60=0.00 avg300=0.00 total=1",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=1",
        "\n\n \n",
        "some",
    ],
)
def test_pressure_that_is_cut_or_odd_is_none(text: str) -> None:
    """Nothing is guessed: a line that is not whole is not there."""
    assert parse_pressure(text) is None


def test_what_a_later_kernel_adds_to_pressure_is_passed_over() -> None:
    """A kind of line and a value behind that nobody knows yet."""
    known = "avg10=1.00 avg60=0.00 avg300=0.00 total=5"
    found = parse_pressure(f"half {known}\nsome {known} avg900=0.00\n")
    assert found == Pressure(Stall(1.0, 0.0, 0.0, 5e-6), None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0\n", 0),
        ("18446744073709551615\n", 2**64 - 1),
        ("max\n", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("0x10", None),
        ("1_000", None),
        ("\u0661", None),  # a digit to str.isdigit, and none of the kernel's
        ("9" * 5000, None),  # int() would raise
        ("1\0", None),
    ],
)
def test_a_number_is_the_kernels_or_none(text: str, value: int | None) -> None:
    """No other spelling, sign or size."""
    assert number(text) == value


def test_flat_lines_that_are_no_pair_are_left_out() -> None:
    """Truncated, empty, doubled and odd lines; the last of a key counts."""
    text = "a 1\n\nb\nc \n d 4\ne 5 6\nf max\na 2\nnr_periods 1"
    assert flat(text) == {"a": 2, "nr_periods": 1}


def test_nothing_known_is_nothing() -> None:
    """No file, empty files, and files of rubbish: None throughout, 0 where a list is empty."""
    assert parse({}) == Counters()
    assert parse({}).counted() == {}
    for kernel in EXPECTED:
        empty = parse(dict.fromkeys(texts(kernel), ""))
        assert empty == Counters(read_bytes=0, write_bytes=0, read_ops=0, write_ops=0)
        assert parse(dict.fromkeys(texts(kernel), "\x00 rubbish \n:::\n")) == empty


@pytest.mark.parametrize("kernel", EXPECTED)
def test_a_file_that_is_missing_takes_only_its_own_numbers(kernel: str) -> None:
    """The rest is as if it were there."""
    whole = parse(texts(kernel))
    for name in texts(kernel):
        rest = parse({key: text for key, text in texts(kernel).items() if key != name})
        for field in COUNTED:
            assert getattr(rest, field) in (getattr(whole, field), None), (name, field)


def test_the_final_counters_are_what_adds_up() -> None:
    """What is now, such as processes, is no total; what is not known is left out."""
    assert parse(texts("hybrid-6.18")).counted() == {
        "cpu_total_s": 0.242469,
        "periods": 30,
        "throttled_periods": 23,
        "throttled_s": 2.067543051,
        "memory_peak_bytes": 49999872,
        "read_bytes": 3002368,
        "write_bytes": 3010560,
        "read_ops": 5,
        "write_ops": 5,
        "oom_kills": 1,
    }
    assert "memory_peak_bytes" not in parse(texts("v2-5.10")).counted()


@given(st.sampled_from(sorted(EXPECTED)), st.data())
def test_text_cut_or_changed_anywhere_never_raises(kernel: str, data: st.DataObject) -> None:
    """And no count of it is negative."""
    changed = {}
    for name, text in texts(kernel).items():
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, len(text)))
        changed[name] = text[:begin] + data.draw(st.text(max_size=8)) + text[end:]
    assert all(value >= 0 for value in parse(changed).counted().values())
    for name in changed:
        parse_pressure(changed[name])
