"""The parser, the schema for editors, and what Route, To, Deliver and Relay take: they agree."""

from __future__ import annotations

import copy
import inspect
import json
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trafficrelay import Backoff, Deliver, Rate, Relay, Reply, Route, Spool, verify
from trafficrelay.config import relays, routes, verifying
from trafficrelay.config.delivering import DELIVER_KEYS
from trafficrelay.config.finding import SCHEMA_FILE
from trafficrelay.config.lines import Lines
from trafficrelay.config.place import Place, Source
from trafficrelay.config.schema import text as schema_text
from trafficrelay.config.verifying import PROVIDERS
from trafficrelay.delivery.destination import CloudEvents
from trafficrelay.errors import ConfigError
from trafficrelay.target import To
from trafficrelay.transforms import STEPS

from .config_support import STANDARD_KEY

SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text("utf-8"))
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
ENVIRON = {"S": "s" * 20, "W": STANDARD_KEY, "URL": "https://b.example/x", "REDIS": "redis://:pw@localhost"}

FULL = """\
[relay]
redis_env = "REDIS"
serializer = "json"
spool = { path = "spool.db", max_size = "1GB", max_age = "1d" }
wait_replicas = 0
fsync = false
trusted_proxies = ["10.0.0.0/8", "unix"]
max_header = 16_384
max_requests = 100
address_rate = { rate = "50/s", burst = 100 }

[[route]]
path = "/github"
verify = { provider = "github", secret_env = ["S", { env = "W", name = "old", until = "2999-12-31" }] }
job = "shop.jobs.on_push"
queue = "hooks"
methods = ["POST", "PUT"]
transforms = [{ keep = ["a.b", "c"], missing = "drop" }, { rename = { old = "new" } }, { hash = "c", key_env = "S" }]
split = true
content_type = "application/json"
dedupe = "header:X-GitHub-Delivery"
dedupe_window = "1h"
max_body = "5MB"
aside = 65536
cors = ["https://shop.example"]
status = true
retry = [10, 60, "15m"]
timeout = "3m"
result_ttl = -1
failure_ttl = "7d"
delay = 5
at_front = true
at_least_once = false
reply = { status = 200, headers = { X-A = "b" }, body = { ok = true } }
on_error = "refuse"
on_outage = "refuse"
rate = { rate = "100/m", per = "address", burst = 7 }
max_queued = 1000
max_lag = "5m"

[[route]]
path = "/out"
verify = "none"
queue = "out"
dedupe = "none"
reply = "pixel"
rate = "10/s per header:X-Key"

[[route.deliver]]
url = "https://a.example/x"
headers = { X-Shop = "7", X-Token = { env = "S" } }
body = { type = "a.b", binary = true }
sign = { provider = "standard_webhooks", secret_env = "W", tolerance = 60 }
schedule = { tries = 2, first = "1m", longest = "1h", factor = 3, jitter = false }
connect_timeout = 1.5

[[route.deliver]]
url_env = "URL"
name = "b"
method = "PUT"
body = "raw"
allow = ["10.0.0.0/8"]
schedule = [1, 2]

[[route]]
path = "/whatsapp"
verify = { provider = "whatsapp", secret_env = { env = "S" }, verify_token_env = ["S", "W"] }
job = "a.b"

[[route]]
path = "/hubspot"
verify = { provider = "hubspot", secret_env = "S", public_url = "https://hooks.example/hubspot", tolerance = 60 }
job = "a.b"

[[route]]
path = "/several"
verify = { provider = "hmac_signature", secret_env = "S", header = "X-Sig", digest = "sha1", encoding = "base64" }
retry = { tries = 5 }
cors = "*"

[[route.to]]
job = "shop.jobs.on_order"
queue = "orders"
when = "type == 'order'"
retry = 3

[[route.to]]
deliver = "https://c.example/x"
timeout = "10m"
"""


def read(document: Mapping[str, Any]) -> Relay:
    return relays.read(document, Place(Source("relay.toml", Path("/nowhere"), Lines(), ENVIRON)))


def read_or_none(document: Mapping[str, Any]) -> Relay | None:
    try:
        return read(document)
    except ConfigError:
        return None


def test_the_shipped_schema_is_the_one_that_the_tables_make() -> None:
    """`python -m trafficrelay.config.schema` writes it anew."""
    assert SCHEMA_FILE.read_text("utf-8") == schema_text()


def test_the_schema_is_a_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)

    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_a_file_that_says_everything_is_taken_by_both() -> None:
    document = tomllib.loads(FULL)
    VALIDATOR.validate(document)

    assert len(read(document).routes) == 5


