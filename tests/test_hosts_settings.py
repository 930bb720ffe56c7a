"""Relays that take their Redis, queues and defaults from a host's settings: django-rq's and Flask-RQ's."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import flask
import flask_rq
import pytest
import redis
from django.test import override_settings
from flask.logging import default_handler
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from webtest import TestApp

from tests.hosts.configured import django_rq, settings
from tests.standalone_support import ROOT, environment
from tests.support import make_route, raising
from trafficrelay import DeclarationError, MemoryOutbox, Relay, Route, To, per_event
from trafficrelay.hosts.django import relay_from_django
from trafficrelay.hosts.flask import relay_from_flask

pytestmark = pytest.mark.rq

ELSEWHERE = "redis://192.0.2.1:6379/0"
JOB = "tests.jobs.echo"

Configure = Callable[..., None]


@pytest.fixture
def django_queues() -> Iterator[Configure]:
    """Set `settings.RQ_QUEUES` for a test."""
    overrides = []

    def configure(**queues: Any) -> None:
        override = override_settings(RQ_QUEUES=queues)
        override.enable()
        overrides.append(override)

    yield configure
    for override in reversed(overrides):
        override.disable()


def flask_app(url: str, *queues: str, **config: Any) -> Any:
    app = flask.Flask("shop")
    app.config.update(RQ_CONNECTION=url, RQ_QUEUES=list(queues), **config)
    flask_rq.RQ(app)
    return app


def post(relay: Relay, path: str = "/x", status: int = 202) -> Any:
    return TestApp(relay.app).post_json(path, {"n": 1}, status=status).json


def the_job(client: redis.Redis, queue: str, serializer: Any = None) -> Job:
    [job] = Queue(queue, connection=client, serializer=serializer).jobs
    return job


# django-rq


def test_a_job_is_written_as_django_rq_writes_it(django_queues: Configure, redis_url: str, client: redis.Redis) -> None:
    django_queues(orders={"URL": redis_url, "DEFAULT_TIMEOUT": "2m", "DEFAULT_RESULT_TTL": 3600})
    theirs = django_rq.get_queue("orders", commit_mode="auto").enqueue(JOB, {"n": 1})
    expected = Job.fetch(theirs.id, connection=client)
    django_rq.get_queue("orders").empty()
    with closing(relay_from_django("orders")) as relay:
        relay.add(make_route(queue="orders"))
        post(relay)
    job = the_job(client, "orders")

    # django-rq 4.2 itself passes its DEFAULT_RESULT_TTL over in `enqueue`, where RQ says result_ttl=None.
    assert (job.timeout, job.result_ttl) == (120, 3600)
    assert (job.timeout, job.origin) == (expected.timeout, expected.origin)
    assert (job.func_name, job.args) == (expected.func_name, expected.args)


def test_what_a_route_says_goes_before_the_hosts_defaults(
    django_queues: Configure, redis_url: str, client: redis.Redis
) -> None:
    django_queues(default={"URL": redis_url, "DEFAULT_TIMEOUT": 60, "DEFAULT_RESULT_TTL": 3600})
    with closing(relay_from_django()) as relay:
        relay.add(make_route(timeout="5m", result_ttl=0))
        post(relay)
    job = the_job(client, "default")

    assert (job.timeout, job.result_ttl) == (300, 0)


def test_the_parts_of_a_route_have_the_defaults_of_their_queues(
    django_queues: Configure, redis_url: str, client: redis.Redis
) -> None:
    django_queues(
        default={"URL": redis_url, "DEFAULT_TIMEOUT": 60},
        low={"URL": redis_url, "DEFAULT_TIMEOUT": 600, "DEFAULT_RESULT_TTL": 5},
    )
    with closing(relay_from_django()) as relay:
        relay.add(Route("/x", verify=None, to=[To(JOB), To(JOB, queue="low")]))
        relay.add(Route("/y", verify=None, timeout=7, to=[To(JOB), To(JOB, queue="low", timeout=8)]))
        post(relay)
        jobs = [the_job(client, queue) for queue in ("default", "low")]
        client.flushall()
        post(relay, "/y")

    assert [(job.timeout, job.result_ttl) for job in jobs] == [(60, None), (600, 5)]
    assert [the_job(client, queue).timeout for queue in ("default", "low")] == [7, 8]


def test_a_route_whose_parts_all_name_a_queue_needs_none_of_its_own(
    django_queues: Configure, redis_url: str, client: redis.Redis
) -> None:
    """Not even for its dead letters, which lie in that of its first part."""

    def broken(event: Any) -> Any:
        raise ValueError

    django_queues(orders={"URL": redis_url})
    with closing(relay_from_django("orders")) as relay:
        relay.add(Route("/x", verify=None, to=[To(JOB, queue="orders")], transform=broken))
        post(relay)

    assert client.zcard("rq:failed:orders") == 1


def test_a_hosts_serializer_writes_the_jobs(django_queues: Configure, redis_url: str, client: redis.Redis) -> None:
    django_queues(default={"URL": redis_url, "SERIALIZER": "rq.serializers.JSONSerializer"})
    with closing(relay_from_django()) as relay:
        relay.add(make_route())
        post(relay)

    assert relay.serializer_name == "rq.serializers.JSONSerializer"
    assert the_job(client, "default", JSONSerializer).args == [{"n": 1}]


def test_a_route_without_a_queue_goes_to_the_queue_that_the_relay_was_made_for(
    django_queues: Configure, redis_url: str
) -> None:
    django_queues(default={"URL": redis_url}, low={"URL": redis_url})
    outbox = MemoryOutbox()
    relay = relay_from_django("low", outbox=outbox)
    relay.route("/x", verify=None, job=JOB)(lambda event: event.data)
    post(relay)

    assert [job.queue for job in outbox.jobs] == ["low"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"HOST": "redis.example", "PORT": 6380, "DB": 3, "PASSWORD": "p"}, ("redis.example", 6380, 3)),
        ({"HOST": "redis.example", "PORT": 6380, "SSL": True}, ("redis.example", 6380, 0)),
        ({"UNIX_SOCKET_PATH": "/run/redis.sock", "DB": 2}, ("/run/redis.sock", None, 2)),
        ({"URL": "redis://:p@redis.example:6380", "DB": 4}, ("redis.example", 6380, 4)),
    ],
    ids=["host", "ssl", "socket", "url"],
)
def test_a_redis_may_be_named_in_each_of_django_rqs_ways(
    django_queues: Configure, config: dict[str, Any], place: tuple[Any, ...]
) -> None:
    django_queues(default=config, other=dict(config))
    relay = relay_from_django()
    relay.add(make_route(queue="other"))
    source: Any = relay.source
    used = source.connection_pool.connection_kwargs

    assert (used.get("host") or used.get("path"), used.get("port"), used.get("db") or 0) == place


def test_a_redis_behind_sentinels_is_taken_over(django_queues: Configure) -> None:
    config = {"SENTINELS": [("192.0.2.1", 26379)], "MASTER_NAME": "main", "DB": 0}
    django_queues(default=config, same=dict(config), other={**config, "MASTER_NAME": "second"})
    relay = relay_from_django()
    relay.add(make_route(rule="/same", queue="same"))

    assert relay.outbox is not None
    with pytest.raises(DeclarationError, match="on another Redis"):
        relay.add(make_route(rule="/other", queue="other"))


def test_redis_that_django_rq_cannot_reach_is_named_without_its_password(django_queues: Configure) -> None:
    django_queues(default={"URL": "http://:secret@redis.example"}, half={"HOST": "secret.example"})

    for queue in ("default", "half"):
        with pytest.raises(DeclarationError, match=rf'RQ_QUEUES\["{queue}"\] cannot be used') as caught:
            relay_from_django(queue)
        assert "secret" not in str(caught.value)


def test_async_off_is_said_to_be_passed_over(
    django_queues: Configure, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    django_queues(default={"URL": redis_url, "ASYNC": False})
    relay_from_django()

    assert "ASYNC=False" in caplog.text


def test_settings_without_queues_are_a_sentence() -> None:
    with override_settings():
        del settings.RQ_QUEUES

        with pytest.raises(DeclarationError, match=r"settings\.RQ_QUEUES"):
            relay_from_django()


# Flask-RQ


def test_flasks_queues_take_what_its_relay_takes_in(redis_url: str, client: redis.Redis) -> None:
    app = flask_app(redis_url, "default", "orders")
    with closing(relay_from_flask(app)) as relay:
        relay.route("/x", verify=None, job=JOB)(lambda event: event.data)
        relay.route("/y", verify=None, job=JOB, queue="orders")(lambda event: event.data)
        post(relay)
        post(relay, "/y")

    with app.app_context():
        queues = app.extensions["rq"].queues
        assert [queues[name].jobs[0].args for name in ("default", "orders")] == [({"n": 1},)] * 2


def test_flasks_queue_with_a_connection_of_its_own_needs_a_relay_of_its_own(redis_url: str) -> None:
    app = flask_app(redis_url, "default", "far", RQ_QUEUE_CONNECTIONS={"far": ELSEWHERE})
    relay_from_flask(app, "far").add(make_route(queue="far"))

    with pytest.raises(DeclarationError, match=r'relay_from_flask\(app, "far"\)'):
        relay_from_flask(app).add(make_route(queue="far"))


@pytest.mark.parametrize("app", [flask.Flask("shop"), object(), None], ids=["plain", "other", "none"])
def test_an_application_without_flask_rq_is_refused(app: Any) -> None:
    with pytest.raises(DeclarationError, match=r"say RQ\(app\) before"):
        relay_from_flask(app)


def test_flasks_own_log_has_the_relays_records(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("trafficrelay")
    log.addHandler(default_handler)
    try:
        relay = relay_from_flask(flask_app(redis_url, "default"), outbox=MemoryOutbox())
        relay.add(make_route(transform=raising(RuntimeError("hidden"))))
        post(relay)
    finally:
        log.removeHandler(default_handler)

    assert "ERROR" in capsys.readouterr().err


# Both


@pytest.fixture(params=["django", "flask"])
def make(request: pytest.FixtureRequest, django_queues: Configure, redis_url: str) -> Callable[..., Relay]:
    """Make relays of a host with the queues default, hooks and, elsewhere, far."""
    if request.param == "flask":
        app = flask_app(redis_url, "default", "hooks", "far", RQ_QUEUE_CONNECTIONS={"far": ELSEWHERE})
        return lambda *queue, **options: relay_from_flask(app, *queue, **options)
    django_queues(default={"URL": redis_url}, hooks={"URL": redis_url}, far={"URL": ELSEWHERE})
    return relay_from_django


def test_a_queue_that_the_host_does_not_have_is_refused_with_the_nearest(make: Callable[..., Relay]) -> None:
    relay = make()

    with pytest.raises(DeclarationError, match=r"/x goes to the queue 'hoks'.*Did you mean \"hooks\""):
        relay.add(make_route(queue="hoks"))
    with pytest.raises(DeclarationError, match=r"/x goes to the queue 'hoks'"):
        relay.add(Route("/x", verify=None, to=[To(JOB, queue="hoks")]))
    with pytest.raises(DeclarationError, match=r"There are default, hooks, far"):
        make("unheard-of")
    assert relay.routes == ()


def test_a_queue_on_another_redis_is_refused_with_what_to_do(make: Callable[..., Relay]) -> None:
    with pytest.raises(DeclarationError, match=r'"far".*on another Redis than "default".*\("far|"far"\)'):
        make().add(make_route(queue="far"))


def test_a_queue_that_is_chosen_for_each_event_has_to_be_the_hosts(
    make: Callable[..., Relay], client: redis.Redis
) -> None:
    with closing(make()) as relay:
        relay.add(make_route(rule="/known", queue=lambda event: "hooks"))
        relay.add(make_route(rule="/unknown", queue=per_event(lambda event: "hoks")))
        relay.add(make_route(rule="/far", queue=per_event(lambda event: "far")))
        for path in ("/known", "/unknown", "/far"):
            post(relay, path)

    assert Queue("hooks", connection=client).count == 1
    assert {key.decode() for key in client.smembers("rq:queues")} == {"rq:queue:hooks", "rq:queue:default"}
    assert Queue("default", connection=client).failed_job_registry.count == 2


def test_the_hosts_settings_are_not_said_twice(make: Callable[..., Relay]) -> None:
    for option in ({"serializer": "json"}, {"source": ELSEWHERE}):
        with pytest.raises(DeclarationError, match="is what the host's settings say"):
            make(**option)


def test_workers_look_for_the_relay_where_it_was_made(django_queues: Configure, redis_url: str) -> None:
    django_queues(default={"URL": redis_url})
    for make in (relay_from_django, lambda **options: relay_from_flask(flask_app(redis_url, "default"), **options)):
        outbox = MemoryOutbox()
        relay = make(outbox=outbox)
        relay.add(make_route(transform=raising(RuntimeError())))
        post(relay)

        assert outbox.dead_letters[0].data["modules"][0] == __name__


def test_defaults_that_differ_have_to_be_said_where_the_queue_is_chosen(
    django_queues: Configure, redis_url: str
) -> None:
    queues = {"default": {"URL": redis_url}, "low": {"URL": redis_url, "DEFAULT_TIMEOUT": 600}}
    # What is on another Redis cannot be chosen.
    django_queues(**queues, far={"URL": ELSEWHERE, "DEFAULT_TIMEOUT": 1, "DEFAULT_RESULT_TTL": 1})
    relay = relay_from_django()

    with pytest.raises(DeclarationError, match=r"differ in their default timeout\. Say timeout="):
        relay.add(make_route(queue=lambda event: "low"))
    relay.add(make_route(queue=lambda event: "low", timeout=60))


def test_a_queue_with_another_serializer_is_refused(django_queues: Configure, redis_url: str) -> None:
    django_queues(default={"URL": redis_url}, json={"URL": redis_url, "SERIALIZER": JSONSerializer})

    with pytest.raises(DeclarationError, match="with another serializer"):
        relay_from_django().add(make_route(queue="json"))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import trafficrelay.hosts.django", "Set DJANGO_SETTINGS_MODULE"),
        ("import sys; sys.modules['django_rq'] = None; import trafficrelay.hosts.django", "pip install django-rq"),
        ("import sys; sys.modules['django'] = None; import trafficrelay.hosts.django", "pip install django-rq"),
        ("import sys; sys.modules['flask_rq'] = None; import trafficrelay.hosts.flask", "pip install 'Flask-RQ>=1'"),
    ],
    ids=["no settings", "no django-rq", "no django", "no flask-rq"],
)
def test_what_is_missing_is_said_on_import(code: str, sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "trafficrelay.errors.root.DeclarationError" in done.stderr
    assert sentence in done.stderr.splitlines()[-1]
