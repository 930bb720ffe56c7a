"""What an event becomes: jobs of the user's, or deliveries, where and under which condition."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from .backoff import Retries, retries
from .delivery.destination import Deliver, check_distinct, check_time, destinations
from .delivery.order import DELIVER
from .errors import DeclarationError
from .event import Event
from .options import Duration, check_plain, chooser, job_name, queue_name, seconds
from .transforms.expressions import condition


class Unsaid:
    """The type of an option that was left out where that is something else than `None`."""

    def __repr__(self) -> str:
        return "<left out>"


UNSAID: Final = Unsaid()

JOB_OPTIONS: Final = ("retry", "timeout", "result_ttl", "failure_ttl", "delay", "at_front", "at_least_once")
"""What a route says of its jobs, and a `To` in its place."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a route says of its jobs, in seconds. `None` leaves it to RQ.

    Attributes:
        retries: how often a failing job is run again.
        timeout: after how long a running job is stopped; -1 for never.
        result_ttl: how long a result is kept; -1 for ever.
        failure_ttl: how long a failed job is kept; -1 for ever.
        delay: how long after its event a job may start.
        at_front: whether jobs go to the front of their queue.
        at_least_once: whether a job whose worker died is run again.
        aside: how many bytes a job's argument may have; a larger one is kept under a key of its own. 0 for any.
    """

    retries: Retries | None = None
    timeout: int | None = None
    result_ttl: int | None = None
    failure_ttl: int | None = None
    delay: int = 0
    at_front: bool = False
    at_least_once: bool = True
    aside: int = 0

    @classmethod
    def read(cls, said: Mapping[str, Any], *, aside: int = 0) -> JobOptions:
        """Read `JOB_OPTIONS` as declared.

        Raises:
            DeclarationError: one of them is wrong.
        """
        for option in ("at_front", "at_least_once"):
            if not isinstance(said[option], bool):
                raise DeclarationError(f"{option} is True or False, not {said[option]!r}.", option=option)
        return cls(
            retries=retries(said["retry"]),
            timeout=lifetime(said["timeout"], "timeout", least=1),
            result_ttl=lifetime(said["result_ttl"], "result_ttl", least=0),
            failure_ttl=lifetime(said["failure_ttl"], "failure_ttl", least=1),
            delay=seconds(said["delay"], "delay", least=0),
            at_front=said["at_front"],
            at_least_once=said["at_least_once"],
            aside=aside,
        )


@dataclass(frozen=True, slots=True)
class To:
    """One of several things that an event becomes: `to=[To("shop.on_order", when="type == 'order'"), To(deliver=…)]`.

    What is left out is as its route says.

    Attributes:
        job: the job's dotted name, the function itself, or what chooses it, as for a route.
        deliver: in place of a job, a URL, a `Deliver`, or a list of these.
        queue: the queue's name, or a function of the event.
        when: a condition, in JMESPath over what the transforms gave, or a function of that. Without one it is for all.
        retry: how often a failing job is run again. A delivery's `schedule` says that in its place.
        timeout: after how long a running job is stopped.
        result_ttl: how long a result is kept.
        failure_ttl: how long a failed job is kept.
        delay: how long after its event a job may start.
        at_front: whether jobs go to the front of their queue.
        at_least_once: whether a job whose worker died is run again.

    Raises:
        DeclarationError: it has neither a job nor a URL, or an option is wrong.
    """

    job: Any = UNSAID
    deliver: Deliver | str | Sequence[Deliver | str] | None = field(default=None, kw_only=True, repr=False)
    queue: str | Callable[[Event], str] | Unsaid = field(default=UNSAID, kw_only=True)
    when: str | Callable[[Any], Any] | None = field(default=None, kw_only=True)
    retry: Any = field(default=UNSAID, kw_only=True, repr=False)
    timeout: Duration | Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    result_ttl: Duration | Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    failure_ttl: Duration | Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    delay: Duration | Unsaid = field(default=UNSAID, kw_only=True, repr=False)
    at_front: bool | Unsaid = field(default=UNSAID, kw_only=True, repr=False)
    at_least_once: bool | Unsaid = field(default=UNSAID, kw_only=True, repr=False)

    # What these say, read once.
    takes: Callable[[Any], bool] | None = field(init=False, repr=False, compare=False)
    destinations: tuple[Deliver, ...] = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # which shall see the options above

        def __new__(cls, *_, **options):
            """Refuse unknown options with a sentence, where Python's own error would only name them."""
            check_names("To", cls, options)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "takes", _condition(self.when))
        set_(self, "destinations", what(self.job, self.deliver, "This To"))
        if self.destinations and self.retry is not UNSAID:
            raise DeclarationError(_NO_RETRY.format("This To"), option="retry")


