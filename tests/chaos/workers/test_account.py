"""The harness can fail: what is lost, doubled, late or out of sight is seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from .account import ASIDE, MOST_RUNS, Kill, Verdict, at_share, judge
from .corrupt import DAMAGES, GONE
from .notes import Ran, read_notes
from .orders import KINDS, Order, draw, in_bursts

PLAIN, FAILING, RETRIED = KINDS[0], KINDS[2], KINDS[3]
ONE = Order("one", PLAIN, "alpha", 0.1)
BAD = Order("bad", PLAIN, "alpha", 0.1, damage="no data")


def ran(begin: float = 1.0, end: float | None = 2.0, pid: int = 7) -> Ran:
    return Ran(pid, begin, end)


def verdict(order: Order, runs: Sequence[Ran], *places: str, kills: Sequence[Kill] = (), exact: bool = True) -> Verdict:
    return judge([order], {order.id: runs} if runs else {}, kills, {order.id: places} if places else {}, exact=exact)


@pytest.mark.parametrize(
    ("kind", "runs", "place"),
    [(PLAIN, [ran()], "finished"), (FAILING, [ran()], "failed"), (RETRIED, [ran(), ran(3, 4)], "finished")],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_ran_as_it_had_to_and_lies_where_it_has_to_is_well(kind: object, runs: list[Ran], place: str) -> None:
    found = verdict(replace(ONE, kind=kind), runs, place)

    assert found.good
    assert (found.extra, found.in_flight, found.waits) == (0, 0, [])


@pytest.mark.parametrize("places", [(), ("a queue",), ("started",), ("failed",), (ASIDE,)], ids=repr)
def test_a_job_that_is_not_where_it_has_to_be_is_lost(places: tuple[str, ...]) -> None:
    assert len(verdict(ONE, [ran()], *places).lost) == 1


def test_a_job_that_never_came_to_its_end_is_lost_whatever_redis_says() -> None:
    assert len(verdict(ONE, [ran(end=None)], "finished").lost) == 1
    assert len(verdict(ONE, [], "finished").lost) == 1


def test_a_second_run_is_one_too_many_unless_the_job_was_in_flight_at_a_kill() -> None:
    runs = [ran(end=None), ran(30, 31, pid=8)]
    elsewhere, here = Kill(7, 1.5, ["other"]), Kill(7, 1.5, ["one"])

    assert len(verdict(ONE, runs, "finished", kills=[elsewhere]).doubled) == 1
    assert verdict(ONE, runs, "finished", kills=[here]).good
    assert len(verdict(ONE, [*runs, ran(40, 41)], "finished", kills=[here]).doubled) == 1
    assert verdict(ONE, runs, "finished", exact=False).good


def test_a_try_too_many_of_a_job_that_is_retried_is_seen() -> None:
    assert len(verdict(replace(ONE, kind=RETRIED), [ran()] * 3, "finished").doubled) == 1


def test_a_job_in_two_places_is_seen() -> None:
    assert len(verdict(ONE, [ran()], "finished", "failed").misplaced) == 1
    assert len(verdict(ONE, [ran()], "finished", "a queue").misplaced) == 1


def test_the_time_from_a_kill_to_running_again_is_that_of_the_next_run() -> None:
    kill = Kill(7, 10.0, ["one", "done"])
    found = verdict(ONE, [ran(9, None), ran(35, 36, pid=8), ran(99, 100, pid=9)], "finished", kills=[kill])

    assert found.waits == [25.0]
    assert found.in_flight == 2


def test_a_share_of_values() -> None:
    assert at_share([], 0.99) == 0
    assert at_share([1.0], 0.99) == 1
    assert at_share([float(number) for number in range(100)], 0.5) == 50


@pytest.mark.parametrize("places", [(), ("a queue",), ("started",), ("a worker's hands",)], ids=repr)
def test_a_damaged_job_that_nobody_sees_is_seen(places: tuple[str, ...]) -> None:
    assert len(verdict(BAD, [], *places).invisible) == 1


@pytest.mark.parametrize("place", [ASIDE, "failed", "finished"])
def test_a_damaged_job_may_lie_aside_or_fail_or_run(place: str) -> None:
    found = verdict(BAD, [], place)

    assert found.good
    assert found.damaged == {place: 1}


def test_a_job_without_a_hash_may_be_nowhere() -> None:
    assert verdict(replace(BAD, damage=next(iter(GONE))), []).good


def test_a_damaged_job_that_runs_again_and_again_is_seen() -> None:
    assert len(verdict(BAD, [ran()] * (MOST_RUNS + 1), "failed").endless) == 1


def test_what_jobs_noted_is_read_also_of_one_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("begin one 1.0\nbegin two 1.5\nend one 2.0\nbegin one 3.0\n")
    (tmp_path / "8").write_text("begin two 0.5\nend two 0.7\n")

    assert read_notes(tmp_path) == {
        "one": [Ran(7, 1.0, 2.0), Ran(7, 3.0, None)],
        "two": [Ran(8, 0.5, 0.7), Ran(7, 1.5, None)],
    }


def test_the_jobs_follow_the_seed_and_are_of_all_kinds() -> None:
    orders = [draw(random.Random(7)) for _ in range(2)]
    dice = random.Random(7)
    many = [draw(dice) for _ in range(500)]

    assert orders[0] == orders[1]
    assert {one.kind for one in many} == set(KINDS)
    assert len({one.id for one in many}) == 500
    assert sum(kind.share for kind in KINDS) == 100
    assert [one for burst in in_bursts(many, 7) for one in burst] == many


def test_there_are_many_ways_to_damage_a_job() -> None:
    assert len(DAMAGES) >= 50
