"""A working sample of each provider in the catalogue: a verifier that can sign, and a request that it sends."""

from __future__ import annotations

import base64
import functools
import inspect
from typing import Any, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support import NOON, make_event
from tests.test_verify_vectors import body_of, vectors_of
from trafficrelay.errors import DeclarationError
from trafficrelay.event import Event, Headers
from trafficrelay.verify import CATALOGUE, GivenKeys
from trafficrelay.verify.message import Outgoing

URL = "https://hooks.example/in?shop=7"


def pem_of(key: Any) -> str:
    """A private key as its owner would keep it."""
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    )


@functools.cache
def secrets() -> tuple[str, ...]:
    """Secrets of every form: of each provider the first one that it takes is used."""
    return (
        "a-sample-secret",
        b"a sample secret".hex(),
        base64.b64encode(b"a sample secret, 32 bytes of it!").decode(),
        pem_of(ed25519.Ed25519PrivateKey.generate()),
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    )


@functools.cache
def sample(name: str, *, number: int = 0) -> Any:
    """A verifier of a provider; another `number` has another secret of the same form."""
    provider: Any = CATALOGUE[name]
    parameters = inspect.signature(provider).parameters
    options: dict[str, Any] = {}
    for parameter in parameters.values():
        if parameter.name == "public_url":
            options["public_url"] = URL
        elif parameter.default is parameter.empty and parameter.name != "secret":
            options[parameter.name] = "sample"
    own = vectors_of(name)[0]["secret"]  # of those that are no secrets, as a topic's name, only such as it knows
    for secret in (own, *secrets()) if str(own).startswith("arn:") else secrets():
        for keys in _fetched(name, number) if "keys" in parameters else ({},):
            try:
                return provider(secret=_other(secret) if number else secret, **options, **keys)
            except DeclarationError:
                continue
    raise AssertionError(f"No sample secret is one of {name}.")


def _fetched(name: str, number: int) -> list[dict[str, Any]]:
    """Private keys of every kind, in place of those that a provider publishes."""
    vector = next(one for one in vectors_of(name) if "keys" in one)
    named = next(iter(vector["keys"]))
    pems = [secret for secret in secrets() if secret.startswith("-----BEGIN")]
    return [{"keys": GivenKeys({named: _other(pem) if number else pem})} for pem in pems]


def _other(secret: str) -> str:
    if secret.startswith("-----BEGIN"):
        key = serialization.load_pem_private_key(secret.encode(), None)
        if isinstance(key, rsa.RSAPrivateKey):
            return pem_of(rsa.generate_private_key(65537, 2048))
        curve = isinstance(key, ec.EllipticCurvePrivateKey)
        return pem_of(ec.generate_private_key(ec.SECP256R1()) if curve else ed25519.Ed25519PrivateKey.generate())
    return secret if secret.startswith("arn:") else secret[:-2][::-1] + secret[-2:]


def request(name: str) -> Outgoing:
    """A request of a provider as others have seen it, without what proves who sent it."""
    vector = next(one for one in vectors_of(name) if "answer" not in one)
    check = sample(name)
    headers = {
        key: value for key, value in vector["request"]["headers"].items() if key.lower() not in check.secret_headers
    }
    return Outgoing(body_of(vector), URL, vector["request"]["method"], Headers(headers))


def event_of(message: Outgoing, **fields: Any) -> Event:
    """The event that a request becomes."""
    return make_event(
        **(
            {
                "method": message.method,
                "url": message.url,
                "headers": dict(message.headers),
                "body": message.body,
                "data": None,
                "received_at": NOON,
            }
            | fields
        )
    )


@functools.cache  # some signatures are other ones each time
def signed(name: str) -> tuple[Any, Outgoing]:
    """A verifier of a provider, and a request that it verifies at noon."""
    check = sample(name)
    return check, cast("Outgoing", check.signed(request(name), NOON, message_id="msg_1"))
