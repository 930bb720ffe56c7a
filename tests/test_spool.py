"""Redis away, and a spool: events are accepted, and are in Redis when it is back, once and in order."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from webtest import TestApp

from tests.handovers import a_dead_one, a_handover, a_job, a_letter, queued
from tests.redis_proxy import RedisProxy
from tests.servers import own_valkey
from tests.support import make_route
from tests.waiting import wait_until
from trafficrelay import DeclarationError, Relay, Spool
from trafficrelay.errors import (
    LetterGone,
    OutboxAway,
    OutboxError,
    OutboxUnavailable,
    RoutePaused,
    SpoolError,
    SpoolFull,
)
from trafficrelay.limits import Limits
from trafficrelay.outbox import Handover, Outbox, Receipt
from trafficrelay.outbox.drain import Drain
from trafficrelay.outbox.handover import EVENT_MARK_TTL, each
from trafficrelay.outbox.names import PAUSED_KEY
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.spool_file import Entry, SpoolFile
from trafficrelay.outbox.stored import pack
from trafficrelay.rate import Rate
from trafficrelay.verify import github, standard_webhooks

pytestmark = pytest.mark.rq

QUICK = "?socket_timeout=0.3&socket_connect_timeout=0.3"


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RedisProxy]:
    with RedisProxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def outbox(proxy: RedisProxy, file: Path) -> Iterator[ResilientOutbox]:
    with closing(ResilientOutbox(RQOutbox(proxy.url + QUICK), spool=Spool(file))) as outbox:
        yield outbox


class Counting:
    """Counts the events that reach the outbox behind; probes are none."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.seen: list[str] = []

    def accept(self, handover: Handover) -> Receipt:
        return self._outbox.accept(handover)

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        self.seen += [handover.id for group in groups for handover in group]
        return self._outbox.accept_groups(groups)

    def check(self) -> None:
        self._outbox.check()

    def close(self, timeout: float = 0.0) -> None:
        self._outbox.close(timeout)


def spooled(*jobs: Any, **more: Any) -> Handover:
    return a_handover(*jobs, **({"spool": True, "route": "/in"} | more))


def waiting(file: Path) -> int:
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        return spool.summary().waiting


def failed(client: redis.Redis) -> list[str]:
    return FailedJobRegistry("hooks", connection=client).get_job_ids(cleanup=False)


def an_entry(handover: Handover, *, age: float = 0.0, doubtful: bool = False) -> Entry:
    return Entry(
        id=handover.id,
        count=len(handover.jobs),
        dedupe=handover.dedupe_hash,
        route=handover.route,
        since=time.time() - age,
        doubtful=doubtful,
        payload=pack(handover),
    )


def put(file: Path, *entries: Entry) -> None:
    with closing(SpoolFile(file, max_size=1 << 24)) as spool:
        spool.add(entries)


# An outage


def test_events_are_taken_while_redis_is_away_and_are_there_when_it_is_back(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path
) -> None:
    """In the order in which they came, each once."""
    proxy.refuse()
    receipts = [outbox.accept(spooled(a_job(number))) for number in range(100)]
    kept = waiting(file)
    proxy.admit()
    wait_until(lambda: len(queued(client)) >= 100)
    wait_until(lambda: waiting(file) == 0)

    assert kept == 100
    assert queued(client) == [job for receipt in receipts for job in receipt.jobs]
    assert [RQJob.fetch(id_, connection=client).args for id_ in queued(client)] == [(n,) for n in range(100)]


