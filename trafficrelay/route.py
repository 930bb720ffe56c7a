"""The route: a URL rule, what it accepts, who may send, how it is reshaped and what it becomes."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypedDict

from .backoff import Retries, retries
from .delivery.destination import Deliver, check_time, destinations
from .delivery.order import DELIVER
from .errors import DeclarationError
from .event import Event
from .limits import Limits, limits
from .options import (
    DedupeKey,
    Duration,
    check_plain,
    chooser,
    dedupe_key,
    job_name,
    queue_name,
    seconds,
)
from .rate import Rate
from .reply import EMPTY, PIXEL, Reply
from .transform import Transform, keep_data
from .verify import schemes
from .verify.schemes import Verifier

MAX_BODY: Final = 1024 * 1024
"""Bytes that a body may have unless the route says otherwise: 1 MiB."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

WILDCARD: Final = re.compile(r"<([a-zA-Z_][a-zA-Z_0-9]*)(?::([a-zA-Z_]+)(?::(?:\\.|[^\\>])+)?)?>")
"""One of Bottle's wildcards, its name and its filter: `<name>`, `<name:filter>`, `<name:filter:config>`."""

_READY_REPLIES: Final = {"empty": EMPTY, "pixel": PIXEL}


class _Unsaid:
    """The type of an option that was left out where leaving it out is an error."""

    def __repr__(self) -> str:
        return "<left out>"


