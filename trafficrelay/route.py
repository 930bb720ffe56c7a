"""The route: a URL rule, what it accepts, who may send, how it is reshaped and what it becomes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypedDict

from .cors import Cors, cors
from .delivery.destination import Deliver
from .errors import DeclarationError
from .event import Event
from .limits import Limits, limits
from .options import (
    DedupeKey,
    Duration,
    Size,
    check_plain,
    cloudevent_key,
    dedupe_key,
    seconds,
    size,
)
from .rate import Rate
from .reply import EMPTY, PIXEL, Reply
from .rule import METHODS, check_rule
from .target import JOB_OPTIONS, UNSAID, Target, To, Unsaid, check_names, lifetime, targets
from .transform import Transform, keep_data
from .transforms import Chain, typed
from .verify import schemes
from .verify.provider import Provider
from .verify.schemes import Verifier

if TYPE_CHECKING:
    from .verify.handshakes import Handshake

MAX_BODY: Final = 1024 * 1024
"""Bytes that a body may have unless the route says otherwise: 1 MiB."""

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)

_READY_REPLIES: Final = {"empty": EMPTY, "pixel": PIXEL}


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
        to: in place of both, a list of `To`: several jobs and destinations, on queues of their own, under conditions.
            All that an event becomes is handed over in one step, or nothing of it.
        queue: the queue's name, or a function of the event.
        methods: the HTTP methods that it takes.
        transforms: a list of steps (`trafficrelay.transforms`) and functions of the event, each of which gets what
            the one before gave.
        transform: the function of the event that gives the job's argument, after all of `transforms`; the event's
            data as it is where left out. Where its parameter is annotated with a dataclass, a TypedDict or a msgspec
            Struct it is given the data as that, and other data is refused with a 422.
        split: whether each item of a JSON array and each line of NDJSON is an event of its own. All of a request are
            accepted, or none.
        content_type: what bodies are read as whatever their sender says: `"application/json"` for JSON that comes as
            text/plain, as `navigator.sendBeacon` sends it. Left out, a verifier's provider may be known to mislabel
            its bodies.
        dedupe: by what a repeated event is known: `"header:NAME"`, `"data:path.to.field"`, a function of the event,
            or `None` for not at all. Left out, it is the id that the verifier's provider gives its events
            (docs/providers.md). Of others a CloudEvent is known by its source and id, unless they are headers beside a
            signature, which covers the body alone. An event without it is accepted.
        dedupe_window: for how long it is remembered.
        max_body: the largest body, in bytes or as `"5MB"`, before and after it is inflated; more is never read.
        aside: how large a job's argument may be, in bytes or as `"256KB"`; a larger one is kept in Redis under a key
            of its own, so that jobs stay small, and fetched when the job runs. `None` for any size.
        cors: the origins whose pages may post and read the answer: `["https://shop.example"]`, or `"*"` for all.
        status: whether `/-/events/ID` tells what became of an event, to who has the token from the answer's
            `Location`.
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
            Left out, it is what the verifier's provider wants.
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
    verify: Verifier | Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    job: Any = field(default=UNSAID, kw_only=True)
    deliver: Deliver | str | Sequence[Deliver | str] | None = field(default=None, kw_only=True, repr=False)
    to: Sequence[To] | None = field(default=None, kw_only=True, repr=False)
    queue: str | Callable[[Event], str] = field(default="default", kw_only=True)
    methods: Sequence[str] = field(default=("POST",), kw_only=True)
    transforms: Sequence[Any] = field(default=(), kw_only=True, repr=False)
    transform: Callable[..., Any] = field(default=keep_data, kw_only=True, repr=False)
    split: bool = field(default=False, kw_only=True, repr=False)
    content_type: str = field(default="", kw_only=True, repr=False)
    dedupe: str | Callable[[Event], Any] | Unsaid | None = field(default=UNSAID, kw_only=True, repr=False)
    dedupe_window: Duration = field(default="24h", kw_only=True, repr=False)
    max_body: Size = field(default=MAX_BODY, kw_only=True, repr=False)
    aside: Size | None = field(default=None, kw_only=True, repr=False)
    cors: Sequence[str] | str | None = field(default=None, kw_only=True, repr=False)
    status: bool = field(default=False, kw_only=True, repr=False)
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
    targets: tuple[Target, ...] = field(init=False, repr=False, compare=False)
    destinations: tuple[Deliver, ...] = field(init=False, repr=False, compare=False)
    reshape: Transform = field(init=False, repr=False, compare=False)
    limit: int = field(init=False, repr=False, compare=False)
    origins: Cors | None = field(init=False, repr=False, compare=False)
    key_of: DedupeKey | None = field(init=False, repr=False, compare=False)
    window: int = field(init=False, repr=False, compare=False)
    letter_ttl: int | None = field(init=False, repr=False, compare=False)
    limits: Limits = field(init=False, repr=False, compare=False)
    spools: bool = field(init=False, repr=False, compare=False)
    answer: Reply | Callable[[Event], Reply] | None = field(init=False, repr=False, compare=False)
    secret_headers: frozenset[str] = field(init=False, repr=False, compare=False)
    check: Callable[[Event], Any] | None = field(init=False, repr=False, compare=False)
    handshakes: tuple[Handshake, ...] = field(init=False, repr=False, compare=False)
    reads_as: str = field(init=False, repr=False, compare=False)
    bare: bool = field(init=False, repr=False, compare=False)
    takes_empty: bool = field(init=False, repr=False, compare=False)
    signs_url: bool = field(init=False, repr=False, compare=False)
    blocks: bool = field(init=False, repr=False, compare=False)
    brings: bool = field(init=False, repr=False, compare=False)
    numbers_items: bool = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # which shall see the options above

        def __new__(cls, *_, **options):
            """Refuse unknown options with a sentence, where Python's own error would only name them."""
            check_names("A route", cls, options)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "rule", check_rule(self.rule))
        set_(self, "methods", _methods(self.methods))
        _check_verify(self.rule, self.verify)
        set_(self, "reshape", _reshape(self.transforms, self.transform))
        said = {option: getattr(self, option) for option in JOB_OPTIONS}
        aside = 0 if self.aside is None else size(self.aside, "aside", least=1)
        what = {"job": self.job, "deliver": self.deliver, "queue": self.queue}
        set_(self, "targets", targets(self.rule, self.to, **what, said=said, aside=aside))
        set_(self, "destinations", tuple(place for target in self.targets for place in target.destinations))
        set_(self, "limit", size(self.max_body, "max_body", least=0))
        for option in ("split", "status"):
            if not isinstance(value := getattr(self, option), bool):
                raise DeclarationError(f"{option} is True or False, not {value!r}.", option=option)
        set_(self, "content_type", _content_type(self.content_type))
        set_(self, "reads_as", self.content_type or getattr(self.verify, "content_type", ""))
        set_(self, "bare", getattr(self.verify, "bare", False))
        set_(self, "takes_empty", getattr(self.verify, "empty", False))
        set_(self, "origins", cors(self.cors))
        if self.on_error not in ("keep", "refuse"):
            raise DeclarationError(f'on_error is "keep" or "refuse", not {self.on_error!r}.', option="on_error")
        set_(self, "key_of", _key_of(self.dedupe, self.verify))
        set_(self, "window", seconds(self.dedupe_window, "dedupe_window", least=1))
        set_(self, "letter_ttl", lifetime(self.failure_ttl, "failure_ttl", least=1))
        set_(self, "limits", limits(self.rate, self.max_queued, self.max_lag))
        set_(self, "spools", _spools(self.on_outage, self.verify))
        set_(self, "answer", _answer(getattr(self.verify, "reply", None) if self.reply is None else self.reply))
        set_(self, "secret_headers", getattr(self.verify, "secret_headers", frozenset()))
        set_(self, "check", getattr(self.verify, "check", None))
        set_(self, "handshakes", getattr(self.verify, "handshakes", ()))
        set_(self, "signs_url", getattr(self.verify, "signs_url", False))
        set_(self, "blocks", getattr(self.verify, "blocks", False))
        set_(self, "brings", getattr(self.verify, "brought", False))
        # A header says which request it is, and the items of one are not duplicates of each other.
        by_header = str(getattr(self.verify, "dedupe", "")).startswith("header:")
        set_(self, "numbers_items", self.split and by_header and isinstance(self.dedupe, Unsaid))
        _check_headers(self.reshape, self.secret_headers)


