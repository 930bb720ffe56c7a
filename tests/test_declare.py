"""What a declaration says wrongly is an error at once, in a sentence that says what to change."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
import rq

from tests import jobs
from tests.support import make_event, make_relay, make_route
from trafficrelay import (
    EMPTY,
    PIXEL,
    DeclarationError,
    MemoryOutbox,
    Relay,
    RelayError,
    Reply,
    Route,
    per_event,
)
from trafficrelay.backoff import Retries
from trafficrelay.relay import URL_VARIABLE
from trafficrelay.route import MAX_BODY
from trafficrelay.transforms import with_request
from trafficrelay.verify import basic, bearer, github, hmac_signature, standard_webhooks

SECRET = "hush-hush"


@pytest.fixture(autouse=True)
def _no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)


def in_the_program(data: Any) -> None: ...


in_the_program.__module__ = "__main__"


async def waits(event: Any) -> Any:
    return event


async def waits_and_yields(event: Any) -> Any:
    yield event


class WaitsWhenCalled:
    async def __call__(self, event: Any) -> Any:
        return event


class Method:
    def run(self, data: Any) -> None: ...


def nested() -> Callable[[Any], Any]:
    def job(data: Any) -> Any:
        return data

    return job


# One route


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("job", "on_push", "dotted name"),
        ("job", "shop.jobs:on_push", "dotted name"),
        ("job", "shop..on_push", "dotted name"),
        ("job", "shop.jobs.2nd", "dotted name"),
        ("job", "", "dotted name"),
        ("job", "shop.jobs.on_push\n", "dotted name"),
        ("job", "__main__.on_push", "no worker can import"),
        ("job", None, "function or its dotted name"),
        ("job", 5, "function or its dotted name"),
        ("job", Method, "function or its dotted name"),
        ("job", Method().run, "function or its dotted name"),
        ("job", [].append, "function or its dotted name"),
        ("job", functools.partial(jobs.echo), "function or its dotted name"),
        ("job", in_the_program, "module of its own"),
        ("job", nested(), "top of its module"),
        ("queue", "", "letters, digits"),
        ("queue", "a b", "letters, digits"),
        ("queue", "-v", "letters, digits"),
        ("queue", "höoks", "letters, digits"),
        ("queue", "hooks\n", "letters, digits"),
        ("queue", "hooks:intermediate", "letters, digits"),
        ("queue", None, "letters, digits"),
        ("queue", waits, "async"),
        ("verify", SECRET, "verifier"),
        ("verify", True, "verifier"),
        ("transform", lambda: 1, "one argument, the event"),
        ("verify", github, "github(secret"),
        ("verify", waits, "async"),
        ("methods", [], '"GET", "POST"'),
        ("methods", None, '"GET", "POST"'),
        ("methods", 5, '"GET", "POST"'),
        ("methods", ["HEAD"], "HEAD"),
        ("methods", ["POST", "SHOUT"], "SHOUT"),
        ("max_body", -1, "bytes"),
        ("max_body", "1 pound", "bytes"),
        ("max_body", True, "bytes"),
        ("max_body", 1.5, "bytes"),
        ("retry", -1, "number of tries"),
        ("retry", True, "number of tries"),
        ("retry", 1.5, "number of tries"),
        ("retry", "3", "number of tries"),
        ("retry", [], "number of tries"),
        ("retry", [-1], "retry is a time"),
        ("retry", ["soon"], "retry is a time"),
        *(
            (option, value, f"{option} is a time")
            for option in ("timeout", "result_ttl", "failure_ttl", "delay", "dedupe_window")
            for value in ("", "soon", "15 m", "1h30m", "-5", "1w", -2, True, float("nan"), float("inf"), b"5", [5])
        ),
        ("timeout", 0, "timeout is a time of 1 s or more"),
        ("failure_ttl", 0, "failure_ttl is a time of 1 s or more"),
        ("dedupe_window", 0, "dedupe_window is a time of 1 s or more"),
        ("dedupe_window", None, "dedupe_window is a time"),
        ("dedupe_window", timedelta(milliseconds=5), "dedupe_window is a time"),
        ("delay", 0.5, "whole seconds"),
        ("delay", timedelta(seconds=2, milliseconds=900), "whole seconds"),
        ("dedupe", "header: X-Id", "header:NAME"),
        ("dedupe", "data:lines[0].id", "data:path.to.field"),
        ("verify", lambda: True, "one argument, the event"),
        ("delay", None, "delay is a time"),
        ("at_front", 1, "True or False"),
        ("at_least_once", "no", "True or False"),
        ("dedupe", "X-GitHub-Delivery", '"header:NAME"'),
        ("dedupe", "header:", '"header:NAME"'),
        ("dedupe", "data:", '"data:path.to.field"'),
        ("dedupe", "data:a..b", '"data:path.to.field"'),
        ("dedupe", "body:a", '"header:NAME"'),
        ("dedupe", 5, '"header:NAME"'),
        ("dedupe", waits, "async"),
        ("reply", "gif", '"pixel"'),
        ("reply", 204, '"empty"'),
        ("reply", {"ok": True}, "function of the event"),
        ("reply", waits, "async"),
        ("on_error", "ignore", '"keep" or "refuse"'),
        ("on_error", None, '"keep" or "refuse"'),
        ("transform", 5, "function of the event"),
        ("transform", waits, "async"),
        ("transform", waits_and_yields, "async"),
        ("transform", functools.partial(waits), "async"),
        ("transform", WaitsWhenCalled(), "async"),
    ],
)
def test_wrong_option_is_refused_with_what_to_change(option: str, value: Any, words: str) -> None:
    """A wrong option is refused with what to change."""
    with pytest.raises(DeclarationError) as caught:
        make_route(**{option: value})

    assert words in str(caught.value)


@pytest.mark.parametrize("option", ["job", "queue", "methods", "max_body", "retry", "timeout", "dedupe", "reply"])
def test_error_names_the_option_at_fault(option: str) -> None:
    """An error names the option at fault."""
    with pytest.raises(DeclarationError) as caught:
        make_route(**{option: object()})

    assert caught.value.option == option


def test_declaration_error_is_a_relay_error_and_a_value_error() -> None:
    """A declaration error is a relay error and a value error."""
    with pytest.raises(DeclarationError) as caught:
        make_route(rule="x")

    assert isinstance(caught.value, RelayError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("verfy", "Did you mean verify?"), ("queues", "Did you mean queue?"), ("wibble", "at_front, at_least_once,")],
)
def test_unknown_option_of_the_decorator_is_refused_with_the_nearest(name: str, hint: str) -> None:
    """An unknown option of the decorator is refused with the nearest."""
    relay, _ = make_relay()

    with pytest.raises(DeclarationError, match=name) as caught:
        relay.route("/x", **{"verify": None, "job": "a.b", name: 1})(lambda event: event.data)  # type: ignore[misc]

    assert hint in str(caught.value)


def test_unknown_option_of_a_route_given_as_data_is_refused_with_the_nearest() -> None:
    """An unknown option of a route given as data is refused with the nearest."""
    with pytest.raises(DeclarationError, match="Did you mean queue"):
        make_route(queues="hooks")


def test_decorator_without_parentheses_is_refused() -> None:
    """The decorator without parentheses is refused."""
    relay, _ = make_relay()

    with pytest.raises(DeclarationError, match="rule"):
        relay.route(lambda event: event.data)  # type: ignore[arg-type]


def test_verify_left_out_is_refused_and_says_how_to_open_the_route() -> None:
    """`verify` left out is refused and says how to open the route."""
    with pytest.raises(DeclarationError) as caught:
        Route("/x", job="a.b")

    assert caught.value.option == "verify"
    assert "verify=None" in str(caught.value)


def test_job_left_out_is_refused() -> None:
    """A job left out is refused."""
    with pytest.raises(DeclarationError, match="has no job") as caught:
        Route("/x", verify=None)

    assert caught.value.option == "job"


def test_verify_none_opens_the_route() -> None:
    """`verify=None` opens the route."""
    assert make_route(verify=None).verify is None


def test_what_per_event_marks_has_to_be_a_function() -> None:
    """What `per_event` marks has to be a function."""
    with pytest.raises(DeclarationError, match="function"):
        make_route(job=per_event("shop.jobs.on_push"))  # type: ignore[arg-type]


# What options mean


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (90.0, 90),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("7d", 604_800),
        (timedelta(minutes=2), 120),
        (timedelta(seconds=2), 2),
    ],
)
@pytest.mark.parametrize("option", ["timeout", "result_ttl", "failure_ttl", "delay"])
def test_duration_is_read_in_every_form(option: str, value: Any, seconds: int) -> None:
    """A duration is read in every form."""
    assert getattr(make_route(**{option: value}).targets[0].options, option) == seconds


@pytest.mark.parametrize("option", ["timeout", "result_ttl", "failure_ttl"])
@pytest.mark.parametrize("value", [None, -1])
def test_lifetime_may_be_left_to_rq_or_be_for_ever(option: str, value: int | None) -> None:
    """A lifetime may be left to RQ, or be for ever."""
    assert getattr(make_route(**{option: value}).targets[0].options, option) == value


def test_dedupe_window_is_a_day_unless_said() -> None:
    """The dedupe window is a day unless said."""
    assert make_route().window == 86_400
    assert make_route(dedupe_window="10m").window == 600


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (None, None),
        (0, None),
        (3, Retries(3, (0,))),
        ([10, "1m", timedelta(hours=1)], Retries(3, (10, 60, 3600))),
        ((5,), Retries(1, (5,))),
        (rq.Retry(max=4), Retries(4, (0,))),
        (rq.Retry(max=4, interval=30), Retries(4, (30,))),
        (rq.Retry(max=2, interval=[10, 60]), Retries(2, (10, 60))),
        (rq.Retry(max=2, interval=[]), Retries(2, (0,))),
    ],
)
def test_retry_is_read_in_every_form(value: Any, read: Retries | None) -> None:
    """A retry is read in every form."""
    assert make_route(retry=value).targets[0].options.retries == read


@pytest.mark.parametrize(
    ("dedupe", "key"),
    [
        ("header:X-Delivery", "d-1"),
        ("header:x-delivery", "d-1"),
        ("header:X-Absent", None),
        ("header:X-Empty", None),
        ("data:order.id", "o-1"),
        ("data:order.lines.1", "second"),
        ("data:order.lines.9", None),
        ("data:order.absent", None),
        ("data:order.empty", None),
        ("data:order.lines", None),
        ("data:order", None),
        ("data:order.id.deeper", None),
        (lambda event: event.params["shop"], "acme"),
        (lambda event: None, None),
    ],
)
def test_duplicate_key_is_found_where_the_option_says(dedupe: Any, key: str | None) -> None:
    """The duplicate key is found where the option says."""
    data = {"order": {"id": "o-1", "lines": ["first", "second"], "empty": ""}}
    event = make_event(headers={"X-Delivery": "d-1", "X-Empty": ""}, data=data)

    key_of = make_route(dedupe=dedupe).key_of

    assert key_of is not None
    assert key_of(event) == key


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, 1.0), (1, True), (1, "int:1"), ("True", True)])
def test_duplicate_keys_of_different_types_are_different(one: Any, other: Any) -> None:
    """Duplicate keys of different types are different."""
    key_of = make_route(dedupe="data:id").key_of

    assert key_of is not None
    assert key_of(make_event(data={"id": one})) != key_of(make_event(data={"id": other}))


def test_route_without_dedupe_has_no_duplicate_key() -> None:
    """A route without dedupe has no duplicate key."""
    assert make_route(dedupe=None).key_of is None


@pytest.mark.parametrize(
    ("methods", "names"),
    [("get", ("GET",)), (["get", "POST", "GET"], ("GET", "POST")), ({"PUT"}, ("PUT",)), (("PATCH",), ("PATCH",))],
)
def test_methods_are_read_in_every_form(methods: Any, names: tuple[str, ...]) -> None:
    """Methods are read in every form."""
    assert make_route(methods=methods).methods == names


def test_route_takes_posts_of_a_mebibyte_unless_said() -> None:
    """A route takes POSTs of up to a mebibyte unless it says otherwise."""
    route = make_route()

    assert route.methods == ("POST",)
    assert route.max_body == MAX_BODY == 1024 * 1024


@pytest.mark.parametrize(
    ("reply", "answer"), [("empty", EMPTY), ("pixel", PIXEL), (Reply(200), Reply(200)), (None, None)]
)
def test_reply_is_read_in_every_form(reply: Any, answer: Reply | None) -> None:
    """A reply is read in every form."""
    assert make_route(reply=reply).answer == answer


def test_job_may_be_async_since_rq_awaits_it() -> None:
    """A job may be async since RQ awaits it."""
    assert make_route(job=waits).targets[0].job_of == "tests.test_declare.waits"


@pytest.mark.parametrize("job", [jobs.echo, "tests.jobs.echo"])
def test_job_is_a_function_or_its_dotted_name(job: Any) -> None:
    """A job is a function or its dotted name."""
    assert make_route(job=job).targets[0].job_of == "tests.jobs.echo"


@pytest.mark.parametrize(
    ("option", "choose", "chosen"),
    [
        ("job", lambda event: f"shop.{event.params['shop']}.run", "shop.acme.run"),
        ("job", per_event(lambda event: jobs.echo), "tests.jobs.echo"),
        ("queue", lambda event: event.params["shop"], "acme"),
        ("queue", per_event(lambda event: event.params["shop"]), "acme"),
    ],
)
def test_job_and_queue_may_be_chosen_for_each_event(option: str, choose: Any, chosen: str) -> None:
    """Job and queue may be chosen for each event."""
    choice = getattr(make_route(**{option: choose}).targets[0], f"{option}_of")

    assert callable(choice)
    assert choice(make_event()) == chosen


@pytest.mark.parametrize(("option", "bad"), [("job", "nodots"), ("job", None), ("queue", "a b"), ("queue", None)])
def test_what_a_function_chooses_is_checked_like_a_value(option: str, bad: Any) -> None:
    """What a function chooses is checked like a value."""
    choose = getattr(make_route(**{option: per_event(lambda event: bad)}).targets[0], f"{option}_of")

    with pytest.raises(DeclarationError, match=option):
        choose(make_event())


# Rules


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("github", "begins with a slash"),
        ("", "begins with a slash"),
        (None, "begins with a slash"),
        (b"/github", "begins with a slash"),
        ("/-", "belongs to the relay"),
        ("/-/mine", "belongs to the relay"),
        ("/a?b=1", "without a query"),
        ("/x/{shop}", "Write <name>"),
        ("/a#b", "no path has"),
        ("/a b", "no path has"),
        ("/a\n", "no path has"),
        ("/hooks/:shop", "<name>"),
        ("/v1/orders:batch", "colon"),
        ("/<id:integer>", "int, float, path"),
        ("/<id:re:[0-9>", "cannot be read"),
        ("/<a>/<a>", "cannot be read"),
        ("/<2nd>", "wildcard"),
        ("/<order-id>", "wildcard"),
        ("/<shop", "wildcard"),
        ("/<shop>/<order-id>", "wildcard"),
        ("/<shop>/<2nd>", "wildcard"),
        ("/<shop>/<id", "wildcard"),
        ("/shop>", "wildcard"),
        ("/<:float>", "name"),
    ],
)
def test_bad_rule_is_refused_with_what_to_change(rule: Any, words: str) -> None:
    """A bad rule is refused with what to change."""
    relay, _ = make_relay()

    with pytest.raises(DeclarationError) as caught:
        relay.add(make_route(rule=rule))

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [
        "/",
        "/github",
        "/hooks/<shop>",
        "/o/<id:int>",
        "/p/<price:float>",
        "/f/<path:path>",
        "/r/<x:re:[a-z]+>",
        "/r/<x:re:(?:push|pull)>",
        "/r/<x:re:[0-9]{2} ?>",
        "/café/<shop>",
    ],
)
def test_rule_with_wildcards_and_filters_is_taken(rule: str) -> None:
    """A rule with wildcards and filters is taken."""
    relay, _ = make_relay()

    route = relay.add(make_route(rule=rule))

    assert relay.routes == (route,)
    assert relay.find(rule, "POST") is route


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a", "/a"),
        ("/<a>", "/<b>"),
        ("/o/<a:int>", "/o/<b:int>"),
        ("/f/<a:path>/x", "/f/<b:path>/x"),
        ("/<a:re:[a-z]+>", "/<b:re:[a-z]+>"),
    ],
)
def test_two_routes_on_one_rule_and_method_are_refused(one: str, other: str) -> None:
    """Two routes on one rule and method are refused."""
    relay, _ = make_relay(make_route(rule=one, methods=["POST", "PUT"]))

    with pytest.raises(DeclarationError, match="declared twice"):
        relay.add(make_route(rule=other, methods=["GET", "PUT"]))

    assert len(relay.routes) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rule": "/a"}, {"rule": "/a", "methods": ["PUT"]}),
        ({"rule": "/<a>"}, {"rule": "/<a:int>"}),
        ({"rule": "/a"}, {"rule": "/a/"}),
    ],
)
def test_routes_that_differ_in_rule_or_method_live_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Routes that differ in rule or method live together."""
    relay, _ = make_relay(make_route(**one), make_route(**other))

    assert len(relay.routes) == 2