def test_what_is_drained_is_what_would_have_been_written(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, redis_url: str
) -> None:
    """Retries, delays, front of the queue, several jobs, dead letters: field by field, but for the times."""
    kinds = [
        spooled(a_job("\ud800", at_front=True), a_job({"a": [1.5, None]}, delay=60)),
        spooled(a_job(timeout=7, result_ttl=8, failure_ttl=9)),
        replace(a_dead_one(a_letter(ttl=60)), spool=True),
    ]
    with closing(RQOutbox(redis_url)) as direct:
        each(direct, [replace(handover, id=f"{number:032}") for number, handover in enumerate(kinds)])
    proxy.refuse()
    receipts = [outbox.accept(handover) for handover in kinds]
    proxy.admit()
    wait_until(lambda: len(client.keys("rq:job:*")) == 8)

    times = (b"created_at", b"enqueued_at", b"ended_at")
    for number, (handover, receipt) in enumerate(zip(kinds, receipts, strict=True)):
        for suffix in [0] if handover.dead_letter else range(1, receipt.count + 1):
            ours, theirs = (client.hgetall(f"rq:job:{id_}-{suffix}") for id_ in (receipt.id, f"{number:032}"))
            assert {name: value for name, value in ours.items() if name not in times} == {
                name: value for name, value in theirs.items() if name not in times
            }


def test_nobody_asks_redis_while_it_is_away(proxy: RedisProxy, redis_url: str, file: Path) -> None:
    """The first event finds out; whoever comes after does not wait for a time-out."""
    inner = Counting(RQOutbox(proxy.url + QUICK))
    with closing(ResilientOutbox(inner, spool=Spool(file))) as outbox:
        proxy.refuse()
        first = spooled()
        outbox.accept(first)
        for _ in range(20):
            outbox.accept(spooled())

        assert inner.seen == [first.id]


def test_without_a_spool_events_are_refused_at_once_while_redis_is_away(proxy: RedisProxy, redis_url: str) -> None:
    """And taken when it is back, which nobody has to wait for in a request."""
    inner = Counting(RQOutbox(proxy.url + QUICK))
    with closing(ResilientOutbox(inner)) as outbox:
        proxy.refuse()
        errors = each(outbox, [a_handover()]) + each(outbox, [a_handover(), spooled()])
        asked = len(inner.seen)
        proxy.admit()
        wait_until(lambda: not isinstance(each(outbox, [a_handover()])[0], OutboxError))

    assert [type(error) for error in errors] == [OutboxUnavailable, OutboxAway, OutboxAway]
    assert asked == 1


def test_events_that_may_not_be_spooled_are_refused(outbox: ResilientOutbox, proxy: RedisProxy, file: Path) -> None:
    """Side by side with others that may."""
    proxy.refuse()
    one, two = each(outbox, [a_handover(), spooled()])

    assert isinstance(one, OutboxUnavailable)
    assert isinstance(two, Receipt)
    assert waiting(file) == 1


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[str, redis.Redis]]:
    """A Valkey that a test may spoil."""
    with own_valkey() as server, redis.Redis.from_url(server.connection_url) as client:
        yield server.connection_url, client


SPOIL = {
    "out of memory": (("maxmemory", "1mb"), ("maxmemory", "0")),
    "read-only": (("min-replicas-to-write", "1"), ("min-replicas-to-write", "0")),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_redis_that_answers_and_cannot_write_is_away_too(own: tuple[str, redis.Redis], file: Path, how: str) -> None:
    """It is tried with a write, so that an answer to a ping does not bring the events back."""
    url, client = own
    spoil, mend = SPOIL[how]
    with closing(ResilientOutbox(RQOutbox(url + QUICK), spool=Spool(file))) as outbox:
        client.config_set(*spoil)
        receipts = [outbox.accept(spooled()) for _ in range(10)]
        kept = waiting(file)
        client.config_set(*mend)
        wait_until(lambda: waiting(file) == 0)

    assert kept == 10
    assert queued(client) == [job for receipt in receipts for job in receipt.jobs]


def test_a_replica_is_away_until_it_is_a_master(own: tuple[str, redis.Redis], file: Path) -> None:
    """As during a failover."""
    url, client = own
    with closing(ResilientOutbox(RQOutbox(url + QUICK), spool=Spool(file))) as outbox:
        client.replicaof("127.0.0.1", "1")
        receipt = outbox.accept(spooled())
        client.replicaof("no", "one")
        wait_until(lambda: queued(client))

    assert queued(client) == list(receipt.jobs)


def test_a_frozen_redis_holds_up_the_first_event_alone(own: tuple[str, redis.Redis], file: Path) -> None:
    """And has each once when it goes on, also what was lying in its socket."""
    url, client = own
    pid = int(client.info("server")["process_id"])
    with closing(ResilientOutbox(RQOutbox(url + QUICK), spool=Spool(file))) as outbox:
        outbox.accept(spooled())
        os.kill(pid, signal.SIGSTOP)
        try:
            receipts = [outbox.accept(spooled()) for _ in range(10)]
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: waiting(file) == 0)

    assert sorted(queued(client)[1:]) == sorted(job for receipt in receipts for job in receipt.jobs)


