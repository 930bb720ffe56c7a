"""Who may send: the schemes, against published vectors and signatures that are computed here."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.support import NOON, make_event, make_route, raising
from trafficrelay import Event, Rejected, Unverified
from trafficrelay.intake import verify
from trafficrelay.verify import basic, bearer, github, gitlab, hmac_signature, standard_webhooks
from trafficrelay.verify.schemes import TOLERANCE

BODY = b'{"test": "\xff\x00"}'
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_KEY = "whsec_" + base64.b64encode(b"another key").decode()


def signed(header: str, value: str, body: bytes = BODY) -> Event:
    return make_event(headers={header: value}, body=body, data=None)


def authorized(scheme: str, credentials: bytes) -> Event:
    """An event whose Authorization header arrives as WSGI hands it over: as latin-1."""
    return signed("Authorization", f"{scheme} {credentials.decode('latin-1')}")


def pair(text: bytes) -> bytes:
    return base64.b64encode(text)


def digest_of(key: bytes, name: str, body: bytes = BODY) -> bytes:
    return hmac.new(key, body, name).digest()


def refused(verifier: Any, event: Event) -> Unverified:
    """Say why the route refuses, and that it says so as a 401 should."""
    with pytest.raises(Unverified) as caught:
        verify(make_route(verify=verifier), event)

    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"]
    return caught.value


# hmac_signature


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "md5"])
@pytest.mark.parametrize("prefix", ["", "v0=", "sha256="])
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("hex", bytes.hex),
        ("hex", lambda raw: raw.hex().upper()),
        ("base64", lambda raw: base64.b64encode(raw).decode()),
    ],
)
def test_hmac_of_every_digest_encoding_and_prefix_is_good(
    digest: str, prefix: str, encoding: Any, encode: Callable[[bytes], str]
) -> None:
    """An HMAC of every digest, encoding and prefix is good."""
    verifier = hmac_signature("käy", header="X-Signature", digest=digest, encoding=encoding, prefix=prefix)
    signature = prefix + encode(digest_of("käy".encode(), digest))

    assert verifier(signed("x-signature", signature)) is True
    assert verifier(signed("X-Signature", f"{signature} ")) is True


GOOD = digest_of(b"key", "sha256").hex()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "v0=",
        GOOD,
        f"V0={GOOD}",
        f"v1={GOOD}",
        f"v0={GOOD[:-1]}",
        f"v0={GOOD}0",
        f"v0={GOOD[:-1]}{'0' if GOOD[-1] != '0' else '1'}",
        f"v0={digest_of(b'other', 'sha256').hex()}",
        f"v0={digest_of(b'', 'sha256').hex()}",
        f"v0={digest_of(b'key', 'sha1').hex()}",
        f"v0={base64.b64encode(bytes.fromhex(GOOD)).decode()}",
        f"v0={GOOD}é",
        f"v0={GOOD}\N{EURO SIGN}",
        "v0=\xff\xfe",
        f"v0={GOOD},v0={GOOD}",
    ],
)
def test_wrong_signature_is_refused_without_saying_what_is_right(value: str) -> None:
    """A wrong signature is refused without saying what is right."""
    refusal = refused(hmac_signature("key", header="X-Signature", prefix="v0="), signed("X-Signature", value))

    assert GOOD not in refusal.detail


def test_case_counts_in_base64() -> None:
    """The case counts in base64."""
    value = base64.b64encode(digest_of(b"key", "sha256")).decode()

    refused(hmac_signature("key", header="X-S", encoding="base64"), signed("X-S", value.swapcase()))


def test_other_body_is_refused() -> None:
    """A signature of another body is refused."""
    refused(hmac_signature("key", header="X-S"), signed("X-S", GOOD, BODY + b" "))


def test_missing_header_is_named() -> None:
    """A missing header is named."""
    assert "X-Signature" in refused(hmac_signature("key", header="X-Signature"), make_event()).detail


# github and standard_webhooks: the published vectors


def github_vector(**changes: Any) -> Event:
    value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    return signed("X-Hub-Signature-256", value, changes.get("body", b"Hello, World!"))


def test_githubs_documented_vector_is_good() -> None:
    """GitHub's documented vector is good."""
    assert github("It's a Secret to Everybody")(github_vector()) is True


def test_githubs_documented_vector_is_refused_for_another_secret_or_body() -> None:
    """GitHub's documented vector is refused for another secret or body."""
    refused(github("It's no Secret to Everybody"), github_vector())
    refused(github("It's a Secret to Everybody"), github_vector(body=b"Hello, World"))