def test_refused_route_takes_no_rule() -> None:
    """A route that was refused does not keep others from its rule."""
    relay, _ = make_relay(make_route(rule="/a", methods=["PUT"]))
    with pytest.raises(DeclarationError):
        relay.add(make_route(rule="/a", methods=["POST", "PUT"]))

    relay.add(make_route(rule="/a", methods=["POST"]))

    assert len(relay.routes) == 2


# The relay


def test_decorator_gives_the_function_back_and_makes_it_the_transform() -> None:
    """The decorator gives the function back and makes it the transform."""
    relay, _ = make_relay()

    def transform(event: Any) -> Any:
        return event.data

    given = relay.route("/x", verify=None, job="a.b")(transform)

    assert given is transform
    assert relay.routes[0].transform is transform


@pytest.mark.parametrize("thing", ["/x", None, lambda event: 1, {"rule": "/x"}])
def test_add_takes_nothing_but_a_route(thing: Any) -> None:
    """`add` takes nothing but a route."""
    relay, _ = make_relay()

    with pytest.raises(DeclarationError, match="add takes a Route"):
        relay.add(thing)


def test_route_after_the_app_was_used_is_refused() -> None:
    """A route after the app was used is refused."""
    relay, _ = make_relay(make_route(rule="/a"))
    relay.app  # noqa: B018

    with pytest.raises(DeclarationError, match="/late comes too late"):
        relay.add(make_route(rule="/late"))


