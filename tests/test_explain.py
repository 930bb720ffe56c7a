"""Why a request does not verify: each of the likely mistakes is made, and has to be named."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider_samples import URL, event_of, request, sample, signed
from tests.support import NOON, make_event
from trafficrelay.errors import Unverified
from trafficrelay.event import Event, Headers
from trafficrelay.mistakes.explain import MOST, Explanation, Known, explain
from trafficrelay.mistakes.keys import Candidate
from trafficrelay.mistakes.trial import Mistake
from trafficrelay.verify import CATALOGUE, Check, basic, bearer, hmac_signature

SECRET = "s3cret-of-the-route"
BODY = b'{"id": 7, "name": "Gr\xc3\xbc\xc3\x9fe", "total": 1.50}'
STAMP = str(int(NOON.timestamp()))


def mac(secret: str | bytes, content: bytes, digest: str = "sha256") -> bytes:
    return hmac.digest(secret.encode() if isinstance(secret, str) else secret, content, digest)


def explained(check: Any, event: Event, *others: Candidate, **known: Any) -> Explanation:
    """What is said of a request that the verifier refuses."""
    with pytest.raises(Unverified) as refused:
        check.check(event)
    own = [Candidate(one.encode() if isinstance(one, str) else one) for one in _given(check)]
    return explain(check, event, refused.value, Known(secrets=[*own, *others], catalogue=CATALOGUE, **known))


def _given(check: Check) -> list[Any]:
    given = check.secrets.given
    return [] if callable(given) else [given] if isinstance(given, str | bytes) else list(given)


def names(explanation: Explanation) -> list[str]:
    return [one.name for one in explanation.mistakes]


def text(explanation: Explanation) -> str:
    return " ".join(f"{one.text} {one.fix}" for one in explanation.mistakes)


def github_event(body: bytes = BODY, *, signed: bytes | None = None, secret: str = SECRET, **fields: Any) -> Event:
    """What GitHub sends: `body` as it came, and what it was when it was signed."""
    headers = {
        "X-Hub-Signature-256": "sha256=" + mac(secret, body if signed is None else signed).hex(),
        "Content-Type": "application/json",
        **fields.pop("headers", {}),
    }
    return make_event(body=body, headers=headers, data=None, **fields)


github = CATALOGUE["github"](SECRET)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("came", "was", "name"),
    [
        (b'{"a":1}', b'{"a":1}\n', "body-line-break-lost"),
        (b'{"a":1}', b'{"a":1}\r\n', "body-line-break-lost"),
        (b'{"a":1}\n', b'{"a":1}', "body-line-break-added"),
        (b'{"a":1}\r\n', b'{"a":1}', "body-line-break-added"),
        (b" one \n", b"one", "body-space-added"),
        (b"a\nb", b"a\r\nb", "body-line-breaks"),
        (b"a\r\nb", b"a\nb", "body-line-breaks"),
        (b"\xef\xbb\xbfa", b"a", "body-byte-order-mark"),
        (b"a", b"\xef\xbb\xbfa", "body-byte-order-mark"),
        ("Grüße".encode(), "Grüße".encode("latin-1"), "body-charset"),
        ("Grüße".encode().decode("latin-1").encode(), "Grüße".encode(), "body-charset"),
        (b"something", b"", "body-emptied"),
        (b'"{\\"a\\": 1.50}"', b'{"a": 1.50}', "body-json-twice"),
        (b'{"a": 1}', b"payload=%7B%22a%22%3A+1%7D", "body-unwrapped"),
    ],
)
def test_a_body_that_was_changed_is_told_from_what_it_was(came: bytes, was: bytes, name: str) -> None:
    found = explained(github, github_event(came, signed=was))

    assert names(found) == [name]


DATA = {"b": "Grüße </a>", "a": [1, 1.5, {"url": "https://x.example/?a=1&b=2"}]}


@pytest.mark.parametrize(
    "was",
    [
        json.dumps(DATA),
        json.dumps(DATA, separators=(",", ":")),
        json.dumps(DATA, ensure_ascii=False),
        json.dumps(DATA, ensure_ascii=False, separators=(",", ":")),
        json.dumps(DATA, sort_keys=True),
        json.dumps(DATA, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        json.dumps(DATA, indent=2, ensure_ascii=False),
        json.dumps(DATA, indent=4, ensure_ascii=False),
        json.dumps(DATA, indent=2, ensure_ascii=False) + "\n",
        json.dumps(DATA, separators=(",", ":")).replace("/", "\\/"),
        json.dumps(DATA, separators=(",", ":"), ensure_ascii=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026"),
    ],
)
def test_json_that_was_written_again_is_told_however_it_was_written(was: str) -> None:
    came = json.dumps(DATA, separators=(" ,", ": "))
    found = explained(github, github_event(came.encode(), signed=was.encode()))

    assert names(found) == ["body-json"]


@pytest.mark.parametrize(
    ("came", "was"),
    [(b'{"a": 1.0}', b'{"a":1}'), (b'{"a": 1.50}', b'{"a":1.5}'), (b'{"a": 1.5}', b'{"a":1.50}')],
)
def test_numbers_that_were_written_otherwise_are_told(came: bytes, was: bytes) -> None:
    found = explained(github, github_event(came, signed=was))

    assert names(found) == ["body-json"]
    assert "its numbers as" in text(found)


def test_numbers_stay_as_they_are_written_when_only_spaces_changed() -> None:
    found = explained(github, github_event(b'{"a": 1.500e2, "b": -0.0}', signed=b'{"a":1.500e2,"b":-0.0}'))

    assert names(found) == ["body-json"]
    assert "numbers" not in text(found)


@pytest.mark.parametrize(
    ("came", "was"),
    [
        (b"a=x+y&b=1", b"a=x%20y&b=1"),
        (b"a=x%20y&b=1", b"a=x+y&b=1"),
        (b"b=1&a=2", b"a=2&b=1"),
        (b"a=(1)&b=~", b"a=%281%29&b=~"),
    ],
)
def test_a_form_that_was_written_again_is_told(came: bytes, was: bytes) -> None:
    event = github_event(came, signed=was, headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert names(explained(github, event)) == ["body-form"]


def test_a_body_that_was_compressed_after_it_was_signed_is_told() -> None:
    event = github_event(gzip.compress(BODY), signed=BODY, headers={"Content-Encoding": "gzip"})

    assert names(explained(github, event)) == ["body-compressed"]


def test_what_would_inflate_without_end_does_not() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    event = github_event(bomb, signed=b"another", headers={"Content-Encoding": "gzip"})

    assert names(explained(github, event)) == []


def digest_of(body: bytes = BODY, digest: str = "sha256") -> bytes:
    return mac(SECRET, body, digest)


@pytest.mark.parametrize(
    ("options", "value", "name", "word"),
    [
        ({}, base64.b64encode(digest_of()).decode(), "signature-encoding", 'encoding="base64"'),
        ({"encoding": "base64"}, digest_of().hex(), "signature-encoding", 'encoding="hex"'),
        ({"encoding": "base64"}, base64.urlsafe_b64encode(digest_of()).decode(), "signature-encoding", ""),
        ({"encoding": "base64"}, base64.b64encode(digest_of()).decode().rstrip("="), "signature-encoding", "padding"),
        (
            {"encoding": "base64"},
            base64.b64encode(digest_of().hex().encode()).decode(),
            "signature-encoding",
            "in base64",
        ),
        ({}, digest_of(digest="sha1").hex(), "signature-digest", 'digest="sha1"'),
        ({}, digest_of(digest="sha512").hex(), "signature-digest", 'digest="sha512"'),
        ({"digest": "sha1"}, digest_of().hex(), "signature-digest", 'digest="sha256"'),
        ({}, "sha256=" + digest_of().hex(), "header-prefix", "nothing"),
        ({}, '"' + digest_of().hex() + '"', "header-quoted", "quotes"),
        ({"prefix": "v1="}, digest_of().hex(), "header-prefix", "lacks"),
        ({"prefix": "v1="}, "v1=v1=" + digest_of().hex(), "header-prefix", ""),
        ({}, digest_of().hex() + ", " + digest_of().hex(), "header-doubled", "twice"),
    ],
)
def test_a_signature_that_is_written_otherwise_is_told(
    options: Mapping[str, Any], value: str, name: str, word: str
) -> None:
    check = hmac_signature(SECRET, header="X-Sig", **options)
    found = explained(check, make_event(body=BODY, headers={"X-Sig": value}))

    assert names(found)[0] == name
    assert word in text(found)


def test_capitals_are_told_of_a_provider_that_writes_small_letters() -> None:
    event = github_event(headers={"X-Hub-Signature-256": "sha256=" + digest_of().hex().upper()})

    assert "capitals" in text(explained(github, event))


def test_a_digest_that_the_prefix_names_is_told_as_the_one_cause() -> None:
    event = github_event(headers={"X-Hub-Signature-256": "sha1=" + digest_of(digest="sha1").hex()})
    found = explained(github, event)

    assert names(found) == ["signature-digest"]
    assert "made with SHA1, as the sha1= before it says, where HMAC-SHA256 is expected" in text(found)
    assert 'hmac_signature(…, prefix="sha1=", digest="sha1")' in text(found)


def test_prefix_and_digest_are_told_together_the_digest_first() -> None:
    event = github_event(headers={"X-Hub-Signature-256": digest_of(digest="sha1").hex()})

    assert names(explained(github, event)) == ["signature-digest", "header-prefix"]


def test_the_older_header_of_a_provider_is_told_before_another_provider_with_that_header() -> None:
    headers = {"X-Hub-Signature": "sha1=" + digest_of(digest="sha1").hex(), "X-GitHub-Event": "push"}
    found = explained(github, make_event(body=BODY, headers=headers))

    assert names(found) == ["signature-digest"]
    assert "Only the header X-Hub-Signature came, which is made with SHA1" in text(found)


@pytest.mark.parametrize("header", ["X-Hub-Signature-256", "X-Hub-Signature"])
def test_another_hash_is_the_first_to_look_at_where_the_secret_is_not_known_either(header: str) -> None:
    value = "sha1=" + mac("of nobody", BODY, "sha1").hex()
    found = explained(github, make_event(body=BODY, headers={header: value}))

    assert found.mistakes == ()
    assert found.remains[0].startswith(f"Why the header {header} begins with sha1=")
    assert not any("signs at all" in one for one in found.remains)
    assert any("test and live mode" in one for one in found.remains)


def test_a_prefix_that_names_another_hash_than_was_used_is_told_as_a_prefix() -> None:
    event = github_event(headers={"X-Hub-Signature-256": "sha1=" + digest_of().hex()})

    assert names(explained(github, event)) == ["header-prefix"]


def stripe_event(stamp: str, *, label: str = "v1", secret: str = SECRET, **fields: Any) -> Event:
    signature = mac(secret, f"{stamp}.".encode() + BODY).hex()
    return make_event(body=BODY, headers={"Stripe-Signature": f"t={stamp},{label}={signature}"}, **fields)


stripe = CATALOGUE["stripe"](SECRET)  # type: ignore[operator]


def test_a_signature_of_another_version_is_told() -> None:
    found = explained(stripe, stripe_event(STAMP, label="v0"))

    assert names(found) == ["signature-name"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1_000, "1,000 seconds before"), (-86_400, "86,400 seconds after"), (400_000_000, "400,000,000 seconds before")],
)
def test_a_clock_that_is_off_is_told_with_how_much(seconds: int, words: str) -> None:
    event = stripe_event(STAMP, received_at=NOON + timedelta(seconds=seconds))
    found = explained(stripe, event)

    assert names(found) == ["clock"]
    assert words in text(found)
    assert "up to 300 are tolerated" in text(found)


def test_milliseconds_are_told_where_seconds_are_expected() -> None:
    found = explained(stripe, stripe_event(f"{STAMP}000"))

    assert names(found) == ["time-unit"]
    assert "in milliseconds, where seconds" in text(found)


def test_another_secret_and_a_clock_that_is_off_are_told_together() -> None:
    event = stripe_event(STAMP, secret="another", received_at=NOON + timedelta(hours=1))
    found = explained(stripe, event, other("another"))

    assert names(found) == ["secret-other", "clock"]


def other(secret: str) -> Candidate:
    return Candidate(secret.encode(), Mistake("secret-other", "It is another one.", "Use that."))


def test_another_secret_is_told() -> None:
    assert names(explained(github, github_event(secret="another"), other("third"), other("another"))) == [
        "secret-other"
    ]


def test_another_secret_and_a_changed_body_are_told_together() -> None:
    event = github_event(BODY, signed=BODY + b"\n", secret="another")

    assert set(names(explained(github, event, other("another")))) == {"body-line-break-lost", "secret-other"}


KEY = base64.b64encode(b"twenty-four bytes of key").decode()


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [
        (f"{SECRET}\n", SECRET.encode(), "secret-space"),
        (f' "{SECRET}"', SECRET.encode(), "secret-quotes"),
        (SECRET, f"{SECRET}\n".encode(), "secret-line-break"),
        (quote("a+b/c="), b"a+b/c=", "secret-percent"),
        (f"whsec_{SECRET}", SECRET.encode(), "secret-prefix"),
        (SECRET, f"whsec_{SECRET}".encode(), "secret-prefix"),
        (KEY, b"twenty-four bytes of key", "secret-base64"),
        (f"whsec_{KEY}", b"twenty-four bytes of key", "secret-base64"),
        (SECRET.encode().hex(), SECRET.encode(), "secret-hex"),
        (SECRET, base64.b64encode(SECRET.encode()), "secret-encoded"),
    ],
)
def test_a_secret_that_is_read_otherwise_is_told(ours: str, theirs: bytes, name: str) -> None:
    check = hmac_signature(ours, header="X-Sig")
    found = explained(check, make_event(body=BODY, headers={"X-Sig": mac(theirs, BODY).hex()}))

    assert names(found) == [name]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (f"whsec_{SECRET}", SECRET, "begins with whsec_, and the sender signs with what comes after it"),
        (SECRET, f"whsec_{SECRET}", "signs with whsec_ before the secret, and it was given without"),
        (f"shop_{SECRET}", SECRET, "begins with a prefix that ends in _, and the sender"),
    ],
)
def test_a_prefix_is_told_by_its_name_where_many_secrets_have_it(ours: str, theirs: str, said: str) -> None:
    check = hmac_signature(ours, header="X-Sig")
    found = explained(check, make_event(body=BODY, headers={"X-Sig": mac(theirs, BODY).hex()}))

    assert said in text(found)
    assert "shop" not in text(found)
    assert "a sender of your own sign" in text(found)


@pytest.mark.parametrize("theirs", [f"whsec_{KEY}".encode(), KEY.encode()])
def test_a_key_that_is_taken_as_text_is_told_of_standard_webhooks(theirs: bytes) -> None:
    check: Any = CATALOGUE["standard_webhooks"](f"whsec_{KEY}")  # type: ignore[operator]
    signature = base64.b64encode(mac(theirs, f"m.{STAMP}.".encode() + BODY)).decode()
    headers = {"webhook-id": "m", "webhook-timestamp": STAMP, "webhook-signature": f"v1,{signature}"}

    assert names(explained(check, make_event(body=BODY, headers=headers))) == ["secret-text"]


@pytest.mark.parametrize(
    "name",
    [
        "X_Hub_Signature_256",
        "X-Amzn-Remapped-X-Hub-Signature-256",
        "Hub-Signature-256",
        "Shop-X-Hub-Signature-256",
        "X-A",
    ],
)
def test_a_header_that_was_renamed_is_told(name: str) -> None:
    value = "sha256=" + digest_of().hex()
    found = explained(github, make_event(body=BODY, headers={name: value, "User-Agent": "curl"}))

    assert names(found) == ["header-renamed"]
    assert name.lower() in text(found)


def test_several_headers_that_were_renamed_alike_are_told() -> None:
    check: Any = CATALOGUE["svix"](f"whsec_{KEY}")  # type: ignore[operator]
    proved = check.sign(BODY, NOON, message_id="m")
    found = explained(check, make_event(body=BODY, headers={f"X-Shop-{name}": value for name, value in proved.items()}))

    assert names(found) == ["header-renamed"]


def test_a_renamed_header_and_a_changed_body_are_told_together() -> None:
    value = "sha256=" + digest_of(BODY + b"\n").hex()
    found = explained(github, make_event(body=BODY, headers={"X_Hub_Signature_256": value}))

    assert names(found) == ["header-renamed", "body-line-break-lost"]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def twilio_event(sent_to: str, came_to: str, *, headers: Mapping[str, str] | None = None) -> tuple[Any, Event]:
    check: Any = CATALOGUE["twilio"](SECRET)  # type: ignore[operator]
    signature = base64.b64encode(mac(SECRET, sent_to.encode() + b"A1Bx y", "sha1")).decode()
    headers = {**FORM, "X-Twilio-Signature": signature, **(headers or {})}
    return check, make_event(body=b"A=1&B=x+y", headers=headers, url=came_to, data=None)


@pytest.mark.parametrize(
    ("sent_to", "came_to", "headers"),
    [
        ("https://a.example/in", "http://a.example/in", {}),
        ("https://a.example/in", "http://10.0.0.7:8080/in", {"X-Forwarded-Host": "a.example"}),
        ("https://a.example/in", "http://relay/in", {"Forwarded": 'for=192.0.2.7;host="a.example";proto=https'}),
        ("https://a.example/in/", "https://a.example/in", {}),
        ("https://a.example/in", "https://a.example/in/", {}),
        ("https://a.example/api/in", "https://a.example/in", {"X-Forwarded-Prefix": "/api"}),
        ("https://a.example/api/in?b=1", "https://a.example/in", {"X-Original-URI": "/api/in?b=1"}),
        ("https://a.example/in", "https://a.example/in?added=1", {}),
        ("https://a.example/in?b=1&a=2", "https://a.example/in?b=1&a=2", {}),
        ("https://a.example/in?a=x%20y", "https://a.example/in?a=x+y", {}),
        ("https://a.example/a%20b", "https://a.example/a b", {}),
        ("https://a.example:8443/in", "https://a.example/in", {"X-Forwarded-Port": "8443"}),
        ("https://a.example/in", "https://a.example/hooks/in", {}),
        ("https://a.example/in", "http://a.example/some/hooks/in", {}),
        ("https://a.example/a%2Fb?c=1", "https://a.example/hooks/a%2Fb?c=1", {}),
        ("https://a.example/", "https://a.example/hooks/in", {}),
        ("https://a.example/hooks/acme", "https://a.example/elsewhere", {}),
    ],
)
def test_another_url_is_told_with_the_one_to_declare(sent_to: str, came_to: str, headers: dict[str, str]) -> None:
    check, event = twilio_event(sent_to, came_to, headers=headers)
    if sent_to == came_to:
        assert check(event) is True
        return
    found = explained(check, event)
    keeps = sent_to.partition("?")[2] == came_to.partition("?")[2]

    assert names(found) == ["url"]
    assert f'public_url="{sent_to.partition("?")[0] if keeps else sent_to}"' in text(found)


def test_a_route_of_several_paths_is_told_to_give_a_function() -> None:
    check, event = twilio_event("https://a.example/hooks/acme", "https://a.example/relay/hooks/acme")
    told = text(explained(check, event))
    alone = text(explained(check, dataclasses.replace(event, route="/hooks/acme", params={})))

    assert "function of the event" in told
    assert 'public_url="https://a.example/hooks/acme"' in alone
    assert "function of the event" not in alone


def test_a_path_without_end_is_tried_so_far() -> None:
    check, event = twilio_event("https://b.example/in", "https://a.example" + "/x" * 5_000)

    assert explained(check, event).tried["url"] < 200


def test_a_url_that_was_given_is_tried() -> None:
    check, event = twilio_event("https://public.example/hooks/in", "http://relay/in")
    found = explained(check, event, urls=["https://public.example/hooks/in"])

    assert 'public_url="https://public.example/hooks/in"' in text(found)


def test_a_trusted_proxy_that_would_do_is_told() -> None:
    check, event = twilio_event("https://a.example/in", "http://relay/in", headers={"X-Forwarded-Host": "a.example"})
    found = explained(check, event, forwarded="https://a.example/in")

    assert "trusted_proxies=" in text(found)


def test_another_provider_is_told_by_its_headers_and_its_signature() -> None:
    check: Any = CATALOGUE["gitlab"](SECRET)  # type: ignore[operator]
    headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "1", "User-Agent": "GitHub-Hookshot/1"}
    found = explained(check, github_event(headers=headers))

    assert names(found) == ["other-sender"]
    assert "verify=github(secret=…)" in text(found)
    assert found.looks_like[0].name == "github"


def test_another_provider_with_its_own_secret_is_told() -> None:
    check: Any = CATALOGUE["gitlab"](SECRET)  # type: ignore[operator]
    found = explained(check, stripe_event(STAMP, secret="of-stripe"), other("of-stripe"))

    assert names(found) == ["other-sender", "secret-other"]


def test_what_a_request_looks_like_is_told_where_nothing_verifies() -> None:
    check: Any = CATALOGUE["gitlab"](SECRET)  # type: ignore[operator]
    found = explained(check, github_event(secret="of nobody", headers={"X-GitHub-Event": "push"}))

    assert found.mistakes == ()
    assert found.looks_like[0].name == "github"
    assert any("drops the header" in one for one in found.remains)


def test_tokens_are_told_too() -> None:
    check = bearer(SECRET)
    found = [
        names(explained(check, make_event(headers={"Authorization": value}), other("another")))
        for value in ("Bearer another", SECRET, f"Token {SECRET}", f"Bearer Bearer {SECRET}", f'Bearer "{SECRET}"')
    ]

    assert found == [["secret-other"], ["header-prefix"], ["header-prefix"], ["header-prefix"], ["header-quoted"]]


def test_a_name_that_is_another_is_told_from_a_password_that_is() -> None:
    check = basic("shop", SECRET)
    said = base64.b64encode(f"store:{SECRET}".encode()).decode()

    assert names(explained(check, make_event(headers={"Authorization": f"Basic {said}"}))) == ["name"]


def test_where_nothing_fits_it_says_what_was_tried_and_what_remains() -> None:
    found = explained(github, github_event(secret="of nobody"))

    assert found.mistakes == ()
    assert found.tried["body"] > 10
    assert found.whole
    assert any("byte for byte" in one for one in found.remains)


def test_the_signatures_that_are_made_are_bounded() -> None:
    others = [other(f"secret {number}") for number in range(500)]
    found = explained(github, github_event(secret="of nobody"), *others)

    assert found.signatures <= MOST + 20 * len(others)
    assert not found.whole


# Of those who sign a time that is in the body, a body is written again when it gets one.
SIGNED = [
    name
    for name, row in CATALOGUE.items()
    if row.scheme.signs_body and not str(getattr(row.scheme, "time", "")).startswith("data:")
]


@pytest.mark.parametrize("name", SIGNED)
def test_of_every_provider_that_signs_bodies_a_lost_line_break_is_told(name: str) -> None:
    sent = request(name)
    check = sample(name)
    message = check.signed(dataclasses.replace(sent, body=sent.body + b"\n"), NOON, message_id="msg_1")
    event = event_of(dataclasses.replace(message, body=sent.body))

    assert names(explained(check, event))[-1].startswith("body-")


# Plaid's secret only proves to Plaid who asks it for keys, and that of SNS is a topic.
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ("plaid", "aws_sns")])
def test_of_every_provider_another_secret_is_told(name: str) -> None:
    check, message = signed(name)
    ours = check.with_secret(_given(sample(name, number=1))[0])
    theirs = Candidate(_given(check)[0].encode(), Mistake("secret-other", "Another.", "Use it."))

    assert names(explained(ours, event_of(message), theirs)) == ["secret-other"]


@pytest.mark.parametrize(
    "name",
    [name for name, row in CATALOGUE.items() if row.scheme.tolerance],
)
def test_of_every_provider_that_signs_a_time_a_clock_that_is_off_is_told(name: str) -> None:
    check, message = signed(name)
    event = event_of(message, received_at=NOON + timedelta(days=30))
    found = explained(check, event)

    assert names(found) == ["clock"]
    assert re.search("2,59[12],[0-9]{3} seconds before", text(found))


@pytest.mark.parametrize("name", [name for name, row in CATALOGUE.items() if row.scheme.signs_url])
def test_of_every_provider_that_signs_urls_another_scheme_and_host_is_told(name: str) -> None:
    check, message = signed(name)
    check = dataclasses.replace(check, public_url=None)
    url = message.url.replace("https://hooks.example", "http://10.0.0.7:8080")
    event = event_of(
        dataclasses.replace(message, headers=Headers({**message.headers, "X-Forwarded-Host": "hooks.example"})), url=url
    )
    found = explained(check, event)

    assert names(found) == ["url"]
    assert f'public_url="{URL.partition("?")[0]}"' in text(found)


@pytest.mark.parametrize("name", CATALOGUE)
def test_of_no_provider_a_secret_or_a_signature_is_said(name: str) -> None:
    """Neither its own nor another's, whatever is wrong: who reads the output could sign with it."""
    check, message = signed(name)
    ours = sample(name, number=1)
    wrong = event_of(dataclasses.replace(message, body=message.body + b" "))
    right = ours.signed(message, NOON, message_id="msg_1")
    for verifier, event in ((ours, event_of(message)), (check, wrong)):
        try:
            found = explained(verifier, event, other("another-secret"))
        except pytest.fail.Exception:
            continue  # it signs nothing of that
        said = repr(found) + text(found) + "".join(found.remains)
        for value in (*_given(ours), *_given(check), "another-secret"):
            assert value not in said
        for header in ours.secret_headers:
            for part in right.headers.get(header, "").replace(",", " ").replace("=", " ").split():
                assert len(part) < 16 or part not in said


