"""What has failed: dead letters, and jobs that failed for good, found where RQ keeps failures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias

import redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from rq.results import Result
from rq.utils import utcformat

from ..errors import DeadLetterError
from ..event import now
from ..target import JobOptions
from .names import RQ_NAMES
from .payload import read_context, read_job_data
from .replies import translated
from .stored import HAND_OVER
from .writes import retries_again

PAGE: Final = 64
"""How many jobs are read in one round trip."""

Kind: TypeAlias = Literal["event", "handover", "job"]

KINDS: Final[tuple[Kind, ...]] = ("event", "handover", "job")
"""An event whose transform failed; one that was not handed over because Redis might have had it; a job that failed."""

_OURS: Final = re.compile(r"([0-9a-f]{32})-(\d{1,9})")
_FIELDS: Final = ("status", "origin", "description", "ended_at", "exc_info", "meta")
_TRACEBACK: Final = "Traceback (most recent call last):"
_GROUP: Final = re.compile(r"  \| ([^\W\d][\w.]*: .*)")
_EXCEPTION: Final = re.compile(r"[^\W\d][\w.]*(?=:|$)")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An event or a job that lies among RQ's failed jobs.

    Attributes:
        job: the id of its job.
        event: the id of its event.
        kind: what it is, one of `KINDS`.
        queue: the queue in whose failed registry it lies.
        route: the rule of its route.
        method: the method of its request.
        failed_at: when it failed last.
        received_at: when its event came; when it failed, where that is not known.
        error: the exception and its words, without the traceback. They may hold payload.
        function: the dotted name of what its job calls.
    """

    job: str
    event: str
    kind: Kind
    queue: str
    route: str
    method: str
    failed_at: datetime
    received_at: datetime
    error: str = field(repr=False)
    function: str = ""

    @property
    def error_type(self) -> str:
        """The exception's type, or the sentence in its place with its numbers left out: what errors are counted by."""
        match = _EXCEPTION.match(self.error)
        return match[0] if match else _NUMBER.sub("…", self.error.partition("\n")[0])[:80] or "unknown"

    @property
    def message(self) -> str:
        """The first line of the exception's words, without its type; of a sentence in its place all of it."""
        match = _EXCEPTION.match(self.error)
        words = self.error[match.end() :].removeprefix(":").lstrip() if match else self.error
        return words.partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are meant; what is left out is not asked for.

    Attributes:
        route: the rule of their route.
        since: when they failed at the earliest.
        until: before when they failed.
        error: what is in the exception's type or words, in whatever case.
        ids: the ids of their events or jobs.
        kind: what they are.
    """

    route: str = ""
    since: datetime | None = None
    until: datetime | None = None
    error: str = ""
    ids: frozenset[str] = frozenset()
    kind: Kind | None = None

    def takes_id(self, job: str) -> bool:
        """Whether a job of this id may be meant."""
        return not self.ids or job in self.ids or job.partition("-")[0] in self.ids

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            self.takes_id(letter.job)
            and self.route in ("", letter.route)
            and self.kind in (None, letter.kind)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and self.error.casefold() in letter.error.casefold()
        )


class Letters:
    """Finds letters and reads them. What is not a relay's is passed over, and so is what another serializer wrote.

    Args:
        client: a client of the Redis, without decoded responses.
        serializer: the relay's, as `rq.Queue` takes it.
        queues: queues that are looked into although RQ may not list them any more.
    """

    def __init__(self, client: redis.Redis, serializer: Any = None, *, queues: Iterable[str] = ()) -> None:
        self._redis = client
        self._serializer = serializer
        self._queues = tuple(queues)
        self._requeue = client.register_script(RQ_NAMES + files(__package__).joinpath("requeue.lua").read_text("utf-8"))

    def find(self, selection: Selection) -> Iterator[Letter]:
        """Give the letters that are meant, in no order, read in pages. One may come twice: that is how Redis scans.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        page: list[str] = []
        for job in self._failed_jobs():
            if not selection.takes_id(job):
                continue
            page.append(job)
            if len(page) == PAGE:
                yield from filter(selection.takes, self._read(page))
                page.clear()
        yield from filter(selection.takes, self._read(page))

    def get(self, job: str) -> Letter | None:
        """Give the letter of this job; `None` if it is none any more.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        return next(self._read([job]), None)

    def argument(self, letter: Letter) -> tuple[str, Mapping[str, Any]]:
        """Give the name of the function that a dead letter's job calls, and its argument.

        Raises:
            DeadLetterError: they cannot be read, or it has gone.
            OutboxUnavailable: Redis does not answer.
        """
        try:
            raw: Any = self._redis.hget(RQJob.key_for(letter.job), "data")
        except RedisError as error:
            raise translated(error) from error
        match read_job_data(raw or b"", self._serializer):
            case function, (dict() as argument,):
                return function, argument
        raise DeadLetterError("This dead letter was not stored whole and cannot be read.")

    def requeue(self, letter: Letter, options: JobOptions | None = None) -> bool:
        """Put a failed job back into its queue, in one step; `False` if it does not lie among the failed any more.

        Args:
            letter: the letter of the job.
            options: what its route says of such jobs today: it gets the retries again that they have.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        try:
            return bool(self._requeue(args=[utcformat(now()), letter.job, *retries_again(options)]))
        except RedisError as error:
            raise translated(error) from error

    def _failed_jobs(self) -> Iterator[str]:
        """Give the ids of all failed jobs that look like ours."""
        seen: set[str] = set()
        try:
            for queue in self._queue_names():
                if queue in seen:
                    continue
                seen.add(queue)
                registry = FailedJobRegistry.key_template.format(queue)
                for raw, _ in self._redis.zscan_iter(registry, count=PAGE):
                    job = raw.decode("utf-8", "replace")
                    if _OURS.fullmatch(job):
                        yield job
        except RedisError as error:
            raise translated(error) from error

    def _queue_names(self) -> Iterator[str]:
        yield from self._queues
        for key in self._redis.sscan_iter(Queue.redis_queues_keys, count=PAGE):
            yield key.decode("utf-8", "surrogateescape").removeprefix(Queue.redis_queue_namespace_prefix)

    def _read(self, jobs: list[str]) -> Iterator[Letter]:
        if not jobs:
            return
        with self._redis.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hmget(RQJob.key_for(job), _FIELDS)
                pipeline.xrevrange(Result.get_key(job), count=1)
            try:
                # A key that holds something else is an error of its own, and no letter.
                replies = pipeline.execute(raise_on_error=False)
            except RedisError as error:
                raise translated(error) from error
        for job, fields, results in zip(jobs, replies[::2], replies[1::2], strict=True):
            if isinstance(fields, list) and (letter := self._letter(job, fields, results)):
                yield letter

    def _letter(self, job: str, fields: list[bytes | None], results: Any) -> Letter | None:
        status, queue, description, ended_at, exc_info, meta = fields
        ours, context = _OURS.fullmatch(job), read_context(meta, self._serializer)
        if status != b"failed" or queue is None or ours is None or context is None:
            return None
        result = _failure(job, results)
        failed_at = result.created_at if result else _moment(ended_at, _NEVER)
        kind: Kind = "job" if int(ours[2]) else "event"
        # What it calls stands in its data, which may be large; the relay writes it here too.
        if kind == "event" and (description or b"").startswith(HAND_OVER.encode()):
            kind = "handover"
        return Letter(
            job=job,
            event=ours[1],
            kind=kind,
            queue=queue.decode("utf-8", "replace"),
            route=str(context.get("route", "")),
            method=str(context.get("method", "")),
            failed_at=failed_at,
            received_at=_moment(context.get("received_at"), failed_at),
            error=_error((result.exc_string if result else None) or _unpacked(exc_info)),
            function=(description or b"").decode("utf-8", "replace").removesuffix("(...)"),
        )


