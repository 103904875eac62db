"""When the other side has stood still, and when it was this one."""

from penstock.supervisor.ipc.silence import BEAT_S, Silence


def beaten(silence: Silence, now: float, times: int) -> float:
    """On time, so many times; the time after the last."""
    for _ in range(times):
        now += BEAT_S
        silence.beat(now)
    return now


def test_each_beat_that_is_missed_on_time_counts() -> None:
    """Not the first one, which may have come just before; and one that is heard ends it."""
    silence = Silence()
    silence.beat(0.0)
    silence.heard()
    now = beaten(silence, 0.0, 1)
    assert silence.silent_s == 0.0
    now = beaten(silence, now, 10)
    assert silence.silent_s == 10 * BEAT_S
    silence.heard()
    assert silence.silent_s == 0.0
    beaten(silence, now, 1)
    assert silence.silent_s == 0.0


def test_who_stood_still_itself_counts_nothing() -> None:
    """A machine that was suspended for a minute, a debugger, an event loop that was held up."""
    silence = Silence()
    silence.beat(0.0)
    now = beaten(silence, 0.0, 4)
    missed_s = silence.silent_s
    assert missed_s
    for _ in range(50):  # it is late each time
        now += BEAT_S * 1.6
        silence.beat(now)
    assert silence.silent_s == missed_s
    silence.beat(now + 3600.0)
    assert silence.silent_s == missed_s
    beaten(silence, now + 3600.0, 1)  # on time again
    assert silence.silent_s == missed_s + BEAT_S
