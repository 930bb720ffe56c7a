"""What is said of a Redis that loses, or may lose, what it has acknowledged."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.redis_proxy import RedisProxy
from tests.servers import own_valkey
from tests.waiting import wait_until
from trafficrelay.errors import OutboxUnavailable
from trafficrelay.outbox.connection import connect
from trafficrelay.outbox.durability import Durability, examine
from trafficrelay.standalone.valkey import find_binary

pytestmark = pytest.mark.rq

SAFE: dict[str, Any] = {
    "append_only": True,
    "append_fsync": "always",
    "fsync_in_rewrites": True,
    "evicts": "noeviction",
}
"""What has neither faults nor notes."""

REMEDY = "Set maxmemory-policy noeviction, with which it refuses events instead."


def examined(url: str) -> Durability:
    client = connect(url)
    try:
        return examine(client)
    finally:
        client.connection_pool.disconnect()


def with_settings(**settings: str) -> Durability:
    with own_valkey(config={name.replace("_", "-"): value for name, value in settings.items()}) as server:
        return examined(server.connection_url)


@contextlib.contextmanager
def a_user(client: redis.Redis, url: str, *forbidden: str) -> Iterator[str]:
    """Give the URL for a user who may not run these commands."""
    client.acl_setuser(
        "relay", enabled=True, passwords=["+hush"], keys=["*"], commands=["+@all", *(f"-{name}" for name in forbidden)]
    )
    try:
        yield url.replace("://", "://relay:hush@")
    finally:
        client.acl_deluser("relay")


def test_a_redis_that_keeps_all_has_no_faults_and_no_notes() -> None:
    """An append-only file that goes to the disk with each write, and no eviction."""
    found = with_settings(appendonly="yes", appendfsync="always", maxmemory="100mb")

    assert (found.append_only, found.append_fsync, found.fsync_in_rewrites) == (True, "always", True)
    assert (found.evicts, found.max_memory) == ("noeviction", 100 * 2**20)
    assert (found.role, found.replicas, found.loading) == ("master", 0, False)
    assert found.server.startswith("Valkey ")
    assert found.version >= (7, 2)
    assert found.faults() == ()
    assert found.notes() == ()


def test_a_redis_without_an_append_only_file_is_at_fault() -> None:
    """And its remedy is not a restart, which would lose all."""
    found = with_settings(appendonly="no")
    [fault] = found.faults()

    assert found.append_only is False
    assert fault.startswith("Redis keeps no append-only file: when it ends, whatever came after its last snapshot is")
    assert "Run CONFIG SET appendonly yes and then put it into its configuration" in fault
    assert found.notes() == ()


@pytest.mark.parametrize(("by_command", "kept"), [(True, b"1"), (False, None)])
def test_turning_the_file_on_keeps_what_is_there_only_as_the_fault_says(
    tmp_path: Path, by_command: bool, kept: bytes | None
) -> None:
    """CONFIG SET writes all into the new file; a restart with the setting alone reads an empty one."""
    with a_lasting_server(tmp_path, save="3600 1") as client:
        client.set("job", 1)
        if by_command:
            client.config_set("appendonly", "yes")
            wait_until(lambda: rewritten(client))
    snapshot = (tmp_path / "dump.rdb").exists()
    with a_lasting_server(tmp_path, appendonly="yes") as client:
        found = client.get("job")

    assert snapshot, "it was on the disk"
    assert found == kept


@contextlib.contextmanager
def a_lasting_server(directory: Path, **settings: str) -> Iterator[redis.Redis]:
    with (
        own_valkey(data_dir=directory, persist=True, config=dict(settings)) as server,
        redis.Redis.from_url(server.connection_url) as client,
    ):
        yield client


def rewritten(client: redis.Redis) -> bool:
    info: Any = client.info("persistence")
    return not info["aof_rewrite_scheduled"] and not info["aof_rewrite_in_progress"]


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ("allkeys-lru", "Redis drops jobs without a word (maxmemory-policy allkeys-lru)."),
        ("volatile-ttl", "dead letters, and the marks by which repeated events are known, which then run twice."),
    ],
)
def test_a_redis_that_evicts_is_at_fault(policy: str, what: str) -> None:
    """Of keys with a time to live too: ours are the marks that guard against doubles."""
    [fault] = with_settings(appendonly="yes", maxmemory="100mb", maxmemory_policy=policy).faults()

    assert what in fault
    assert fault.endswith(REMEDY)


def test_a_policy_that_evicts_is_no_fault_without_a_limit() -> None:
    """Nothing is ever full then; but the next who sets a maxmemory should know."""
    found = with_settings(appendonly="yes", appendfsync="always", maxmemory_policy="allkeys-lfu")
    [note] = found.notes()

    assert found.faults() == ()
    assert note == "maxmemory-policy is allkeys-lfu: as soon as somebody sets a maxmemory, Redis drops events."


@pytest.mark.parametrize(
    ("fsync", "loses"),
    [
        ("everysec", "within the last second (two, while the disk is busy) is lost when the machine loses power"),
        ("no", "since the kernel last wrote to the disk (some 30 seconds) is lost when the machine loses power"),
    ],
)
def test_what_a_loss_of_power_costs_is_noted(fsync: str, loses: str) -> None:
    """With the setting's name, and what closes the gap."""
    found = with_settings(appendonly="yes", appendfsync=fsync)
    [note] = found.notes()

    assert found.faults() == ()
    assert note.startswith(f"appendfsync is {fsync}: what it acknowledged ")
    assert loses in note
    assert note.endswith("appendfsync always, or Relay(fsync=True), loses nothing.")


