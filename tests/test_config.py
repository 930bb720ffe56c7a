"""relay.toml -> Relay: all that a file can say."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from trafficrelay import Backoff, DeclarationError, Deliver, MemoryOutbox, Rate, Relay, Reply
from trafficrelay.config.signatures import is_secret
from trafficrelay.config.verifying import PROVIDERS, _table
from trafficrelay.delivery.destination import CloudEvents
from trafficrelay.route import Route
from trafficrelay.verify import CATALOGUE, Key, basic, bearer, github, hmac_signature, standard_webhooks

from .config_support import STANDARD_KEY, read, route, write
from .support import make_event

HOOKS = """\
from trafficrelay import DROP


def push(event):
    return {"seen": event.data}


def only_paid(event):
    return event.data if event.data.get("paid") else DROP


def queue_of(event):
    return event.params["shop"]


def secret_of(event):
    return {"acme": "acme's"}[event.params["shop"]]


def url_of(event):
    return f"https://hooks.example/{event.params['shop']}"


def from_here(event):
    return event.remote_addr == "192.0.2.7"


class Shop:
    @staticmethod
    def pull(event):
        return event.data
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's module `configured_hooks`, which can be imported."""
    (tmp_path / "configured_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("configured_hooks", None)


def only(relay: Relay) -> Route:
    (one,) = relay.routes
    return one


def test_a_file_declares_what_python_declares(folder: Path) -> None:
    """Route for route, option for option."""
    relay = read(
        folder,
        """
        [relay]
        redis = "redis://localhost:6379/0"
        serializer = "json"
        spool = { path = "spool.db", max_size = "1GB", max_age = "1d" }
        wait_replicas = 1
        fsync = true
        trusted_proxies = ["10.0.0.0/8"]
        max_header = 16_384
        max_requests = 100
        address_rate = "50/s"

        [[route]]
        path = "/github"
        verify = { provider = "github", secret_env = "GITHUB_SECRET" }
        job = "shop.jobs.on_push"
        queue = "hooks"
        methods = ["POST", "PUT"]
        dedupe = "header:X-GitHub-Delivery"
        dedupe_window = "1h"
        max_body = "5MB"
        aside = "256KB"
        cors = ["https://shop.example"]
        status = true
        content_type = "application/json"
        retry = [10, 60, "15m"]
        timeout = "3m"
        result_ttl = -1
        failure_ttl = "7d"
        delay = 5
        at_front = true
        at_least_once = false
        reply = "empty"
        on_error = "refuse"
        on_outage = "refuse"
        rate = "100/m"
        max_queued = 1000
        max_lag = "5m"
        """,
        GITHUB_SECRET="s3",
    )
    declared = Route(
        "/github",
        verify=github("s3"),
        job="shop.jobs.on_push",
        queue="hooks",
        methods=["POST", "PUT"],
        dedupe="header:X-GitHub-Delivery",
        dedupe_window="1h",
        max_body="5MB",
        aside="256KB",
        cors=["https://shop.example"],
        status=True,
        content_type="application/json",
        retry=[10, 60, "15m"],
        timeout="3m",
        result_ttl=-1,
        failure_ttl="7d",
        delay=5,
        at_front=True,
        at_least_once=False,
        reply="empty",
        on_error="refuse",
        on_outage="refuse",
        rate="100/m",
        max_queued=1000,
        max_lag="5m",
    )

    assert only(relay).targets[0].options == declared.targets[0].options
    assert only(relay).limits == declared.limits
    assert only(relay).answer == declared.answer
    assert only(relay).origins == declared.origins
    assert [getattr(only(relay), name) for name in ("queue", "limit", "window", "status", "spools", "on_error")] == [
        getattr(declared, name) for name in ("queue", "limit", "window", "status", "spools", "on_error")
    ]
    assert relay.redis_url == "redis://localhost:6379/0"
    assert relay.serializer_name == "json"
    assert relay.spool is not None
    assert (relay.spool.file, relay.spool.size) == (folder / "spool.db", 1 << 30)
    assert (relay.wait_replicas, relay.fsync) == (1, True)
    assert (relay.door.max_header, relay.door.max_requests) == (16_384, 100)


def test_a_route_with_nothing_but_what_it_needs_is_as_in_python(folder: Path) -> None:
    declared = Route("/in", verify=None, job="shop.jobs.on_it")

    assert only(route(folder, "")) == declared


def test_a_relay_from_a_file_takes_events(folder: Path) -> None:
    relay = route(folder, 'transforms = ["configured_hooks.push"]\nqueue = "hooks"')
    outbox = MemoryOutbox()
    copy = Relay(outbox=outbox)
    copy.add(only(relay))
    TestApp(copy.app).post_json("/in", {"n": 1}, status=202)

    (job,) = outbox.jobs
    assert (job.function, job.queue, job.data) == ("shop.jobs.on_it", "hooks", {"seen": {"n": 1}})


def test_from_config_belongs_to_the_module_that_calls_it(folder: Path) -> None:
    """That is where a worker finds it again."""
    relay = Relay.from_config(
        write(folder, '[relay]\nredis = "redis://localhost:1"\n[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"')
    )

    assert relay._module == __name__


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('{ provider = "github", secret_env = "S" }', github("one")),
        ('{ provider = "github", secret_env = ["S", "OLD"] }', github([Key("one", name="S"), Key("two", name="OLD")])),
        (
            '{ provider = "github", secret_env = "S", secret_file = "secret" }',
            github([Key("one", name="S"), Key(b"three", name="secret")]),
        ),
        ('{ provider = "bearer", token_file = ["secret"] }', bearer([b"three"])),
        ('{ provider = "basic", username = "ada", password_env = "S" }', basic("ada", "one")),
        (
            '{ provider = "hmac_signature", header = "X-Sig", secret_env = "S", digest = "sha1", encoding = "base64" }',
            hmac_signature("one", header="X-Sig", digest="sha1", encoding="base64"),
        ),
    ],
)
def test_each_provider_is_its_function(folder: Path, said: str, meant: Any) -> None:
    """It signs as the function of that name does, called with the same options; several secrets are all good."""
    (folder / "secret").write_text("three\n")
    verify = only(route(folder, f"verify = {said}", S="one", OLD="two")).verify
    body = b"{}"

    assert verify.sign(body) == meant.sign(body)  # type: ignore[union-attr]
    assert verify.secrets.of(make_event()) == meant.secrets.of(make_event())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_provider_of_the_catalogue_can_be_said(name: str) -> None:
    """With every option that it takes in Python, unless that is an object of a program."""
    keys = _table(name, signs=False).keys
    options = {
        option: f"{option}_env" if is_secret(parameter.annotation) else option
        for option, parameter in inspect.signature(CATALOGUE[name], eval_str=True).parameters.items()
    }

    assert name in PROVIDERS
    assert {key for option, key in options.items() if option not in ("keys",)} <= keys.keys()


