"""Finds what an earlier server has left of a log, judges it, and prepares it for appending."""

import errno
import itertools
import os
from typing import Final

from ..reporting import say
from .disk import Disk
from .segment import Segment

# Never a gap, because this process lacks something and the disk is not to blame.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def find(disk: Disk, directory: str, *, closed: bool) -> tuple[list[Segment], int]:
    """The segments that can be read, oldest first, and the offset that they had come to.

    ``closed``: the server that wrote the last one has also ended it, as it did the others. Raises
    OSError if this process lacks descriptors or memory, or the directory cannot be read.
    """
    found: list[Segment] = []
    starts = _starts(disk, directory)
    end = starts[-1] if starts else 0  # the name of an empty one still has the offset
    for start in starts:
        segment = Segment(disk, directory, start)
        try:
            segment.recover(closed=closed or start != starts[-1])
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            continue  # a hole, and so a gap
        if segment.end > segment.start:
            found.append(segment)
    for segment, following in itertools.pairwise(found):
        segment.end = min(segment.end, following.start)
    return found, max(end, found[-1].end) if found else end


def end_of_files(disk: Disk, directory: str) -> int:
    """The offset after the last byte that was ever written, readable or not. Raises OSError.

    A server that resumes the log begins there, because an offset that a reader has had must never
    mean another byte.
    """
    starts = _starts(disk, directory)
    if not starts:
        return 0
    return starts[-1] + disk.size(Segment(disk, directory, starts[-1]).data_path)


def cut(segments: list[Segment], length: int) -> list[Segment]:
    """The segments without bytes beyond the log's length, because no server has written those."""
    kept = [segment for segment in segments if segment.start < length]
    for segment in kept:
        segment.end = min(segment.end, length)
    return kept


def clear(disk: Disk, directory: str, length: int) -> Segment | None:
    """Removes files in the way of the next segment, which begins at ``length``.

    A kill while a segment was made or removed leaves one that has nothing, or an index alone. One
    that has nothing, and both files, is returned instead: it is the next segment, and its name may
    be all that has how far the log has come, should this server be killed, too. Raises OSError.
    """
    following: Segment | None = None
    for start in _starts(disk, directory):
        if start >= length:
            segment = Segment(disk, directory, start)
            if _is_empty(segment):
                following = segment
                continue
            try:
                segment.drop()
            except OSError as error:  # a disk that is read-only, most likely
                say(f"{segment.data_path} cannot be removed: {error.strerror}")
    starts = set(_starts(disk, directory))
    for name in disk.names(directory):
        stem, dot, ending = name.partition(".")
        if (dot, ending) == (".", "index") and stem.isdecimal() and int(stem) not in starts:
            disk.unlink(os.path.join(directory, name))
    return following


def _is_empty(segment: Segment) -> bool:
    """Whether it has both files and nothing in them that counts, so that it can be written to.

    Raises OSError if this process lacks descriptors or memory.
    """
    try:
        segment.recover(closed=False)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return False
    return segment.end == segment.start and segment.end_known


def close_last(segments: list[Segment]) -> bool:
    """Ends the last segment of a log that a crash has left open, as OutputLog.seal does."""
    if not segments:
        return True
    segment = segments[-1]
    if not segment.end_known:
        return True  # left open, so that its last run stays the gap that it is
    try:
        segment.acquire()
        try:
            segment.close()
        finally:
            segment.release()
    except OSError:
        return False
    return True


def _starts(disk: Disk, directory: str) -> list[int]:
    """The starts of the segments that have a file of bytes, in order."""
    ending = ".output"
    names = [name for name in disk.names(directory) if name.endswith(ending)]
    return sorted(int(name[: -len(ending)]) for name in names if name[: -len(ending)].isdecimal())
