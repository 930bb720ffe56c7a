"""Tokens that hold the hash of a body: how they are read, and what they may claim."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from trafficrelay.errors import Unverified
from trafficrelay.event import Event
from trafficrelay.verify import GivenKeys, netlify, plaid
from trafficrelay.verify.checking import Check
from trafficrelay.verify.encodings import CODECS
from trafficrelay.verify.jwt import ES256, HS256, point_of, read_token, write_token
from trafficrelay.verify.key_pairs import Pair

from .support import NOON, make_event

SECRET = b"correct horse battery staple"
BODY = b'{"id": "5f6b2a2b6b4e0f0008b4c9f1"}'
HASH = hashlib.sha256(BODY).hexdigest()
NOW = int(NOON.timestamp())
KID = "6c5516e1-92dc-479e-a8ff-5a51992e0001"
URL = CODECS["base64url"]

NETLIFY = netlify(SECRET)


@cache
def pair() -> Pair:
    private = ec.generate_private_key(ec.SECP256R1())
    return Pair(private.public_key(), private)


@cache
def jwk() -> dict[str, Any]:
    """The public key of `pair` as Plaid publishes it."""
    numbers = pair().public.public_numbers()
    x, y = (URL.encode(number.to_bytes(32, "big")).decode() for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KID, "x": x, "y": y, "expired_at": None}


@cache
def plaid_check() -> Check:
    return plaid("secret", client_id="id", keys=GivenKeys({KID: {"key": jwk(), "request_id": "1"}}))


def netlify_event(token: str | bytes | None = None, **claims: Any) -> Event:
    """What Netlify sends with a token; or with one that claims more than the usual, or less where it is `None`."""
    if token is None:
        whole = {"iss": "netlify", "sha256": HASH} | claims
        token = write_token({}, {name: one for name, one in whole.items() if one is not None}, HS256, SECRET)
    text = token if isinstance(token, str) else token.decode("latin-1")
    return make_event(headers={"X-Webhook-Signature": text}, body=BODY, data=None)


def plaid_event(header: dict[str, Any] | None = None, **claims: Any) -> Event:
    whole = {"iat": NOW, "request_body_sha256": HASH} | claims
    token = write_token(
        {"kid": KID} | (header or {}), {name: one for name, one in whole.items() if one is not None}, ES256, pair()
    )
    return make_event(headers={"Plaid-Verification": token}, body=BODY, data=None)


def cause(check: Check, event: Event) -> str:
    """Why an event is refused; that it is."""
    with pytest.raises(Unverified) as refused:
        check(event)
    return refused.value.cause


def encoded(value: Any) -> bytes:
    return URL.encode(value if isinstance(value, bytes) else json.dumps(value).encode())


def test_a_token_with_the_bodys_hash_is_verified() -> None:
    """A token with the hash of the body is verified, of both algorithms."""
    assert NETLIFY(netlify_event()) is True
    assert plaid_check()(plaid_event()) is True


@given(body=st.binary(max_size=100))
def test_what_is_signed_is_verified(body: bytes) -> None:
    """What is signed is verified."""
    headers = NETLIFY.sign(body, NOON)

    assert NETLIFY(make_event(headers=headers, body=body, data=None)) is True


def test_another_body_is_refused() -> None:
    """A token does not go with another body."""
    event = netlify_event(sha256=hashlib.sha256(b"another").hexdigest())

    assert cause(NETLIFY, event) == "mismatch"
    assert cause(plaid_check(), plaid_event(request_body_sha256=hashlib.sha256(b"another").hexdigest())) == "mismatch"


@pytest.mark.parametrize("said", [None, 7, True, [HASH], {"a": HASH}])
def test_a_hash_that_is_none_is_refused(said: Any) -> None:
    """A hash that is missing, or none, is refused."""
    assert cause(NETLIFY, netlify_event(sha256=said)) == "malformed"
    assert cause(plaid_check(), plaid_event(request_body_sha256=said)) == "malformed"


@pytest.mark.parametrize("said", [HASH.upper(), HASH[:-1], f"{HASH} ", "", "é" * 64])
def test_a_hash_in_another_spelling_is_refused(said: str) -> None:
    """A hash has one spelling."""
    assert cause(NETLIFY, netlify_event(sha256=said)) == "mismatch"


@pytest.mark.parametrize("issuer", [None, "gotrue", "Netlify", ["netlify"], 7, {}])
def test_a_token_of_another_issuer_is_refused(issuer: Any) -> None:
    """A token of another issuer is refused, although the secret is the same."""
    assert cause(NETLIFY, netlify_event(iss=issuer)) == "mismatch"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "hs256", "HS512", "ES256", "RS256", 7, ["HS256"]])
def test_the_algorithm_is_the_rows_and_not_the_tokens(alg: Any) -> None:
    """The algorithm is the row's: a token that names another one is refused, with a signature and without."""
    signed = encoded({"alg": alg, "typ": "JWT"}) + b"." + encoded({"iss": "netlify", "sha256": HASH})
    signature = HS256.algorithm.sign(SECRET, signed, URL)

    assert cause(NETLIFY, netlify_event(signed + b"." + signature)) == "malformed"
    assert cause(NETLIFY, netlify_event(signed + b".")) == "malformed"


