"""The harness can fail: what is lost, doubled or wrong is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from .account import Account, Found, Verdict
from .payload import FAN, make, manners, parts_of, recognise
from .wire import Commands, Replies

SEED = 7
PLAIN, SMALL, FANNED, BROKEN, BARE = 1, 50, 3, 7, 6


def job(number: int, part: int, **changed: Any) -> Found:
    usual = Found(f"job{number}-{part}", number, part, intact=True, places=1)
    return replace(usual, **changed)


def all_of(*numbers: int) -> list[Found]:
    return [job(number, part) for number in numbers for part in parts_of(number)]


def verdict(found: list[Found], promised: set[int]) -> Verdict:
    account = Account()
    account.take(found)
    return account.verdict(promise(promised))


def promise(numbers: set[int]) -> dict[int, tuple[int, ...]]:
    return {number: parts_of(number) for number in numbers}


def test_all_that_was_promised_and_is_there_once_is_well() -> None:
    numbers = (PLAIN, SMALL, FANNED, BROKEN)

    assert verdict(all_of(*numbers), set(numbers)) == Verdict((), (), ())


def test_an_event_that_was_not_promised_may_be_there_or_not() -> None:
    assert verdict(all_of(PLAIN, FANNED), {PLAIN}) == Verdict((), (), ())


def test_a_job_that_is_nowhere_is_lost() -> None:
    found = verdict(all_of(PLAIN), {PLAIN, SMALL})

    assert found.lost == ((SMALL, 1),)


def test_a_job_that_lies_in_no_queue_and_no_registry_is_lost() -> None:
    assert verdict([job(PLAIN, 1, places=0)], {PLAIN}).lost == ((PLAIN, 1),)


def test_one_missing_job_of_several_is_lost() -> None:
    assert verdict(all_of(FANNED)[:-1], {FANNED}).lost == ((FANNED, FAN),)


def test_a_missing_dead_letter_is_lost() -> None:
    assert verdict([], {BROKEN}).lost == ((BROKEN, 0),)


def test_half_an_event_that_nobody_promised_is_wrong() -> None:
    assert len(verdict(all_of(FANNED)[:1], set()).wrong) == 1


def test_a_job_that_is_twice_in_its_queue_is_doubled() -> None:
    found = verdict([job(PLAIN, 1, places=3)], {PLAIN})

    assert (found.doubled, found.extra) == (((PLAIN, 1, 2),), 2)


def test_two_jobs_of_one_event_are_doubled_also_when_it_was_not_promised() -> None:
    assert verdict([job(PLAIN, 1), job(PLAIN, 1, id="other-1")], set()).extra == 1


def test_a_job_that_ran_twice_is_doubled() -> None:
    assert verdict([job(SMALL, 1, runs=2)], {SMALL}).extra == 1


def test_a_job_that_comes_after_it_was_read_is_doubled() -> None:
    account = Account()
    account.take([job(PLAIN, 1)])
    account.take([job(PLAIN, 1)])

    assert account.verdict(promise({PLAIN})).extra == 1


def test_of_tries_that_are_events_of_their_own_only_the_acknowledged_one_has_to_be_there() -> None:
    account = Account()
    account.take([job(BARE, 1), job(BARE, 2)])

    assert account.verdict({BARE: (2,)}) == Verdict((), (), ())
    assert account.verdict({BARE: (3,)}).lost == ((BARE, 3),)
    assert account.found([(BARE, 1), (BARE, 3)]) == 1


def test_a_try_that_is_there_twice_is_doubled() -> None:
    assert verdict([job(BARE, 1), job(BARE, 1)], set()).extra == 1


def test_another_payload_than_was_sent_is_wrong() -> None:
    assert len(verdict([job(PLAIN, 1, intact=False)], {PLAIN}).wrong) == 1


def test_a_job_of_an_event_that_nobody_sent_is_wrong() -> None:
    assert len(verdict([job(-1, -1)], set()).wrong) == 1


def test_a_job_that_its_event_does_not_have_is_wrong() -> None:
    assert len(verdict([*all_of(PLAIN), job(PLAIN, 2)], {PLAIN}).wrong) == 1


@pytest.mark.parametrize("number", [PLAIN, SMALL, FANNED])
def test_a_payload_is_recognised(number: int) -> None:
    event = make(SEED, number)
    for part in event.parts:
        known = recognise({"id": event.id, "part": part, "sent": json.loads(event.body)}, SEED)

        assert (known.number, known.part, known.intact) == (number, part, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["sent"].update(hex=data["sent"]["hex"][:-1]),
        lambda data: data["sent"].update(number=float(data["sent"]["number"])),
        lambda data: data["sent"].pop("text"),
        lambda data: data.update(sent=json.loads(make(SEED, PLAIN + 1).body)),
        lambda data: data.update(part=2),
    ],
    ids=["cut", "another type", "a field less", "another event's", "a part that is none"],
)
def test_a_payload_that_was_changed_is_seen(change: Any) -> None:
    event = make(SEED, PLAIN)
    data = {"id": event.id, "part": 1, "sent": json.loads(event.body)}
    change(data)

    assert not recognise(data, SEED).intact


def test_a_payload_of_another_run_belongs_to_nobody() -> None:
    assert recognise({"id": make(SEED + 1, PLAIN).id, "part": 1, "sent": None}, SEED).number == -1


def test_events_and_manners_are_the_same_each_time_and_not_all_alike() -> None:
    assert make(SEED, 5) == make(SEED, 5)
    assert make(SEED, 5).body != make(SEED, 6).body
    assert manners(SEED, 5) == manners(SEED, 5)
    assert {manners(SEED, number).impatient for number in range(500)} == {True, False}


def test_the_proxy_tells_replies_apart_however_they_arrive() -> None:
    replies = [
        b"+OK\r\n",
        b"-NOSCRIPT no\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*2\r\n:1\r\n$2\r\nab\r\n",
        b"*-1\r\n",
        b"%1\r\n+a\r\n*1\r\n:2\r\n",
        b"|1\r\n+a\r\n+b\r\n:3\r\n",
        b"_\r\n",
        b"*0\r\n",
    ]
    stream = b"".join(replies)
    for size in (1, 2, 7, len(stream)):
        reader = Replies()
        found = [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])]

        assert found == replies


def test_the_proxy_tells_commands_apart_however_they_arrive() -> None:
    stream = b"*1\r\n$4\r\nping\r\n*3\r\n$7\r\nEVALSHA\r\n$4\r\n\r\n*1\r\n$0\r\n\r\n"
    for size in (1, 3, len(stream)):
        reader = Commands()
        found = [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])]

        assert found == ["PING", "EVALSHA"]
