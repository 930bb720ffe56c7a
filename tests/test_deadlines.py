"""One watcher throws time-outs into the threads whose work takes too long, and never into what comes after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from rq.timeouts import JobTimeoutException

from tests.waiting import wait_until
from trafficrelay.worker.deadlines import Guarded, Watcher, death_penalty

pytestmark = pytest.mark.rq


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    yield watcher
    watcher.close()


def spin(seconds: float = 10.0) -> None:
    """Work in Python, where an exception can arrive."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)


def wait_in_c() -> None:
    """Wait where no exception arrives, and then where one does."""
    time.sleep(0.1)
    spin()


def test_work_that_takes_too_long_is_interrupted_with_rqs_exception_and_its_words(watcher: Watcher) -> None:
    guarded = watcher.guard(0.05)
    with pytest.raises(JobTimeoutException) as caught:
        spin()
    guarded.close()

    assert str(caught.value) == "Task exceeded maximum timeout value (0.05 seconds)"
    assert type(caught.value).__module__ == "rq.timeouts"


def test_each_of_many_threads_is_interrupted_at_its_own_time(watcher: Watcher) -> None:
    interrupted: list[float] = []

    def work(seconds: float) -> None:
        guarded = watcher.guard(seconds)
        try:
            spin()
        except JobTimeoutException:
            interrupted.append(seconds)
        finally:
            guarded.close()

    threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (0.3, 0.1, 0.2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert interrupted == [0.1, 0.2, 0.3]


def test_what_was_thrown_and_has_not_arrived_never_does(watcher: Watcher) -> None:
    """The exception is pending while the thread is in C; closing takes it back."""
    for _ in range(200):
        guarded = Guarded(0)
        try:
            guarded.throw(JobTimeoutException)
            guarded.close()
        except JobTimeoutException:
            guarded.close()  # it arrived in the middle: that is what the second close is for

        spin(0.0005)


def test_nothing_is_thrown_into_work_that_has_ended(watcher: Watcher) -> None:
    guarded = watcher.guard(0.01)
    guarded.close()
    spin(0.05)

    assert not guarded.throw(JobTimeoutException)


def test_a_limit_of_zero_or_less_is_none(watcher: Watcher) -> None:
    for seconds in (0, -1):
        guarded = watcher.guard(seconds)
        spin(0.01)
        guarded.close()

        assert guarded.overdue == 0


def test_work_that_cannot_be_interrupted_is_known_to_be_overdue(watcher: Watcher) -> None:
    guarded = watcher.guard(0.01)
    with pytest.raises(JobTimeoutException):
        wait_in_c()

    assert guarded.overdue > 0.05
    guarded.close()
    assert guarded.overdue == 0


def test_ended_work_is_forgotten_long_before_its_time(watcher: Watcher) -> None:
    for _ in range(5_000):
        watcher.guard(3_600).close()

    assert len(watcher._deadlines) < 1_000


def test_the_watcher_serves_as_rqs_death_penalty(watcher: Watcher) -> None:
    penalty = death_penalty(watcher.guard)
    with pytest.raises(JobTimeoutException), penalty(0.02, JobTimeoutException, job_id="some"):
        spin()

    with penalty(3_600, JobTimeoutException, job_id="some"):
        spin(0.001)


def test_a_closed_watcher_has_no_thread() -> None:
    watcher = Watcher("trafficrelay-test-deadlines")
    watcher.guard(3_600)
    watcher.close()

    wait_until(lambda: "trafficrelay-test-deadlines" not in {thread.name for thread in threading.enumerate()})