def _failure(job: str, results: Any) -> Result | None:
    """Read the newest result. Its return value is left out: it is the user's, and pickled."""
    try:
        (id_, payload), *_ = results
        known = {name: payload[name] for name in (b"type", b"exc_string") if name in payload}
        return Result.restore(job, id_.decode(), known, connection=None)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, zlib.error):
        return None  # there is none, or nothing of RQ's


def _unpacked(exc_info: bytes | None) -> str:
    """Read what RQ wrote before it kept results."""
    try:
        return zlib.decompress(exc_info or b"").decode("utf-8", "replace")
    except zlib.error:
        return (exc_info or b"").decode("utf-8", "replace")


def _moment(text: Any, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text.decode() if isinstance(text, bytes) else text)
    except (TypeError, ValueError):
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _error(traceback: str) -> str:
    """Give the exception of a traceback with its words, which may have several lines."""
    lines = traceback.rstrip().splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    if not begins:
        group = next(filter(None, map(_GROUP.match, lines)), None)
        return group[1] if group else next(iter(lines[-1:]), "")
    # Frames are indented; the exception is not.
    rest = iter(range(begins[-1] + 1, len(lines)))
    first = next((number for number in rest if not lines[number].startswith(" ")), len(lines) - 1)
    return "\n".join(lines[first:])
