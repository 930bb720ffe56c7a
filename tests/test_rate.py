"""Rates: how they are declared, what shares one count, and that never more is taken than they say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import make_event
from trafficrelay.errors import DeclarationError, TransformError
from trafficrelay.event import Event
from trafficrelay.rate import NO_KEY, Rate, gcra

HOUR_US = 3_600_000_000


def by_shop(event: Event) -> Any:
    return event.params["shop"]


# Declarations


@pytest.mark.parametrize(
    ("declared", "limit", "window", "per"),
    [
        ("100/m", 100, 60, "route"),
        ("1/s", 1, 1, "route"),
        ("10/s per address", 10, 1, "address"),
        ("1000/h per header:X-Api-Key", 1000, 3600, "header:X-Api-Key"),
        ("5/10s per data:customer.id", 5, 10, "data:customer.id"),
        ("1/366d per route", 1, 366 * 86_400, "route"),
    ],
)
def test_a_rate_is_read_from_a_string(declared: str, limit: int, window: int, per: str) -> None:
    rate = Rate(declared)

    assert (rate.limit, rate.window, rate.per, rate.burst) == (limit, window, per, limit)


def test_a_rate_is_read_from_a_string_and_options() -> None:
    rate = Rate("100/m", per=by_shop, burst=20)

    assert (rate.limit, rate.window, rate.per, rate.burst) == (100, 60, by_shop, 20)
    assert Rate("100/m", per="address") == Rate("100/m per address")


@pytest.mark.parametrize(
    "declared", ["100/m", "10/s per address", "1000/h per header:X-Api-Key", "5/10s per data:a.b.0", "7/d", "90/90s"]
)
def test_a_rate_prints_as_it_is_declared(declared: str) -> None:
    assert str(Rate(declared)) == declared
    assert Rate(str(Rate(declared))) == Rate(declared)


def test_a_rate_that_is_declared_otherwise_prints_the_shortest_way() -> None:
    assert str(Rate("5/120s")) == "5/2m"
    assert str(Rate("100/60s", per="route")) == "100/m"
    assert str(Rate("100/m", per=by_shop, burst=20)) == "100/m per a function of the event, 20 at once"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "100",
        "m/100",
        "100/w",
        "100 / m",
        "-1/s",
        "1.5/s",
        "0/s",
        "10/0s",
        "\u0661\u0660/s",  # ten, in Arabic
        "100/m per",
        "100/m per ",
        "100/m\n",
        "1" * 10 + "/s",
        100,
        None,
        ("100/m",),
    ],
)
def test_a_string_that_is_no_rate_is_shown_with_what_is_one(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match='such as "100/m", "10/s per address"') as caught:
        Rate(wrong)

    assert repr(wrong) in str(caught.value)
    assert caught.value.option == "rate"


@pytest.mark.parametrize("per", ["user", "header", "header:", "header:X Y", "data:", "data:a..b", "data:a[0]", 7, ""])
def test_what_is_counted_must_be_known(per: Any) -> None:
    with pytest.raises(DeclarationError, match="rate is counted per route, address, header:NAME") as caught:
        Rate("100/m", per=per)

    assert repr(per) in str(caught.value)
    assert caught.value.option == "rate"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rate("100/m per address", per="route"), "twice"),
        (lambda: Rate("100/m", burst=0), "burst of rate is a number of events, 1 or more, not 0"),
        (lambda: Rate("100/m", burst=True), "not True"),
        (lambda: Rate("100/m", burst="20"), "not '20'"),  # type: ignore[arg-type]
        (lambda: Rate("1/d", burst=367), "more than '1/d' allows in a year"),
        (lambda: Rate("1/367d"), "at the most 366d, not that of '1/367d'"),
        (lambda: Rate("10001/s"), "at the most 10000 a second, not '10001/s'"),
        (lambda: Rate("100/m", per=lambda: "x"), "one argument, the event"),  # type: ignore[arg-type,misc]
    ],
)
def test_a_wrong_option_of_a_rate_is_named(make: Callable[[], Rate], words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        make()

    assert caught.value.option == "rate"


def test_an_error_names_the_option_that_was_read() -> None:
    with pytest.raises(DeclarationError, match=r"^address_rate is a number") as caught:
        Rate("many", option="address_rate")

    assert caught.value.option == "address_rate"


@pytest.mark.parametrize("declared", ["100/m", "3/s", "7/10s", "10000/s", "9999/s", "1/366d", "999999999/366d"])
def test_the_time_for_one_event_is_never_shorter_than_declared(declared: str) -> None:
    rate = Rate(declared)

    assert rate.limit * rate.interval_us >= rate.window * 1_000_000
    assert rate.limit * (rate.interval_us - 1) < rate.window * 1_000_000


# What shares one count


def test_a_rate_of_the_route_counts_all_events_as_one() -> None:
    assert Rate("1/s").key_of(make_event()) == Rate("1/s").key_of(make_event(remote_addr="198.51.100.1")) == ""


def test_a_rate_per_address_counts_an_ipv6_sender_by_its_64() -> None:
    key_of = Rate("1/s per address").key_of

    assert key_of(make_event(remote_addr="192.0.2.7")) == "192.0.2.7"
    assert key_of(make_event(remote_addr="2001:db8::1")) == key_of(make_event(remote_addr="2001:db8::2"))
    assert key_of(make_event(remote_addr="2001:db8::1")) != key_of(make_event(remote_addr="2001:db8:0:1::1"))


@pytest.mark.parametrize(
    ("per", "event", "other"),
    [
        ("header:X-Api-Key", make_event(headers={"x-api-key": "a"}), make_event(headers={"X-API-Key": "b"})),
        ("data:customer.id", make_event(data={"customer": {"id": 1}}), make_event(data={"customer": {"id": 2}})),
        ("data:customer.id", make_event(data={"customer": {"id": 1}}), make_event(data={"customer": {"id": "1"}})),
        (by_shop, make_event(params={"shop": "a"}), make_event(params={"shop": "b"})),
    ],
)
def test_events_with_another_value_are_counted_apart(per: Any, event: Event, other: Event) -> None:
    key_of = Rate("1/s", per=per).key_of

    assert key_of(event) == key_of(event)
    assert len({key_of(event), key_of(other), NO_KEY, ""}) == 4


@pytest.mark.parametrize(
    ("per", "event"),
    [
        ("address", make_event(remote_addr="")),
        ("header:X-Api-Key", make_event()),
        ("header:X-Api-Key", make_event(headers={"X-Api-Key": ""})),
        ("data:customer.id", make_event(data={"customer": "x"})),
        ("data:customer.id", make_event(data=b"x")),
        ("data:customer.id", make_event(data={"customer": {"id": {"a": 1}}})),
        (lambda event: None, make_event()),
        (lambda event: "", make_event()),
    ],
)
def test_events_that_lack_what_is_counted_share_one_count(per: Any, event: Event) -> None:
    assert Rate("1/s", per=per).key_of(event) == NO_KEY


def test_nobody_can_send_the_key_of_those_that_have_none() -> None:
    event = make_event(headers={"X-Api-Key": NO_KEY})

    assert Rate("1/s per header:X-Api-Key").key_of(event) != NO_KEY


def test_a_function_that_gives_no_key_but_an_object_is_a_mistake_that_is_named() -> None:
    with pytest.raises(TransformError, match="The function of rate gave a dict; a key is a string or a number"):
        Rate("1/s", per=lambda event: {"shop": 1}).key_of(make_event())


# What the answer says


@pytest.mark.parametrize(
    ("rate", "policy"),
    [
        (Rate("100/m"), "route"),
        (Rate("100/m per address"), "address"),
        (Rate("100/m per header:X-Api-Key"), "key"),
        (Rate("100/m", per=by_shop), "key"),
    ],
)
def test_the_fields_are_those_of_the_draft(rate: Rate, policy: str) -> None:
    assert rate.headers(remaining=7, reset=2.1) == {
        "RateLimit-Policy": f'"{policy}";q=100;w=60',
        "RateLimit": f'"{policy}";r=7;t=3',
    }


def test_the_fields_hold_no_negative_numbers() -> None:
    assert Rate("100/m").headers(remaining=-1, reset=-1)["RateLimit"] == '"route";r=0;t=0'


@pytest.mark.parametrize(("wait_us", "seconds"), [(1, 1), (1_000_000, 1), (1_000_001, 2), (HOUR_US, 3600)])
def test_a_refusal_says_once_when_to_try_again(wait_us: int, seconds: int) -> None:
    refusal = Rate("1/h per address").refusal(wait_us, policy="relay")

    assert refusal.retry_after == seconds
    assert refusal.detail == f"More came than 1 in 3600 s from one address. Try again in {seconds} s."
    assert refusal.headers == {
        "Retry-After": str(seconds),
        "RateLimit-Policy": '"relay";q=1;w=3600',
        "RateLimit": f'"relay";r=0;t={seconds}',
    }


# The algorithm


def admit(times: list[int], interval_us: int, burst: int) -> list[int]:
    """Give the times at which events are taken."""
    tat_us, taken = 0, []
    for now_us in times:
        allowed, tat_us, _, _ = gcra(tat_us, now_us, interval_us, burst)
        if allowed:
            taken.append(now_us)
    return taken


@pytest.mark.parametrize("seed", range(16))
def test_no_time_sees_more_than_the_burst_and_what_the_time_allows(seed: int) -> None:
    chance = random.Random(seed)
    rate = Rate(f"{chance.randint(1, 40)}/{chance.randint(1, 20)}s", burst=chance.randint(1, 60))
    # Quiet times and floods: gaps of nothing, of less than an event's time, of much more.
    gaps = (0, 1, rate.interval_us // 7, rate.interval_us - 1, rate.interval_us, rate.interval_us * rate.burst)
    times, now_us = [], chance.randrange(10**15)
    for _ in range(600):
        now_us += chance.choice(gaps) if chance.random() < 0.8 else chance.randrange(1 + 2 * rate.interval_us)
        times.append(now_us)

    taken = admit(times, rate.interval_us, rate.burst)

    window_us = rate.window * 1_000_000
    for first, start in enumerate(taken):
        spans = [(count, end - start) for count, end in enumerate(taken[first:], 1)]
        assert [span for span in spans if span[0] > rate.burst + span[1] // rate.interval_us] == []
        assert sum(length <= window_us for _, length in spans) <= rate.burst + rate.limit


@pytest.mark.parametrize("seed", range(20))
def test_a_quiet_sender_gets_its_burst_and_a_steady_one_its_rate(seed: int) -> None:
    chance = random.Random(seed)
    interval_us, burst = chance.randint(1, 10**6), chance.randint(1, 50)
    begin = chance.randrange(1, 10**15)

    at_once = admit([begin] * (burst + 10), interval_us, burst)
    steadily = admit([begin + number * interval_us for number in range(200)], interval_us, burst)

    assert len(at_once) == burst
    assert len(steadily) == 200


@pytest.mark.parametrize("seed", range(20))
def test_one_who_waits_as_told_is_taken_and_one_who_comes_sooner_is_not(seed: int) -> None:
    chance = random.Random(seed)
    interval_us, burst = chance.randint(1, 10**6), chance.randint(1, 5)
    tat_us, now_us, refused = 0, 10**12, 0

    for _ in range(300):
        now_us += chance.randrange(interval_us)
        taken, after_us, wait_us, remaining = gcra(tat_us, now_us, interval_us, burst)
        if not taken:
            refused += 1
            assert wait_us > 0
            assert remaining == 0
            assert after_us == tat_us
            assert not gcra(tat_us, now_us + wait_us - 1, interval_us, burst)[0]
            assert gcra(tat_us, now_us + wait_us, interval_us, burst)[0]
        tat_us = after_us

    assert refused


@pytest.mark.parametrize("seed", range(20))
def test_what_remains_is_what_is_taken_at_once(seed: int) -> None:
    chance = random.Random(seed)
    interval_us, burst = chance.randint(1, 10**6), chance.randint(1, 50)
    tat_us, now_us = 0, 10**12

    for _ in range(50):
        now_us += chance.randrange(3 * interval_us)
        taken, tat_us, wait_us, remaining = gcra(tat_us, now_us, interval_us, burst)
        if taken:
            more, later_us = 0, tat_us
            while (again := gcra(later_us, now_us, interval_us, burst))[0]:
                later_us, more = again[1], more + 1
            assert more == remaining
            assert wait_us == 0


def test_a_count_that_is_over_is_worth_as_much_as_none() -> None:
    assert gcra(5_000, 5_000, 100, 3) == gcra(0, 5_000, 100, 3) == gcra(4_999, 5_000, 100, 3)


def test_a_clock_that_is_set_back_locks_nobody_out_and_one_that_jitters_forgives_nothing() -> None:
    now_us, interval_us, burst = 10**15, 1_000, 3
    tat_us = 0
    for _ in range(burst):
        _, tat_us, _, _ = gcra(tat_us, now_us, interval_us, burst)

    assert not gcra(tat_us, now_us - 500_000, interval_us, burst)[0]
    assert gcra(tat_us, now_us - HOUR_US, interval_us, burst) == gcra(0, now_us - HOUR_US, interval_us, burst)


def test_a_count_of_a_slower_rate_does_not_outlive_it() -> None:
    _, tat_us, _, _ = gcra(0, 10**15, HOUR_US, 1)

    assert not gcra(tat_us, 10**15, HOUR_US, 1)[0]
    assert gcra(tat_us, 10**15, 1_000, 10)[0]


def test_every_number_of_the_algorithm_is_exact_in_a_double() -> None:
    # Redis' scripts count in doubles.
    rate = Rate("1/d", burst=366)
    far_us = 4_102_444_800 * 1_000_000  # the year 2100

    assert far_us + (rate.burst + 1) * rate.interval_us < 2**53
    assert math.ceil(float(far_us + rate.interval_us)) == far_us + rate.interval_us