def test_githubs_old_sha1_header_is_not_enough() -> None:
    """GitHub's old SHA-1 header is not enough."""
    sha1 = "sha1=" + digest_of(b"key", "sha1").hex()

    refused(github("key"), signed("X-Hub-Signature", sha1))
    refused(github("key"), signed("X-Hub-Signature-256", sha1))


SENT_AT = 1614265330
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SIGNATURE = VECTOR["webhook-signature"]


def standard_vector(off: float = 0, **headers: str | None) -> Event:
    """The specification's message, received `off` seconds after it was sent; headers replace its own."""
    changed = VECTOR | {f"webhook-{name}": value for name, value in headers.items()}
    received_at = NOON + timedelta(seconds=SENT_AT - NOON.timestamp() + off)
    return make_event(
        headers={name: value for name, value in changed.items() if value is not None},
        body=b'{"test": 2432232314}',
        data=None,
        received_at=received_at,
    )


@pytest.mark.parametrize("secret", [KEY, KEY.removeprefix("whsec_"), KEY.encode(), [OTHER_KEY, KEY]])
def test_the_specifications_vector_is_good(secret: Any) -> None:
    """The specification's vector is good."""
    assert standard_webhooks(secret)(standard_vector()) is True


@pytest.mark.parametrize(
    "signatures",
    [
        f"v1,AAAA {SIGNATURE}",
        f"{SIGNATURE} v1,AAAA",
        f"v1a,AAAA {SIGNATURE}",
        f"v2,é {SIGNATURE}",
        f"{SIGNATURE} {SIGNATURE}",
        f" {SIGNATURE}  ",
    ],
)
def test_one_good_signature_among_several_is_enough(signatures: str) -> None:
    """One good signature among several is enough."""
    assert standard_webhooks(KEY)(standard_vector(signature=signatures)) is True


@pytest.mark.parametrize(
    "headers",
    [
        {"signature": ""},
        {"signature": "v1,"},
        {"signature": "v1,é"},
        {"signature": SIGNATURE.removeprefix("v1,")},
        {"signature": SIGNATURE.replace("v1,", "v1a,")},
        {"signature": SIGNATURE.replace("v1,", "v2,")},
        {"signature": SIGNATURE.swapcase()},
        {"signature": SIGNATURE.replace(" ", ",")[:-1]},
        {"id": "msg_other"},
        {"id": ""},
        {"id": "é"},
        {"id": "\N{EURO SIGN}"},
        {"timestamp": str(SENT_AT + 1)},
        {"timestamp": ""},
        {"timestamp": "soon"},
        {"timestamp": "-1"},
        {"timestamp": f"{SENT_AT}.0"},
        {"timestamp": f" {SENT_AT}"},
        {"timestamp": "²"},
        {"timestamp": "٣"},
        {"timestamp": "9" * 5000},
        {"id": None},
        {"timestamp": None},
        {"signature": None},
    ],
)
def test_wrong_or_missing_part_of_a_standard_webhook_is_refused(headers: dict[str, str | None]) -> None:
    """A wrong or missing part of a standard webhook is refused."""
    refused(standard_webhooks(KEY), standard_vector(**headers))


@pytest.mark.parametrize("off", [0, TOLERANCE, -TOLERANCE])
def test_timestamp_within_the_tolerance_is_good(off: int) -> None:
    """A timestamp within the tolerance is good."""
    assert standard_webhooks(KEY)(standard_vector(off)) is True


@pytest.mark.parametrize("off", [TOLERANCE + 1, -TOLERANCE - 1, 10**8])
def test_timestamp_beyond_the_tolerance_is_refused_both_ways(off: int) -> None:
    """A timestamp beyond the tolerance is refused both ways."""
    assert str(TOLERANCE) in refused(standard_webhooks(KEY), standard_vector(off)).detail


def test_tolerance_can_be_set() -> None:
    """The tolerance can be set."""
    assert standard_webhooks(KEY, tolerance=3600)(standard_vector(3600)) is True
    refused(standard_webhooks(KEY, tolerance=10), standard_vector(11))


# bearer and basic


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
@pytest.mark.parametrize("token", ["t0ken", "t0ken==", "tökén"])
def test_token_is_good_whatever_the_case_of_its_scheme(scheme: str, token: str) -> None:
    """A token is good whatever the case of its scheme."""
    assert bearer(token)(authorized(scheme, token.encode())) is True


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer T0KEN", "Bearer t0ken2", "Bearer t0ke", "Basic t0ken", "t0ken", "Bearer t0k\xe9n"],
)
def test_wrong_token_is_refused_with_a_challenge(value: str) -> None:
    """A wrong token is refused with a challenge."""
    refusal = refused(bearer("t0ken"), signed("Authorization", value))

    assert refusal.challenge.startswith("Bearer")


