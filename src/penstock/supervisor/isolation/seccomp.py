"""System calls that no granted program needs, refused with EPERM (pure).

It lists what is denied, not what is allowed, because programs differ, and because a job has no
capability that most of these calls would need anyway. What the list takes away is the kernel code
that has been the way from a user to root again and again, and the calls that reach into other
processes of the same user.
"""

import errno
import struct
from dataclasses import dataclass
from typing import Final

# By reason; numbers of x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h), None where
# the architecture has no such call.
DENIED: Final[dict[str, dict[str, tuple[int | None, int | None]]]] = {
    "mounts: the read-only view must stay as it is": {
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "open_tree_attr": (467, 467),
    },
    "namespaces: a user namespace gives capabilities within it, and with them kernel code": {
        "unshare": (272, 97),
        "setns": (308, 268),
    },
    "other processes: jobs of one user could read and change each other": {
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "kcmp": (312, 272),
        "pidfd_getfd": (438, 438),
    },
    "kernel code that is large, and open to users": {
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        "modify_ldt": (154, None),
        "fanotify_init": (300, 262),
        "lookup_dcookie": (212, 18),
        "nfsservctl": (180, 42),
        "vhangup": (153, 58),
    },
    "files past their directories: a handle names any file of a file system": {
        "open_by_handle_at": (304, 265),
    },
    "quotas: an owner could put his files into a project without one, as by DENIED_IOCTLS": {
        "file_setattr": (469, 469),
    },
    "the machine as a whole: only ever root's": {
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "reboot": (169, 142),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "acct": (163, 89),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "syslog": (103, 116),
        "iopl": (172, None),
        "ioperm": (173, None),
    },
}

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
CLONE_NEW: Final = 0x7E02_0000
# Calls of ioctl(2), by its second argument (linux/fs.h), with which an owner could put files into
# another project, and so beyond the quota that its job is held to (project_quota.py). SETFLAGS is
# among them because one flag says whether new files inherit the project; FS_IOC32_SETFLAGS is that
# call in 32 bits, which some file systems take from a process of 64 bits, too.
DENIED_IOCTLS: Final = {
    "FS_IOC_FSSETXATTR": 0x401C_5820,
    "FS_IOC_SETFLAGS": 0x4008_6602,
    "FS_IOC32_SETFLAGS": 0x4004_6602,
}
_CLONE3: Final = 435  # its flags are in memory, where no filter can look
_X32: Final = 0x4000_0000  # calls of the x32 ABI have this bit: another table, so another list


@dataclass(frozen=True, slots=True)
class Machine:
    """An architecture: its place in the table, AUDIT_ARCH_*, numbers of clone(2) and ioctl(2)."""

    column: int
    audit_arch: int
    clone: int
    ioctl: int


MACHINES: Final = {
    "x86_64": Machine(0, 0xC000_003E, 56, 16),
    "aarch64": Machine(1, 0xC000_00B7, 220, 29),
}

# linux/bpf_common.h, linux/seccomp.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JEQ: Final = 0x15
_JGE: Final = 0x35
_JSET: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
_NR: Final = 0
_ARCH: Final = 4
_FIRST_ARGUMENT: Final = 16  # its low half: both machines are little-endian
_SECOND_ARGUMENT: Final = 24  # the kernel takes no more of an ioctl's than that half

Instruction = tuple[int, int, int, int]  # code, jump if true, if false, constant
_LEAF: Final = 4


def denied_numbers(machine: Machine) -> dict[str, int]:
    """Names and numbers of what is denied on a machine, but for clone's flags."""
    calls = {name: numbers for group in DENIED.values() for name, numbers in group.items()}
    return {
        name: number
        for name, numbers in calls.items()
        if (number := numbers[machine.column]) is not None
    }


def make_filter(name: str) -> bytes | None:
    """The filter for a machine by its name in uname(2), None for one that is not known here.

    Calls of any other ABI of the machine (32 bits, x32) are answered with ENOSYS, as by a kernel
    without them, because their numbers are other calls. So is clone3, because its flags are in
    memory, where no filter can look; C libraries then use clone, whose flags are looked at.
    """
    machine = MACHINES.get(name)
    if machine is None:
        return None
    missing = (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    refused = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allowed = (_RETURN, 0, 0, _ALLOW)
    ioctls = _search(sorted(DENIED_IOCTLS.values()))
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, machine.audit_arch),
        missing,
        (_LOAD, 0, 0, _NR),
        (_JGE, 0, 1, _X32),
        missing,
        (_JEQ, 0, 1, _CLONE3),
        missing,
        (_JEQ, 0, 4, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JSET, 0, 1, CLONE_NEW),
        refused,
        allowed,
        (_JEQ, 0, 1 + len(ioctls), machine.ioctl),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        *ioctls,
        *_search(sorted(denied_numbers(machine).values())),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _search(numbers: list[int]) -> list[Instruction]:
    """A search tree: at most some ten steps a call, where a list would take sixty."""
    if len(numbers) <= _LEAF:
        count = len(numbers)
        tests = [(_JEQ, count - index, 0, number) for index, number in enumerate(numbers)]
        return [*tests, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    middle = len(numbers) // 2
    low, high = _search(numbers[:middle]), _search(numbers[middle:])
    return [(_JGE, len(low), 0, numbers[middle]), *low, *high]
