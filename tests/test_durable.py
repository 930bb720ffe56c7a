"""`wait_replicas` and `fsync`: an event counts as taken when replicas, or the disk, have it; a repeated one too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from tests.handovers import a_handover, opened, queued
from tests.redis_proxy import RedisProxy
from tests.servers import own_valkey
from tests.waiting import wait_until
from trafficrelay import DeclarationError, Relay
from trafficrelay.errors import OutboxUnavailable, RoutePaused
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.names import PAUSED_KEY

pytestmark = pytest.mark.rq


class Pair(NamedTuple):
    """A master with one replica."""

    master: str
    replica: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with own_valkey() as master:
        settings = {"replicaof": f"127.0.0.1 {master.port}", "repl-diskless-load": "on-empty-db"}
        with own_valkey(data_dir=tmp_path_factory.mktemp("replica"), config=settings) as replica:
            with redis.Redis(port=replica.port) as client:
                wait_until(lambda: client.info("replication")["master_link_status"] == "up", 20)
                pid = int(client.info("server")["process_id"])
            yield Pair(master.connection_url, pid)


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """The pair, emptied; the replica runs again at the end."""
    with redis.Redis.from_url(servers.master) as client:
        client.flushall()
    yield servers
    os.kill(servers.replica, signal.SIGCONT)


def test_an_event_counts_as_taken_when_replicas_have_it(pair: Pair) -> None:
    """In the same round trip."""
    with RedisProxy(pair.master) as proxy, opened(proxy.url, wait_replicas=1) as outbox:
        outbox.accept(a_handover())
        before = proxy.trips
        receipt = outbox.accept(a_handover())
        trips = proxy.trips - before

    assert not receipt.duplicate
    assert trips == 1


def test_an_event_that_reaches_too_few_replicas_is_doubtful(pair: Pair) -> None:
    """It was written, and a failover would lose it: its sender has to come again."""
    with opened(pair.master, wait_replicas=2) as outbox, pytest.raises(OutboxUnavailable, match="replicas") as caught:
        outbox.accept(a_handover())

    assert caught.value.doubtful


def test_an_event_that_is_turned_away_waits_for_nobody(pair: Pair) -> None:
    """It was not written, so it is neither doubtful nor for the spool."""
    with redis.Redis.from_url(pair.master) as client:
        client.hset(PAUSED_KEY, "/in", "refuse")
    with opened(pair.master, wait_replicas=2) as outbox, pytest.raises(RoutePaused):
        outbox.accept(a_handover(route="/in"))


def test_a_repeated_event_waits_for_the_replicas_too(pair: Pair) -> None:
    """Also on another connection, to which Redis owes no waiting for what it did not write."""
    url = f"{pair.master}?socket_timeout=0.5"
    event = a_handover(dedupe="once", dedupe_window=60)
    again = a_handover(dedupe="once", dedupe_window=60)
    os.kill(pair.replica, signal.SIGSTOP)
    for handover in (event, event, again):
        with opened(url, wait_replicas=1) as outbox, pytest.raises(OutboxUnavailable):
            outbox.accept(handover)
    os.kill(pair.replica, signal.SIGCONT)
    with opened(pair.master, wait_replicas=1) as outbox:
        first, second = outbox.accept(event), outbox.accept(again)

    assert first.duplicate
    assert second.duplicate
    assert second.id == event.id
    with redis.Redis.from_url(pair.master) as client:
        assert queued(client) == list(first.jobs)


@pytest.mark.parametrize("when", ["always", "everysec"])
def test_an_event_counts_as_taken_when_it_is_on_the_disk(tmp_path: Path, when: str) -> None:
    """With `everysec` that takes up to a second, in which others come along."""
    settings = {"appendonly": "yes", "appendfsync": when}
    with (
        own_valkey(data_dir=tmp_path, config=settings) as server,
        opened(server.connection_url, fsync=True) as outbox,
    ):
        receipts = each(outbox, [a_handover() for _ in range(5)])
        again = outbox.accept(a_handover(event=receipts[0].id))  # type: ignore[union-attr]

    assert not any(isinstance(receipt, Exception) for receipt in receipts)
    assert again.duplicate


def test_a_redis_without_a_file_keeps_nothing_on_the_disk(pair: Pair) -> None:
    """It says so itself, and the event is not acknowledged."""
    with opened(pair.master, fsync=True) as outbox, pytest.raises(OutboxUnavailable, match="appendonly") as caught:
        outbox.accept(a_handover())

    assert caught.value.doubtful


@pytest.mark.parametrize(("name", "value"), [("wait_replicas", -1), ("wait_replicas", "1"), ("fsync", 1)])
def test_a_wrong_option_is_refused_when_it_is_declared(name: str, value: object) -> None:
    """By its name."""
    with pytest.raises(DeclarationError) as caught:
        Relay("redis://localhost", **{name: value})  # type: ignore[arg-type]
    assert caught.value.option == name