@pytest.mark.parametrize(
    ("name", "password"), [("me", "pass"), ("me", "pa:ss"), ("mé", "pässwörd"), ("me", " spaced "), ("me", "☃")]
)
def test_name_and_password_are_good_in_utf_8(name: str, password: str) -> None:
    """A name and password are good in UTF-8."""
    event = authorized("Basic", pair(f"{name}:{password}".encode()))

    assert basic(name, password)(event) is True


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !!!",
        "Basic é",
        "Basic bWU",
        "Bearer " + pair(b"me:pass").decode(),
        *(
            "Basic " + pair(text).decode()
            for text in (b"me:", b"me", b":pass", b"ME:pass", b"me:pass ", b"mep:ass", b"")
        ),
    ],
)
def test_wrong_name_or_password_is_refused_with_a_challenge(value: str) -> None:
    """A wrong name or password is refused with a challenge."""
    refusal = refused(basic("me", "pass"), signed("Authorization", value))

    assert refusal.challenge == 'Basic realm="relay", charset="UTF-8"'


@pytest.mark.parametrize("verifier", [bearer("t0ken"), basic("me", "pass")])
def test_missing_authorization_is_refused(verifier: Any) -> None:
    """A missing Authorization header is refused."""
    assert "Authorization" in refused(verifier, make_event()).detail


# What all have in common

