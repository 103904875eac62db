"""Output that is held or that nobody reads, and what is written when the agent itself fails."""

import os
from pathlib import Path

import pytest
import trio

from penstock.agent import failure_log
from penstock.agent.failure_log import FailureLog
from penstock.cli import handed_output
from penstock.cli.descriptors import OutputFailed
from penstock.cli.handed_output import handed_outputs


async def test_what_is_held_comes_later_and_in_order() -> None:
    """C70: nothing is written meanwhile, by whichever way it was sent."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    out, err = handed_outputs(theirs, os.dup(theirs))
    await out.write(b"1")
    for output in (out, err):
        output.hold()
        await output.wait_held()
    out.send(b"2")
    err.send(b"3")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out.write, b"4")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert os.read(ours, 9) == b"1"
        with pytest.raises(BlockingIOError):
            os.read(ours, 9)
        out.resume()
        err.resume()
    await err.flush()
    assert os.read(ours, 9) == b"234"
    for output in (out, err):
        output.close()
    os.set_blocking(ours, True)  # the thread that writes closes it, in a moment
    with trio.fail_after(5):
        assert await trio.to_thread.run_sync(os.read, ours, 9) == b""
    os.close(ours)


async def test_what_is_held_is_dropped_with_its_front_end() -> None:
    ours, theirs = os.pipe()
    out, err = handed_outputs(theirs, os.dup(theirs))
    out.hold()
    out.send(b"never")
    out.close()
    err.close()
    out.resume()
    with trio.fail_after(5):
        assert await trio.to_thread.run_sync(os.read, ours, 9) == b""
    os.close(ours)


async def test_a_verb_that_says_without_end_to_nobody_has_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C71: then its output has failed, and it hears so."""
    monkeypatch.setattr(handed_output, "_MOST_BYTES", 200_000)
    ours, theirs = os.pipe()
    out, err = handed_outputs(theirs, os.open(os.devnull, os.O_WRONLY))
    sent = 0
    with pytest.raises(OutputFailed, match="No buffer space"):  # noqa: PT012 - the last send of many
        while True:
            out.send(b"x" * 50_000)
            sent += 50_000
    assert 200_000 < sent < 500_000
    assert out.failure is not None
    out.close()
    err.close()
    while os.read(ours, 65_536):
        pass
    os.close(ours)


def test_its_log_is_bounded_and_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins anew; what links lead elsewhere are not followed."""
    monkeypatch.setattr(failure_log, "_MOST_BYTES", 300)
    path = tmp_path / "agent.log"
    log = FailureLog(path)
    for number in range(50):
        log.write(f"line {number} {'x' * 40}")
        assert path.stat().st_size <= 300
    assert "line 49" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    try:
        raise ValueError("a bug")
    except ValueError as error:
        FailureLog(tmp_path / "other").write_traceback(error)
    assert "ValueError: a bug" in (tmp_path / "other").read_text()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    FailureLog(tmp_path / "link").write("x")
    FailureLog(tmp_path / "none" / "log").write("x")
    assert not (tmp_path / "elsewhere").exists()