def test_a_file_that_does_not_go_to_the_disk_while_it_is_rewritten_is_noted() -> None:
    """Whatever appendfsync says."""
    [note] = with_settings(appendonly="yes", appendfsync="always", no_appendfsync_on_rewrite="yes").notes()

    assert note.startswith("no-appendfsync-on-rewrite is yes: ")


def test_info_says_what_config_may_not(client: redis.Redis, redis_url: str) -> None:
    """Managed Redis forbids CONFIG; only when the file goes to the disk cannot be told then."""
    with a_user(client, redis_url, "config") as url:
        found, whole = examined(url), examined(redis_url)

    assert (found.append_only, found.evicts, found.max_memory) == (whole.append_only, whole.evicts, whole.max_memory)
    assert (found.append_fsync, found.fsync_in_rewrites) == (None, None)
    assert (found.server, found.role, found.replicas) == (whole.server, "master", 0)
    assert whole.append_only is not None


def test_config_says_what_info_may_not(client: redis.Redis, redis_url: str) -> None:
    """What the server is cannot be told then."""
    with a_user(client, redis_url, "info") as url:
        found, whole = examined(url), examined(redis_url)

    assert (found.append_only, found.append_fsync, found.evicts) == (
        whole.append_only,
        whole.append_fsync,
        whole.evicts,
    )
    assert (found.server, found.version, found.role, found.replicas) == ("", (), "", None)


def test_what_cannot_be_told_is_no_fault_but_is_said(client: redis.Redis, redis_url: str) -> None:
    """A user who may run neither command."""
    with a_user(client, redis_url, "config", "info") as url:
        found = examined(url)
    notes = found.notes()

    assert found == Durability()
    assert found.faults() == ()
    assert [note.partition(" cannot be told")[0] for note in notes] == [
        "Whether Redis keeps an append-only file (appendonly)",
        "Whether Redis evicts keys (maxmemory-policy)",
    ]


def test_all_is_asked_in_one_round_trip(redis_url: str) -> None:
    """It can be asked often."""
    with RedisProxy(redis_url) as proxy:
        client = connect(proxy.url)
        client.ping()
        before = proxy.trips
        examine(client)
        trips = proxy.trips - before
        client.connection_pool.disconnect()

    assert trips == 1


def test_a_replica_is_noted_on_both_sides() -> None:
    """The replica takes no events; the master may lose some in a failover."""
    with (
        own_valkey(config={"repl-diskless-sync-delay": "0"}) as master,
        own_valkey(config={"appendonly": "yes", "appendfsync": "always"}) as replica,
    ):
        with redis.Redis.from_url(replica.connection_url) as client:
            client.replicaof("127.0.0.1", master.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        upper, lower = examined(master.connection_url), examined(replica.connection_url)

    assert (upper.role, upper.replicas) == ("master", 1)
    assert any("Relay(wait_replicas=1) waits until it has." in note for note in upper.notes())
    assert lower.role == "replica"
    assert lower.notes() == ()
    assert lower.faults() == (
        "This Redis is a replica: it takes no events. Give the relay its master, or a redis+sentinel:// URL.",
    )


def test_a_redis_that_is_loading_its_data_can_be_asked_and_says_so(tmp_path: Path) -> None:
    """It answers both commands meanwhile."""
    with a_lasting_server(tmp_path, save="3600 1") as client:
        client.mset({f"key:{number}": "x" * 100 for number in range(5000)})
    # A millisecond for each key, answering in between.
    slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
    command = [str(find_binary()), "--port", "0", "--unixsocket", str(tmp_path / "s"), *slowly]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_until((tmp_path / "s").exists)
        found = examined(f"unix://{tmp_path / 's'}")
    finally:
        process.kill()
        process.wait()

    assert found.loading
    assert "Redis is still loading its data; until then it takes no events." in found.notes()


@pytest.mark.parametrize(
    ("more", "note"),
    [
        (
            {"server": "Redis 6.2.14", "version": (6, 2, 14)},
            "Redis 6.2.14 is older than Redis 7.2 and has no WAITAOF: Relay(fsync=True) cannot be used with it.",
        ),
        ({"append_fsync": None}, "When the append-only file goes to the disk (appendfsync) cannot be told."),
    ],
)
def test_what_servers_that_are_not_at_hand_here_say_is_noted(more: dict[str, Any], note: str) -> None:
    """Old ones, and managed ones."""
    [found] = Durability(**(SAFE | more)).notes()

    assert found.startswith(note)


@pytest.mark.parametrize("version", [(), (7, 2), (7, 2, 4), (8,)])
def test_newer_versions_and_unknown_ones_are_not_noted(version: tuple[int, ...]) -> None:
    """Only what is known to be too old."""
    assert Durability(**SAFE, version=version).notes() == ()


def test_a_limit_that_cannot_be_told_does_not_excuse_an_evicting_policy() -> None:
    """Who evicts has a limit, as a rule."""
    [fault] = Durability(**(SAFE | {"evicts": "allkeys-random", "max_memory": None})).faults()

    assert "allkeys-random" in fault


def test_a_redis_that_does_not_take_the_password_is_told_from_one_that_is_down(redis_url: str) -> None:
    """Errors are the outbox's."""
    with pytest.raises(OutboxUnavailable, match=r"^Redis does not take the name and password\.$"):
        examined(redis_url.replace("://", "://nobody:hush@"))
    with pytest.raises(OutboxUnavailable, match=r"^Redis does not answer\.$"):
        examined("redis://127.0.0.1:1")