MAKERS: dict[str, Callable[[Any], Any]] = {
    "hmac_signature": lambda secret: hmac_signature(secret, header="X-Signature", digest="sha512", encoding="base64"),
    "github": github,
    "standard_webhooks": standard_webhooks,
    "bearer": bearer,
    "basic": lambda secret: basic("mé", secret),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def sent_by(verifier: Any, **fields: Any) -> Event:
    """An event with the headers that `sign` gives, as they arrive."""
    return make_event(headers=verifier.sign(BODY, NOON), body=BODY, data=None, **fields)


@makers
def test_what_sign_gives_is_good_for_the_same_secret_alone(make: Callable[[Any], Any]) -> None:
    """What `sign` gives is good for the same secret alone."""
    event = sent_by(make(KEY))

    assert make(KEY)(event) is True
    refused(make(OTHER_KEY), event)


def test_token_that_is_not_ascii_survives_sign() -> None:
    """A token that is not ASCII survives `sign`."""
    assert bearer("tökén")(sent_by(bearer("tökén"))) is True


@pytest.mark.parametrize("token", ["tok\xe9\xa0".encode(), b"tok\x85", b"\xa0tok"])
def test_bytes_at_the_ends_of_a_token_are_its_own(token: bytes) -> None:
    """Bytes that are spaces in latin-1 belong to a token that ends or begins with them."""
    assert gitlab(token)(sent_by(gitlab(token))) is True


@makers
def test_headers_that_sign_gives_are_not_stored(make: Callable[[Any], Any]) -> None:
    """What proves the sender is left out of what is stored."""
    verifier = make(KEY)
    route = make_route(verify=verifier)

    stored = str(sent_by(verifier).to_dict(route.secret_headers))

    assert verifier.sign(BODY, NOON)
    for name, value in verifier.sign(BODY, NOON).items():
        if name not in ("webhook-id", "webhook-timestamp"):
            assert value not in stored


@pytest.mark.parametrize(
    ("name", "reveals"), [("github", False), ("standard_webhooks", False), ("bearer", True), ("basic", True)]
)
def test_verifier_says_whether_what_it_signs_with_shows_the_secret(name: str, reveals: bool) -> None:
    """A verifier says whether what it signs with shows the secret."""
    verifier = MAKERS[name](KEY)
    shown = "".join(verifier.sign(BODY, NOON).values())

    assert verifier.reveals_secret is reveals
    assert (KEY in shown or pair(f"mé:{KEY}".encode()).decode() in shown) is reveals


@makers
def test_each_of_several_secrets_is_good_for_rotation(make: Callable[[Any], Any]) -> None:
    """Each of several secrets is good for rotation."""
    verifier = make([OTHER_KEY, KEY])

    assert verifier(sent_by(make(KEY))) is True
    assert verifier(sent_by(make(OTHER_KEY))) is True


@makers
def test_first_of_several_secrets_signs(make: Callable[[Any], Any]) -> None:
    """The first of several secrets signs."""
    assert make(OTHER_KEY)(sent_by(make([OTHER_KEY, KEY]))) is True


@makers
@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_all_secrets_are_compared_in_constant_time_wherever_the_good_one_is(
    make: Callable[[Any], Any], place: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All secrets are compared in constant time wherever the good one is."""
    secrets = [OTHER_KEY, OTHER_KEY, OTHER_KEY]
    if place is not None:
        secrets[place] = KEY
    event = sent_by(make(KEY))
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))

    if place is None:
        refused(make(secrets), event)
    else:
        assert make(secrets)(event) is True

    assert len(compared) == len(secrets)


@makers
@pytest.mark.parametrize("gives", [KEY, KEY.encode(), [OTHER_KEY, KEY], (KEY,)])
def test_secret_function_is_asked_for_the_events_sender(make: Callable[[Any], Any], gives: Any) -> None:
    """A secret function is asked for the event's sender."""
    asked: list[Any] = []
    event = sent_by(make(KEY))

    assert make(lambda event: asked.append(event.params["shop"]) or gives)(event) is True
    assert asked == ["acme"]


@makers
@pytest.mark.parametrize(
    "look_up",
    [
        raising(KeyError("acme")),
        raising(LookupError()),
        lambda event: {}[event.params["shop"]],
        lambda event: None,
        lambda event: "",
        lambda event: b"",
        lambda event: [],
        lambda event: [KEY, ""],
    ],
)
def test_unknown_sender_is_refused(make: Callable[[Any], Any], look_up: Callable[[Event], Any]) -> None:
    """An unknown sender is refused."""
    refusal = refused(make(look_up), sent_by(make(KEY)))
    known = refused(make("YW5vdGhlciBrZXk="), sent_by(make(KEY)))

    assert refusal.detail == known.detail  # which tenants there are is nobody's business


@makers
@pytest.mark.parametrize(
    "look_up", [raising(RuntimeError(KEY)), raising(ValueError(KEY)), lambda event: 5, lambda event: {KEY: 1}]
)
def test_broken_secret_function_is_closed(make: Callable[[Any], Any], look_up: Callable[[Event], Any]) -> None:
    """A broken secret function is closed."""
    with pytest.raises((RuntimeError, ValueError, TypeError, Unverified)):
        verify(make_route(verify=make(look_up)), sent_by(make(KEY)))


@pytest.mark.parametrize("gives", ["whsec_", "", "whsec_ "])
def test_secret_function_that_gives_an_empty_key_is_closed(gives: str) -> None:
    """Anybody can sign with an empty key."""
    message_id, sent = "msg_1", str(int(NOON.timestamp()))
    forged = hmac.new(b"", f"{message_id}.{sent}.".encode() + BODY, hashlib.sha256).digest()
    event = make_event(
        headers={
            "webhook-id": message_id,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{base64.b64encode(forged).decode()}",
        },
        body=BODY,
    )

    with pytest.raises((Unverified, ValueError)):
        verify(make_route(verify=standard_webhooks(lambda event: gives)), event)


@makers
def test_secret_that_depends_on_the_event_cannot_sign(make: Callable[[Any], Any]) -> None:
    """A secret that depends on the event cannot sign."""
    with pytest.raises(LookupError, match="each event"):
        make(lambda event: KEY).sign(BODY, NOON)


# Verifiers of the user's own


@pytest.mark.parametrize("gives", [None, 1, "yes", False, [True], object()])
def test_verifier_that_gives_anything_but_true_is_closed(gives: Any) -> None:
    """A verifier that gives anything but true is closed."""
    refused(lambda event: gives, make_event())


def test_verifier_that_gives_true_is_open() -> None:
    """A verifier that gives true is open."""
    verify(make_route(verify=lambda event: event.body == BODY), make_event(body=BODY))


@pytest.mark.parametrize("error", [RuntimeError("boom"), Unverified("who?", challenge="Mine"), Rejected(403)])
def test_error_of_a_verifier_is_closed(error: Exception) -> None:
    """An error of a verifier is closed."""
    with pytest.raises(type(error)) as caught:
        verify(make_route(verify=raising(error)), make_event())

    assert caught.value is error


def test_verifier_sees_the_raw_body_and_no_data() -> None:
    """A verifier sees the raw body and no data."""
    seen: list[Event] = []

    verify(make_route(verify=lambda event: seen.append(event) or True), make_event(body=BODY, data=None))

    assert (seen[0].body, seen[0].data) == (BODY, None)


def test_secret_from_the_environment_counts_byte_for_byte() -> None:
    """A secret that os.environ could not decode as UTF-8 signs with its own bytes."""
    verifier = github(b"\xffkey".decode("utf-8", "surrogateescape"))

    assert verifier.sign(b"{}", NOON) == github(b"\xffkey").sign(b"{}", NOON)
