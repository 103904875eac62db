"""What a class of limits allows, as people read it (pure)."""

from ..proto import command_pb2 as pb
from .finite import UNKNOWN, finite
from .job_text import si


def limits_text(limits: pb.Limits) -> str:
    """Each limit that is set, in the words of a policy: "cpu 10%, memory 100MB"; "no limits"
    without one."""
    parts = []
    if limits.cpu_cores:
        cores = finite(limits.cpu_cores)
        parts.append(f"cpu {UNKNOWN if cores is None else f'{cores * 100:g}%'}")
    if limits.memory_bytes:
        parts.append(f"memory {si(limits.memory_bytes)}B")
    read, write = limits.disk_read_bytes_per_s, limits.disk_write_bytes_per_s
    if read and read == write:
        parts.append(f"disk {si(read)}B/s")
    else:
        parts += [f"disk read {si(read)}B/s"] if read else []
        parts += [f"disk write {si(write)}B/s"] if write else []
    if limits.processes:
        parts.append(f"{limits.processes} processes")
    if limits.storage_bytes:
        parts.append(f"storage {si(limits.storage_bytes)}B")
    if limits.files:
        parts.append(f"{limits.files} files")
    if limits.output_bytes_per_s:
        parts.append(f"output {si(limits.output_bytes_per_s)}B/s")
    if limits.output_bytes:
        parts.append(f"output {si(limits.output_bytes)}B, then {limits.output_when_full}")
    return ", ".join(parts) or "no limits"
