"""What is turned away before any work."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.waiting import wait_until
from trafficrelay.errors import DeclarationError, TooManyRequests, Unavailable
from trafficrelay.pressure import SHARED_COUNTS, Pressure
from trafficrelay.rate import Rate

SECOND = 1_000_000_000


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def taken(pressure: Pressure, address: str, times: int = 1) -> int:
    """Count how many of so many requests are taken from an address."""
    count = 0
    for _ in range(times):
        with contextlib.suppress(TooManyRequests), pressure.request(address):
            count += 1
    return count


def ipv4(number: int, first: int = 10) -> str:
    """Give an address for each number, each in a block of its own."""
    return f"{first}.{number // 256}.{number % 256}.1"


# Concurrent requests


def test_no_more_requests_are_worked_on_than_may_be() -> None:
    pressure = Pressure(2)
    pressure.enter("192.0.2.7")
    pressure.enter("192.0.2.7")

    with pytest.raises(Unavailable) as caught:
        pressure.enter("192.0.2.8")
    assert caught.value.retry_after == 1
    assert caught.value.headers["Retry-After"] == "1"
    assert pressure.working == 2


def test_a_request_that_ends_makes_room() -> None:
    pressure = Pressure(1)

    with pressure.request("192.0.2.7"):
        assert pressure.working == 1
    with pytest.raises(ZeroDivisionError), pressure.request("192.0.2.7"):
        1 / 0  # noqa: B018

    assert pressure.working == 0


def test_a_request_that_is_turned_away_is_not_ended() -> None:
    pressure = Pressure(1)

    with pressure.request("192.0.2.7"):
        with pytest.raises(Unavailable), pressure.request("192.0.2.7"):
            pytest.fail("was let in")
        assert pressure.working == 1


def test_without_limits_everything_is_taken() -> None:
    pressure = Pressure()
    for _ in range(1_000):
        pressure.enter("192.0.2.7")

    assert pressure.working == 1_000


def test_ending_what_was_not_begun_makes_no_room() -> None:
    pressure = Pressure(1)
    pressure.leave()
    pressure.enter("192.0.2.7")

    with pytest.raises(Unavailable):
        pressure.enter("192.0.2.7")


# The rate of an address


def test_an_address_gets_its_rate_and_the_others_theirs() -> None:
    clock = Clock()
    pressure = Pressure(address_rate="3/s", clock=clock)

    assert taken(pressure, "192.0.2.7", 10) == 3
    assert taken(pressure, "192.0.2.8", 10) == 3
    clock.now += SECOND
    assert taken(pressure, "192.0.2.7", 10) == 2  # a third of a second is 333,334 whole microseconds
    clock.now += 10 * SECOND
    assert taken(pressure, "192.0.2.7", 10) == 3


def test_an_ipv6_sender_cannot_change_its_address_to_be_unknown() -> None:
    pressure = Pressure(address_rate="3/s", clock=Clock())

    assert sum(taken(pressure, f"2001:db8::{number:x}") for number in range(1, 100)) == 3
    assert taken(pressure, "2001:db8:0:1::1") == 1


def test_an_address_over_its_rate_is_told_when_to_come_again() -> None:
    pressure = Pressure(address_rate=Rate("6/m per address", burst=1), clock=Clock())
    pressure.enter("192.0.2.7")

    with pytest.raises(TooManyRequests) as caught:
        pressure.enter("192.0.2.7")
    assert caught.value.headers == {
        "Retry-After": "10",
        "RateLimit-Policy": '"relay";q=6;w=60',
        "RateLimit": '"relay";r=0;t=10',
    }
    assert pressure.working == 1


def test_what_is_refused_for_want_of_room_does_not_count_against_its_sender() -> None:
    pressure = Pressure(1, "2/m", clock=Clock())
    pressure.enter("198.51.100.1")
    for _ in range(10):
        with pytest.raises(Unavailable):
            pressure.enter("192.0.2.7")
    pressure.leave()

    assert taken(pressure, "192.0.2.7", 5) == 2


# Memory


def test_addresses_that_are_quiet_make_way_for_new_ones() -> None:
    clock = Clock()
    pressure = Pressure(address_rate="1/s", clock=clock, max_addresses=10)

    for number in range(1_000):
        assert taken(pressure, ipv4(number), 2) == 1
        clock.now += SECOND // 5


def test_no_crowd_makes_it_forget_whom_it_turns_away() -> None:
    clock = Clock()
    pressure = Pressure(address_rate="10/h", clock=clock, max_addresses=100)
    assert taken(pressure, "192.0.2.7", 20) == 10

    for number in range(5_000):
        taken(pressure, ipv4(number), 2)
        clock.now += SECOND // 1_000

    assert taken(pressure, "192.0.2.7") == 0


def test_a_crowd_gets_no_more_than_its_shares() -> None:
    pressure = Pressure(address_rate="2/h", clock=Clock(), max_addresses=100)

    let_in = sum(taken(pressure, ipv4(number), 3) for number in range(5_000))

    assert let_in <= 2 * (100 + SHARED_COUNTS)


def test_a_crowd_from_one_block_takes_one_share_and_leaves_the_others_theirs() -> None:
    pressure = Pressure(address_rate="2/h", clock=Clock(), max_addresses=100)
    for number in range(100):
        taken(pressure, ipv4(number), 2)

    crowd = sum(taken(pressure, f"2001:db8:1:{number:x}::1") for number in range(1_000))
    # Each of them would share the crowd's count with a chance of 1 in 1,024: ten of them do not all.
    newcomers = sum(taken(pressure, ipv4(number, first=172)) for number in range(10))

    assert crowd == 2
    assert newcomers > 0


def test_its_memory_does_not_grow_with_the_crowd() -> None:
    pressure = Pressure(address_rate="10/h", clock=Clock(), max_addresses=100)
    for number in range(1_000):
        taken(pressure, ipv4(number))
    before = sys.getallocatedblocks()

    for number in range(20_000):
        taken(pressure, ipv4(number, first=172))

    assert sys.getallocatedblocks() - before < 2 * SHARED_COUNTS


# Threads and processes


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_two_that_come_at_once_do_not_both_get_the_last_place() -> None:
    in_the_middle = threading.Barrier(2)
    let_in: list[str] = []

    def clock() -> int:
        with contextlib.suppress(threading.BrokenBarrierError):
            in_the_middle.wait(0.2)  # both get here only if nothing keeps them apart
        return 5 * SECOND

    pressure = Pressure(1, "9/h", clock=clock)

    def send(address: str) -> None:
        with contextlib.suppress(Unavailable):
            pressure.enter(address)
            let_in.append(address)

    threads = [threading.Thread(target=send, args=[f"192.0.2.{number}"]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(let_in) == pressure.working == 1


@pytest.mark.usefixtures("_eager_threads")
def test_threads_lose_no_count() -> None:
    pressure = Pressure(3, "500/h", clock=Clock())
    let_in: list[int] = []
    most: list[int] = []

    def send() -> None:
        mine = 0
        for _ in range(1_000):
            with contextlib.suppress(TooManyRequests, Unavailable), pressure.request("192.0.2.7"):
                mine += 1
                most.append(pressure.working)
        let_in.append(mine)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(let_in) == 500
    assert max(most) <= 3
    assert pressure.working == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_the_lock_is_held_begins_anew() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def clock() -> int:
        if threading.current_thread() is holder:
            inside.set()
            go_on.wait(30)
        return 5 * SECOND

    pressure = Pressure(1, "1/h", clock=clock)
    holder = threading.Thread(target=lambda: pressure.enter("192.0.2.7"))
    holder.start()
    assert inside.wait(10)

    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            pressure.leave()  # of the request that forked
            pressure.enter("192.0.2.7")
            os._exit(0 if pressure.working == 1 else 1)
        os._exit(2)
    go_on.set()
    holder.join()
    status = _ended(child)

    assert status == 0
    assert pressure.working == 1


def _ended(child: int) -> int:
    """Give a child's exit code; end one that hangs."""
    status: list[int] = []

    def reaped() -> bool:
        pid, code = os.waitpid(child, os.WNOHANG)
        if pid:
            status.append(os.waitstatus_to_exitcode(code))
        return bool(pid)

    try:
        wait_until(reaped)
    except BaseException:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise
    return status[0]