UNSAID: Final = _Unsaid()


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What RQ is told of a route's jobs, in seconds. `None` leaves it to RQ.

    Attributes:
        retries: how often a failing job is run again.
        timeout: after how long a running job is stopped; -1 for never.
        result_ttl: how long a result is kept; -1 for ever.
        failure_ttl: how long a failed job is kept; -1 for ever.
        delay: how long after its event a job may start.
        at_front: whether jobs go to the front of their queue.
        at_least_once: whether a job whose worker died is run again.
    """

    retries: Retries | None = None
    timeout: int | None = None
    result_ttl: int | None = None
    failure_ttl: int | None = None
    delay: int = 0
    at_front: bool = False
    at_least_once: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One declared route. Everything is checked when it is made.

    Attributes:
        rule: Bottle's URL rule, wildcards and filters included: `"/hooks/<shop>"`, `"/orders/<id:int>"`.
        verify: the verifier, or `None` for a route that is open to everybody. It must be said.
        job: the job's dotted name or the function itself; or, to choose one for each event, a lambda of the event or
            `per_event(function)`.
        deliver: in place of a job, the URL that events are forwarded to, a `Deliver`, or a list of these. Each item of
            each event is one job for each destination. Tries and waits are the destination's, not `retry`.
        queue: the queue's name, or a function of the event.
        methods: the HTTP methods that it takes.
        transform: the function of the event that gives the job's argument; the event's data as it is where left out.
        dedupe: by what a repeated event is known: `"header:NAME"`, `"data:path.to.field"`, a function of the event,
            or `None`. An event without it is accepted.
        dedupe_window: for how long it is remembered.
        max_body: the largest body in bytes; more is never read.
        retry: how often RQ runs a failing job again: a number (at once), the waits before each try
            (`[10, 60, "15m"]`), a `Backoff`, or an `rq.Retry`. Waits need a worker with a scheduler
            (`trafficrelay worker`, or `rq worker --with-scheduler`).
        timeout: after how long a running job is stopped; -1 for never. RQ's own default is 180 s.
        result_ttl: how long a result is kept; -1 for ever. RQ's own default is 500 s.
        failure_ttl: how long a failed job or dead letter is kept; -1 for ever. RQ's own default is a year.
        delay: how long after its event a job may start; needs a worker with a scheduler.
        at_front: whether jobs go to the front of their queue.
        at_least_once: whether a job whose worker died while it ran is run again, by a RelayWorker or the sweep, with
            the same id to fence with. `False` is for what must not happen twice: such a job fails visibly instead, and
            somebody decides. What a worker had taken and not begun is run in both cases.
        reply: the answer in place of 202: a `Reply`, `"empty"` (204), `"pixel"` (a GIF), or a function of the event.
        on_error: what happens when the transform fails: `"keep"` keeps the event as a dead letter and answers as
            if nothing had happened; `"refuse"` answers 500 and keeps nothing.
        on_outage: what happens when Redis is away: `"spool"` keeps the event in the relay's spool and answers as ever;
            `"refuse"` answers 503, and the sender tries again. Left out, the sender decides: `"refuse"` where its
            verifier knows that it tries again (`standard_webhooks`), and `"spool"` for all others, where the relay
            has one.
        rate: how many events are taken in a time: `"100/m"` of the route, `"10/s per address"`,
            `"1000/h per header:X-Api-Key"`, or a `Rate`. More is answered 429.
        max_queued: how many jobs may wait in the queue; more events are answered 503 until there are fewer.
        max_lag: how long the oldest of them may have waited; the same.

    Durations are seconds, a timedelta, or a string such as `"90s"`, `"15m"`, `"24h"`, `"7d"`.
    """

    rule: str
    verify: Verifier | _Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    job: Any = field(default=UNSAID, kw_only=True)
    deliver: Deliver | str | Sequence[Deliver | str] | None = field(default=None, kw_only=True, repr=False)
    queue: str | Callable[[Event], str] = field(default="default", kw_only=True)
    methods: Sequence[str] = field(default=("POST",), kw_only=True)
    transform: Transform = field(default=keep_data, kw_only=True, repr=False)
    dedupe: str | Callable[[Event], Any] | None = field(default=None, kw_only=True, repr=False)
    dedupe_window: Duration = field(default="24h", kw_only=True, repr=False)
    max_body: int = field(default=MAX_BODY, kw_only=True, repr=False)
    retry: Any = field(default=None, kw_only=True, repr=False)
    timeout: Duration | None = field(default=None, kw_only=True, repr=False)
    result_ttl: Duration | None = field(default=None, kw_only=True, repr=False)
    failure_ttl: Duration | None = field(default=None, kw_only=True, repr=False)
    delay: Duration = field(default=0, kw_only=True, repr=False)
    at_front: bool = field(default=False, kw_only=True, repr=False)
    at_least_once: bool = field(default=True, kw_only=True, repr=False)
    reply: Reply | Callable[[Event], Reply] | str | None = field(default=None, kw_only=True, repr=False)
    on_error: str = field(default="keep", kw_only=True, repr=False)
    on_outage: str | None = field(default=None, kw_only=True, repr=False)
    rate: Rate | str | None = field(default=None, kw_only=True, repr=False)
    max_queued: int | None = field(default=None, kw_only=True, repr=False)
    max_lag: Duration | None = field(default=None, kw_only=True, repr=False)

    # What the options say, read once: the way of an event uses these.
    destinations: tuple[Deliver, ...] = field(init=False, repr=False, compare=False)
    job_of: str | Callable[[Event], str] = field(init=False, repr=False, compare=False)
    queue_of: str | Callable[[Event], str] = field(init=False, repr=False, compare=False)
    key_of: DedupeKey | None = field(init=False, repr=False, compare=False)
    window: int = field(init=False, repr=False, compare=False)
    options: JobOptions = field(init=False, repr=False, compare=False)
    limits: Limits = field(init=False, repr=False, compare=False)
    spools: bool = field(init=False, repr=False, compare=False)
    answer: Reply | Callable[[Event], Reply] | None = field(init=False, repr=False, compare=False)
    secret_headers: frozenset[str] = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # which shall see the options above

        def __new__(cls, *_, **options):
            """Refuse unknown options with a sentence, where Python's own error would only name them."""
            check_names(options)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "rule", check_rule(self.rule))
        set_(self, "methods", _methods(self.methods))
        _check_verify(self.rule, self.verify)
        check_plain("The transform", self.transform)
        set_(self, "destinations", _destinations(self))
        if not isinstance(self.max_body, int) or isinstance(self.max_body, bool) or self.max_body < 0:
            raise DeclarationError(f"max_body is a number of bytes, not {self.max_body!r}.", option="max_body")
        if self.on_error not in ("keep", "refuse"):
            raise DeclarationError(f'on_error is "keep" or "refuse", not {self.on_error!r}.', option="on_error")
        set_(self, "job_of", DELIVER if self.destinations else chooser(self.job, job_name, any_callable=False))
        set_(self, "queue_of", chooser(self.queue, queue_name, any_callable=True))
        set_(self, "key_of", dedupe_key(self.dedupe))
        set_(self, "window", seconds(self.dedupe_window, "dedupe_window", least=1))
        set_(self, "options", self._job_options())
        set_(self, "limits", limits(self.rate, self.max_queued, self.max_lag))
        set_(self, "spools", _spools(self.on_outage, self.verify))
        set_(self, "answer", _answer(self.reply))
        set_(self, "secret_headers", getattr(self.verify, "secret_headers", frozenset()))

    def _job_options(self) -> JobOptions:
        for option in ("at_front", "at_least_once"):
            if not isinstance(said := getattr(self, option), bool):
                raise DeclarationError(f"{option} is True or False, not {said!r}.", option=option)
        return JobOptions(
            retries=retries(self.retry),
            timeout=_lifetime(self.timeout, "timeout", least=1),
            result_ttl=_lifetime(self.result_ttl, "result_ttl", least=0),
            failure_ttl=_lifetime(self.failure_ttl, "failure_ttl", least=1),
            delay=seconds(self.delay, "delay", least=0),
            at_front=self.at_front,
            at_least_once=self.at_least_once,
        )


