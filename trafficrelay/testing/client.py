"""The test client of a relay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..app import make_app
from ..brought import name_of
from ..errors import ClientError
from ..pressure import Pressure
from ..relay import Relay
from .answer import Answer, Letter
from .clock import Clock
from .delivering import Delivery, delivery
from .differences import difference, nearest
from .jobs import ANYTHING, Jobs, Queued, queued
from .outbox import Backlog, StandInOutbox
from .reading import Reader
from .routing import Routing
from .saved import SavedRequest, as_saved
from .sending import (
    TARGET,
    Options,
    as_bytes,
    as_json,
    check_options,
    check_path,
    check_queue,
    checked,
    key_of,
    merged,
    several,
    typed,
    webtest,
)
from .signing import Signed, signature
from .tracebacks import users_part
from .watching import WatchedIntake, watched

if TYPE_CHECKING:
    from typing import Unpack

__tracebackhide__ = True  # pytest shows the line of the test, and not those here


def relay_client(
    relay: Relay,
    *,
    signed: Signed = False,
    raise_errors: bool = True,
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
) -> RelayClient:
    """Make a client that posts to a relay: with no Redis, whatever the relay is declared with, and no socket.

    The relay stays as it is: the client builds an app of its own on its routes.

    Args:
        relay: the relay.
        signed: whether requests are signed unless they say otherwise. Open routes take them as they are.
        raise_errors: whether what a transform raises is raised in the test. `False` keeps it as in earnest: as a dead
            letter, or with a 500.
        headers: what every request has.
        address: where requests come from unless they say otherwise.

    Raises:
        ClientError: it is no relay, or webtest is not installed.
    """
    return RelayClient(relay, signed=signed, raise_errors=raise_errors, headers=headers, address=address)


class RelayClient:
    """Posts to a relay and tells what became of it. Made by `relay_client`."""

    def __init__(
        self,
        relay: Relay,
        *,
        signed: Signed = False,
        raise_errors: bool = True,
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        if not isinstance(relay, Relay):
            raise ClientError(f"relay_client takes a Relay, not {type(relay).__name__}.")
        self.relay = relay
        self._webtest = webtest()
        self._signed = checked(signed)
        self._raise_errors = raise_errors
        self._headers = dict(headers or {})
        self._address = address
        self._clock = Clock()
        self.reset()

    def __repr__(self) -> str:
        return f"<RelayClient: {len(self.answers)} requests, {len(self.queued)} jobs queued>"

    def reset(self) -> None:
        """Forget all that was sent and queued, what repeated events are known by, and how much of each rate is used."""
        self.answers: list[Answer] = []
        self._errors: dict[str, BaseException] = {}
        self._outbox = StandInOutbox(self._clock, has_spool=self.relay.spool is not None)
        self._read = Reader(self.relay)
        self._routing: Routing | None = None

    # Sending

    def post_json(self, path: str, payload: Any, **options: Unpack[Options]) -> Answer:
        """Post a payload as JSON: whatever msgspec encodes, dates and dataclasses among it."""
        return self.request("POST", path, as_json(payload), **typed(options, "application/json"))

    def post(self, path: str, body: bytes | str = b"", **options: Unpack[Options]) -> Answer:
        """Post a body as it is. Give its `content_type=`."""
        return self.request("POST", path, body, **options)

    def post_form(
        self, path: str, fields: Mapping[str, Any], files: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> Answer:
        """Post a form; with files as multipart.

        Args:
            path: where to.
            fields: names and values; a list sends its field several times.
            files: names, and for each the bytes, or a tuple of a file's name, the bytes, and its type.
            options: see `Options`.
        """
        if files is None:
            kind, body = "application/x-www-form-urlencoded", urlencode(fields, doseq=True).encode()
        else:
            kind, body = self._multipart(fields, files)
        return self.request("POST", path, body, **typed(options, kind))

    def get(self, path: str, query: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Answer:
        """Get a path, as a pixel does."""
        return self.request("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path, **options)

    def request(self, method: str, path: str, body: bytes | str = b"", **options: Unpack[Options]) -> Answer:
        """Send a request of any method.

        Raises:
            ClientError: it cannot be signed, or there is no such option.
            Exception: whatever the route's transform raises, unless the client says `raise_errors=False`.
        """
        raw = as_bytes(body)
        kind = options.pop("content_type", "")
        headers = {"Content-Type": kind} if kind else {}
        return self._send(SavedRequest(method.upper(), quote(check_path(path), safe=TARGET), headers, raw), options)

    def send(self, request: SavedRequest | str | Path | bytes, **options: Unpack[Options]) -> Answer:
        """Send a saved request: a file, its bytes, or a `SavedRequest`. With `signed=True` it is signed anew.

        Raises:
            ClientError: it cannot be read.
        """
        return self._send(as_saved(request), options)

    def send_again(self, answer: Answer | None = None, **options: Unpack[Options]) -> Answer:
        """Send a request again, byte for byte, as a sender does who heard of no answer: the last one, or an answer's.

        Raises:
            ClientError: nothing was sent yet.
        """
        if answer is None:
            if not self.answers:
                raise ClientError("Nothing was sent yet that could be sent again.")
            answer = self.answers[-1]
        unsigned: Options = {} if "signed_with" in options else {"signed": False}
        return self._send(answer.request, {**unsigned, **options})

    # What became of it

    @property
    def queued(self) -> Jobs:
        """All jobs that are queued so far."""
        return Jobs(self._read.jobs(self._outbox.taken), [answer.said for answer in self.answers])

    @property
    def spooled(self) -> Jobs:
        """All jobs that wait in the spool."""
        return Jobs(self._read.jobs(self._outbox.in_spool), [answer.said for answer in self.answers])

    @property
    def data(self) -> Any:
        """The argument of the one job that is queued.

        Raises:
            AssertionError: there is none, or more than one.
        """
        (job,) = self._the_only(self.queued)
        return job.data

    @property
    def dead_letters(self) -> list[Letter]:
        """All events so far that were kept because their transform failed."""
        return [letter for one in self._outbox.taken if (letter := self._read.letter(one, self._errors))]

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries that are queued so far, as a worker would send them. Nothing is sent."""
        return [
            delivery(self.relay, one, number, job) for one, number, job in self._read.deliveries(self._outbox.taken)
        ]

    def assert_queued(
        self, job: Any = ANYTHING, data: Any = ANYTHING, *, queue: Any = ANYTHING, deliver: Any = ANYTHING
    ) -> Queued:
        """Check that a job was queued, and give it; what is left out may be anything, as for `queued`.

        Raises:
            AssertionError: there is none; it shows the one that is most like it.
        """
        expected = queued(job, data, queue=queue, deliver=deliver)
        found = self.queued
        for one in found:
            if one == expected:
                return one
        lines = [f"No such job was queued: {expected!r}", *_shown(found)]
        like = nearest(expected, found)
        if like is not None:
            lines += ["", "The one that is most like it:", *difference([expected], [like])]
        raise AssertionError("\n".join(lines))

    def assert_nothing_queued(self) -> None:
        """Check that no job was queued.

        Raises:
            AssertionError: one was.
        """
        found = self.queued
        if found:
            raise AssertionError("\n".join(["Jobs were queued, and none was expected.", *_shown(found)]))

    def run_jobs(self, queue: str | None = None) -> list[Any]:
        """Run the jobs that wait, in the order in which they were queued, and give what they returned.

        Their functions are imported by name, as a worker does, and find `current_event()` and `rq.get_current_job()`.
        Delays are not waited for, and nothing is tried again. Deliveries are not sent: see `deliveries`. Nor is a
        subscription confirmed.

        Args:
            queue: the queue whose jobs are run; all, where left out.

        Raises:
            ClientError: a function cannot be imported, or there is no such queue.
            Exception: whatever a job raises. Those behind it wait on.
        """
        # rq and redis are imported with it, which is as much again as all else (measured: 285 modules).
        from .running import Runner

        check_queue(self.relay, queue)
        runner = Runner(self.relay._serializer)
        results = []
        for waiting in [one for one in self._outbox.waiting if queue in (None, one.job.queue)]:
            self._outbox.waiting.remove(waiting)
            if not self._read.is_ours(waiting.job):
                results.append(self._outbox.run(waiting, runner.run))
        return results

    # What may happen

    def at(self, moment: datetime) -> AbstractContextManager[Clock]:
        """Hold the time that the relay sees: `with client.at(moment) as clock: …; clock.tick(60)`.

        That is the time at which events come and are signed, what rates are counted by, and after which a repeated
        event is forgotten. The user's own code sees the real time.

        Raises:
            ClientError: `moment` says no time zone.
        """
        return self._clock.hold(moment)

    def outage(self) -> AbstractContextManager[None]:
        """Take Redis away: `with client.outage(): …`. What went into the spool is queued when it is back."""
        return self._outbox.outage()

    def lost_reply(self, times: int = 1) -> AbstractContextManager[None]:
        """Have Redis take what comes next, and its reply get lost.

        Args:
            times: how often in a row. The relay sends each write twice, so that after one lost reply all is well; after
                two it does not know what became of the event, and its sender is refused, or the event is spooled.
        """
        return self._outbox.lost_reply(times)

    def backlog(self, jobs: int, *, seconds: float = 0, queue: str | None = None) -> AbstractContextManager[None]:
        """Pretend that workers are behind: `with client.backlog(10_000, seconds=600): …`.

        Args:
            jobs: how many jobs wait besides those that are there.
            seconds: how long the oldest of them has waited.
            queue: in which queue; in each, where left out.
        """
        return self._outbox.crowd(Backlog(queue, jobs, seconds))

    # How it is done

    def _send(self, request: SavedRequest, options: Options) -> Answer:
        check_options(options)
        key = key_of(options)
        how = checked(options.get("signed", self._signed or bool(key)))
        address = options.get("address", self._address)
        headers = merged(self._headers, request.headers, options.get("headers") or {})
        if kind := options.get("content_type"):
            headers = merged(headers, {"Content-Type": kind})
        request = SavedRequest(request.method, request.target, headers, request.body, request.name)
        routing = self._routes()
        route, event = routing.find(request, address, self._clock.now())
        if how and route is None and (key or "signed" in options):
            raise ClientError(
                f"{request.method} {request.target} leads to no route that it could be signed for. {routing.known}"
            )
        if how and route is not None and event is not None:
            if route.signs_url:
                event = replace(event, url=self.relay.door.url(self._made(request, address).environ))
            moment = options.get("signed_at") or self._clock.now()
            brought = self._outbox.brought(route.rule, name_of(event)) if route.brings else None
            changes = signature(route, event, how, moment, brought, key)
            kept = {name: value for name, value in headers.items() if name.lower() not in changes.dropped}
            target, headers = request.target + changes.query, merged(kept, changes.headers)
            request = SavedRequest(request.method, target, headers, changes.body, request.name)
        hint = routing.hint(route, signed=bool(how))
        return self._answered(request, address, hint)

    def _answered(self, request: SavedRequest, address: str, hint: str) -> Answer:
        seen = self._outbox.begin()
        web = self._webtest.TestApp(self._routes().app)
        made = self._made(request, address)
        response = web.do_request(made, expect_errors=True)
        self._errors |= seen.errors
        answer = self._read.answer(request, response.status_int, response.headerlist, response.body, seen, hint)
        self.answers.append(answer)
        if self._raise_errors:
            for error in seen.errors.values():
                error.add_note(
                    f"(In earnest: {answer.said} A client made with raise_errors=False gives this answer instead.)"
                )
                raise error.with_traceback(users_part(error.__traceback__))
        return answer

    def _made(self, request: SavedRequest, address: str) -> Any:
        return self._webtest.TestRequest.blank(
            request.target,
            environ={"REMOTE_ADDR": address},
            method=request.method,
            headers=dict(request.headers),
            body=request.body,
        )

    def _routes(self) -> Routing:
        """Give the app, built anew if routes have been declared since."""
        routes = self.relay.routes
        if self._routing is None or len(self._routing.routes) != len(routes):
            intake = WatchedIntake(self._outbox, module=self.relay._module, clock=self._clock)
            door = copy.copy(self.relay.door)
            # What is counted at the relay's own door is no business of a test's, nor the other way round.
            door.pressure = Pressure(door.max_requests, door.pressure._rate, clock=self._clock.nanoseconds)
            self._routing = Routing(make_app(intake, watched(routes, self._outbox), door), routes)
        return self._routing

    def _multipart(self, fields: Mapping[str, Any], files: Mapping[str, Any]) -> tuple[str, bytes]:
        pairs = [(name, one) for name, value in fields.items() for one in several(value)]
        listed = [(name, *(value if isinstance(value, tuple) else (name, value))) for name, value in files.items()]
        kind, body = self._webtest.TestApp(self._routes().app).encode_multipart(pairs, listed)
        return str(kind), bytes(body)

    def _the_only(self, found: Jobs) -> Sequence[Queued]:
        if len(found) != 1:
            raise AssertionError("\n".join([f"{len(found)} jobs are queued, not one.", *_shown(found)]))
        return found


def _shown(found: Jobs) -> list[str]:
    listed = [f"  {job!r}" for job in found]
    return [
        *(["Queued so far:", *listed] if listed else ["Nothing was queued."]),
        *(f"  {line}" for line in found.why[-5:]),
    ]