def test_options_beside_the_secret_are_those_of_the_function(folder: Path) -> None:
    meta = only(
        route(
            folder,
            'verify = { provider = "meta", secret_env = "S", verify_token_env = ["T", "U"] }',
            S="s",
            T="t",
            U="u",
        )
    ).verify
    square = only(
        route(
            folder, 'verify = { provider = "square", secret_env = "S", public_url = "https://hooks.example/in" }', S="s"
        )
    ).verify
    chosen = '{ provider = "square", secret_env = "S", public_url = { function = "configured_hooks.url_of" } }'
    of_event = only(route(folder, f'path = "/<shop>"\nverify = {chosen}', S="s")).verify
    event = make_event(params={"shop": "acme"}, url="http://inside:8080/acme")

    assert [held.name for held in meta.more["verify_token"].of(event)] == ["T", "U"]  # type: ignore[union-attr]
    assert square.url_of(event) == "https://hooks.example/in"  # type: ignore[union-attr]
    assert of_event.url_of(event) == "https://hooks.example/acme"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            'secret_env = ["S", { env = "OLD", until = 2999-12-31 }]',
            [("S", "one", None), ("OLD", "two", "3000-01-01T00")],
        ),
        ('secret_env = [{ env = "S", name = "2026" }, "OLD"]', [("2026", "one", None), ("OLD", "two", None)]),
        (
            'secret_env = [{ env = "S", until = 2999-12-31T12:00:00+02:00 }, { env = "OLD", until = "2999-12-31" }]',
            [("S", "one", "2999-12-31T10"), ("OLD", "two", "3000-01-01T00")],
        ),
        (
            'secret_file = ["new/key", { file = "old/key", until = 2999-12-31 12:00:00 }, "last"]',
            [("new-key", b"three", None), ("old-key", b"four", "2999-12-31T12"), ("last", b"five", None)],
        ),
        (
            'secret_env = "S"\nsecret_file = { file = "last", until = 2999-12-31 }',
            [("S", "one", None), ("last", b"five", "3000-01-01T00")],
        ),
        ('secret_env = "S"', [("", "one", None)]),
        ('secret_env = ["S"]', [("", "one", None)]),
        ('secret_env = { env = "S", until = 2999-12-31 }', [("", "one", "3000-01-01T00")]),
        ('secret_env = { env = "S", name = "first" }', [("first", "one", None)]),
    ],
)
def test_several_secrets_have_names_and_dates(
    folder: Path, said: str, meant: list[tuple[str, Any, str | None]]
) -> None:
    """The variable's or the file's name tells which one a sender has; with one secret there is nothing to tell."""
    for name, secret in (("new/key", "three"), ("old/key", "four"), ("last", "five")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(secret)
    table = f'job = "a.b"\n[route.verify]\nprovider = "github"\n{said}'
    given = only(route(folder, table, S="one", OLD="two")).verify.secrets.given  # type: ignore[union-attr]
    keys = [one if isinstance(one, Key) else Key(one) for one in given]

    assert [(key.name, key.secret, key.until and key.until.isoformat()[:13]) for key in keys] == meant  # type: ignore[union-attr]


def test_a_secret_that_counts_no_more_does_not_keep_a_file_from_loading(folder: Path) -> None:
    """As long as another one does."""
    said = '{ provider = "github", secret_env = ["S", { env = "OLD", until = 2020-12-31 }] }'
    verify = only(route(folder, f"verify = {said}", S="one", OLD="two")).verify

    assert [held.name for held in verify.secrets.of(make_event())] == ["S"]  # type: ignore[union-attr]


def test_deliveries_are_signed_with_the_first_secret_that_counts(folder: Path) -> None:
    sign = '{ provider = "github", secret_env = [{ env = "OLD", until = 2020-12-31 }, "S"] }'
    (one,) = only(
        route(folder, f'deliver = {{ url = "https://a.example/", sign = {sign} }}', S="one", OLD="two")
    ).destinations

    assert one.sign.sign(b"{}") == github("one").sign(b"{}")


def test_standard_webhooks_takes_its_tolerance(folder: Path) -> None:
    said = '{ provider = "standard_webhooks", secret_env = "S", tolerance = 60 }'
    verify = only(route(folder, f"verify = {said}", S=STANDARD_KEY)).verify

    assert verify == standard_webhooks([STANDARD_KEY], tolerance=60) or verify.tolerance == 60  # type: ignore[union-attr]


def test_the_keys_of_tenants_come_from_a_function(folder: Path) -> None:
    said = '{ provider = "bearer", token_function = "configured_hooks.secret_of" }'
    verify = only(route(folder, f'path = "/<shop>"\nverify = {said}')).verify
    event = make_event(headers={"authorization": "Bearer acme's"}, params={"shop": "acme"})

    assert verify is not None
    assert verify(event) is True  # type: ignore[operator]


def test_a_function_of_ones_own_verifies(folder: Path) -> None:
    verify = only(route(folder, 'verify = { function = "configured_hooks.from_here" }')).verify

    assert verify(make_event()) is True  # type: ignore[misc, operator]


def test_queues_and_jobs_may_be_chosen_for_each_event(folder: Path) -> None:
    one = only(
        route(
            folder,
            'queue = { function = "configured_hooks.queue_of" }\njob = { function = "configured_hooks.push" }',
        )
    )
    (target,) = one.targets

    assert target.queue_of(make_event()) == "acme"  # type: ignore[operator]
    assert callable(target.job_of)


def test_functions_may_be_within_classes(folder: Path) -> None:
    one = only(route(folder, 'transforms = ["configured_hooks.Shop.pull"]'))

    assert one.reshape(make_event(data=7)) == 7


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('"empty"', Reply(204)),
        ('{ status = 200, body = "thanks", headers = { X-A = "b" } }', Reply(200, {"X-A": "b"}, "thanks")),
        ("{ body = { ok = true } }", Reply(200, body={"ok": True})),
    ],
)
def test_replies_are_said_in_words_or_tables(folder: Path, said: str, meant: Reply) -> None:
    assert only(route(folder, f"reply = {said}")).answer == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("3", 3),
        ("0", None),
        ('[10, "15m"]', [10, 900]),
        (
            '{ tries = 4, first = "10s", longest = "1h", jitter = false }',
            Backoff(4, first=10, longest=3600, jitter=False),
        ),
    ],
)
def test_retries_are_a_number_a_list_or_a_backoff(folder: Path, said: str, meant: Any) -> None:
    declared = Route("/in", verify=None, job="shop.jobs.on_it", retry=meant)

    assert only(route(folder, f"retry = {said}")).targets[0].options == declared.targets[0].options


