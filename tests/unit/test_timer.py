"""The timing wheel against a plain model: which timers fire at which time, on every level, years ahead (a machine that
runs for 137 years is beyond it)."""

import random

import pytest
import timer_native

YEAR = 365 * 86400 * 1000
STARTS = [0, 1, 63, 64, 4095, 4096, (1 << 24) - 1, 123_456_789, (1 << 36) - 5, 100 * YEAR]
SPANS = [1, 5, 63, 64, 65, 1000, 4096, 60_000, 1 << 18, 1 << 24, 1 << 30, YEAR, 1 << 36]


class Model:
    """What the wheel should do."""

    def __init__(self):
        self.deadlines = {}

    def due(self, now):
        found = {i for i, deadline in self.deadlines.items() if deadline <= now}
        for i in found:
            del self.deadlines[i]
        return found


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("seed", range(4))
def test_random_use_fires_what_is_due_and_nothing_else(start, seed):
    rng = random.Random(seed * 1000 + start)
    clock, model, now = timer_native.Clock(200, start), Model(), start
    for _ in range(3000):
        for _ in range(rng.randrange(6)):
            i = rng.randrange(200)
            if rng.random() < 0.25:
                clock.cancel(i)
                model.deadlines.pop(i, None)
            else:
                deadline = now + rng.randrange(rng.choice(SPANS) + 1)
                clock.set(i, deadline)
                model.deadlines[i] = max(deadline, now + 1)
        now += rng.randrange(rng.choice(SPANS[: rng.choice((5, 9, len(SPANS)))]) // 100 + 2)
        fired = clock.advance(now)
        assert len(fired) == len(set(fired))
        assert set(fired) == model.due(now)


@pytest.mark.parametrize("start", STARTS)
def test_sleeping_as_long_as_told_never_misses_a_deadline(start):
    """The poller waits for exactly the time that the wheel gives, again and again."""
    rng = random.Random(start)
    clock, model, now = timer_native.Clock(50, start), Model(), start
    for i in range(50):
        deadline = now + 1 + rng.randrange(rng.choice(SPANS))
        clock.set(i, deadline)
        model.deadlines[i] = deadline
    for _ in range(100_000):
        wait = clock.timeout(now)
        if wait < 0:
            break
        if model.deadlines:
            assert wait <= max(0, min(model.deadlines.values()) - now)
        now += wait
        assert set(clock.advance(now)) == model.due(now)
    assert not model.deadlines


@pytest.mark.parametrize("start", STARTS)
def test_turns_without_time_fire_a_few_each_and_lose_none(start):
    rng = random.Random(start)
    clock, model, now = timer_native.Clock(300, start), Model(), start
    for _ in range(200):
        span = rng.choice(SPANS)
        for i in rng.sample(range(300), 20):
            deadline = now + 1 + rng.randrange(span)
            clock.set(i, deadline)
            model.deadlines[i] = deadline
        now += rng.randrange(span + 1)
        due, fired = model.due(now), []
        while clock.timeout(now) == 0:
            some = clock.advance(now, hurry=True)
            assert len(some) <= 4
            fired += some
        assert sorted(fired) == sorted(due)


def test_turn_without_time_fires_the_oldest_first():
    clock = timer_native.Clock(12, 0)
    for i in range(12):
        clock.set(i, 60 + i)
    assert [clock.advance(100, hurry=True) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert clock.timeout(100) == -1


def test_moving_a_timer_later_costs_one_look_and_earlier_none():
    clock = timer_native.Clock(1, 1000)
    clock.set(0, 1100)
    clock.set(0, 5000)
    assert clock.advance(1200) == []
    assert clock.advance(4999) == []
    clock.set(0, 5500)
    clock.set(0, 5001)
    assert clock.advance(5000) == []
    assert clock.advance(5001) == [0]
    assert clock.timeout(5001) == -1


def test_timer_set_in_its_own_callback_fires_once_a_turn():
    """One that is always due must not keep the loop from going on."""
    clock = timer_native.Clock(2, 0)
    clock.set(0, 1, again=1)
    clock.set(1, 50)
    assert clock.advance(1) == [0]
    assert clock.advance(2) == [0]
    fired = clock.advance(50)
    assert 1 in fired
    assert len(fired) <= 49


def test_cancelled_timer_leaves_no_trace():
    clock = timer_native.Clock(3, 77)
    for span in SPANS:
        for i in range(3):
            clock.set(i, 77 + span + i)
        for i in (1, 0, 2):
            clock.cancel(i)
            clock.cancel(i)
        assert clock.timeout(77) == -1
    assert clock.advance(77 + 20 * YEAR) == []


def test_deadline_beyond_the_wheel_is_kept_until_its_time():
    clock = timer_native.Clock(1, 0)
    clock.set(0, 1000 * YEAR)
    for year in range(130):
        assert clock.advance(year * YEAR) == []
        assert clock.timeout(year * YEAR) > 0


def test_timeout_of_years_fits_the_poller():
    clock = timer_native.Clock(1, 0)
    clock.set(0, 10 * YEAR)
    assert 0 < clock.timeout(0) <= 0x7FFFFFFF