def test_app_is_built_once() -> None:
    """The app is built once."""
    relay, _ = make_relay(make_route())

    assert relay.app is relay.app


def test_app_of_an_unbound_relay_is_refused_and_says_how_to_bind_it() -> None:
    """The app of an unbound relay is refused and says how to bind it."""
    relay = Relay()
    relay.add(make_route())

    with pytest.raises(DeclarationError) as caught:
        relay.app  # noqa: B018

    assert not relay.bound
    assert all(words in str(caught.value) for words in ('Relay("redis://', URL_VARIABLE, "trafficrelay run"))


def test_relay_without_a_url_takes_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay without a URL takes the environment's; one with a URL its own."""
    monkeypatch.setenv(URL_VARIABLE, "redis://example.test:1/0")

    assert Relay().redis_url == "redis://example.test:1/0"
    assert Relay("redis://other.test/0").redis_url == "redis://other.test/0"


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment variable is as good as none."""
    monkeypatch.setenv(URL_VARIABLE, "")

    assert not Relay().bound


@pytest.mark.parametrize(
    "source",
    ["", "localhost", "localhost:6379", "http://localhost", "amqp://u:p@h", "redis:/", "redis://[::1", "redis://[x]/"],
)
def test_url_that_is_none_of_redis_is_refused_when_declared(source: str) -> None:
    """A URL that is none of Redis' is refused when declared."""
    with pytest.raises(DeclarationError, match="Redis URL"):
        Relay(source).outbox  # noqa: B018


