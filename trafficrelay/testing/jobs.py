"""What was queued, and what a test says it should have been."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..delivery.order import DELIVER
from ..errors import ClientError, DeclarationError
from ..event import Event
from ..options import job_name
from ..outbox.handover import Handover, Job, job_id
from ..target import JobOptions

__tracebackhide__ = True  # pytest shows the line of the test, and not those here


class _Anything:
    """The type of what a test leaves out."""

    def __repr__(self) -> str:
        return "<anything>"


ANYTHING: Final = _Anything()

FIELDS: Final = ("job", "deliver", "data", "queue")
"""What jobs are compared by, in the order in which they are shown."""


class Queued:
    """A job as it lies in the queue. It is shown as `queued(…)`, which is how a test writes what it expects.

    Attributes:
        job: the dotted name of its function; `None` of a delivery.
        deliver: the URL that a delivery goes to; `None` of a job.
        data: the job's argument; of a delivery what is delivered (the body's bytes where it is raw).
        queue: the name of its queue.
        id: its id, which `rq.get_current_job().id` will be.
        event: what `current_event()` gives in it.
        options: what RQ is told of it: `timeout`, `retries`, `delay`, `result_ttl`, … in seconds.
        to: the name of a delivery's destination.
        argument: what its function is called with.
        function: the dotted name of what a worker calls.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, handover: Handover, number: int, job: Job, deliver: str | None, to: str, data: Any) -> None:
        self.job: str | None = None if job.function == DELIVER else job.function
        self.deliver = deliver
        self.data = data
        self.queue = job.queue
        self.id = job_id(handover.id, number)
        self.options: JobOptions = job.options
        self.to = to
        self.function = job.function
        self.argument = job.data
        self.context = handover.context

    @property
    def event(self) -> Event:
        """What `current_event()` gives in the job."""
        event = Event.from_dict({**self.context, "query": {}, "remote_addr": "", "body": ""})
        object.__setattr__(event, "data", self.argument)  # frozen, and just made
        return event

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expected):
            return other == self
        return self.id == other.id if isinstance(other, Queued) else NotImplemented

    def __repr__(self) -> str:
        return _call(
            {name: getattr(self, name) for name in FIELDS if getattr(self, name) is not None or name == "data"}
        )


class Expected:
    """What a test says of a job. Made by `queued`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expected):
            return self.said == other.said
        if not isinstance(other, Queued):
            return NotImplemented
        return all(_matches(name, value, other) for name, value in self.said.items())

    def __repr__(self) -> str:
        return _call(self.said)


def queued(
    job: str | Callable[..., Any] | _Anything = ANYTHING,
    data: Any = ANYTHING,
    *,
    queue: str | _Anything = ANYTHING,
    deliver: str | _Anything = ANYTHING,
) -> Any:
    """Say what should have been queued; what is left out may be anything.

        assert answer.queued == [queued("shop.jobs.on_push", {"ref": "main"}, queue="hooks")]

    Args:
        job: the job's dotted name, or the function itself.
        data: its argument, or what is delivered. It may hold `unittest.mock.ANY`, or whatever else compares itself.
        queue: the queue's name.
        deliver: of a delivery its URL, or its destination's name, in place of `job`.

    Raises:
        ClientError: the job is neither a function nor a dotted name, or there is a job and a delivery.
    """
    if job is not ANYTHING and deliver is not ANYTHING:
        raise ClientError("queued(…) is of a job or of a delivery, not of both.")
    try:
        name = job if isinstance(job, _Anything) else job_name(job)
    except DeclarationError as error:
        raise ClientError(f"queued(…) does not name a job. {error}") from error
    said = {"job": name, "deliver": deliver, "data": data, "queue": queue}
    return Expected({key: value for key, value in said.items() if value is not ANYTHING})


class Jobs(list[Queued]):
    """The jobs of an answer, or of all answers so far: a list, and why there are these.

    Attributes:
        why: what became of the requests, a line each.
    """

    def __init__(self, jobs: Iterable[Queued] = (), why: Iterable[str] = ()) -> None:
        super().__init__(jobs)
        self.why = tuple(why)


def _matches(name: str, value: Any, job: Queued) -> bool:
    if name == "deliver":
        return job.deliver is not None and value in (job.deliver, job.to)
    return bool(getattr(job, name) == value)


def _call(said: dict[str, Any]) -> str:
    """Write it as the call of `queued` that describes it."""
    parts = [repr(said["job"])] if "job" in said else []
    if "deliver" in said:
        parts.append(f"deliver={said['deliver']!r}")
    if "data" in said:
        parts.append(repr(said["data"]) if "job" in said else f"data={said['data']!r}")
    if "queue" in said:
        parts.append(f"queue={said['queue']!r}")
    return f"queued({', '.join(parts)})"
