"""The worker's loop: jobs go to threads, and what they have come to goes to Redis, all that there is at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from random import shuffle
from typing import Final

from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job as RQJob
from rq.utils import now
from rq.worker import BaseWorker

from ..errors import JobBroken
from .backlog import Backlog, may_be_its_size, size_of
from .deadlines import Watcher
from .dependents import enqueue_ready
from .doorbell import Doorbell
from .held import HAS_DEPENDENTS, NOT_OURS, UNWRITTEN, WRITTEN, Begun, Ended, Exchanged, Held
from .keeper import maintain
from .ledger import Ledger
from .pace import PATIENCE, Pace
from .running import Run
from .settings import Terms
from .taken import read
from .threads import JobThreads

log: Final = logging.getLogger("rq.worker")

_LINGER: Final = 0.001
"""Seconds that the first of several jobs waits for others to end, so that one round trip tells of all."""

_SUSPENDED_WAIT: Final = 1.0
_LONGEST_PAUSE: Final = 5.0
_LAST: Final = 1.0  # seconds, at a cold end, for what was just being written
GRACE: Final = 60.0
"""Seconds after its time-out after which a job that cannot be interrupted is given up, as by RQ's `Worker`."""


class Loop:
    """Works jobs off until there is a reason to end.

    Args:
        worker: RQ's side of the worker.
        ledger: Redis' side.
        watcher: sees that jobs keep their time.
        terms: how long, and in which way.
        check: raises if a job must not be run.
    """

    def __init__(
        self,
        worker: BaseWorker,
        ledger: Ledger,
        watcher: Watcher,
        terms: Terms,
        *,
        check: Callable[[RQJob], None] | None = None,
    ) -> None:
        self._worker = worker
        self._ledger = ledger
        self._watcher = watcher
        self._terms = terms
        self._check = check
        self._bell: Doorbell | None = None
        self._queues: list[Queue] = list(worker.queues)
        self._events: SimpleQueue[tuple[Run, Ended] | None] = SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._backlog = Backlog()
        self._threads = JobThreads(terms.concurrency)
        # Beside those of jobs: what has ended must not wait for what is long.
        self._finishers = JobThreads(1)
        self._turn = threading.Lock()
        self._maybe_jobs = True
        self._suspended = False
        self._stop = self._stop_said = False
        self._cold = False
        self._pause = 0.0
        self._pace = Pace(terms.concurrency)
        self._ended = 0
        self._idle_since = time.monotonic()

    def stop(self, *, cold: bool = False) -> None:
        """Take no more jobs, and end when those at hand have ended; or, cold, at once: they go back to their queues.

        May be called in a signal handler.
        """
        self._stop = True
        self._cold = self._cold or cold
        self._events.put(None)

    def ring(self) -> None:
        """Say that a queue may have jobs."""
        self._maybe_jobs = True
        self._events.put(None)

    def listen(self, bell: Doorbell) -> None:
        """Give what says when a queue has jobs. A burst, which does not wait, needs none."""
        self._bell = bell

    @property
    def runs(self) -> Sequence[Run]:
        """The jobs at hand."""
        return list(self._runs.values())

    def work(self) -> int:
        """Work, and give the number of jobs that have ended.

        Raises:
            SystemExit: the end was a cold one.
        """
        try:
            while not self._is_over():
                # In the main thread, where RQ's code may use signals. What is running goes on.
                if self._worker.should_run_maintenance_tasks:
                    maintain(self._worker)
                ended = self._gather()
                if self._cold:
                    self._drop_all(ended)
                if self._stop and not self._stop_said:
                    self._say_stop()
                self._exchange(ended)
        finally:
            self._threads.close(self._terms.concurrency)
            self._finishers.close(1)
        return self._ended

    def give_up_overdue(self) -> None:
        """Fail the jobs whose threads cannot be interrupted; others take the threads' places."""
        for run in self.runs:
            if run.overdue > GRACE and run.drop():
                self._threads.add()
                self._finishers.submit(partial(self._finish, run, run.give_up))

    def _is_over(self) -> bool:
        if self._runs or self._backlog:
            return False
        if self._stop:
            return True
        worker, terms = self._worker, self._terms
        if terms.max_jobs is not None and self._ended >= terms.max_jobs:
            log.info("Worker %s: finished executing %d jobs, quitting", worker.name, self._ended)
            return True
        if terms.burst and not self._suspended and not self._maybe_jobs:
            self._safely(self._look_for_ready)
        if terms.burst and not self._pause and (self._suspended or not self._maybe_jobs):
            log.info("Worker %s: %s", worker.name, "suspended, quitting" if self._suspended else "done, quitting")
            return True
        if terms.max_idle_time is not None and time.monotonic() - self._idle_since >= terms.max_idle_time:
            log.info("Worker %s: idle for %d seconds, quitting", worker.name, terms.max_idle_time)
            return True
        return False

    def _say_stop(self) -> None:
        self._stop_said = True
        if self._runs:
            log.info("waits for %d jobs to end; another signal puts them back into their queues", len(self._runs))
            self._safely(self._worker.set_shutdown_requested_date)

    def _look_for_ready(self) -> None:
        self._maybe_jobs = enqueue_ready(self._worker.connection, self._worker.serializer) > 0

    def _wanted(self) -> int:
        if self._stop:
            return 0
        wanted = self._terms.concurrency + self._pace.ahead - len(self._runs)
        if self._terms.max_jobs is not None:
            wanted = min(wanted, self._terms.max_jobs - self._ended - len(self._runs) - len(self._backlog))
        return max(0, wanted)

    def _gather(self) -> list[tuple[Run, Ended]]:
        """Wait until there is something to do; give the jobs that have ended."""
        items: list[tuple[Run, Ended] | None] = []
        try:
            wait = self._wait()
            if wait:
                items.append(self._events.get(timeout=wait))
            if 0 < self._events.qsize() + len(items) < len(self._runs):
                # Not one by one: each would wake this thread, and take the others' turn.
                time.sleep(_LINGER)
            while True:
                items.append(self._events.get_nowait())
        except Empty:
            return [item for item in items if item is not None]

    def _wait(self) -> float:
        """Say for how long nothing has to be done unless something happens."""
        if self._pause:
            return self._pause
        if self._backlog or self._cold:
            return 0.0 if self._backlog else _LAST / 10
        if self._suspended and not self._runs:
            return _SUSPENDED_WAIT
        wanted = self._wanted()
        if wanted and self._maybe_jobs and not self._suspended:
            return 0.0
        if len(self._runs) > self._terms.concurrency:
            return PATIENCE  # some wait for a thread
        if wanted and self._bell is not None and not self._suspended and (deaf := self._bell.arm()):
            return deaf
        idle = self._terms.max_idle_time
        if idle is not None and not self._runs:
            return max(0.01, min(5.0, idle - (time.monotonic() - self._idle_since)))
        return 5.0

    def _exchange(self, ended: Sequence[tuple[Run, Ended]]) -> None:
        for run, _ in ended:
            self._runs.pop(run.taken.execution.id, None)
        self._backlog.add(ended)
        try:
            self._withdraw()
            if self._pause:
                known = self._backlog.ids | {run.taken.held.id for run in self.runs}
                self._give_back(self._ledger.strays(known))
        except RedisError as error:
            self._wait_for_redis(error)
            return
        portion, wanted = self._backlog.portion(), self._wanted()
        try:
            got = self._send([ended for _, ended in portion], wanted)
        except RedisError as error:
            self._wait_for_redis(error)
            self._backlog.narrow(len(portion))
            # Redis has to take what is written else: then it is the size of this one, or the time that it takes.
            if len(portion) == 1 and may_be_its_size(error) and self._is_writable():
                self._fail_unstorable(self._backlog.refused())
            return
        self._pause = 0.0
        if got.suspended and not self._suspended:
            log.info("Worker %s: suspended, run `rq resume` to resume", self._worker.name)
        self._suspended = got.suspended
        if wanted:
            self._maybe_jobs = len(got.begun) >= wanted or got.more
        self._backlog.taken(len(portion))
        for (run, one), outcome in zip(portion, got.outcomes, strict=True):
            self._safely(partial(self._note, run, one, outcome))
        for begun in got.begun:
            self._safely(partial(self._begin, begun))
        if got.begun and self._terms.strategy == "round_robin":
            place = got.begun[-1].place
            self._queues = self._queues[place:] + self._queues[:place]
        if got.begun or portion:
            self._idle_since = time.monotonic()
        if wanted and self._bell is not None:
            self._bell.answered(found=bool(got.begun))

    def _safely(self, call: Callable[[], None]) -> None:
        """Do something about one job. If Redis does not answer, the job stays held, and is a stray from then on."""
        try:
            call()
        except RedisError as error:
            self._wait_for_redis(error)

    def _wait_for_redis(self, error: RedisError) -> None:
        if not self._pause:
            text = "Worker %s: Redis did not answer (%s: %s); this is tried again"
            log.error(text, self._worker.name, type(error).__name__, error)
        self._pause = min(_LONGEST_PAUSE, max(0.5, self._pause * 2))

    def _send(self, ended: Sequence[Ended], wanted: int) -> Exchanged:
        terms = self._terms
        if terms.strategy == "random":
            shuffle(self._queues)
        going_on = [run.taken.held.id for run in self.runs]
        return self._ledger.exchange(
            ended,
            queues=[queue.key for queue in self._queues],
            wanted=min(wanted, 1000),
            going_on=going_on,
            suspects=sum(run.taken.deaths >= 2 for run in self.runs),
            turns=terms.strategy != "default",
            interval=terms.interval,
            worker_ttl=self._worker.worker_ttl + 60,
        )

    def _begin(self, begun: Begun) -> None:
        worker, queue = self._worker, self._queues[begun.place - 1]
        try:
            taken = read(begun, queue, worker.job_class, worker.name, now(), worker.serializer)
        except JobBroken as error:
            log.error("Worker %s: job %s of %s was set aside. %s", worker.name, begun.id, queue.name, error)
            self._ledger.set_aside(begun, queue.name, str(error))
            return
        if log.isEnabledFor(logging.INFO):
            said = f": {taken.job.description} ({begun.id})" if worker.log_job_description else f": {begun.id}"
            log.info("Worker %s: %s%s", worker.name, queue.name, said)
        run = Run(worker, taken, self._watcher, self._ledger, self._turn, self._check)
        self._runs[taken.execution.id] = run
        self._threads.submit(lambda: self._run(run))

    def _run(self, run: Run) -> bool:
        if not run.begin():
            return True
        try:
            ended = run()
        except BaseException:
            # Whatever it is, the thread goes on; the ledger sees that nothing was written.
            log.exception("Worker %s: job %s could not be run", self._worker.name, run.taken.job.id)
            ended = Ended(run.taken.held.id, run.taken.held.execution, run.taken.job.origin)
        if ended is None:
            return False  # it was given up, and another thread has this one's place
        self._events.put((run, ended))
        return True

    def _note(self, run: Run, ended: Ended, outcome: int | bytes) -> None:
        worker, job = self._worker, run.taken.job
        if outcome == HAS_DEPENDENTS:
            self._runs[run.taken.execution.id] = run
            self._finishers.submit(partial(self._finish, run, run.finish_rqs_way))
            return
        self._ended += 1
        if outcome == WRITTEN and run.taken.deaths:
            self._ledger.absolve(run.taken.held)
        self._pace.took(run.seconds)
        if outcome == WRITTEN and ended.written:
            log.info("Worker %s: %s: Job OK (%s)", worker.name, job.origin, job.id)
            if worker.log_result_lifespan:
                ttl = ended.written[3]
                kept = f"is kept for {ttl} seconds" if ttl > 0 else "will never expire, clean up result key manually"
                log.info("Worker %s: job %s result %s", worker.name, job.id, kept)
        elif outcome == NOT_OURS:
            log.warning(
                "Worker %s: job %s was put back meanwhile; what it came to here is not written", worker.name, job.id
            )
        elif outcome == UNWRITTEN:
            # Unless Redis was away it counts as a death: what cannot be written must not be run for ever.
            self._give_back([run.taken.held], died=not run.unheard)
        elif isinstance(outcome, bytes):
            why = outcome.decode(errors="replace")
            log.error("Worker %s: job %s was set aside: %s", worker.name, job.id, why)
            self._ledger.set_aside(run.taken.held, job.origin, why)

    def _is_writable(self) -> bool:
        with suppress(RedisError):
            return bool(self._send([], 0))
        return False

    def _fail_unstorable(self, refused: tuple[Run, Ended] | None) -> None:
        if refused is None:
            return
        run, size = refused[0], size_of(refused[1])
        log.error(
            "Worker %s: Redis does not take the result of job %s (%d bytes)", self._worker.name, run.taken.job.id, size
        )
        self._runs[run.taken.execution.id] = run
        self._finishers.submit(partial(self._finish, run, partial(run.fail_unstorable, size)))

    def _give_back(self, jobs: Sequence[Held], *, died: bool = False) -> None:
        self._ledger.give_back(jobs, died=died)
        self._maybe_jobs = True

    def _finish(self, run: Run, write: Callable[[], Ended]) -> bool:
        self._events.put((run, write()))
        return True

    def _withdraw(self) -> None:
        """Give back what has waited for too long, because the jobs before it turned out to be long ones."""
        if len(self._runs) <= self._terms.concurrency:
            return
        waiting = [run for run in self.runs if run.waits]
        if not waiting or time.monotonic() - waiting[0].taken_at < PATIENCE:
            return
        self._pace.slow()
        given = [run for run in waiting if run.begin()]
        for run in given:
            # First: if Redis does not answer now, they are strays.
            del self._runs[run.taken.execution.id]
        self._give_back([run.taken.held for run in given])

    def _drop_all(self, ended: Sequence[tuple[Run, Ended]]) -> None:
        """Give back what has not ended, and write what has."""
        runs = [run for run in self.runs if run.drop()]
        for run in runs:
            del self._runs[run.taken.execution.id]
        self._exchange(ended)
        try:
            got = self._ledger.give_back([run.taken.held for run in runs])
        except RedisError:
            log.error("Worker %s: cold shut down; its jobs will be found", self._worker.name)
        else:
            text = "Worker %s: cold shut down; %d jobs go back to their queues, %d must not run twice and failed: %s"
            log.warning(text, self._worker.name, got.back, len(got.failed), ", ".join(got.failed[:10]) or "none")
        until = time.monotonic() + _LAST
        while self._runs and not self._pause and time.monotonic() < until:
            self._exchange(self._gather())
        raise SystemExit