@dataclass(frozen=True, slots=True)
class Target:
    """What an event becomes, as the way of an event needs it.

    Attributes:
        job_of: the job's dotted name, or what chooses it.
        queue_of: the queue's name, or what chooses it.
        options: what RQ is told.
        destinations: what is delivered to, where the job is a delivery.
        takes: says of what the transforms gave whether it is for this target; `None` takes all.
    """

    job_of: str | Callable[[Event], str]
    queue_of: str | Callable[[Event], str]
    options: JobOptions
    destinations: tuple[Deliver, ...] = ()
    takes: Callable[[Any], bool] | None = None


_NO_RETRY: Final = "{} delivers, so retry= is its destination's: Deliver(url, schedule=[10, 60, 300])."


def what(job: Any, deliver: Any, owner: str) -> tuple[Deliver, ...]:
    """Read what an event becomes where that is deliveries; nothing where it is a job of the user's.

    Raises:
        DeclarationError: it is neither, or both.
    """
    if deliver is None:
        if job is UNSAID:
            raise DeclarationError(
                f'{owner} has no job. Say job="shop.jobs.on_push", or deliver="https://shop.example/hook".',
                option="job",
            )
        return ()
    if job is not UNSAID:
        raise DeclarationError(f"{owner} has a job and deliver=; say one of them.", option="deliver")
    return destinations(deliver)


def targets(
    rule: str, to: Any, *, job: Any, deliver: Any, queue: Any, said: Mapping[str, Any], aside: int
) -> tuple[Target, ...]:
    """Read what a route's events become.

    Args:
        rule: the route's rule, for errors.
        to: a list of `To`, or `None`.
        job: the route's job.
        deliver: the route's destinations.
        queue: the route's queue.
        said: the route's `JOB_OPTIONS`.
        aside: how many bytes a job's argument may have; 0 for any.

    Raises:
        DeclarationError: there is nothing that they become, or it is said twice, or an option is wrong.
    """
    if to is None:
        found = what(job, deliver, rule)
        if found and said["retry"] is not None:
            raise DeclarationError(_NO_RETRY.format(rule), option="retry")
        return (_target(job, found, queue, said, None, aside),)
    if job is not UNSAID or deliver is not None:
        raise DeclarationError(f"{rule} has to=, and a job or deliver= beside it; put them into To(…).", option="to")
    listed = list(to) if isinstance(to, list | tuple) else []
    if not listed or not all(isinstance(one, To) for one in listed):
        raise DeclarationError(
            'to is a list such as [To("shop.jobs.on_order", queue="orders"), To(deliver="https://…")].', option="to"
        )
    made = tuple(_of_to(one, queue, said, aside) for one in listed)
    check_distinct([destination for one in made for destination in one.destinations])
    return made


def _of_to(one: To, queue: Any, said: Mapping[str, Any], aside: int) -> Target:
    own = {option: getattr(one, option) for option in JOB_OPTIONS if getattr(one, option) is not UNSAID}
    if one.destinations:
        own["retry"] = None
    return _target(
        one.job,
        one.destinations,
        queue if isinstance(one.queue, Unsaid) else one.queue,
        {**said, **own},
        one.takes,
        aside,
    )


def _target(
    job: Any,
    found: tuple[Deliver, ...],
    queue: Any,
    said: Mapping[str, Any],
    takes: Callable[[Any], bool] | None,
    aside: int,
) -> Target:
    options = JobOptions.read(said, aside=aside)
    check_time(found, options.timeout)
    return Target(
        job_of=DELIVER if found else chooser(job, job_name, any_callable=False),
        queue_of=chooser(queue, queue_name, any_callable=True),
        options=options,
        destinations=found,
        takes=takes,
    )


def lifetime(value: Duration | None, option: str, *, least: int) -> int | None:
    """Read a time, -1 for ever, or `None`.

    Raises:
        DeclarationError: it is none of these.
    """
    if value is None:
        return None
    if value == -1:
        return -1
    return seconds(value, option, least=least)


def check_names(what: str, options_of: type, given: Iterable[str], *, without: tuple[str, ...] = ()) -> None:
    """Check the names of options.

    Args:
        what: what they are options of.
        options_of: the dataclass whose fields they are.
        given: the names.
        without: options that cannot be given here.

    Raises:
        DeclarationError: one is unknown.
    """
    known = sorted(entry.name for entry in fields(options_of) if entry.init and entry.name not in without)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
            raise DeclarationError(f"{what} has no option {name}. {hint}", option=name)


def _condition(when: Any) -> Callable[[Any], bool] | None:
    if when is None:
        return None
    if isinstance(when, str):
        return condition(when)
    check_plain("when", when)
    return lambda data: bool(when(data))
