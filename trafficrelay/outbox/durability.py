"""What a Redis keeps of what it has acknowledged, read from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from ..errors import OutboxUnavailable
from .sentinel import trouble

WAITAOF_HASTY: Final = ((7, 4), (7, 4, 3))
"""The versions of Redis whose WAITAOF answers before the disk has it, unless `appendfsync` is `always`; it is so of
Valkey 9.1.2 too (measured: 46 answers in the time of 6 fsyncs). https://github.com/redis/redis/pull/13793"""

WAITAOF_SINCE: Final = (7, 2)
"""The version of Redis that brought WAITAOF; every Valkey has it. https://redis.io/docs/latest/commands/waitaof/"""

_UNTOLD: Final = "neither CONFIG GET nor INFO says it, which its user may not run, perhaps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """The settings on which it depends whether acknowledged events are kept.

    What could not be told is `None`, or empty: managed Redis forbids CONFIG, and a user may be forbidden INFO.

    Attributes:
        append_only: whether it keeps an append-only file (`appendonly`).
        append_fsync: when that goes to the disk: `always`, `everysec` or `no` (`appendfsync`).
        fsync_in_rewrites: whether it does so while the file is rewritten too (`no-appendfsync-on-rewrite no`).
        evicts: which keys go when the memory is full (`maxmemory-policy`), `noeviction` for none.
        max_memory: bytes at which it is full (`maxmemory`), 0 for never.
        server: what it calls itself, with its version: `Valkey 9.1.2`.
        version: the version of Redis that it is compatible with.
        role: `master` or `replica`.
        replicas: how many follow it now.
        loading: whether it is still reading its data.
    """

    append_only: bool | None = None
    append_fsync: str | None = None
    fsync_in_rewrites: bool | None = None
    evicts: str = ""
    max_memory: int | None = None
    server: str = ""
    version: tuple[int, ...] = ()
    role: str = ""
    replicas: int | None = None
    loading: bool = False

    @property
    def hasty(self) -> bool:
        """Whether WAITAOF answers before the disk has what was written."""
        first, mended = WAITAOF_HASTY
        affected = self.server.startswith("Valkey") or first <= self.version < mended
        return affected and self.append_fsync != "always"

    def faults(self) -> tuple[str, ...]:
        """Say, a sentence each, what makes it lose events that it has acknowledged, and what to do."""
        found = []
        if self.role == "replica":
            found.append(
                "This Redis is a replica: it takes no events. Give the relay its master, or a redis+sentinel:// URL."
            )
        if self.append_only is False:
            found.append(
                "Redis keeps no append-only file: when it ends, whatever came after its last snapshot is lost. Run "
                "CONFIG SET appendonly yes and then put it into its configuration (a restart with the setting alone "
                "begins with an empty file, and loses all)."
            )
        if self.evicts not in ("", "noeviction") and self.max_memory != 0:
            found.append(f"{self._what_goes()} Set maxmemory-policy noeviction, with which it refuses events instead.")
        return tuple(found)

    def notes(self) -> tuple[str, ...]:
        """Say, a sentence or two each, what else is to be known of what it keeps, and what could not be told."""
        return tuple(note for note in (*self._of_the_file(), *self._of_memory(), *self._of_the_server()) if note)

    def _of_the_file(self) -> tuple[str, ...]:
        if self.append_only is None:
            return (f"Whether Redis keeps an append-only file (appendonly) cannot be told: {_UNTOLD}.",)
        if not self.append_only:
            return ()
        return (_FSYNC.get(self.append_fsync or "", ""), _REWRITES if self.fsync_in_rewrites is False else "")

    def _of_memory(self) -> tuple[str, ...]:
        if not self.evicts:
            return (f"Whether Redis evicts keys (maxmemory-policy) cannot be told: {_UNTOLD}.",)
        if self.evicts != "noeviction" and self.max_memory == 0:
            return (f"maxmemory-policy is {self.evicts}: as soon as somebody sets a maxmemory, Redis drops events.",)
        return ()

    def _of_the_server(self) -> tuple[str, ...]:
        return (
            "Redis is still loading its data; until then it takes no events." if self.loading else "",
            "Replicas follow with a delay: a failover loses what has not reached the one that is promoted. "
            "Relay(wait_replicas=1) waits until it has."
            if self.replicas
            else "",
            f"{self.server} is older than Redis 7.2 and has no WAITAOF: Relay(fsync=True) cannot be used with it."
            if self.version and self.version < WAITAOF_SINCE
            else "",
        )

    def _what_goes(self) -> str:
        if self.evicts.startswith("volatile-"):
            return (
                f"When its memory is full (maxmemory), Redis drops keys that have a time to live (maxmemory-policy "
                f"{self.evicts}): dead letters, and the marks by which repeated events are known, which then run twice."
            )
        return f"When its memory is full (maxmemory), Redis drops jobs without a word (maxmemory-policy {self.evicts})."


# That the write itself may wait for two seconds, until the last fsync has ended, is flushAppendOnlyFile in aof.c; the
# rest https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
_EVERYSEC: Final = (
    "what it acknowledged within the last second (two, while the disk is busy) is lost when the machine loses power or "
    "its kernel crashes, and while the disk is busy when Redis is killed; otherwise killing Redis loses nothing. "
    "appendfsync always, or Relay(fsync=True), loses nothing."
)
_FSYNC: Final = {
    "everysec": f"appendfsync is everysec: {_EVERYSEC}",
    "": f"When the append-only file goes to the disk (appendfsync) cannot be told. With everysec, which is usual, "
    f"{_EVERYSEC}",
    "no": (
        "appendfsync is no: what it acknowledged since the kernel last wrote to the disk (some 30 seconds) is lost "
        "when the machine loses power or its kernel crashes. appendfsync always, or Relay(fsync=True), loses nothing."
    ),
}
_REWRITES: Final = (
    "no-appendfsync-on-rewrite is yes: while Redis rewrites its file or takes a snapshot, nothing goes to the disk "
    "whatever appendfsync says. Set it to no."
)


def examine(client: redis.Redis) -> Durability:
    """Ask a Redis, in one round trip, what it keeps.

    CONFIG GET says most; where it is forbidden or renamed, INFO says whether there is an append-only file and what is
    evicted, but not when the file goes to the disk.

    Raises:
        OutboxUnavailable: it does not answer.
    """
    try:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.config_get("*append*")
            pipeline.config_get("maxmemory*")
            pipeline.info()
            replies: list[Any] = pipeline.execute(raise_on_error=False)
    except RedisError as error:
        raise OutboxUnavailable(f"Redis {trouble(error)}.") from error
    files, memory, info = (reply if isinstance(reply, Mapping) else {} for reply in replies)
    append_only = _choice(files.get("appendonly", info.get("aof_enabled")))
    no_fsync = _choice(files.get("no-appendfsync-on-rewrite"))
    name, version = ("Valkey", info.get("valkey_version")) if "valkey_version" in info else ("Redis", "")
    compatible = str(info.get("redis_version", ""))
    role = str(info.get("role", ""))
    return Durability(
        append_only=append_only,
        append_fsync=files.get("appendfsync"),
        fsync_in_rewrites=None if no_fsync is None else not no_fsync,
        evicts=str(memory.get("maxmemory-policy", info.get("maxmemory_policy", ""))),
        max_memory=_number(memory.get("maxmemory", info.get("maxmemory"))),
        server=f"{name} {version or compatible}" if version or compatible else "",
        version=tuple(int(part) for part in compatible.split(".") if part.isdecimal()),
        role="replica" if role == "slave" else role,
        replicas=_number(info.get("connected_slaves")),
        loading=str(info.get("loading", "0")) == "1",
    )


def _choice(value: Any) -> bool | None:
    return {"yes": True, "1": True, "no": False, "0": False}.get(str(value))


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdecimal() else None