@pytest.mark.parametrize("source", [5, b"redis://localhost", ["redis://localhost"], object()])
def test_source_that_is_neither_url_nor_client_is_refused(source: Any) -> None:
    """A source that is neither URL nor client is refused."""
    with pytest.raises(DeclarationError, match=r"redis\.Redis"):
        Relay(source).outbox  # noqa: B018


def test_url_and_outbox_together_are_refused() -> None:
    """A URL and outbox together are refused."""
    with pytest.raises(DeclarationError, match="not both"):
        Relay("redis://localhost", outbox=MemoryOutbox())


@pytest.mark.parametrize("source", ["redis://localhost?decode_responses=true", redis.Redis(decode_responses=True)])
def test_client_that_decodes_responses_is_refused(source: Any) -> None:
    """A client that decodes responses is refused."""
    with pytest.raises(DeclarationError, match="decode_responses"):
        Relay(source).outbox  # noqa: B018


def test_client_of_a_cluster_is_refused() -> None:
    """A client of a cluster is refused."""

    class RedisCluster:
        """Looks like redis-py's, which connects when it is made."""

    with pytest.raises(DeclarationError, match="cluster"):
        Relay(RedisCluster()).outbox  # type: ignore[arg-type]  # noqa: B018


def test_unknown_serializer_is_refused_when_the_relay_is_made_or_bound() -> None:
    """An unknown serializer is refused when the relay is made or bound."""
    with pytest.raises(DeclarationError, match="serializer"):
        Relay("redis://localhost", serializer="yaml").app  # noqa: B018