# Once


@pytest.mark.parametrize("how", ["close", "swallow"])
def test_an_event_whose_reply_was_lost_is_spooled_and_not_doubled(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path, how: Any
) -> None:
    """Redis had it all the time."""
    outbox.accept(spooled())
    proxy.lose_replies(2, how)
    receipt = outbox.accept(spooled())
    wait_until(lambda: waiting(file) == 0)

    assert queued(client).count(receipt.jobs[0]) == 1
    assert len(queued(client)) == 2


@pytest.mark.parametrize("how", ["close", "swallow"])
def test_an_event_without_a_reply_is_doubtful(proxy: RedisProxy, client: redis.Redis, how: Any) -> None:
    """Redis may have it; one that could not even be sent is not there."""
    with closing(RQOutbox(proxy.url + QUICK)) as outbox:
        outbox.accept(spooled())
        proxy.lose_replies(2, how)
        (unanswered,) = each(outbox, [spooled()])
        proxy.refuse()
        (unsent,) = each(outbox, [spooled()])

    assert len(queued(client)) == 2
    assert [isinstance(error, OutboxUnavailable) and error.doubtful for error in (unanswered, unsent)] == [True, False]


def test_an_event_stays_doubtful_when_its_second_try_is_refused(
    own: tuple[str, redis.Redis], client: redis.Redis
) -> None:
    """The first one's reply was lost, and what the second one is told says nothing of the first."""
    url, other = own
    with RedisProxy(url) as proxy, closing(RQOutbox(proxy.url + QUICK)) as outbox:
        outbox.accept(spooled())
        proxy.lose_replies(1, "swallow")
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(each, outbox, [spooled()])
            wait_until(lambda: len(queued(other)) == 2)
            # Neither the mark nor the job tell any more, and no memory is left for the second try.
            other.flushall()
            other.config_set("min-replicas-to-write", "1")
            (error,) = pending.result(10)

    assert isinstance(error, OutboxUnavailable)
    assert error.doubtful


def test_the_age_of_a_spooled_event_counts_from_its_first_try(
    outbox: ResilientOutbox, proxy: RedisProxy, file: Path
) -> None:
    """Its mark does."""
    outbox.accept(spooled())
    proxy.lose_replies(2, "swallow")
    proxy.lose_replies(1_000, "close", command="TIME")
    before = time.time()
    outbox.accept(spooled())
    after = time.time()
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        (stored,) = spool.entries()

    assert after - before > 0.3
    assert stored.entry.since - before < 0.2


def test_an_event_that_was_spooled_without_a_reply_is_kept_as_doubtful(
    outbox: ResilientOutbox, proxy: RedisProxy, file: Path
) -> None:
    """And the next one, which was not sent, is not."""
    outbox.accept(spooled())
    proxy.lose_replies(2, "close")
    proxy.lose_replies(1_000, "close", command="TIME")
    for _ in range(2):
        outbox.accept(spooled())
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        doubtful = [stored.entry.doubtful for stored in spool.entries()]

    assert doubtful == [True, False]


@pytest.mark.parametrize("how", ["close", "swallow"])
def test_what_the_drainer_got_no_reply_for_is_not_doubled(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path, how: Any
) -> None:
    """It sends it again, as anybody."""
    proxy.refuse()
    receipts = [outbox.accept(spooled()) for _ in range(50)]
    proxy.lose_replies(5, how)
    proxy.admit()
    wait_until(lambda: waiting(file) == 0, 20)

    assert queued(client) == [job for receipt in receipts for job in receipt.jobs]


