"""What holds for every provider of the catalogue, whatever is sent: what it signs verifies, and nothing else does."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trafficrelay.verify
from tests.provider_samples import event_of, request, sample, signed
from tests.support import NOON, make_event
from trafficrelay.errors import Unverified
from trafficrelay.event import Headers
from trafficrelay.verify import CATALOGUE, basic, bearer, hmac_signature
from trafficrelay.verify.body_fields import read_fields
from trafficrelay.verify.message import Outgoing
from trafficrelay.verify.places import Pairs

providers = pytest.mark.parametrize("name", CATALOGUE)


def proving(check: Any, headers: Headers) -> list[str]:
    """The headers that what is signed depends on."""
    names = set(check.secret_headers)
    scheme = check.scheme
    names |= {one.lower() for one in getattr(getattr(scheme, "content", None), "headers", ())}
    kind, _, header = getattr(scheme, "time", "").partition(":")
    if kind == "header":
        names.add(header.lower())
    return [name for name in headers if name in names]


def refused(check: Any, event: Any) -> Unverified:
    """Why an event is refused; that it is, and by nothing else than that."""
    with pytest.raises(Unverified) as caught:
        check(event)

    return caught.value


@providers
def test_what_a_provider_signs_is_verified(name: str) -> None:
    """What a provider signs is verified."""
    check, message = signed(name)

    assert check(event_of(message)) is True


@providers
def test_what_another_secret_signed_is_refused(name: str) -> None:
    """What another secret signed is refused."""
    message = sample(name, number=1).signed(request(name), NOON, message_id="msg_1")

    assert refused(sample(name), event_of(message)).cause == "mismatch"


@providers
@given(data=st.data())
def test_no_bit_of_a_signed_body_may_change(name: str, data: st.DataObject) -> None:
    """No bit of a signed body may change, but for one that leaves what a form says as it is."""
    check, message = signed(name)
    if not check.scheme.signs_body or not message.body:
        return
    place = data.draw(st.integers(0, len(message.body) * 8 - 1))
    body = bytearray(message.body)
    body[place // 8] ^= 1 << place % 8
    changed = replace(message, body=bytes(body))

    if "form-urlencoded" in message.headers.get("content-type", "") and fields_of(changed) == fields_of(message):
        return
    refused(check, event_of(changed))


@providers
@given(data=st.data())
def test_no_bit_of_a_header_that_proves_something_may_change(name: str, data: st.DataObject) -> None:
    """No bit of a header that proves something may change, but for the case of `Basic` (RFC 9110, 11.1)."""
    check, message = signed(name)
    names = proving(check, message.headers)
    if not names:
        return
    header = data.draw(st.sampled_from(names))
    value = message.headers[header]
    at = data.draw(st.integers(0, len(value) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = value[:at] + chr(ord(value[at]) ^ 1 << bit) + value[at + 1 :]

    if header == "authorization" and changed.lower() == value.lower() and at < value.find(" "):
        return
    refused(check, event_of(message.adding({header: changed})))


@providers
@pytest.mark.parametrize("sign", [1, -1])
def test_a_time_outside_of_the_tolerance_is_refused_both_ways(name: str, sign: int) -> None:
    """A time outside of the tolerance is refused, in the past and in the future."""
    check, message = signed(name)
    if check.tolerance is None:
        return
    late = NOON + sign * timedelta(seconds=check.tolerance + 2)

    assert refused(check, event_of(message, received_at=late)).cause == "stale"


def fields_of(message: Outgoing) -> Any:
    """What a form says; nothing if it says nothing."""
    try:
        return read_fields(message)
    except Unverified:
        return None


# Malformed input

ODD = [
    "",
    " ",
    ",",
    "=",
    ",,,,",
    "t=,v1=",
    "v1",
    "v1,",
    "t=1",
    "v1=00",
    "sha256=",
    "sha256",
    "é",
    "\xff\xfe",
    "\N{EURO SIGN}",
    "\ud800",
    "0",
    "-1",
    "1e3",
    "NaN",
    "٣",
    "10" * 20,
    str(10**30),
    "9" * 5_000,
    "A" * 100_000,
    "a,b" * 10_000,
    "=" * 65,
    "AAA=",
    "AAAA====",
    "a.b.c",
    "..",
    "Basic",
    "Basic =",
    "Bearer ",
    "2026-13-45T99:99:99Z",
    "2026-03-01T12:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
]


@providers
def test_a_malformed_header_is_a_clean_refusal(name: str) -> None:
    """A malformed header, whichever it is, is a clean refusal; so are several."""
    check, message = signed(name)
    names = proving(check, message.headers)
    spoilt = [*([one] for one in names), *([names] if names else [])]

    for some, value in itertools.product(spoilt, ODD):
        refused(check, event_of(message.adding(dict.fromkeys(some, value))))


def is_list(check: Any) -> bool:
    """Whether a provider sends a comma between several signatures, and no time with them."""
    place = getattr(check.scheme, "place", None)
    return isinstance(place, Pairs) and place.between == "," and not place.timestamp


@providers
def test_a_doubled_or_missing_header_is_a_clean_refusal(name: str) -> None:
    """A header that proves something is refused when it is missing or, as WSGI joins it, doubled."""
    check, message = signed(name)

    for header in proving(check, message.headers):
        value = message.headers[header]
        others = {key: one for key, one in message.headers.items() if key != header}
        refused(check, event_of(replace(message, headers=Headers(others))))
        # Those who sign with several secrets at once send a list: one good signature in it is enough.
        good = "x" if is_list(check) else ""
        refused(check, event_of(message.adding({header: f"{value}{good},{value}x"})))


@providers
@given(data=st.data())
def test_whatever_is_sent_is_a_clean_refusal(name: str, data: st.DataObject) -> None:
    """Whatever is sent is a clean refusal."""
    check, message = signed(name)
    text = st.text(st.characters(codec="latin-1"), max_size=200)
    headers = {header: data.draw(text) for header in proving(check, message.headers)}
    body = data.draw(st.one_of(st.binary(max_size=200), st.just(message.body)))

    refused(check, event_of(replace(message, body=body).adding(headers))) if headers or body != message.body else None


BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"1",
    b'"x"',
    b"[" * 100_000,
    b"{" * 1000,
    b"\xff",
    b"a=1&a=2",
    b'{"a":' + b"9" * 5000,
]


KINDS = ["application/json", "application/x-www-form-urlencoded", "text/plain", ""]


@providers
def test_another_body_is_a_clean_refusal(name: str) -> None:
    """Another body is a clean refusal, whatever it is and says it is."""
    check, message = signed(name)
    if not check.scheme.signs_body and proving(check, message.headers):
        # What proves the sender stands in the header and has nothing to do with the body.
        return

    for body, kind in itertools.product(BODIES, KINDS):
        refused(check, event_of(replace(message, body=body).adding({"Content-Type": kind})))


def test_a_body_without_anything_is_refused_by_generic_verifiers() -> None:
    """So do those that are in no catalogue."""
    for check in (hmac_signature("s", header="X-S"), bearer("t"), basic("me", "p")):
        assert refused(check, make_event(body=b"")).cause == "missing"


# Constant time

VERIFY = Path(trafficrelay.verify.__file__).parent
SIGNATURES = {"signature", "signatures", "given", "expected", "digest", "token", "secret", "key", "mac", "hmac"}


def compared(tree: ast.AST) -> list[str]:
    """The comparisons by == or `in` of what is named as a signature or a secret, other than with a literal."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops):
            continue
        sides = [node.left, *node.comparators]
        names = {one.id for side in sides for one in ast.walk(side) if isinstance(one, ast.Name)}
        names |= {one.attr for side in sides for one in ast.walk(side) if isinstance(one, ast.Attribute)}
        if names & SIGNATURES and not any(isinstance(side, ast.Constant) for side in sides):
            found.append(ast.unparse(node))
    return found


def test_the_search_for_comparisons_finds_one() -> None:
    """The search for comparisons finds one, so that it can fail."""
    assert compared(ast.parse("ok = expected == given")) == ["expected == given"]
    assert compared(ast.parse("ok = given in (sign(key, body),)"))


@pytest.mark.parametrize("path", sorted(VERIFY.rglob("*.py")), ids=lambda path: str(path.relative_to(VERIFY)))
def test_signatures_and_secrets_are_compared_in_constant_time_alone(path: Path) -> None:
    """Nothing that is a signature or a secret is compared with == or `in`."""
    assert compared(ast.parse(path.read_text())) == []