def test_bind_says_where_events_go_until_the_app_is_used() -> None:
    """`bind` says where events go until the app is used."""
    relay = Relay()
    relay.bind("redis://localhost:1/0")
    relay.app  # noqa: B018

    with pytest.raises(DeclarationError, match="in use already"):
        relay.bind("redis://localhost:2/0")


def test_two_relays_share_nothing() -> None:
    """Two relays in one process may have the same rules; neither knows of the other."""
    one, one_outbox = make_relay(make_route(rule="/same", queue="one"))
    other, other_outbox = make_relay(make_route(rule="/same", queue="other"))

    assert one.app is not other.app
    assert one.outbox is one_outbox is not other_outbox
    assert [one.queues, other.queues] == [("one",), ("other",)]


def test_queues_are_those_that_routes_name() -> None:
    """The relay's queues are those that its routes name, each once."""
    relay, _ = make_relay(
        make_route(rule="/a", queue="one"), make_route(rule="/b", queue="two"), make_route(rule="/c", queue="one")
    )
    dynamic, _ = make_relay(make_route(queue=lambda event: "x"))

    assert (relay.queues, relay.dynamic_queues) == (("one", "two"), False)
    assert (dynamic.queues, dynamic.dynamic_queues) == ((), True)


# Secrets


@pytest.mark.parametrize(
    "make",
    [
        github,
        bearer,
        standard_webhooks,
        lambda secret: hmac_signature(secret, header="X-Signature"),
        lambda secret: basic("me", secret),
    ],
)
@pytest.mark.parametrize(
    "secret", [None, "", b"", [], (), [""], ["good", ""], pytest.param("TRAFFICRELAY_NOT_SET", id="os.environ")]
)
def test_empty_secret_is_refused_and_points_to_the_environment(make: Callable[[Any], Any], secret: Any) -> None:
    """An empty secret is refused and points to the environment."""
    if secret == "TRAFFICRELAY_NOT_SET":
        secret = os.environ.get(secret)

    with pytest.raises(DeclarationError, match=r"empty secret.*environment variable") as caught:
        make(secret)

    assert caught.value.option == "verify"


