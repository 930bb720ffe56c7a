"""The contenders as data: how each is started for each kind of job, and from which documentation that is.

All do one thing alike: they log warnings and errors only. Everything else that is not named here is their default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from redis import Redis

QUEUE = "bench"


@dataclass(frozen=True)
class Settings:
    """How a contender is started.

    Attributes:
        command: a script of the environment and its arguments; `{url}` stands for the Redis.
        concurrency: how many jobs it runs at once.
        source: the documentation that says so.
        guess: jobs a second, roughly, from which the first turn (which is not counted) takes its number of jobs.
        environment: what is set besides.
    """

    command: str
    concurrency: int
    source: str
    guess: float
    environment: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> str:
        """Give the command as one would type it."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), self.command])


@dataclass(frozen=True)
class Contender:
    """A worker that is measured.

    Attributes:
        name: what `--only` and the table call it.
        library: whose queue it takes from: `worker_contenders.<library>_app`.
        packages: the distributions whose versions are shown; the first is the contender itself.
        modules: what has to be there for it to run.
        settings: by kind of job; a kind that is not there is not measured.
        unfinished: how many of so many jobs the library's own keys in Redis do not yet show as done.
        checked: what `unfinished` looks at, in words.
    """

    name: str
    library: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    settings: Mapping[str, Settings]
    unfinished: Callable[[Redis, int], int] = field(repr=False)
    checked: str


def _rq_unfinished(client: Redis, total: int) -> int:
    # A job that ended is in the finished registry (results are kept for 500 s) and no longer in the started one.
    left = client.llen(f"rq:queue:{QUEUE}") + client.zcard(f"rq:wip:{QUEUE}")
    return max(left, total - client.zcard(f"rq:finished:{QUEUE}"))


def _dramatiq_unfinished(client: Redis, _total: int) -> int:
    # A message leaves the hash when it is acknowledged, after it ran.
    return client.hlen(f"dramatiq:{QUEUE}.msgs") + client.zcard(f"dramatiq:{QUEUE}.XQ")


def _huey_unfinished(client: Redis, _total: int) -> int:
    # A task leaves the list when it is taken: huey keeps no account of those that run.
    return client.llen(f"huey.redis.{QUEUE}")


def _saq_unfinished(client: Redis, _total: int) -> int:
    return client.zcard(f"saq:{QUEUE}:incomplete")


def _celery_unfinished(client: Redis, _total: int) -> int:
    return client.llen(QUEUE) + client.hlen("unacked")


_RQ_CHECK = "rq:finished holds them all, rq:wip and the queue are empty"
_DRAMATIQ_CHECK = "the queue's hash of unacknowledged messages and its dead letters are empty"
_RQ_DOCS = "rq docs, Workers"

_RQ = "rq worker -q -u {url}"
_RQ_POOL = "rq worker-pool -q -n 2 -u {url}"


def _rq(name: str, command: str, concurrency: int, source: str, nothing: float, fetch: float) -> Contender:
    return Contender(
        name=name,
        library="rq",
        packages=("rq",),
        modules=("rq",),
        settings={
            "nothing": Settings(f"{command} {QUEUE}", concurrency, source, nothing),
            "fetch": Settings(f"{command} {QUEUE}", concurrency, source, fetch),
        },
        unfinished=_rq_unfinished,
        checked=_RQ_CHECK,
    )


