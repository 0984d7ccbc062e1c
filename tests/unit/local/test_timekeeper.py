import gc
import threading
import weakref
from time import monotonic

from flambeau.local.timekeeper import call_at, soon_caller, wait_until_called
from tests.unit.local.engines import LIMIT_S, wait_for


def at_once(callback=lambda: None):
    """Returns when the timekeeper has come to a call-back."""
    done = threading.Event()
    soon_caller()(lambda: (callback(), done.set()))
    assert done.wait(LIMIT_S)


def test_call_backs_come_in_the_order_of_their_times_whatever_order_they_were_asked_for_in():
    seen, all_seen = [], threading.Event()
    now = monotonic()
    call_at(now + 0.4, all_seen.set)
    for delay in (0.3, 0.1, 0.2):
        call_at(now + delay, lambda delay=delay: seen.append((delay, monotonic() >= now + delay)))
    assert all_seen.wait(LIMIT_S)
    assert seen == [(0.1, True), (0.2, True), (0.3, True)]


def test_a_time_that_is_over_is_now():
    done = threading.Event()
    call_at(monotonic() - 100.0, done.set)
    assert done.wait(LIMIT_S)


def test_an_earlier_timer_wakes_a_keeper_that_sleeps_for_a_later_one():
    done = threading.Event()
    later = call_at(monotonic() + 1000.0, lambda: None)
    at_once()
    call_at(monotonic() + 0.01, done.set)
    assert done.wait(LIMIT_S)
    later.cancel()


def test_what_is_cancelled_is_not_called_and_not_kept():
    class Thing:
        def method(self):
            seen.append(self)

    seen, thing = [], Thing()
    kept = weakref.ref(thing)
    timer = call_at(monotonic() + 1000.0, thing.method)
    timer.cancel()
    del thing
    assert kept() is None
    soon = call_at(monotonic() + 0.3, lambda: seen.append("called"))
    soon.cancel()
    done = threading.Event()
    call_at(monotonic() + 0.35, done.set)
    assert done.wait(LIMIT_S)
    assert seen == []


def test_many_cancelled_timers_are_forgotten_before_their_time():
    timers = [call_at(monotonic() + 1000.0, lambda: None) for _ in range(3000)]
    kind = type(timers[0])
    for timer in timers:
        timer.cancel()
    del timers, timer
    for _ in range(300):  # a few more, at which the keeper notices
        call_at(monotonic() + 1000.0, lambda: None).cancel()
    wait_for(lambda: at_once() or sum(type(each) is kind for each in gc.get_objects()) < 1000)


def test_a_call_back_that_fails_is_logged_and_others_still_come(caplog):
    at_once()

    def fail():
        raise SystemExit("no more")

    soon_caller()(fail)
    done = threading.Event()
    call_at(monotonic(), done.set)
    assert done.wait(LIMIT_S)
    at_once()
    assert "no more" in caplog.text


def test_all_that_was_asked_for_soon_can_be_waited_for():
    seen = []
    for number in range(100):
        soon_caller()(lambda number=number: seen.append(number))
    wait_until_called()
    assert seen == list(range(100))


def test_what_was_called_is_not_kept():
    class Thing:
        def method(self):
            pass

    thing = Thing()
    kept = weakref.ref(thing)
    at_once(thing.method)
    del thing
    wait_for(lambda: kept() is None)


def test_times_beyond_what_a_lock_can_wait_are_far_away():
    timer = call_at(float("inf"), lambda: None)
    at_once()
    timer.cancel()


def test_timers_may_be_set_by_many_threads_and_by_call_backs():
    seen, lock = [], threading.Lock()

    def note(number):
        with lock:
            seen.append(number)

    def again(number):
        call_at(monotonic(), lambda: note(number))

    def start(thread):
        for number in range(100):
            call_at(monotonic() + (number % 7) / 1000, lambda number=number: again((thread, number)))

    threads = [threading.Thread(target=start, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    wait_for(lambda: len(seen) == 800)
    assert len(set(seen)) == 800