def test_a_public_key_is_no_secret_for_hmac() -> None:
    """A token that is signed by HMAC with the public key is refused (RFC 8725, 2.1)."""
    pem = pair().public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key in (pem, point_of(jwk()), json.dumps(jwk()).encode()):
        claims = {"iat": NOW, "request_body_sha256": HASH}
        for alg in ("HS256", "ES256"):
            token = write_token({"kid": KID, "alg": alg}, claims, HS256, key)
            event = make_event(headers={"Plaid-Verification": token}, body=BODY, data=None)

            assert cause(plaid_check(), event) in ("malformed", "mismatch")


def test_a_token_that_wants_to_be_understood_is_refused() -> None:
    """A token with `crit` is refused (RFC 7515, 4.1.11)."""
    token = write_token({"crit": ["b64"], "b64": False}, {"iss": "netlify", "sha256": HASH}, HS256, SECRET)

    assert cause(NETLIFY, netlify_event(token)) == "malformed"


def test_a_key_in_the_token_is_not_used() -> None:
    """A key that stands in a token, or where one is said to be, is not used."""
    other = ec.generate_private_key(ec.SECP256R1())
    numbers = other.public_key().public_numbers()
    own = {
        "kty": "EC",
        "crv": "P-256",
        "x": URL.encode(numbers.x.to_bytes(32, "big")).decode(),
        "y": URL.encode(numbers.y.to_bytes(32, "big")).decode(),
    }
    header = {"kid": KID, "jwk": own, "jku": "https://evil.example/keys", "x5u": "https://evil.example/x"}
    token = write_token(header, {"iat": NOW, "request_body_sha256": HASH}, ES256, Pair(other.public_key(), other))
    event = make_event(headers={"Plaid-Verification": token}, body=BODY, data=None)

    assert cause(plaid_check(), event) == "mismatch"


WHOLE = NETLIFY.sign(BODY, NOON)["X-Webhook-Signature"]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("change", ["{}=", "{}==", "{}\n", "{} ", "={}", "{}.", ".{}", "{}A", "{}é", "+{}", "/{}", ""])
def test_each_part_of_a_token_has_one_spelling(number: int, change: str) -> None:
    """Each part of a token has one spelling: no padding, no white space, none of the other base64's letters."""
    parts = WHOLE.split(".")
    parts[number] = change.format(parts[number])
    token = ".".join(parts)
    if number == 2 and token.strip() == WHOLE:
        return  # white space at the end of a header is not part of its value (RFC 9110, 5.5)

    assert cause(NETLIFY, netlify_event(token)) in ("malformed", "mismatch")