class RouteOptions(TypedDict, total=False):
    """The keyword options of `Relay.route`; `Route` says what each is."""

    verify: Verifier | None
    job: Any
    deliver: Deliver | str | Sequence[Deliver | str] | None
    queue: str | Callable[[Event], str]
    methods: Sequence[str]
    dedupe: str | Callable[[Event], Any] | None
    dedupe_window: Duration
    max_body: int
    retry: Any
    timeout: Duration | None
    result_ttl: Duration | None
    failure_ttl: Duration | None
    delay: Duration
    at_front: bool
    at_least_once: bool
    reply: Reply | Callable[[Event], Reply] | str | None
    on_error: str
    on_outage: str | None
    rate: Rate | str | None
    max_queued: int | None
    max_lag: Duration | None


def check_names(options: Iterable[str], *, without: tuple[str, ...] = ()) -> None:
    """Check the names of a route's options.

    Args:
        options: the names.
        without: options that cannot be given here.

    Raises:
        DeclarationError: one is unknown.
    """
    known = sorted(entry.name for entry in fields(Route) if entry.init and entry.name not in without)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
            raise DeclarationError(f"A route has no option {name}. {hint}", option=name)


def check_rule(rule: Any) -> str:
    """Check how a rule is written; Bottle's router checks the rest when the route is added to a relay.

    Raises:
        DeclarationError: it is no path, or holds what Bottle would read in another way than its author.
    """
    if inspect.isfunction(rule):
        raise DeclarationError('The decorator needs a rule: write @relay.route("/path", …) above the function.')
    if not isinstance(rule, str) or not rule.startswith("/"):
        raise DeclarationError(f'A rule is a path that begins with a slash, such as "/github", not {rule!r}.')
    if rule == "/-" or rule.startswith("/-/"):
        raise DeclarationError(f"The rule {rule} is taken: what is under /-/ belongs to the relay.")
    literal = WILDCARD.sub("", rule)
    if any(mark in literal for mark in "<>{}"):
        raise DeclarationError(
            f"The rule {rule} has a wildcard that cannot be read. Write <name> or <name:filter>, the name of ASCII "
            "letters, digits and _."
        )
    if any(mark in literal for mark in "?# \t\r\n%"):
        raise DeclarationError(
            f"The rule {rule!r} holds a character that no path has. A rule is written as people read it, without %20 "
            "and the like, and without a query."
        )
    if any(mark in literal for mark in ":\\"):
        raise DeclarationError(
            f"The rule {rule} has a colon or a backslash outside of <…>, where Bottle reads an old kind of wildcard. "
            "Write <name>."
        )
    return rule


