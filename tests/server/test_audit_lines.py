"""Lines of a bounded length, and counts in place of lines that say the same again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.server.audit_lines import MAX_LINE_BYTES, MAX_VALUE_BYTES, bounded, line_of
from penstock.server.repeat_budget import INTERVAL_S, MAX_KNOWN, RepeatBudget

NASTY = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["\x01" * 5000, "\U0001f600" * 5000, '"' * 5000, "x" * 5000, "x" * 2000 + "\x01" * 100]
)


def size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


@given(NASTY, st.integers(20, 3000))
def test_a_long_text_is_a_prefix_and_a_digest(text: str, most: int) -> None:
    """The longest prefix that fits; what fits stays as it is."""
    found = bounded({"key": text}, most)
    if size(text) <= most:
        assert found == {"key": text}
        return
    data = text.encode()
    assert found["key_bytes"] == len(data)
    assert found["key_sha256"] == hashlib.sha256(data).hexdigest()
    assert text.startswith(found["key"])
    assert size(found["key"]) <= most < size(text[: len(found["key"]) + 1])


@example(["0000\x1f\x1f"], 20)  # just as long as may be
@given(st.lists(NASTY, max_size=30), st.integers(20, 3000))
def test_a_long_list_is_its_beginning_and_a_digest(texts: list[str], most: int) -> None:
    """The last element that is kept may be cut; nobody can make two lists look like one."""
    found = bounded({"argv": texts}, most)
    if size(texts) <= most:
        assert found == {"argv": texts}
        return
    data = b"".join(each.encode() + b"\0" for each in texts)
    assert found["argv_count"] == len(texts)
    assert found["argv_bytes"] == len(data)
    assert found["argv_sha256"] == hashlib.sha256(data).hexdigest()
    assert size(found["argv"]) <= most
    for kept, text in zip(found["argv"], texts, strict=False):
        assert text.startswith(kept)
    assert found["argv"][:-1] == texts[: max(0, len(found["argv"]) - 1)]


@given(
    st.dictionaries(
        st.text("abc_", min_size=1, max_size=12),
        NASTY
        | st.lists(NASTY, max_size=4)
        | st.none()
        | st.booleans()
        | st.integers()
        | st.dictionaries(st.text("ab", max_size=4), st.lists(st.integers(), max_size=400)),
        max_size=50,
    )
)
def test_no_line_is_too_long(fields: dict[str, Any]) -> None:
    """Whatever its fields are, and it is one line of JSON."""
    line = line_of(fields)
    assert len(line) <= MAX_LINE_BYTES
    assert line.count(b"\n") == 1
    assert json.loads(line).keys() >= fields.keys()
    assert line.isascii()


def test_the_longest_start_that_a_policy_can_grant() -> None:
    """500 arguments of 256 control characters were 770 kB."""
    argv = ["\x01" * 256] * 500
    line = line_of({"event": "decision", "client": "alice", "command": "print", "argv": argv})
    assert len(line) < 2 * MAX_VALUE_BYTES
    found = json.loads(line)
    assert (found["argv_count"], found["argv_bytes"]) == (500, 500 * 257)


class Told:
    """A clock, and what was told; ``full`` is a disk on which nothing can be written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.full = False
        self.lines: list[tuple[str, str, dict[str, Any], int]] = []
        self.repeats = RepeatBudget(lambda: self.now, self._tell)

    def _tell(self, client: str, verb: str, about: Mapping[str, Any], count: int) -> None:
        if self.full:
            raise OSError("No space left on device")
        self.lines.append((client, verb, dict(about), count))

    def read(self, job: int, client: str = "alice", verb: str = "status") -> bool:
        return self.repeats.take(client, verb, {"job": job})

    def after(self, seconds: float) -> list[tuple[str, str, dict[str, Any], int]]:
        self.now += seconds
        self.repeats.end_old()
        lines, self.lines = self.lines, []
        return lines


def test_the_first_of_a_kind_has_a_line_and_the_rest_a_count() -> None:
    """For as long as it goes on; another client, verb or job is another kind."""
    told = Told()
    assert [told.read(1) for _ in range(5)] == [True, False, False, False, False]
    assert told.read(2)
    assert told.read(1, client="bob")
    assert told.read(1, verb="wait")
    assert told.after(INTERVAL_S - 1) == []
    assert told.after(1) == [("alice", "status", {"job": 1}, 4)]
    assert not told.read(1)
    assert told.read(2)
    assert told.after(INTERVAL_S) == [("alice", "status", {"job": 1}, 1)]
    assert told.after(INTERVAL_S) == []
    assert told.read(1)


def test_many_kinds_of_one_client_share_a_count() -> None:
    """Who names a thousand jobs writes no more lines than who names thirty."""
    told = Told()
    written = sum(told.read(job) for _ in range(10) for job in range(1000))
    assert written == MAX_KNOWN
    assert told.read(1, client="bob")
    lines = told.after(INTERVAL_S)
    assert len(lines) == MAX_KNOWN + 1
    assert lines[-1] == ("alice", "status", {}, 10 * (1000 - MAX_KNOWN))
    assert sum(line[-1] for line in lines) + written == 10_000


def test_no_count_is_lost() -> None:
    """Not by a full disk, and not by the end of the server."""
    told = Told()
    assert told.read(1)
    told.repeats.not_written("alice", "status", {"job": 1})
    assert not told.read(1)
    told.full = True
    assert told.after(INTERVAL_S) == []
    assert told.repeats.close() == 2
    told.full = False
    assert not told.read(1)
    assert told.repeats.close() == 0
    assert told.lines == [("alice", "status", {"job": 1}, 3)]


@pytest.mark.parametrize("clients", [1, 3])
def test_what_is_forgotten_is_no_longer_held(clients: int) -> None:
    """Memory is that of the last minute."""
    told = Told()
    for client in range(clients):
        for job in range(100):
            told.read(job, client=str(client))
    told.after(INTERVAL_S)
    told.after(INTERVAL_S)
    assert not told.repeats._counts