def test_bits_that_mean_nothing_are_zero() -> None:
    """The last letter of a signature has bits that mean nothing; they have to be those that an encoder writes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(WHOLE[-1])
    others = [WHOLE[:-1] + letters[last ^ bits] for bits in (1, 2, 3)]

    # A digest has 32 bytes, so four of its last six bits count.
    assert len(base64.urlsafe_b64decode(others[0].rpartition(".")[2] + "=")) == 32
    for other in others:
        assert cause(NETLIFY, netlify_event(other)) == "mismatch"


@given(data=st.data())
def test_no_letter_of_a_token_may_change(data: st.DataObject) -> None:
    """No letter of a token may change."""
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda one: one != WHOLE[at]))

    assert cause(NETLIFY, netlify_event(WHOLE[:at] + letter + WHOLE[at + 1 :])) in ("malformed", "mismatch")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        WHOLE + "." + WHOLE,
        "A" * 9_000,
        f"{'A' * 8_000}.{'A' * 8_000}.A",
        b"\xff.\xff.\xff",
        "e30.e30.e30",
        f"{'W1tb' * 1_900}.e30.x",
    ],
)
def test_what_is_no_token_is_refused(token: str | bytes) -> None:
    """What is no token is a 401."""
    assert cause(NETLIFY, netlify_event(token)) in ("malformed", "mismatch")


@given(
    header=st.one_of(st.binary(max_size=40), st.just(b"null"), st.just(b"[]"), st.just(b'{"alg": {}}')),
    claims=st.one_of(st.binary(max_size=40), st.just(b"7"), st.just(b'"x"'), st.just(b"[" * 3_000)),
    keep=st.sampled_from(["header", "claims", "neither"]),
)
def test_parts_that_are_no_objects_are_refused(header: bytes, claims: bytes, keep: str) -> None:
    """A header or claims that are no JSON objects are refused, although they are signed."""
    header = b'{"alg":"HS256"}' if keep == "header" else header
    claims = b'{"iss":"netlify","sha256":"x"}' if keep == "claims" else claims
    signed = encoded(header) + b"." + encoded(claims)
    token = signed + b"." + HS256.algorithm.sign(SECRET, signed, URL)

    assert cause(NETLIFY, netlify_event(token)) in ("malformed", "mismatch")


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        ({"exp": NOW + 1}, ""),
        ({"exp": NOW - 59}, ""),
        ({"exp": NOW - 60}, "stale"),
        ({"exp": 0}, "stale"),
        ({"nbf": NOW + 60}, ""),
        ({"nbf": NOW + 61}, "stale"),
        ({"iat": NOW - 10**6}, ""),
        ({"iat": NOW + 60}, ""),
        ({"iat": NOW + 61}, "stale"),
        ({"iat": NOW + 0.5, "exp": NOW + 1.5}, ""),
        ({"exp": 10**30}, "malformed"),
        ({"exp": -1}, "malformed"),
        ({"exp": "9999999999"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"nbf": [NOW]}, "malformed"),
        ({"iat": {}}, "malformed"),
        ({"iat": 1e300}, "malformed"),
    ],
)
def test_times_that_a_token_claims_are_looked_at(claims: dict[str, Any], refused: str) -> None:
    """Times that a token claims are looked at where they are, with a minute of leeway."""
    event = netlify_event(**claims)
    if refused:
        assert cause(NETLIFY, event) == refused
    else:
        assert NETLIFY(event) is True


def test_a_time_that_is_null_is_refused() -> None:
    """A time that is null is none."""
    token = write_token({}, {"iss": "netlify", "sha256": HASH, "exp": None}, HS256, SECRET)

    assert cause(NETLIFY, netlify_event(token)) == "malformed"


@pytest.mark.parametrize(
    ("issued", "refused"),
    [
        (NOW - 300, ""),
        (NOW - 301, "stale"),
        (NOW + 300, ""),
        (NOW + 301, "stale"),
        (None, "malformed"),
        ("now", "malformed"),
    ],
)
def test_plaids_tokens_are_five_minutes_old_at_most(issued: Any, refused: str) -> None:
    """Plaid's tokens have to say when they were issued, which is five minutes ago at most."""
    event = plaid_event(iat=issued)
    if refused:
        assert cause(plaid_check(), event) == refused
    else:
        assert plaid_check()(event) is True