def test_a_drained_event_is_remembered_as_long_as_it_may_lie_in_the_spool(
    redis_url: str, client: redis.Redis, file: Path
) -> None:
    """Removing it from there may fail, or the machine, and then it is drained again days later."""
    event = spooled()
    put(file, an_entry(event))
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file, max_age="7d"))) as outbox:
        outbox.start()
        wait_until(lambda: waiting(file) == 0)

    assert client.ttl(f"trafficrelay:1:event:{event.id}") >= 7 * 86_400


def test_a_repeated_event_is_known_in_the_spool(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path
) -> None:
    """And answered with the first id; and when it comes again after the outage too."""
    proxy.refuse()
    first, again = (outbox.accept(spooled(dedupe="once", dedupe_window=60)) for _ in range(2))
    proxy.admit()
    wait_until(lambda: waiting(file) == 0)
    later = outbox.accept(spooled(dedupe="once", dedupe_window=60))

    assert (again.id, again.duplicate) == (first.id, True)
    assert (later.id, later.duplicate) == (first.id, True)
    assert queued(client) == list(first.jobs)


def test_a_repeated_event_that_redis_had_before_the_outage_is_not_doubled(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path
) -> None:
    """The spool does not know it, Redis does."""
    first = outbox.accept(spooled(dedupe="once", dedupe_window=60))
    proxy.refuse()
    outbox.accept(spooled(dedupe="once", dedupe_window=60))
    proxy.admit()
    wait_until(lambda: waiting(file) == 0)

    assert queued(client) == list(first.jobs)


@pytest.mark.parametrize(
    ("age", "doubtful", "letter"),
    [
        (EVENT_MARK_TTL - 20, True, False),
        (EVENT_MARK_TTL + 20, True, True),
        (EVENT_MARK_TTL + 20, False, False),
        (3 * 86_400 + 60, False, True),
        (-3600, False, True),
    ],
    ids=["doubtful", "doubtful and old", "old", "too old", "of the future"],
)
def test_an_event_too_old_to_be_sure_of_becomes_a_dead_letter(
    redis_url: str, client: redis.Redis, file: Path, age: int, doubtful: bool, letter: bool
) -> None:
    """Older than its mark: it may have run."""
    event = spooled(a_job(), a_job())
    put(file, an_entry(event, age=age, doubtful=doubtful))
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))) as outbox:
        outbox.start()
        wait_until(lambda: waiting(file) == 0)

    assert failed(client) == ([f"{event.id}-0"] if letter else [])
    assert queued(client) == ([] if letter else [f"{event.id}-1", f"{event.id}-2"])


def test_an_old_event_of_which_redis_has_a_job_is_no_dead_letter(
    redis_url: str, client: redis.Redis, file: Path
) -> None:
    """It was taken then."""
    event = spooled()
    with closing(RQOutbox(redis_url)) as direct:
        direct.accept(event)
    client.delete(*client.keys("trafficrelay:*"))
    put(file, an_entry(event, age=1000, doubtful=True))
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))) as outbox:
        outbox.start()
        wait_until(lambda: waiting(file) == 0)

    assert failed(client) == []
    assert queued(client) == [f"{event.id}-1"]


# What cannot go on


def test_a_full_spool_refuses_and_loses_nothing(proxy: RedisProxy, client: redis.Redis, file: Path) -> None:
    """Whatever was acknowledged arrives, whatever was not does not."""
    with closing(ResilientOutbox(RQOutbox(proxy.url + QUICK), spool=Spool(file, max_size="1MB"))) as outbox:
        proxy.refuse()
        results = [each(outbox, [spooled(a_job("x" * 50_000))])[0] for _ in range(40)]
        proxy.admit()
        wait_until(lambda: waiting(file) == 0)

    taken = [result for result in results if isinstance(result, Receipt)]
    assert 5 < len(taken) < 30
    assert all(isinstance(result, Receipt | SpoolError) for result in results)
    assert queued(client) == [job for receipt in taken for job in receipt.jobs]