def contenders(relay_class: str) -> tuple[Contender, ...]:
    """List the contenders.

    Args:
        relay_class: the worker class that runs as RelayWorker.
    """
    relay = f"rq worker -q -w {relay_class} -u {{url}} {QUEUE}"
    return (
        Contender(
            name="RelayWorker",
            library="rq",
            packages=("trafficrelay", "rq"),
            modules=(relay_class.rpartition(".")[0],),
            settings={
                "nothing": Settings(relay, 0, "trafficrelay: its default concurrency", 2000),
                "fetch": Settings(
                    relay,
                    100,
                    "trafficrelay: the environment variable",
                    1000,
                    {"TRAFFICRELAY_CONCURRENCY": "100"},
                ),
            },
            unfinished=_rq_unfinished,
            checked=_RQ_CHECK,
        ),
        _rq("Worker", _RQ, 1, f"{_RQ_DOCS}: the default, a fork for each job", 60, 12),
        _rq("SimpleWorker", f"{_RQ} -w rq.worker.SimpleWorker", 1, f"{_RQ_DOCS}: no fork", 220, 17),
        _rq("WorkerPool", _RQ_POOL, 2, f"{_RQ_DOCS}, Worker Pool: -n 2, the default class", 80, 24),
        _rq(
            "WorkerPool simple",
            f"{_RQ_POOL} -w rq.worker.SimpleWorker",
            2,
            f"{_RQ_DOCS}, Worker Pool: -n 2, SimpleWorker is also an option",
            400,
            34,
        ),
        Contender(
            name="dramatiq",
            library="dramatiq",
            packages=("dramatiq", "gevent"),
            modules=("dramatiq", "gevent"),
            settings={
                "nothing": Settings(
                    "dramatiq -p 1 -t 8 worker_contenders.dramatiq_app",
                    8,
                    "dramatiq --help: 8 threads a process is the default",
                    1900,
                ),
                "fetch": Settings(
                    "dramatiq-gevent -p 1 -t 250 worker_contenders.dramatiq_app",
                    250,
                    "dramatiq docs, Advanced Topics, Using gevent: -t 250 for network I/O",
                    1200,
                ),
            },
            unfinished=_dramatiq_unfinished,
            checked=_DRAMATIQ_CHECK,
        ),
        # Not documented for such jobs, but the fastest that was found: so much more it takes at once.
        Contender(
            name="dramatiq gevent",
            library="dramatiq",
            packages=("dramatiq", "gevent"),
            modules=("dramatiq", "gevent"),
            settings={
                "nothing": Settings(
                    "dramatiq-gevent -p 1 -t 250 worker_contenders.dramatiq_app",
                    250,
                    "dramatiq docs, Advanced Topics, Using gevent; there for network I/O",
                    3000,
                ),
            },
            unfinished=_dramatiq_unfinished,
            checked=_DRAMATIQ_CHECK,
        ),
        Contender(
            name="huey",
            library="huey",
            packages=("huey", "gevent"),
            modules=("huey", "gevent"),
            settings={
                "nothing": Settings(
                    "huey_consumer -q -k thread -w 2 worker_contenders.huey_app.huey",
                    2,
                    "huey docs, Consuming Tasks: threads are the default, most want at least 2; 8 were slower",
                    2500,
                ),
                "fetch": Settings(
                    "huey_consumer -q -k greenlet -w 100 -C -s 60 worker_contenders.huey_app.huey",
                    100,
                    "huey docs, Consuming Tasks: greenlets for I/O, even hundreds; 50, its example, were slower",
                    1300,
                    {"BENCH_GREENLETS": "1"},
                ),
            },
            unfinished=_huey_unfinished,
            checked="the queue is empty; huey keeps no account of what runs",
        ),
        Contender(
            name="saq",
            library="saq",
            packages=("saq",),
            modules=("saq",),
            settings={
                "nothing": Settings(
                    "saq worker_contenders.saq_app.settings",
                    10,
                    "saq README: concurrency 10, its default",
                    1000,
                    {"BENCH_CONCURRENCY": "10"},
                ),
                "fetch": Settings(
                    "saq worker_contenders.saq_app.settings",
                    100,
                    "saq's docs name no figure for I/O: RelayWorker's 100; the job is a coroutine",
                    800,
                    {"BENCH_CONCURRENCY": "100"},
                ),
            },
            unfinished=_saq_unfinished,
            checked="its sorted set of incomplete jobs is empty",
        ),
        Contender(
            name="Celery",
            library="celery",
            packages=("celery", "kombu", "gevent"),
            modules=("celery", "gevent"),
            settings={
                "nothing": Settings(
                    "celery -q -A worker_contenders.celery_app worker -P solo "
                    "--without-gossip --without-mingle --without-heartbeat",
                    1,
                    "Celery docs, Optimizing: prefetch multiplier 128 for short tasks; solo was the fastest pool",
                    1000,
                    {"BENCH_PREFETCH": "128"},
                ),
                "fetch": Settings(
                    "celery -q -A worker_contenders.celery_app worker -P gevent -c 100 "
                    "--without-gossip --without-mingle --without-heartbeat",
                    100,
                    "Celery docs, Concurrency: gevent for I/O; 100 because the example's 1000 were slower",
                    650,
                ),
            },
            unfinished=_celery_unfinished,
            checked="the queue and the hash of unacknowledged messages are empty",
        ),
    )