class RouteOptions(TypedDict, total=False):
    """The keyword options of `Relay.route`; `Route` says what each is."""

    verify: Verifier | None
    job: Any
    deliver: Deliver | str | Sequence[Deliver | str] | None
    to: Sequence[To] | None
    queue: str | Callable[[Event], str]
    methods: Sequence[str]
    transforms: Sequence[Any]
    split: bool
    content_type: str
    dedupe: str | Callable[[Event], Any] | None
    dedupe_window: Duration
    max_body: Size
    aside: Size | None
    cors: Sequence[str] | str | None
    status: bool
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


def _reshape(transforms: Any, transform: Any) -> Transform:
    """Give one function of what a route declares. Most declare one, which is called as it is."""
    if not isinstance(transforms, list | tuple):
        raise DeclarationError('transforms is a list such as [keep("id", "total"), my_function].', option="transforms")
    if not transforms:
        reshape = typed(transform)
        check_plain("The transform", reshape)
        return reshape
    return Chain(transforms if transform is keep_data else [*transforms, transform])


def _check_headers(reshape: Transform, secret: frozenset[str]) -> None:
    """Refuse to put a header that proves who sent an event into its jobs."""
    for step in reshape.steps if isinstance(reshape, Chain) else ():
        if told := sorted(step.headers & secret):
            raise DeclarationError(
                f"with_request asks for the header {told[0]}, by which the sender is verified; it is stored nowhere.",
                option="transforms",
            )


def _content_type(content_type: Any) -> str:
    if content_type and (not isinstance(content_type, str) or not _MEDIA_TYPE.fullmatch(content_type)):
        raise DeclarationError(
            f'content_type is a media type such as "application/json", not {content_type!r}.', option="content_type"
        )
    return content_type or ""


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
    if ours or inspect.isclass(verify) or isinstance(verify, Provider):
        name = verify.name if isinstance(verify, Provider) else verify.__name__
        raise DeclarationError(
            f"verify={name} only makes a verifier: call it, such as verify={name}(secret…).", option="verify"
        )
    check_plain("verify", verify)


def _key_of(dedupe: Any, verify: Any) -> DedupeKey | None:
    if not isinstance(dedupe, Unsaid):
        return dedupe_key(dedupe)
    # A token vouches for all of a request.
    of_cloudevent = cloudevent_key(headers=verify is None or getattr(verify, "reveals_secret", False))
    senders_own = dedupe_key(getattr(verify, "dedupe", "") or None)
    if senders_own is None:
        return of_cloudevent
    own = senders_own
    # Also of a CloudEvent whose attributes nothing vouches for: else whoever has a signed request could have it counted
    # once more, by adding such headers.
    return lambda event: of_cloudevent(event) or own(event)


def _spools(on_outage: Any, verify: Any) -> bool:
    if on_outage is None:
        return not getattr(verify, "sender_retries", False)
    if on_outage not in ("spool", "refuse"):
        raise DeclarationError(f'on_outage is "spool" or "refuse", not {on_outage!r}.', option="on_outage")
    return bool(on_outage == "spool")


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
