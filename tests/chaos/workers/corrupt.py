"""Damages jobs that wait in a queue, in every way that we could think of."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, TypeAlias

import redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job

from .orders import Order, job_of

_Damage: TypeAlias = Callable[[Pipeline, Order], object]


def _field(name: str, value: bytes | str) -> _Damage:
    return lambda pipe, order: pipe.hset(Job.key_for(order.id), name, value)


def _without(name: str) -> _Damage:
    return lambda pipe, order: pipe.hdel(Job.key_for(order.id), name)


def _instead(key: Callable[[str], str], value: bytes | str = "somebody else's") -> _Damage:
    return lambda pipe, order: pipe.set(key(order.id), value)


def _as_list(pipe: Pipeline, order: Order) -> None:
    pipe.delete(Job.key_for(order.id))
    pipe.rpush(Job.key_for(order.id), "no", "hash")


def _only(**fields: str) -> _Damage:
    def damage(pipe: Pipeline, order: Order) -> None:
        pipe.delete(Job.key_for(order.id))
        pipe.hset(Job.key_for(order.id), mapping=fields)  # type: ignore[arg-type]

    return damage


DAMAGES: Final[dict[str, _Damage]] = {
    "created_at is no time": _field("created_at", "yesterday"),
    "created_at is no text": _field("created_at", b"\xff\xfe"),
    "enqueued_at is no time": _field("enqueued_at", "soon"),
    "started_at is no time": _field("started_at", "2026-13-45"),
    "no created_at": _without("created_at"),
    "no data": _without("data"),
    "no origin": _without("origin"),
    "no status": _without("status"),
    "origin is empty": _field("origin", ""),
    "origin is no text": _field("origin", b"\xff"),
    "origin is another queue": _field("origin", "elsewhere"),
    "status is nonsense": _field("status", "asleep"),
    "status is no text": _field("status", b"\xff\x00"),
    "status is finished": _field("status", "finished"),
    "data is no pickle": _field("data", b"this is no pickle"),
    "data is packed garbage": _field("data", zlib.compress(b"\x80\x05\x95garbage")),
    "data is cut short": _field("data", zlib.compress(b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00(\x8c\x04")),
    "data is empty": _field("data", b""),
    "data names what is not there": _field("data", zlib.compress(b"\x80\x04(\x8c\x0bno.such.job\x94N)}t.")),
    "data is another tuple": _field("data", zlib.compress(b"\x80\x04K\x01.")),
    "meta is garbage": _field("meta", b"\x80garbage"),
    "timeout is no number": _field("timeout", "never"),
    "timeout is infinite": _field("timeout", "inf"),
    "timeout is huge": _field("timeout", str(10**15)),
    "timeout is no whole number": _field("timeout", "nan"),
    "result_ttl is no number": _field("result_ttl", "long"),
    "result_ttl is huge": _field("result_ttl", str(10**18)),
    "failure_ttl is no number": _field("failure_ttl", "{}"),
    "retries_left is no number": _field("retries_left", "some"),
    "retry_intervals is no JSON": _field("retry_intervals", "[1,"),
    "retry_intervals is no list": lambda pipe, order: pipe.hset(
        Job.key_for(order.id), mapping={"retries_left": "1", "retry_intervals": '"abc"'}
    ),
    "repeats_left is no number": _field("repeats_left", "twice"),
    "dependency_ids is no JSON": _field("dependency_ids", b"\x80["),
    "dependency_ids is a number": _field("dependency_ids", "7"),
    "enqueue_at_front is no number": _field("enqueue_at_front", "yes"),
    "worker_name is no text": _field("worker_name", b"\xff"),
    "description is no text": _field("description", b"\xff\xfe"),
    "a callback that is not there": _field("success_callback_name", "no.such.callback"),
    "a callback that is no text": _field("failure_callback_name", b"\xff"),
    "a callback's timeout is no number": lambda pipe, order: pipe.hset(
        Job.key_for(order.id), mapping={"success_callback_name": "x.y", "success_callback_timeout": "z"}
    ),
    "webhooks is garbage": _field("webhooks", "garbage"),
    "deaths is no number": _field("trafficrelay_deaths", "many"),
    "deaths is nan": _field("trafficrelay_deaths", "nan"),
    "the hash is a string": lambda pipe, order: pipe.set(Job.key_for(order.id), "no hash"),
    "the hash is a list": _as_list,
    "the hash has one field": _only(status="queued"),
    "the hash has other fields": _only(hello="world"),
    "the hash is gone": lambda pipe, order: pipe.delete(Job.key_for(order.id)),
    "its executions are a string": _instead(lambda id_: f"rq:executions:{id_}"),
    "its results are a string": _instead(lambda id_: f"rq:results:{id_}"),
    "its dependents are a string": _instead(lambda id_: f"{Job.key_for(id_)}:dependents"),
}
"""What is done to a job. Some of these jobs can be run all the same."""

GONE: Final = frozenset({"the hash is gone"})
"""Those of which nothing is left to be found anywhere."""

VISIBLE: Final = {"origin is another queue": ("a queue",)}
"""Where else than among the ended ones and those set aside a damaged job may lie: nobody works on that queue."""


def strange_ids(client: redis.Redis, queue: str) -> list[bytes]:
    """Push what is no id of anything, and ids of hashes that nobody could have made; give them."""
    ids = [b"", b"\xff\xfe\xfd-1", b"a:b:c", b"x" * 10_000, "größe-1".encode(), b"-1\r\n"]
    with client.pipeline() as pipe:
        for number, id_ in enumerate(ids):
            if number % 2:
                pipe.hset(b"rq:job:" + id_, mapping={"status": "queued", "origin": queue, "data": b"?"})
            pipe.lpush(Queue(queue, connection=client).key, id_)
        pipe.execute()
    return ids


def enqueue_damaged(order: Order, client: redis.Redis) -> None:
    """Enqueue a job and damage it in the same step."""
    with client.pipeline() as pipe:
        Queue(order.queue, connection=client).enqueue_job(job_of(order, client), pipeline=pipe)
        DAMAGES[order.damage](pipe, order)
        pipe.execute()