def test_rates_are_texts_or_tables(folder: Path) -> None:
    text = only(route(folder, 'rate = "10/s per address"')).limits
    table = only(route(folder, 'rate = { rate = "10/s", per = "address", burst = 20 }')).limits

    assert text == Route("/in", verify=None, job="a.b", rate="10/s per address").limits
    assert table == Route("/in", verify=None, job="a.b", rate=Rate("10/s", per="address", burst=20)).limits


@pytest.mark.parametrize(("said", "known"), [("", True), ('dedupe = "none"', False), ('dedupe = "data:id"', True)])
def test_dedupe_is_left_out_switched_off_or_said(folder: Path, said: str, known: bool) -> None:
    assert (only(route(folder, said)).key_of is not None) is known


@pytest.mark.parametrize(
    "said", ['"https://a.example/x"', '["https://a.example/x"]', '{ url = "https://a.example/x" }']
)
def test_a_destination_is_a_url_or_a_table_or_several(folder: Path, said: str) -> None:
    assert only(route(folder, f"deliver = {said}")).destinations == (Deliver("https://a.example/x"),)


def test_a_destination_says_all_that_python_says(folder: Path) -> None:
    (folder / "token").write_text("t0ken\r\n")
    text = """
        [[route.deliver]]
        url = "https://a.example/x"

        [[route.deliver]]
        url_env = "URL"
        name = "b"
        method = "PUT"
        body = "raw"
        schedule = [1, "2m"]
        allow = ["10.0.0.0/8"]
        headers = { X-Shop = "7", X-Token = { env = "T" }, Authorization = { file = "token" } }

        [[route.deliver]]
        url = "https://c.example/"
        name = "c"
        body = { type = "a.b", binary = true }
        schedule = { tries = 2 }
        sign = { provider = "standard_webhooks", secret_env = "S" }
        connect_timeout = 1
        read_timeout = 2.5
    """
    a, b, c = only(route(folder, text, URL="https://b.example/token", T="tt", S=STANDARD_KEY)).destinations

    assert a == Deliver("https://a.example/x")
    assert (b.url, b.method, b.body, b.schedule) == ("https://b.example/token", "PUT", "raw", [1, "2m"])
    assert b.headers == {"X-Shop": "7", "X-Token": "tt", "Authorization": "t0ken"}
    assert c.body == CloudEvents("a.b", binary=True)
    assert (c.schedule, c.connect_timeout, c.read_timeout) == (Backoff(2), 1, 2.5)
    assert c.sign.sign(b"x", None, message_id="m").keys() >= {"webhook-id"}


