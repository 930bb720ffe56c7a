"""RelayWorker: RQ's worker with many jobs at once, none of which is lost with it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, Final

from redis.exceptions import RedisError
from rq import worker_registration
from rq.command import handle_command, parse_payload
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import DequeueStrategy, SimpleWorker

from ..errors import DeclarationError
from ..logs import install
from ..outbox.connection import connect
from ..standalone.target import load_target
from ..sweep.sweeper import Sweeper
from ..sweep.thread import SweepThread
from .allowed import Allowed, DisarmedJob
from .deadlines import Watcher
from .dependents import enqueue_ready, tell_dependents
from .doorbell import Doorbell
from .held import Living
from .keeper import BEAT, Keeper, Watch
from .ledger import Ledger
from .loop import Loop
from .scheduling import ThreadScheduler
from .settings import Settings, Terms

log: Final = logging.getLogger("rq.worker")


_SPARE: Final = 100
_ABANDONED: Final = 45.0
"""Seconds without a sign of life after which RQ may have taken jobs for abandoned. It waits for 60 at least."""

_LEAVING: Final = 10.0


class RelayWorker(SimpleWorker):
    """An RQ worker that runs many jobs at once, in threads, and loses none of them when it dies.

    It is run as `rq worker -w trafficrelay.worker.RelayWorker QUEUE…` or `trafficrelay worker MODULE:RELAY`. Everything
    of RQ's that a job may use works as under RQ's own workers; docs/workers.md says where threads set limits.

    Attributes:
        settings: what its environment says (`TRAFFICRELAY_CONCURRENCY`, …), read when it starts to work.
    """

    settings: Settings | None = None
    _loop: Loop | None = None

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: DequeueStrategy = DequeueStrategy.DEFAULT,
    ) -> bool:
        """Work jobs off, with the arguments of RQ's own `work`. The scheduler runs whatever `with_scheduler` says.

        Returns:
            Whether any job has ended.

        Raises:
            DeclarationError: the environment says what cannot be.
        """
        settings = self.settings or Settings.of(os.environ)
        allowed = _allowed(settings, self.serializer)
        if allowed is not None:
            # RQ's maintenance calls the callbacks of jobs that it finds abandoned, which nobody has looked at.
            self.queues = [
                self.queue_class(
                    queue.name, connection=self.connection, job_class=DisarmedJob, serializer=self.serializer
                )
                for queue in self.queues
            ]
        terms = Terms(
            concurrency=settings.concurrency,
            burst=burst,
            max_jobs=max_jobs,
            max_idle_time=max_idle_time,
            strategy=_strategy(dequeue_strategy),
            interval=self.job_monitoring_interval,
        )
        self.bootstrap(logging_level, date_format, log_format)
        try:
            return self._work(settings, terms, allowed, logging_level, date_format, log_format)
        except SystemExit:
            # Told twice to end. What jobs have started would keep the process, and they are run elsewhere by now.
            logging.shutdown()
            os._exit(0)

    def _work(
        self,
        settings: Settings,
        terms: Terms,
        allowed: Allowed | None,
        logging_level: str | None,
        date_format: str,
        log_format: str,
    ) -> bool:
        burst = terms.burst
        with ExitStack() as stack:
            stack.callback(self._leave)
            install(log, logging.getLogger())
            only = f", none but those that {settings.only} names" if settings.only else ""
            log.info("Worker %s: %d jobs at once%s", self.name, settings.concurrency, only)
            # Jobs that take RQ's own way take a connection each; redis-py stops at 100.
            pool = self.connection.connection_pool
            pool.max_connections = max(pool.max_connections, 2 * settings.concurrency + _SPARE)
            client = connect(self.connection)
            stack.callback(client.connection_pool.disconnect)
            ledger = Ledger(client, self.name, max_deaths=settings.max_deaths)
            stack.callback(_quietly, ledger.leave)
            watcher = Watcher()
            stack.callback(watcher.close)
            loop = self._loop = Loop(self, ledger, watcher, terms, check=allowed.check if allowed else None)
            self._install_signal_handlers()
            # One of the same name may have died: what it held would look like this one's own.
            _quietly(lambda: ledger.give_back(ledger.strays(()), died=True))
            self._start_scheduler(burst, logging_level, date_format, log_format)
            for tasks in (self._beats(loop, ledger), self._looks(loop, ledger)):
                stack.callback(Keeper(tasks).close)
            if not burst:
                bell = Doorbell(connect(self.connection), self.queue_keys(), loop.ring)
                stack.callback(bell.close)
                loop.listen(bell)
                sweep = SweepThread(lambda: Sweeper(connect(self.connection), deaths=settings.max_deaths))
                sweep.start()
                stack.callback(sweep.stop)
            return bool(loop.work())

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """End when the jobs at hand have ended (warm shutdown)."""
        if self._is_in_child(signum):
            return
        self._shutdown_requested_date = now()
        self._stop_requested = True
        signal.signal(signal.SIGINT, self.request_force_stop)
        signal.signal(signal.SIGTERM, self.request_force_stop)
        self.handle_warm_shutdown_request()
        if self._loop is not None:
            self._loop.stop()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at once, if more than a second has passed since the first signal: the jobs go back to their queues."""
        if self._is_in_child(signum):
            return
        first = self._shutdown_requested_date or now()
        if (now() - first).total_seconds() > 1 and self._loop is not None:
            log.warning("Worker %s: cold shut down", self.name)
            self._loop.stop(cold=True)

    def _is_in_child(self, signum: int) -> bool:
        """Say whether this is a process that a job has forked, and end that as if the worker had no handlers."""
        if os.getpid() == self.pid:
            return False
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        return True

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Do what somebody commands (`rq.command`). Jobs are stopped as far as threads can be."""
        try:
            payload = parse_payload(message)
            command = payload["command"]
            wanted = payload.get("execution_id") or payload.get("job_id")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Anybody can publish there. It must not end the thread that listens.
            log.warning("Worker %s: a command that is none was ignored (%s)", self.name, type(error).__name__)
            return
        if command not in ("stop-job", "stop-execution"):
            handle_command(self, payload)
            return
        runs = self._loop.runs if self._loop is not None else ()
        found = [run for run in runs if wanted in (run.taken.held.id, run.taken.held.execution)]
        for run in found:
            run.stop()
        if not found:
            log.warning("Worker %s: not working on %s, command ignored.", self.name, wanted)

    def stop_scheduler(self) -> None:
        """End the scheduler's thread."""
        if isinstance(self.scheduler, ThreadScheduler):
            self.scheduler.stop_thread()

    def _start_scheduler(
        self,
        burst: bool = False,
        logging_level: str | None = "INFO",
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
    ) -> None:
        """Start the scheduler as RQ does, in a thread."""
        self.scheduler = ThreadScheduler(
            self.queues,
            connection=self.connection,
            logging_level=logging_level if logging_level is not None else self.log.level,
            date_format=date_format,
            log_format=log_format,
            serializer=self.serializer,
        )
        if not burst:
            self.scheduler.start()
            return
        self.scheduler.acquire_locks()
        if self.scheduler.acquired_locks:
            try:
                self.scheduler.register_birth()
                self.scheduler.enqueue_scheduled_jobs()
            finally:
                self.scheduler.release_locks()
                self.scheduler.register_death()

    def _leave(self) -> None:
        # In a thread: RQ's connection waits for minutes if Redis is frozen.
        leaving = threading.Thread(target=_quietly, args=(self.teardown,), name="trafficrelay-leaving", daemon=True)
        leaving.start()
        leaving.join(_LEAVING)

    def _beats(self, loop: Loop, ledger: Ledger) -> list[tuple[float, Callable[[], object]]]:
        """Give what says that the worker lives: in a thread of its own, which nothing holds up."""
        interval = self.job_monitoring_interval
        heard = time.monotonic()

        def beat(*, aloud: bool) -> None:
            nonlocal heard
            gap = time.monotonic() - heard > _ABANDONED
            running = [
                Living(
                    run.taken.held.id,
                    run.taken.held.execution,
                    run.taken.job.origin,
                    min(interval, t) + 60 if (t := run.taken.timeout) > 0 else interval + 60,
                    revive=gap and run.is_at_work,
                )
                for run in loop.runs
            ]
            if ledger.beat(running, worker_ttl=self.worker_ttl + 60, aloud=aloud or gap):
                with self.connection.pipeline() as pipeline:
                    pipeline.hset(self.key, mapping=self.serialize())
                    worker_registration.register(self, pipeline)
                    pipeline.execute()
            heard = time.monotonic()

        return [(BEAT, lambda: beat(aloud=False)), (max(1, interval), lambda: beat(aloud=True))]

    def _looks(self, loop: Loop, ledger: Ledger) -> list[tuple[float, Callable[[], object]]]:
        """Give what is done beside the jobs, and how often."""
        watch = Watch(ledger, lambda ids: tell_dependents(ids, self.connection, self.serializer))
        return [
            (BEAT, loop.give_up_overdue),
            (BEAT, watch.look),
            (BEAT, lambda: enqueue_ready(self.connection, self.serializer)),
        ]


def _strategy(strategy: Any) -> str:
    name = str(getattr(strategy, "value", strategy))
    if name not in ("default", "round_robin", "random"):
        raise ValueError(f"Dequeue strategy {name} is not allowed. Use `default`, `random` or `round_robin`.")
    return name


def _allowed(settings: Settings, serializer: Any) -> Allowed | None:
    """Read what the worker may run, if it may not run everything.

    Raises:
        TargetError: there is no such relay.
        DeclarationError: what it may run is not known, or its payloads run before anybody can look at them.
    """
    if not settings.only:
        return None
    allowed = Allowed.of(load_target(settings.only), settings.also)
    if serializer is not JSONSerializer:
        raise DeclarationError(
            "A worker that runs only what the routes name reads JSON: give it `--serializer json`. A pickle runs code "
            "when it is read.",
            option="serializer",
        )
    return allowed


def _quietly(call: Callable[[], object]) -> None:
    """Do something at the end that a Redis which is away must not keep from ending."""
    try:
        call()
    except RedisError as error:
        log.warning("Redis does not answer (%s); RQ will forget the worker by itself", type(error).__name__)