def test_a_relay_that_is_gone_is_not_kept_for_the_next_fork() -> None:
    gone = weakref.ref(Pressure(1))
    gc.collect()

    assert gone() is None


def test_the_clock_is_the_real_one_unless_said() -> None:
    pressure = Pressure(address_rate=Rate("100/s per address", burst=1))
    begin = time.monotonic()
    pressure.enter("192.0.2.7")

    wait_until(lambda: taken(pressure, "192.0.2.7") == 1)

    assert time.monotonic() - begin >= 0.0099


# Declarations


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "10"])
def test_a_wrong_number_of_requests_is_named(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match=f"not {wrong!r}") as caught:
        Pressure(wrong)

    assert caught.value.option == "max_requests"


@pytest.mark.parametrize("wrong", ["many", 10, "1/s per header:X-Api-Key", "1/s per route", Rate("1/s")])
def test_a_rate_of_something_else_than_addresses_is_refused(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^address_rate is ") as caught:
        Pressure(address_rate=wrong)

    assert caught.value.option == "address_rate"


def test_the_rate_of_an_address_may_say_so_or_not() -> None:
    for declared in ("1/h", "1/h per address", Rate("1/h per address")):
        pressure = Pressure(address_rate=declared)

        assert (taken(pressure, "192.0.2.7", 2), taken(pressure, "192.0.2.8", 2)) == (1, 1)