def test_an_event_may_become_several_things(folder: Path) -> None:
    first, second = only(
        route(
            folder,
            """
            queue = "hooks"
            retry = 2
            to = [
                { job = "shop.jobs.on_order", queue = "orders", when = "type == 'order'", retry = 5 },
                { deliver = { url = "https://a.example/x", schedule = [1] }, timeout = "10m" },
            ]
            """,
        )
    ).targets

    assert (first.job_of, first.queue_of) == ("shop.jobs.on_order", "orders")
    assert first.takes is not None
    assert (first.takes({"type": "order"}), first.takes({"type": "other"})) == (True, False)
    assert (second.queue_of, second.options.timeout, [one.label for one in second.destinations]) == (
        "hooks",
        600,
        ["https://a.example/…"],
    )


def test_the_redis_url_comes_from_a_variable_or_a_file(folder: Path) -> None:
    (folder / "url").write_text("redis://:from-file@localhost:1/3\n")
    rest = '[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"'

    assert read(folder, f'[relay]\nredis_env = "URL"\n{rest}', URL="redis://:pw@h/1").redis_url == "redis://:pw@h/1"
    assert read(folder, f'[relay]\nredis_file = "url"\n{rest}').redis_url == "redis://:from-file@localhost:1/3"


def test_a_relay_without_redis_is_bound_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To TRAFFICRELAY_REDIS_URL, or by `run`."""
    assert not route(folder, "").bound
    monkeypatch.setenv("TRAFFICRELAY_REDIS_URL", "redis://localhost:1/5")

    assert route(folder, "").redis_url == "redis://localhost:1/5"


def test_paths_in_a_file_begin_in_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program stands: a server and its workers share one spool."""
    (folder / "elsewhere").mkdir()
    file = write(folder, '[relay]\nspool = "spool.db"\n[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"')
    monkeypatch.chdir(folder / "elsewhere")
    spool = Relay.from_config(file).spool

    assert spool is not None
    assert spool.file == folder / "spool.db"