@pytest.mark.parametrize("kid", [None, "", 7, ["x"], "../x", "a" * 65, "é", "a b", f"{KID}\n"])
def test_a_key_id_that_is_none_is_refused(kid: Any) -> None:
    """A key id that is none of Plaid's is refused."""
    assert cause(plaid_check(), plaid_event({"kid": kid})) == "malformed"


def test_a_key_that_plaid_calls_expired_is_refused() -> None:
    """A key that Plaid calls expired is refused."""
    check = plaid("secret", client_id="id", keys=GivenKeys({KID: {"key": jwk() | {"expired_at": NOW}}}))

    assert cause(check, plaid_event()) == "mismatch"


def test_signatures_of_tokens_are_two_numbers_of_32_bytes() -> None:
    """ES256 writes r and s one after the other, of 32 bytes each (RFC 7518, 3.4); DER is refused."""
    token = plaid_event().headers["plaid-verification"]
    signed, _, signature = token.rpartition(".")
    raw = URL.decode(signature.encode())
    assert len(raw) == 64

    der = ES256.codec.decode(signature.encode())
    assert decode_dss_signature(der) == (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    for wrong in (der, raw[:-1], raw + b"\0", b"\0" * 64, b"\xff" * 64, b"", raw[:32] + b"\0" + raw[32:]):
        written = f"{signed}.{URL.encode(wrong).decode()}"
        event = make_event(headers={"Plaid-Verification": written}, body=BODY, data=None)

        assert cause(plaid_check(), event) == "mismatch"


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "RSA"},
        {"crv": "P-384"},
        {"crv": None},
        {"x": None},
        {"x": ""},
        {"x": 7},
        {"x": "é"},
        {"y": "AAAA"},
        {"y": "35lvC8uz2QrWpQJ3TUH8t9o9DURMp7ydU518RKDl20k="},
    ],
)
def test_a_json_web_key_that_is_none_of_p256_is_refused(change: dict[str, Any]) -> None:
    """A JSON Web Key that is none of P-256 is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"key|hexadecimal|base64"):
        point_of(jwk() | change)


def test_a_point_that_is_not_on_the_curve_is_no_key() -> None:
    """A point that is not on the curve is no key."""
    other = jwk() | {"y": URL.encode(b"\1" * 32).decode()}
    with pytest.raises(ValueError, match="public key"):
        ES256.algorithm.key(point_of(other))


def test_the_other_secret_of_a_rotation_is_named() -> None:
    """Of several secrets it is known which one signed."""
    check = netlify([b"new", SECRET])

    assert check.check(netlify_event()).key == "2"
    assert cause(netlify(b"new"), netlify_event()) == "mismatch"
    assert cause(netlify(lambda event: None), netlify_event()) == "unknown"


def test_a_missing_header_is_said() -> None:
    """A missing header is said as that."""
    assert cause(NETLIFY, make_event(body=BODY, data=None)) == "missing"
    assert cause(plaid_check(), make_event(body=BODY, data=None)) == "missing"


def test_a_token_that_was_not_verified_says_what_it_says() -> None:
    """A token is read before it is verified, and verified by nobody else's secret."""
    token = read_token(WHOLE.encode(), HS256)

    assert token.claims == {"iss": "netlify", "sha256": HASH}
    assert token.verified_by(HS256, SECRET)
    assert not token.verified_by(HS256, b"another")


def test_a_netlify_token_counts_however_old_it_is() -> None:
    """Netlify's tokens have no time: there is none that would be too old."""
    event = netlify_event()

    assert NETLIFY(make_event(headers=dict(event.headers), body=BODY, received_at=NOON + timedelta(days=99))) is True
