"""Every provider of the catalogue, against signatures that others made: see the `source` of each vector."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import make_event, make_route
from trafficrelay.body import read_events
from trafficrelay.event import Event
from trafficrelay.verify import CATALOGUE, GivenKeys, Provider

ROOT = Path(__file__).parents[1]
VECTORS = Path(__file__).parent / "vectors"


def vectors_of(name: str) -> list[dict[str, Any]]:
    """The vectors of a provider."""
    return cast("list[dict[str, Any]]", json.loads((VECTORS / f"{name}.json").read_text()))


def body_of(vector: dict[str, Any]) -> bytes:
    """The body of a vector's request."""
    request = vector["request"]
    if "body_base64" in request:
        return base64.b64decode(request["body_base64"])
    return str(request.get("body", "")).encode()


def event_of(vector: dict[str, Any]) -> Event:
    """The event that a vector's request is."""
    request = vector["request"]
    return make_event(
        method=request["method"],
        url=request["url"],
        headers=request["headers"],
        body=body_of(vector),
        data=None,
        received_at=datetime.fromisoformat(vector["at"]),
    )


def made(provider: Provider, vector: dict[str, Any]) -> Any:
    """The verifier that a vector is for."""
    options = vector.get("options", {})
    if "keys" in vector:
        options = {**options, "keys": GivenKeys(vector["keys"])}
    return cast("Any", provider)(secret=vector["secret"], **options)


def pairs() -> list[Any]:
    """Each provider with each of its vectors that are events."""
    return [
        pytest.param(provider, vector, id=f"{name} {number}")
        for name, provider in CATALOGUE.items()
        if (VECTORS / f"{name}.json").exists()
        for number, vector in enumerate(vectors_of(name), 1)
        if "answer" not in vector
    ]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_provider_has_a_vector_that_others_made(name: str) -> None:
    """Every provider has a vector that others made, with its source."""
    assert CATALOGUE[name].name == name
    # A module of the package would hide it.
    assert importlib.util.find_spec(f"trafficrelay.verify.{name}") is None
    found = [vector for vector in vectors_of(name) if "answer" not in vector]

    assert found
    assert all(vector["source"] and vector["what"] in ("docs example", "SDK test", "SDK signed") for vector in found)


@pytest.mark.parametrize(("provider", "vector"), pairs())
def test_what_the_provider_signed_is_verified(provider: Provider, vector: dict[str, Any]) -> None:
    """What the provider signed is verified."""
    assert made(provider, vector)(event_of(vector)) is True


def identified() -> list[Any]:
    """Each vector that says by what its event is known."""
    return [param for param in pairs() if param.values[1].get("event_id")]


@pytest.mark.parametrize(("provider", "vector"), identified())
def test_an_event_is_known_by_the_id_that_its_provider_gave_it(provider: Provider, vector: dict[str, Any]) -> None:
    """An event is known by the id that its provider gave it, as its route reads it."""
    route = make_route(verify=made(provider, vector), split=provider.name == "sendgrid")
    (event, *_) = read_events(
        event_of(vector), limit=1 << 20, content_type=route.reads_as, split=route.split, empty=route.takes_empty
    )

    assert route.key_of is not None
    assert str(route.key_of(event)).endswith(str(vector["event_id"]))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_provider_with_an_event_id_has_a_vector_with_it(name: str) -> None:
    """A provider whose events have an id has a vector that says which one it is."""
    assert not CATALOGUE[name].dedupe or any(vector.get("event_id") for vector in vectors_of(name))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_provider_that_signs_a_time_has_a_tolerance(name: str) -> None:
    """A provider that signs a time has a tolerance: without one, what it signed once would be good for ever."""
    scheme = CATALOGUE[name].scheme
    content = getattr(scheme, "content", None)
    timed = getattr(content, "timed", False) or bool(getattr(scheme, "time", ""))

    assert not timed or scheme.tolerance


WITHOUT = """
import sys
sys.modules["cryptography"] = None
from tests.test_verify_vectors import CATALOGUE, event_of, made, vectors_of
from trafficrelay.errors import DeclarationError
for name, provider in CATALOGUE.items():
    for vector in vectors_of(name):
        if "answer" in vector:
            continue
        try:
            assert made(provider, vector)(event_of(vector)) is True, name
        except DeclarationError as error:
            assert "pip install 'trafficrelay[verify]'" in str(error), error
            print(name, *[vector["secret"][:5]] if name == "standard_webhooks" else [])
"""


def test_those_that_share_a_secret_work_without_cryptography() -> None:
    """Those that share a secret work where cryptography is missing; the others say so when they are declared."""
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, cwd=ROOT)

    assert run.stderr == ""
    assert set(run.stdout.splitlines()) == {
        "aws_sns",
        "discord",
        "paypal",
        "plaid",
        "sendgrid",
        "standard_webhooks whpk_",
        "standard_webhooks whsk_",
    }