def test_an_entry_that_cannot_be_handed_over_is_held_and_others_pass(
    redis_url: str, client: redis.Redis, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its queue's key is something else; or a later version wrote it."""
    client.set("rq:queue:spoiled", "x")
    future = replace(an_entry(spooled()), payload=b'{"v": 99}')
    put(file, an_entry(spooled(a_job(queue="spoiled"))), future, an_entry(spooled()))
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))) as outbox:
        outbox.start()
        wait_until(lambda: waiting(file) == 0)

    with closing(SpoolFile(file, max_size=1 << 24)) as spool:
        held = [stored.error for stored in spool.entries()]
    assert len(queued(client)) == 1
    assert ["rq:queue:spoiled" in held[0], "format 99" in held[1]] == [True, True]
    assert "stays in the spool" in caplog.text


class Choosy(Counting):
    """Has a fault with one event."""

    def __init__(self, outbox: Outbox, bad: str) -> None:
        super().__init__(outbox)
        self._bad = bad

    def mend(self) -> None:
        self._bad = ""

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        if any(handover.id == self._bad for group in groups for handover in group):
            return [OutboxUnavailable("Redis closed the connection.") for _ in groups]
        return super().accept_groups(groups)


def test_one_event_that_redis_fails_on_does_not_hold_up_the_others(
    redis_url: str, client: redis.Redis, file: Path
) -> None:
    """It is tried by itself from then on, and gets there when it can."""
    events = [spooled() for _ in range(4)]
    put(file, *(an_entry(event) for event in events))
    inner = Choosy(RQOutbox(redis_url), events[1].id)
    with closing(SpoolFile(file, max_size=1 << 24)) as storage:
        drain = Drain(storage, inner, max_age=600)
        failures = 0
        for _ in range(10):
            try:
                drain.run(lambda took: True)
            except OutboxUnavailable:
                failures += 1
            storage.add([an_entry(spooled())])
        left = storage.take(10)
        inner.mend()
        drain.run(lambda took: True)
        after = storage.summary()

    assert left[0].entry.id == events[1].id
    assert len(left) <= 3
    assert failures <= 2  # a breaker that opens again and again would send all others to the spool
    assert (after.waiting, after.held) == (0, 0)
    assert len(queued(client)) == 14


