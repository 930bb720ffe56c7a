"""Every provider of the catalogue, against signatures that others made: see the `source` of each vector."""

from __future__ import annotations

import base64
import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import make_event
from trafficrelay.event import Event
from trafficrelay.verify import CATALOGUE, GivenKeys, Provider

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