def test_a_relay_from_a_file_has_no_secret_in_its_reprs(folder: Path) -> None:
    relay = read(
        folder,
        """
        [relay]
        redis_env = "URL"
        [[route]]
        path = "/a"
        verify = { provider = "bearer", token_env = "T" }
        deliver = { url_env = "D", headers = { X-Token = { env = "T" } } }
        """,
        URL="redis://:hunter1@localhost:1",
        T="hunter2",
        D="https://a.example/hunter3",
    )
    shown = repr((relay, relay.routes, relay.routes[0].destinations, relay.routes[0].verify, vars(relay.door)))

    assert "hunter" not in shown
    assert json.dumps(shown)


def test_serializers_are_json_pickle_or_named(folder: Path) -> None:
    rest = '[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"'

    assert read(folder, f'[relay]\nserializer = "pickle"\n{rest}').serializer_name is None
    assert read(folder, f'[relay]\nserializer = "rq.serializers.JSONSerializer"\n{rest}').serializer_name == (
        "rq.serializers.JSONSerializer"
    )


def test_any_number_of_requests_is_none(folder: Path) -> None:
    relay = read(folder, '[relay]\nmax_requests = "none"\n[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"')

    assert relay.door.max_requests is None


def test_a_later_relay_of_a_file_is_its_own(folder: Path) -> None:
    """Two relays of one file share nothing."""
    first, second = route(folder, ""), route(folder, "")
    first.add(Route("/more", verify=None, job="a.b"))

    assert (len(first.routes), len(second.routes)) == (2, 1)
    with pytest.raises(DeclarationError):
        first.add(Route("/in", verify=None, job="a.b"))