def test_a_spool_that_cannot_be_written_is_drained_all_the_same(
    redis_url: str, client: redis.Redis, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its disk is full: each event is handed over once, and removed when that is possible again."""
    put(file, *(an_entry(spooled()) for _ in range(200)))
    with closing(SpoolFile(file, max_size=1 << 24)) as storage:
        drain = Drain(storage, RQOutbox(redis_url), max_age=600)
        full = SpoolFull("The disk is full.", path=str(file))
        with (
            mock.patch.object(storage, "remove", side_effect=full),
            mock.patch.object(storage, "release", side_effect=full),
        ):
            moved = [drain.run(lambda took: True) for _ in range(3)]
        left = storage.summary().waiting
        drain.run(lambda took: True)

        assert storage.empty()
    assert moved == [200, 0, 0]
    assert left == 200
    assert len(queued(client)) == 200
    assert caplog.text.count("The disk is full") == 1


class Full(Counting):
    """Takes nothing, but answers when it is asked how it is."""

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        self.seen += [handover.id for group in groups for handover in group]
        return [OutboxUnavailable("Redis is out of memory.") for _ in groups]


def test_a_redis_that_takes_none_of_them_has_no_entry_held(redis_url: str, file: Path) -> None:
    """They are too large for what memory it has; by and by it has more."""
    put(file, *(an_entry(spooled()) for _ in range(3)))
    inner = Full(RQOutbox(redis_url))
    with closing(SpoolFile(file, max_size=1 << 24)) as storage:
        drain = Drain(storage, inner, max_age=600)
        for _ in range(15):
            with pytest.raises(OutboxUnavailable):
                drain.run(lambda took: True)
        summary = storage.summary()

    assert (summary.waiting, summary.held) == (3, 0)


def test_what_is_held_is_tried_again_by_and_by(redis_url: str, client: redis.Redis, file: Path) -> None:
    """By the next process at the latest: a later version may read what this one could not."""
    put(file, an_entry(spooled()))
    with closing(SpoolFile(file, max_size=1 << 24)) as storage:
        storage.hold(storage.take(1)[0].seq, "for some reason")
        assert storage.take(1) == []
        Drain(storage, RQOutbox(redis_url), max_age=600).run(lambda took: True)

    assert len(queued(client)) == 1


# Processes


def test_what_a_process_that_died_has_left_is_taken_over(redis_url: str, client: redis.Redis, file: Path) -> None:
    """By one that began before, too: it looks again and again."""
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))) as outbox:
        outbox.accept(spooled(a_job("first")))
        put(file, an_entry(spooled(a_job("left behind"))))
        wait_until(lambda: len(queued(client)) == 2)

    assert waiting(file) == 0


def in_a_child(outbox: ResilientOutbox, events: list[Handover], file: Path) -> None:
    for event in events:
        outbox.accept(event)
    (file.parent / "spooled").touch()
    wait_until(lambda: waiting(file) == 0)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_spools_and_drains_by_itself(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path
) -> None:
    """It shares the file with its parent and nothing else: the threads stay behind in a fork."""
    proxy.refuse()
    mine = [outbox.accept(spooled()) for _ in range(5)]
    events = [spooled() for _ in range(5)]
    child = multiprocessing.get_context("fork").Process(target=in_a_child, args=(outbox, events, file))
    child.start()
    wait_until((file.parent / "spooled").exists)
    kept = waiting(file)
    outbox.close()
    proxy.admit()
    child.join(20)

    assert child.exitcode == 0
    assert kept == 10
    expected = [job for receipt in mine for job in receipt.jobs] + [f"{event.id}-1" for event in events]
    assert queued(client) == expected


def test_closing_drains_what_there_is(redis_url: str, client: redis.Redis, file: Path) -> None:
    """Within its time, if Redis is there."""
    outbox = ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))
    outbox.accept(spooled())
    put(file, *(an_entry(spooled()) for _ in range(300)))
    outbox.close(10)

    assert waiting(file) == 0
    assert len(queued(client)) == 301


def test_closing_without_redis_says_what_is_left(
    outbox: ResilientOutbox, proxy: RedisProxy, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And does not wait for it."""
    proxy.refuse()
    for _ in range(3):
        outbox.accept(spooled())
    outbox.close(10)

    assert "3 events stay in the spool" in caplog.text
    assert waiting(file) == 3


# Limits and pauses


def test_what_was_accepted_is_drained_past_the_limits(
    outbox: ResilientOutbox, proxy: RedisProxy, client: redis.Redis, file: Path
) -> None:
    """They turn away what comes, not what was promised."""
    proxy.refuse()
    for _ in range(5):
        outbox.accept(spooled(limits=Limits(rate=Rate("1/h"), max_queued=1, max_lag=1)))
    proxy.admit()
    wait_until(lambda: waiting(file) == 0)

    assert len(queued(client)) == 5


def test_a_route_can_be_paused_into_the_spool(outbox: ResilientOutbox, client: redis.Redis, file: Path) -> None:
    """Whatever its policy for outages is; other routes' events pass it by; resumed, all arrive in order."""
    client.hset(PAUSED_KEY, "/in", "spool")
    receipts = [outbox.accept(spooled(spool=False)) for _ in range(70)]
    put(file, an_entry(spooled(route="/other")))
    wait_until(lambda: waiting(file) == 70)
    assert len(queued(client)) == 1
    client.hdel(PAUSED_KEY, "/in")
    wait_until(lambda: waiting(file) == 0)

    assert queued(client)[1:] == [job for receipt in receipts for job in receipt.jobs]


def test_a_dead_letter_that_is_run_again_is_not_spooled(
    outbox: ResilientOutbox, client: redis.Redis, file: Path
) -> None:
    """It lies where it came from, and would be settled before its jobs are there."""
    client.hset(PAUSED_KEY, "/in", "spool")
    results = each(outbox, [spooled(replay=True), spooled(settles="x-0")])

    assert [type(result) for result in results] == [RoutePaused, LetterGone]
    assert not file.exists() or waiting(file) == 0


def test_a_paused_route_is_not_tried_event_by_event(redis_url: str, client: redis.Redis, file: Path) -> None:
    """One look at it in a round tells of all; those of other routes behind them come through."""
    client.hset(PAUSED_KEY, "/in", "spool")
    events = [spooled() for _ in range(500)]
    put(file, *(an_entry(event) for event in events), an_entry(spooled(route="/other")))
    inner = Counting(RQOutbox(redis_url))
    with closing(SpoolFile(file, max_size=1 << 24)) as storage:
        moved = Drain(storage, inner, max_age=600).run(lambda took: True)

    assert moved == 1
    assert len(inner.seen) < 10


# The relay


def a_relay(url: str, file: Path | None, **options: Any) -> Relay:
    relay = Relay(url + QUICK, spool=file)
    relay.add(make_route(rule="/in", job="tests.jobs.echo", queue="hooks", **options))
    return relay


def test_a_sender_is_answered_as_ever_while_redis_is_away(
    proxy: RedisProxy, client: redis.Redis, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """202 with the ids of jobs to come; the log says once where events go."""
    caplog.set_level(logging.INFO, "trafficrelay")
    with closing(a_relay(proxy.url, file)) as relay:
        app = TestApp(relay.app)
        proxy.refuse()
        answers = [app.post_json("/in", {"n": n}, status=202).json for n in range(3)]
        ready = app.get("/-/ready", status=200)
        proxy.admit()
        wait_until(lambda: len(queued(client)) == 3)

    assert queued(client) == [job for answer in answers for job in answer["jobs"]]
    assert ready.json == {"status": "ready"}
    assert caplog.text.count(f"Events go to the spool {file}") == 1
    assert caplog.text.count("Redis takes events again") == 1


def test_a_sender_that_tries_again_is_told_to(proxy: RedisProxy, file: Path) -> None:
    """on_outage="refuse": 503 and Retry-After, and nothing in the spool."""
    with closing(a_relay(proxy.url, file, on_outage="refuse")) as relay:
        proxy.refuse()
        answer = TestApp(relay.app).post_json("/in", {}, status=503)

    assert int(answer.headers["Retry-After"]) > 0
    assert not file.exists()


@pytest.mark.parametrize(
    ("verify", "on_outage", "spools"),
    [
        (github("s"), None, True),
        (github("s"), "refuse", False),
        (standard_webhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None, False),
        (standard_webhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "spool", True),
        (None, None, True),
    ],
)
def test_whether_events_are_spooled_follows_the_sender(verify: Any, on_outage: str | None, spools: bool) -> None:
    """Those who never try again are, unless the route says otherwise."""
    assert make_route(verify=verify, on_outage=on_outage).spools is spools


def test_the_relay_is_not_ready_when_neither_redis_nor_the_spool_takes_events(
    proxy: RedisProxy, tmp_path: Path
) -> None:
    """Its directory is a file, say."""
    (tmp_path / "no").write_text("")
    with closing(a_relay(proxy.url, tmp_path / "no" / "spool.db")) as relay:
        app = TestApp(relay.app)
        app.get("/-/ready", status=200)
        proxy.refuse()

        app.get("/-/ready", status=503)
        app.post_json("/in", {}, status=503)


def test_a_relay_that_is_not_used_makes_no_file(redis_url: str, file: Path) -> None:
    """Nor one that never needed it, but for the moment of looking."""
    with closing(a_relay(redis_url, file)) as relay:
        TestApp(relay.app).post_json("/in", {}, status=202)

        assert not file.exists()


@pytest.mark.parametrize("bad", [7, "", b"", Path("/")])
def test_a_spool_that_is_no_path_is_refused_when_it_is_declared(bad: Any) -> None:
    """By the name of the option."""
    with pytest.raises(DeclarationError, match="spool") as caught:
        Relay("redis://localhost", spool=bad)
    assert caught.value.option == "spool"


@pytest.mark.parametrize("options", [{"max_size": "1KB"}, {"max_size": "much"}, {"max_size": True}, {"max_age": 5}])
def test_a_spool_of_no_use_is_refused_when_it_is_declared(options: Any) -> None:
    """Smaller than an event may be, or forgetting sooner than Redis."""
    with pytest.raises(DeclarationError) as caught:
        Spool("spool.db", **options)
    assert caught.value.option == next(iter(options))


@pytest.mark.parametrize(
    ("said", "size"), [("1MB", 1 << 20), ("2 GiB", 2 << 30), (1 << 21, 1 << 21), ("64m", 64 << 20)]
)
def test_a_size_is_read_as_people_write_it(said: Any, size: int) -> None:
    """In powers of 1024."""
    assert Spool("spool.db", max_size=said).size == size


def test_the_spool_keeps_no_credentials(proxy: RedisProxy, file: Path) -> None:
    """What is not stored in Redis is not stored there."""
    with closing(a_relay(proxy.url, file)) as relay:
        proxy.refuse()
        TestApp(relay.app).post_json("/in", {}, headers={"Authorization": "Bearer hunter2"}, status=202)
    stored = b"".join(path.read_bytes() for path in file.parent.glob("spool.db*"))

    assert b"/in" in stored
    assert b"hunter2" not in stored


def test_a_spool_of_the_first_format_is_read(redis_url: str, client: redis.Redis, file: Path) -> None:
    """What an earlier version packed; this text does not change with the code."""
    job = {"function": "tests.jobs.echo", "queue": "hooks", "data": {"n": 1}}
    options = {"retries": {"max": 2, "intervals": [10, 60], "at_front": False}, "timeout": 5, "result_ttl": None}
    options |= {"failure_ttl": 60, "delay": 0, "at_front": False}
    packed = {
        "v": 1,
        "id": "0" * 31 + "7",
        "route": "/in",
        "context": {"v": 1, "event": "0" * 31 + "7", "headers": {}},
        "jobs": [{**job, "options": options}],
        "dead_letter": None,
        "dedupe": '["/in"]',
        "dedupe_window": 60,
    }
    put(file, replace(an_entry(spooled()), payload=json.dumps(packed).encode()))
    with closing(ResilientOutbox(RQOutbox(redis_url), spool=Spool(file))) as outbox:
        outbox.start()
        wait_until(lambda: waiting(file) == 0)

    found = RQJob.fetch("0" * 31 + "7-1", connection=client)
    assert (found.args, found.timeout, found.retries_left, found.retry_intervals) == (({"n": 1},), 5, 2, [10, 60])


def test_a_redis_that_takes_long_does_not_hold_up_who_may_be_spooled(own: tuple[str, redis.Redis], file: Path) -> None:
    """While one waits for its answer, others are kept at once; who may not be spooled waits with it."""
    url, client = own
    pid = int(client.info("server")["process_id"])
    inner = Counting(RQOutbox(url + "?socket_timeout=20"))
    with closing(ResilientOutbox(inner, spool=Spool(file), patience=0.1)) as outbox, ThreadPoolExecutor(2) as pool:
        outbox.accept(spooled())
        os.kill(pid, signal.SIGSTOP)
        try:
            stuck = pool.submit(outbox.accept, spooled())
            wait_until(lambda: len(inner.seen) == 2)
            wait_until(lambda: outbox._process().is_slow(0.1))
            kept = outbox.accept(spooled())
            mixed = pool.submit(each, outbox, [spooled(), a_handover(route="/in")])
            wait_until(lambda: waiting(file) == 2)
            left = [stuck.done(), mixed.done()]
        finally:
            os.kill(pid, signal.SIGCONT)
        receipts = [stuck.result(20), kept, *mixed.result(20)]
        wait_until(lambda: waiting(file) == 0)

    assert left == [False, False]
    assert sorted(queued(client)[1:]) == sorted(job for receipt in receipts for job in receipt.jobs)