@pytest.mark.parametrize(
    "make",
    [
        lambda: standard_webhooks("whsec_"),
        lambda: standard_webhooks(f"whsec_{SECRET}"),
        lambda: github({"acme": SECRET}),  # type: ignore[arg-type]
        lambda: github([SECRET, 5]),  # type: ignore[list-item]
        lambda: github(5),  # type: ignore[arg-type]
        lambda: hmac_signature(SECRET, header=""),
        lambda: hmac_signature(SECRET, header=5),  # type: ignore[arg-type]
        lambda: hmac_signature(SECRET, header="X", digest="sha257"),
        lambda: hmac_signature(SECRET, header="X", digest="shake_128"),
        lambda: hmac_signature(SECRET, header="X", digest=["sha256"]),  # type: ignore[arg-type]
        lambda: hmac_signature(SECRET, header="X", encoding="base32"),  # type: ignore[arg-type]
        lambda: hmac_signature(SECRET, header="X", prefix=None),  # type: ignore[arg-type]
        lambda: standard_webhooks("c2VjcmV0", tolerance=0),
        lambda: standard_webhooks("c2VjcmV0", tolerance="5m"),  # type: ignore[arg-type]
        lambda: standard_webhooks("c2VjcmV0", tolerance=None),  # type: ignore[arg-type]
        lambda: standard_webhooks("c2VjcmV0", tolerance=float("nan")),  # type: ignore[arg-type]
        lambda: basic("", SECRET),
        lambda: basic("a:b", SECRET),
        lambda: basic(5, SECRET),  # type: ignore[arg-type]
    ],
)
def test_wrong_option_of_a_verifier_is_refused_without_its_secret(make: Callable[[], Any]) -> None:
    """A wrong option of a verifier is refused without its secret."""
    with pytest.raises(DeclarationError) as caught:
        make()

    assert caught.value.option == "verify"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "amqp://user:hush-hush@host",
        "user:hush-hush@host",
        "redis://user:hush-hush@host:port/0",
        "redis://:hush-hush@host:99999999/0",
        "redis://host/0?password=hush-hush&socket_timeout=x",
        "redis://:hush-hush/with-a-slash@host",
        "redis://:with-a-slash/hush-hush@host",
        "redis://:hush-hush#with-a-hash@host",
        "redis://:hush-hush?with-a-mark@host",
    ],
)
def test_error_about_a_url_does_not_hold_its_password(source: str) -> None:
    """An error about a URL does not hold its password."""
    with pytest.raises(DeclarationError) as caught:
        Relay(source).outbox  # noqa: B018

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "thing",
    [
        lambda: github(SECRET),
        lambda: hmac_signature([SECRET, b"other"], header="X"),
        lambda: standard_webhooks("whsec_aHVzaC1odXNo"),
        lambda: bearer(SECRET),
        lambda: basic("me", SECRET),
        lambda: github(SECRET).secrets,
        lambda: make_route(verify=github(SECRET)),
        lambda: make_relay(make_route(verify=github(SECRET)))[0],
        lambda: Relay(f"redis://:{SECRET}@localhost"),
        lambda: make_event(
            headers={"Authorization": f"Bearer {SECRET}"}, query={"token": SECRET}, body=SECRET.encode()
        ),
        lambda: make_event(headers={"Authorization": f"Bearer {SECRET}"}).headers,
        lambda: make_event(data={"card": SECRET}, params={"shop": SECRET}),
    ],
)
def test_repr_shows_no_secret_and_no_payload(thing: Callable[[], Any]) -> None:
    """A repr shows no secret and no payload."""
    text = repr(thing())

    assert SECRET not in text
    assert "aHVzaC1odXNo" not in text


def test_the_decorator_takes_no_second_transform() -> None:
    """What the decorator itself gives cannot be given again."""
    with pytest.raises(DeclarationError, match="no option transform"):
        Relay().route("/a", verify=None, job="tests.jobs.echo", transform=lambda event: 1)  # type: ignore[call-arg]


def test_the_decorator_without_parentheses_says_what_to_write() -> None:
    """Python would hand the function over as the rule."""
    with pytest.raises(DeclarationError, match=r'write @relay.route\("/path"'):

        @Relay().route  # type: ignore[arg-type]
        def push(event: Any) -> Any:
            return event.data


def test_a_header_that_proves_who_sent_is_put_into_no_job() -> None:
    """Those of this route's verifier too, which the step itself cannot know."""
    verify = hmac_signature("secret", header="X-Proof")

    with pytest.raises(DeclarationError, match="x-proof"):
        make_route(verify=verify, transforms=[with_request(headers=["X-Proof"])])
    make_route(verify=verify, transforms=[with_request(headers=["X-Shop"])])
