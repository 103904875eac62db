"""The filter of system calls, run by a small interpreter of classic BPF."""

import errno
import struct
from collections.abc import Callable

import pytest

from penstock.supervisor.isolation.seccomp import (
    CLONE_NEW,
    DENIED,
    DENIED_IOCTLS,
    MACHINES,
    make_filter,
)

ALLOW = 0x7FFF_0000
EPERM = 0x0005_0000 | errno.EPERM
ENOSYS = 0x0005_0000 | errno.ENOSYS

Run = Callable[..., int]


def run(program: bytes, number: int, arch: int, argument: int = 0, second: int = 0) -> int:
    """What the filter returns: Documentation/networking/filter.rst, as far as it is used."""
    data = struct.pack("<iIQ6Q", number, arch, 0, argument, second, 0, 0, 0, 0)
    instructions = list(struct.iter_unpack("HBBI", program))
    place = accumulator = 0
    for _ in range(len(instructions)):
        code, if_true, if_false, constant = instructions[place]
        place += 1
        if code == 0x06:
            return int(constant)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, constant)
            continue
        tests = {
            0x15: accumulator == constant,
            0x35: accumulator >= constant,
            0x45: bool(accumulator & constant),
        }
        place += if_true if tests[code] else if_false
    raise AssertionError("it did not end")


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> tuple[str, Run]:
    name = str(request.param)
    program = make_filter(name)
    assert program is not None

    def call(
        number: int, argument: int = 0, arch: int = MACHINES[name].audit_arch, second: int = 0
    ) -> int:
        return run(program, number, arch, argument, second)

    return name, call


def numbers(name: str) -> dict[int, str]:
    column = MACHINES[name].column
    found = {}
    for calls in DENIED.values():
        for call, both in calls.items():
            number = both[column]
            if number is not None:
                assert number not in found, call
                found[number] = call
    return found


def test_exactly_the_list_is_denied(machine: tuple[str, Run]) -> None:
    """Every number there is, and more."""
    name, call = machine
    special = {435: ENOSYS}
    denied = dict.fromkeys(numbers(name), EPERM)
    for number in range(1024):
        assert call(number) == (special | denied).get(number, ALLOW), number


def test_clone_by_its_flags(machine: tuple[str, Run]) -> None:
    """Processes and threads, but no namespaces; the high half of the flags means nothing."""
    name, call = machine
    clone = MACHINES[name].clone
    threads = 0x003D_0F00  # as glibc's pthread_create
    for flags in (0, 17, threads, 0x4000 | 0x100 | 17):
        assert call(clone, flags) == ALLOW
        assert call(clone, flags | 1 << 40) == ALLOW
    for bit in range(32):
        expected = EPERM if CLONE_NEW >> bit & 1 else ALLOW
        assert call(clone, 1 << bit) == expected
        assert call(clone, threads | 1 << bit | 1 << 40) == expected


def test_ioctl_by_its_command(machine: tuple[str, Run]) -> None:
    """Exactly those of the list, on any descriptor; the kernel looks at no more than 32 bits."""
    name, call = machine
    ioctl = MACHINES[name].ioctl
    denied = {0x401C5820, 0x40086602, 0x40046602}
    assert denied == set(DENIED_IOCTLS.values())
    for command in sorted({each + step for each in denied for step in (-1, 0, 1)} | {0x5401, 0}):
        for high in (0, 1 << 40):
            expected = EPERM if command in denied else ALLOW
            assert call(ioctl, 7, second=command | high) == expected, hex(command)
    assert call(ioctl + 1, 7, second=min(denied)) == call(ioctl + 1)


def test_another_abi_has_no_calls(machine: tuple[str, Run]) -> None:
    """Its numbers mean other calls: mount is 21 in 32 bits on x86."""
    name, call = machine
    other = {"x86_64": 0x4000_0003, "aarch64": 0x4000_0028}[name]
    for number in range(512):
        assert call(number, arch=other) == ENOSYS
        assert call(number | 0x4000_0000) == ENOSYS  # x32
    assert call(-1) == ENOSYS


def test_an_unknown_machine() -> None:
    """No list, so no filter: reported as unavailable."""
    assert make_filter("riscv64") is None


def test_the_program_is_small(machine: tuple[str, Run]) -> None:
    """A call that is looked at passes some ten instructions, not a hundred."""
    program = make_filter(machine[0])
    assert program is not None
    assert len(program) // 8 < 256  # jumps are bytes