def test_every_key_has_words_for_those_who_edit() -> None:
    """Those of the steps and providers are the first words of their functions' docstrings."""

    def properties(schema: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(schema, dict):
            yield from schema.get("properties", {}).items()
            for value in schema.values():
                yield from properties(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from properties(value)

    bare = [
        name for name, value in properties(SCHEMA) if not value.get("description", "").rstrip().endswith((".", ")"))
    ]

    assert bare == []


@pytest.mark.parametrize(
    ("declared", "keys", "elsewhere"),
    [
        (Route, routes.ROUTE_KEYS, routes.PYTHON_ONLY),
        (To, routes.TO_KEYS, {}),
        (Deliver, DELIVER_KEYS, {}),
    ],
)
def test_every_option_can_be_said_or_is_listed_with_its_reason(
    declared: type[Any], keys: Mapping[str, Any], elsewhere: Mapping[str, str]
) -> None:
    options = {entry.name for entry in fields(declared) if entry.init}

    assert options - keys.keys() == elsewhere.keys()
    assert keys.keys() - options <= {"path", "url_env", "url_file"}


def test_every_option_of_a_relay_can_be_said_or_is_listed_with_its_reason() -> None:
    options = inspect.signature(Relay).parameters.keys()

    assert options - relays.RELAY_KEYS.keys() == relays.PYTHON_ONLY.keys()
    assert relays.RELAY_KEYS.keys() - options == {"redis", "redis_env", "redis_file"}


@pytest.mark.parametrize(
    ("name", "declared", "elsewhere"),
    [("backoff", Backoff, set()), ("reply", Reply, set())],
)
def test_the_tables_within_say_what_their_classes_take(name: str, declared: Any, elsewhere: set[str]) -> None:
    definition = json.dumps(SCHEMA["definitions"][name])

    for option in inspect.signature(declared).parameters:
        assert f'"{option}"' in definition or option in elsewhere


@pytest.mark.parametrize("declared", [Spool, CloudEvents, Rate])
def test_the_smaller_tables_say_what_their_classes_take(declared: Any) -> None:
    text = json.dumps(SCHEMA)

    for option in inspect.signature(declared).parameters:
        assert f'"{option}"' in text or (declared, option) == (Rate, "option")


def test_every_provider_and_every_step_is_in_the_schema() -> None:
    functions = {name for name, value in vars(verify).items() if inspect.isfunction(value) and name[0] != "_"}

    assert set(PROVIDERS) == functions | verify.CATALOGUE.keys()
    assert set(SCHEMA["definitions"]["provider"]["enum"]) == set(PROVIDERS)
    assert set(SCHEMA["definitions"]) >= {f"step_{name}" for name in STEPS}


def test_editors_show_what_each_provider_is() -> None:
    """While they complete its name: what its secret is, and where the provider says how it signs."""
    provider = SCHEMA["definitions"]["provider"]
    shown = dict(zip(provider["enum"], provider["x-taplo"]["docs"]["enumValues"], strict=True))

    assert all(row.title in shown[name] and row.docs in shown[name] for name, row in verify.CATALOGUE.items())
    assert all(text.endswith(".") for text in shown.values())


@pytest.mark.parametrize("key", ["verify", "sign"])
def test_every_provider_takes_the_keys_of_its_kind_and_no_others(key: str) -> None:
    """In the schema as in the parser."""
    definition = SCHEMA["definitions"][key]
    tables = definition["anyOf"][0] if key == "verify" else definition
    kinds = tables["dependencies"]["provider"]["allOf"]
    found = {
        name: kind["then"]["propertyNames"]["enum"]
        for kind in kinds
        for name in kind["if"]["properties"]["provider"]["enum"]
    }

    assert found == {name: list(verifying._table(name, key == "sign").keys) for name in PROVIDERS}
    assert set(tables["properties"]) == {key for keys in found.values() for key in keys}
    assert len(kinds) < len(PROVIDERS) / 2


def test_a_provider_that_is_added_can_be_said_without_more_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters are its keys."""

    def shopify(secret: verify.Secret, *, tolerance: int = 300) -> verify.Verifier:
        """Verify webhooks of Shopify."""
        return lambda event: (secret, tolerance)

    monkeypatch.setattr(verifying, "PROVIDERS", {**PROVIDERS, "shopify": shopify})
    said = {"provider": "shopify", "secret_env": ["S", "W"], "tolerance": 60}
    relay = read({"route": [{"path": "/a", "verify": said, "job": "a.b"}]})

    keys = [verify.Key(ENVIRON["S"], name="S"), verify.Key(STANDARD_KEY, name="W")]
    assert relay.routes[0].verify(None) == (keys, 60)  # type: ignore[arg-type, operator, misc]


STRANGE: list[Any] = [
    "",
    "strange",
    "none",
    "a.b",
    "10m",
    -1,
    0,
    7,
    10**12,
    1.5,
    True,
    [],
    ["x"],
    [7],
    {},
    {"strange": 1},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the paths of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


DOCUMENT = tomllib.loads(FULL)
PLACES = list(places(DOCUMENT))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def changed(path: tuple[Any, ...], how: str, value: Any, chance: random.Random) -> dict[str, Any]:
    """Give the document with one mistake: a key left out, misspelt, or with a value of another kind."""
    document = copy.deepcopy(DOCUMENT)
    parent, key = at(document, path[:-1]), path[-1]
    if how == "replace":
        parent[key] = value
    elif how == "drop":
        del parent[key]
    elif how == "add" and isinstance(parent[key], dict):
        parent[key][chance.choice(["quue", "secret", "token", "name", "url", "status"])] = value
    elif isinstance(key, str):
        parent[key[:-1] + "x"] = parent.pop(key)
    return document


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(PLACES),
    st.sampled_from(["replace", "drop", "add", "misspell"]),
    st.sampled_from(STRANGE),
    st.randoms(use_true_random=False),
)
def test_what_the_schema_refuses_is_not_loaded(path: Any, how: str, value: Any, chance: random.Random) -> None:
    """What editors underline is wrong: the loader takes none of it."""
    document = changed(path, how, value, chance)
    if not VALIDATOR.is_valid(document):
        assert read_or_none(document) is None, (path, how, value)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PLACES), st.sampled_from(["replace", "add"]), st.sampled_from(STRANGE), st.randoms())
def test_whatever_is_wrong_is_told_as_a_config_error(path: Any, how: str, value: Any, chance: random.Random) -> None:
    """No mistake comes out as another exception, and each says where it is."""
    faults: tuple[ConfigError, ...] = ()
    try:
        read(changed(path, how, value, chance))
    except ConfigError as error:
        faults = error.faults

    assert all(fault.table or fault.key or "route" in str(fault) for fault in faults)


@pytest.mark.parametrize(
    "route",
    [
        {"path": "in"},
        {"qeue": "x"},
        {"queue": 7},
        {"methods": ["GOT"]},
        {"methods": []},
        {"verify": "open"},
        {"verify": {"provider": "githb", "secret_env": "S"}},
        {"verify": {"provider": "github", "secret": "hunter2"}},
        {"verify": {"provider": "github"}},
        {"verify": {"provider": "github", "secret_env": "S", "tolerance": 60}},
        {"verify": {"provider": "stripe", "secret_env": "S", "tolerance": "5m"}},
        {"verify": {"provider": "basic", "secret_env": "S", "username": "ada"}},
        {"verify": {"provider": "chargebee", "secret_env": "S"}},
        {"verify": {"provider": "github", "secret_env": ["S", {"until": "2999-12-31"}]}},
        {"verify": {"provider": "github", "secret_env": ["S", {"env": "W", "untl": "2999-12-31"}]}},
        {"verify": {"provider": "meta", "verify_token_env": "S"}},
        {"max_body": "lots"},
        {"timeout": "soon"},
        {"retry": {"tires": 3}},
        {"on_error": "ignore"},
        {"transforms": [{"kep": ["a"]}]},
        {"transforms": [{"keep": ["a"], "missing": "drip"}]},
        {"transforms": [{"hash": ["a"]}]},
        {"deliver": {"uri": "https://a.example"}},
        {"to": [{"queue": "x"}]},
        {"rate": "often"},
    ],
)
def test_typical_mistakes_are_refused_by_both(route: dict[str, Any]) -> None:
    """So an editor shows them before anything is run."""
    document = {"route": [{"path": "/in", "verify": "none", "job": "a.b"} | route]}

    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ConfigError):
        read(document)


@pytest.mark.parametrize("missing", ["path", "verify", "job"])
def test_what_must_be_there_must_be_for_both(missing: str) -> None:
    route = {"path": "/in", "verify": "none", "job": "a.b"}
    del route[missing]

    assert not VALIDATOR.is_valid({"route": [route]})
    assert read_or_none({"route": [route]}) is None