def _methods(methods: Any) -> tuple[str, ...]:
    if isinstance(methods, str):
        methods = (methods,)
    if not isinstance(methods, Sequence | set | frozenset) or not methods:
        raise DeclarationError('methods is a list such as ["GET", "POST"].', option="methods")
    names = tuple(dict.fromkeys(str(method).upper() for method in methods))
    for name in names:
        if name not in METHODS:
            raise DeclarationError(f"methods are of {', '.join(METHODS)}, not {name!r}.", option="methods")
    return names


def _check_verify(rule: str, verify: Any) -> None:
    if verify is UNSAID:
        raise DeclarationError(
            f"{rule} does not say who may send. Give it a verifier, such as verify=github(secret=…); "
            "a route that is open to everybody says verify=None.",
            option="verify",
        )
    if verify is None:
        return
    if not callable(verify):
        raise DeclarationError(
            f"verify is a verifier such as github(secret=…), or None, not {type(verify).__name__}.", option="verify"
        )
    ours = inspect.isfunction(verify) and verify.__module__.startswith(f"{schemes.__package__}.")
    if ours or inspect.isclass(verify):
        raise DeclarationError(
            f"verify={verify.__name__} only makes a verifier: call it, such as verify={verify.__name__}(secret…).",
            option="verify",
        )
    check_plain("verify", verify)


def _destinations(route: Route) -> tuple[Deliver, ...]:
    """Read what an event becomes where that is deliveries; nothing where it is a job of the user's."""
    if route.deliver is None:
        if route.job is UNSAID:
            raise DeclarationError(
                f'{route.rule} has no job. Say job="shop.jobs.on_push", or deliver="https://shop.example/hook".',
                option="job",
            )
        return ()
    if route.job is not UNSAID:
        raise DeclarationError(f"{route.rule} has a job and deliver=; say one of them.", option="deliver")
    if route.retry is not None:
        raise DeclarationError(
            f"{route.rule} delivers, so retry= is its destination's: Deliver(url, schedule=[10, 60, 300]).",
            option="retry",
        )
    found = destinations(route.deliver)
    check_time(found, _lifetime(route.timeout, "timeout", least=1))
    return found


def _spools(on_outage: Any, verify: Any) -> bool:
    if on_outage is None:
        return not getattr(verify, "sender_retries", False)
    if on_outage not in ("spool", "refuse"):
        raise DeclarationError(f'on_outage is "spool" or "refuse", not {on_outage!r}.', option="on_outage")
    return bool(on_outage == "spool")


def _lifetime(value: Duration | None, option: str, *, least: int) -> int | None:
    if value is None:
        return None
    if value == -1:
        return -1
    return seconds(value, option, least=least)


def _answer(reply: Any) -> Reply | Callable[[Event], Reply] | None:
    if reply is None or isinstance(reply, Reply):
        return reply
    if isinstance(reply, str) and reply in _READY_REPLIES:
        return _READY_REPLIES[reply]
    if callable(reply):
        check_plain("reply", reply)
        chosen: Callable[[Event], Reply] = reply
        return chosen
    raise DeclarationError(
        f'reply is a Reply, "empty", "pixel" or a function of the event, not {reply!r}.', option="reply"
    )