@given(
    st.sampled_from(
        ["github", "stripe", "slack", "svix", "twilio", "mailgun", "discord", "docusign", "gitlab", "postmark"]
    ),
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(
            [
                "content-type",
                "content-encoding",
                "authorization",
                "x-forwarded-host",
                "forwarded",
                "x-original-uri",
                "x-a",
            ]
        ),
        st.text(st.characters(max_codepoint=255), max_size=60),
    ),
    st.text(st.characters(max_codepoint=255), max_size=120),
)
def test_nothing_that_a_sender_writes_breaks_it(name: str, body: bytes, headers: dict[str, str], proof: str) -> None:
    check = sample(name)
    headers |= dict.fromkeys(check.secret_headers, proof)
    event = make_event(body=body, headers=headers, data=None, url="http://relay/in?x=%zz")
    refusal = Unverified("It was refused.", cause="mismatch")
    known = Known(secrets=[Candidate(b"a-sample"), other("b")], urls=["https://[::1/x"], catalogue=CATALOGUE)

    assert explain(check, event, refusal, known).signatures <= MOST + 50


def test_a_digest_of_no_length_is_none() -> None:
    event = github_event(headers={"X-Hub-Signature-256": "sha256=" + hashlib.sha256(b"").hexdigest()[:31]})

    assert names(explained(github, event)) == []


def test_of_sns_another_topic_is_told() -> None:
    check, message = signed("aws_sns")
    topic = _given(check)[0]
    found = explained(check.with_secret(f"{topic}-of-others"), event_of(message), other(topic))

    assert names(found) == ["secret-other"]
