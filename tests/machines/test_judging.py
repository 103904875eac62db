"""The judge of real histories finds each kind of lie in one that was true."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from machines.judging import judge
from machines.programs import Act, Behaviour
from machines.real import History, Told
from penstock.jobs.end_record import EndRecord
from penstock.proto import command_pb2 as pb
from penstock.server.convert import end_message

_OUTPUT = b"1\n2\n3\n4\n5\n"
_END = EndRecord(
    "exited",
    7,
    exit_code=3,
    output_bytes=10,
    output_sha256=hashlib.sha256(_OUTPUT).hexdigest(),
    sha256_to=10,
)
_RECORDS = [("a1", "101", _END.to_json()), ("b1", "102", _END.to_json())]


def _history() -> History:
    """Alice's job 101 writes ten bytes, exits with 3, and is asked for."""
    end = end_message(_END)
    job = pb.Job(handle="101", owner="alice")
    ended = pb.Job(handle="101", owner="alice", end=end)
    chunk = pb.StreamOutputResponse(data=_OUTPUT, next_offset=10, stream=pb.STREAM_STDOUT)
    history = History(marks={"101": "m"})
    history.behaviours["101"] = Behaviour((Act("write", size=10),), code=3)
    history.told = [
        Told("alice", "started", "101", job, "r1"),
        Told("alice", "output", "101", chunk),
        Told("alice", "stopped", "101", ended),
        Told("alice", "read", "101", chunk),
        Told("alice", "read", "101", pb.StreamOutputResponse(finished=end)),
    ]
    return history


def test_a_true_history_is_not_blamed() -> None:
    assert judge(_history(), _RECORDS) == []


def _changed(at: int, change: Callable[[Told], Told]) -> History:
    history = _history()
    history.told[at] = change(history.told[at])
    return history


def _alive(told: Told) -> Told:
    return dataclasses.replace(told, alive=(4711,))


def _foreign(told: Told) -> Told:
    return dataclasses.replace(told, owner="bob")


def _without_end(told: Told) -> Told:
    told.message.ClearField("end")
    return told


def _another_end(told: Told) -> Told:
    told.message.finished.output_bytes = 9
    return told


def _other_bytes(told: Told) -> Told:
    changed = pb.StreamOutputResponse()
    changed.CopyFrom(told.message)
    changed.data = b"x" * 10
    return dataclasses.replace(told, message=changed)


@pytest.mark.parametrize(
    ("at", "change", "blame"),
    [
        (2, _alive, "is stopped, and 1 processes of it live"),
        (2, _foreign, "bob was told of job 101 of alice"),
        (2, _without_end, "answered without its end"),
        (4, _another_end, "has another end record than before"),
        (1, _other_bytes, "are not what it wrote"),
        (3, _other_bytes, "bytes of stream 1 are not its own"),
    ],
)
def test_each_lie_is_found(at: int, change: Callable[[Told], Told], blame: str) -> None:
    assert blame in "\n".join(judge(_changed(at, change), _RECORDS))


def test_two_jobs_of_one_request_or_one_handle_of_two_jobs_are_found() -> None:
    history = _history()
    again = pb.Job(handle="102", owner="alice")
    history.told.append(Told("alice", "started", "102", again, "r1"))
    assert "request r1 has made 101 and 102" in judge(history, _RECORDS)
    twice = [*_RECORDS, ("a2", "101", _END.to_json())]
    assert "handle 101 is given a second time" in judge(_history(), twice)


def test_output_that_was_lost_is_found() -> None:
    history = _history()
    del history.told[3]
    wrong = "\n".join(judge(history, _RECORDS))
    assert "0 bytes left its pipes, and 10 count" in wrong


def _fed(read: bytes, *, input_bytes: int = 5, input_ended: bool = True) -> list[str]:
    """Alice sends ``hello`` and the end of it, is told that it is accepted, and the job reads."""
    output = b"\xfd" + read + _OUTPUT
    end = dataclasses.replace(
        _END,
        output_bytes=len(output),
        output_sha256=hashlib.sha256(output).hexdigest(),
        sha256_to=len(output),
        input_bytes=input_bytes,
        input_ended=input_ended,
    )
    history = History(marks={"101": "m"})
    history.behaviours["101"] = Behaviour((Act("read"), Act("write", size=10)), code=3)
    piece = history.feeding.sending("101", 0, b"hello", last=True)
    piece.told_at = 1.0
    chunk = pb.StreamOutputResponse(data=output, next_offset=len(output), stream=pb.STREAM_STDOUT)
    history.told = [Told("alice", "read", "101", chunk)]
    return judge(history, [("a1", "101", end.to_json())])


@pytest.mark.parametrize(
    ("read", "record", "blame"),
    [
        (b"hello\xfe", {}, ""),
        (b"hel\xff", {}, ""),  # it has closed its input
        (b"hallo\xfe", {}, "something else than the input 0 to 5"),
        (b"hello!\xfe", {}, "a byte 5 of input that nobody has sent there"),
        (b"hel\xfe", {}, "the end of its input at 3"),
        (b"hello\xfe", {"input_bytes": 4}, "5 bytes of input were accepted, and 4 count"),
        (b"hello\xfe", {"input_ended": False}, "is not in its record"),
    ],
)
def test_what_a_job_has_read_is_compared_with_what_it_was_sent(
    read: bytes, record: dict[str, Any], blame: str
) -> None:
    wrong = "\n".join(_fed(read, **record))
    assert blame in wrong
    assert bool(wrong) == bool(blame)
