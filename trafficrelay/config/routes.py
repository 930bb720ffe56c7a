"""`[[route]]`: the keys of a route's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..reply import Reply
from ..route import Route
from ..rule import METHODS
from ..target import To
from .delivering import DELIVER
from .functions import DOTTED
from .kinds import Anything, Choice, Either, Flag, Kind, ListOf, MapOf, Named, Text, Whole
from .simple import RETRY, OrFunction, duration, lifetime, none_or, rate, size
from .steps import TRANSFORMS
from .tables import Key, Table, with_defaults
from .verifying import VERIFY

PYTHON_ONLY: Final[Mapping[str, str]] = {
    "rule": "it is called path",
    "transform": "it is the decorated function; here a function is named in transforms",
}
"""The options of `Route` that a file says in another way, or not at all, and why."""

_PATH: Final = Text('a path that begins with a slash, such as "/github" or "/hooks/<shop>"', "/.*")
_JOB: Final = OrFunction(Text('the dotted name of a function, such as "shop.jobs.on_push"', DOTTED), mark=True)
_QUEUE: Final = OrFunction(
    Text('a name of letters, digits and . _ - :, such as "hooks"', "[A-Za-z0-9_][A-Za-z0-9_.:-]*")
)
_DEDUPE: Final = OrFunction(
    none_or(Text('"header:NAME", "data:path.to.field"', "(header|data):.+")),
)
_REPLY: Final = Named(
    "reply",
    OrFunction(
        Either(
            {
                str: Choice.of("empty", "pixel"),
                dict: Table(
                    {
                        "status": Key(Whole(200, 599), "The HTTP status.", default=200),
                        "headers": Key(MapOf(Text(hidden=True)), "More headers."),
                        "body": Key(Anything(), "A string as it is, anything else as JSON."),
                    },
                    lambda options, _: Reply(**options),
                    'a table such as { status = 200, body = "thanks" }',
                ),
            },
            '"empty", "pixel", or a table such as { status = 200, body = "thanks" }',
        )
    ),
)
_CORS: Final = Either(
    {str: Choice.of("*"), list: ListOf(Text(), 'a list of origins such as ["https://shop.example"]')},
    'a list of origins such as ["https://shop.example"], or "*"',
)

_WHERE: Final = {
    "job": Key(
        _JOB,
        "The job that its events become: the dotted name of a function.",
        instead_of=["task", "function", "handler", "jobs"],
    ),
    "deliver": Key(
        DELIVER,
        "In place of a job: the URL that its events are forwarded to, a table, or a list of these.",
        instead_of=["forward", "forward_to", "deliver_to"],
    ),
    "queue": Key(_QUEUE, "The queue that its jobs wait in.", instead_of=["queues"]),
}

_JOB_OPTIONS: Final = {
    "retry": Key(
        RETRY,
        "How often a failing job is run again: a number, the waits before each try, or a backoff.",
        instead_of=["retries", "max_retries", "backoff"],
    ),
    "timeout": Key(lifetime(), "After how long a running job is stopped; -1 for never.", instead_of=["job_timeout"]),
    "result_ttl": Key(lifetime(), "How long a result is kept; -1 for ever."),
    "failure_ttl": Key(lifetime(), "How long a failed job or dead letter is kept; -1 for ever."),
    "delay": Key(duration(), "How long after its event a job may start."),
    "at_front": Key(Flag(), "Whether jobs go to the front of their queue."),
    "at_least_once": Key(Flag(), "Whether a job whose worker died while it ran is run again."),
}

TO_KEYS: Final = {
    **_WHERE,
    "when": Key(
        OrFunction(Text("a condition in JMESPath, such as \"type == 'order'\"", ".+")),
        "A condition, in JMESPath over what the transforms gave. Without one it is for all.",
        instead_of=["if", "only_if", "condition"],
    ),
    **_JOB_OPTIONS,
}
"""What can be said of one of several things that an event becomes."""

_TO: Final = Named(
    "to",
    Table(
        TO_KEYS,
        lambda options, _: To(**options),
        'a table such as { job = "shop.jobs.on_order", queue = "orders" }',
        choices=[(["job", "deliver"], 'It says neither job = "…" nor deliver = "…".')],
    ),
)

_OPTIONS: Final = {
    "verify": Key(
        VERIFY,
        'Who may send: a provider and where its secret is; "none" for a route that is open to everybody.',
        needed=(
            'It does not say who may send. Say verify = { provider = "github", secret_env = "GITHUB_SECRET" }; '
            'a route that is open to everybody says verify = "none".'
        ),
        instead_of=["verifier", "auth"],
    ),
    **_WHERE,
    "to": Key(
        ListOf(_TO, 'a list such as [{ job = "shop.jobs.on_order" }, { deliver = "https://…" }]'),
        "In place of both: several jobs and destinations, on queues of their own and under conditions.",
        instead_of=["targets", "fan_out"],
    ),
    "methods": Key(ListOf(Choice.of(*METHODS)), "The HTTP methods that it takes.", instead_of=["method"]),
    "transforms": Key(
        TRANSFORMS,
        "Steps and functions, each of which gets what the one before gave.",
        instead_of=["transform", "steps"],
    ),
    "split": Key(Flag(), "Whether each item of a JSON array and each line of NDJSON is an event of its own."),
    "content_type": Key(Text(), "What bodies are read as, whatever their sender says."),
    "dedupe": Key(
        _DEDUPE,
        'By what a repeated event is known; "none" for not at all. Left out, a CloudEvent by its source and id.',
    ),
    "dedupe_window": Key(duration(1), "For how long it is remembered."),
    "max_body": Key(
        size(),
        "The largest body, before and after it is inflated; more is never read.",
        instead_of=["max_size", "limit"],
    ),
    "aside": Key(size(), "How large a job's argument may be; a larger one is kept under a key of its own."),
    "cors": Key(_CORS, 'The origins whose pages may post and read the answer; "*" for all.', instead_of=["origins"]),
    "status": Key(Flag(), "Whether /-/events/ID tells what became of an event."),
    **_JOB_OPTIONS,
    "reply": Key(_REPLY, 'The answer in place of 202: "empty" (204), "pixel" (a GIF), or a table.'),
    "on_error": Key(
        Choice.of("keep", "refuse"), "When a transform fails: keep the event as a dead letter, or answer 500."
    ),
    "on_outage": Key(
        Choice.of("spool", "refuse"),
        "When Redis is away: keep the event in the spool, or answer 503. Left out, the sender decides.",
    ),
    "rate": Key(rate("rate"), "How many events are taken in a time; more are answered 429."),
    "max_queued": Key(Whole(1), "How many jobs may wait in the queue; then events are answered 503."),
    "max_lag": Key(duration(1), "How long the oldest of them may have waited; the same."),
}


ROUTE_KEYS: Final = {
    "path": Key(
        _PATH,
        "The URL rule, wildcards and filters included: /hooks/<shop>, /orders/<id:int>.",
        needed='It has no path, such as path = "/github".',
        instead_of=["rule", "url", "route"],
    ),
    **with_defaults(_OPTIONS, Route),
}
"""What can be said of a route."""


ROUTE: Final[Kind] = Named(
    "route",
    Table(
        ROUTE_KEYS,
        lambda options, _: Route(options.pop("path"), **options),
        'a table with a path, such as path = "/github"',
        choices=[(["job", "deliver", "to"], 'It has no job. Say job = "shop.jobs.on_push", or deliver = "https://…".')],
    ),
)
