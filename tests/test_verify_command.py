"""`trafficrelay verify`: a saved request is explained, and what was counted is listed."""

from __future__ import annotations

import base64
import hmac
import http.client
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args
from unittest import mock

import pytest

from tests.servers import free_port_number
from tests.support import NOON
from tests.waiting import wait_until
from trafficrelay.cli import main
from trafficrelay.outbox.counters import Counter
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.verify import Cause, github, stripe

SECRET = "hush-hush-of-github"
OLD = "hush-hush-of-old"
STRIPE = "hush-hush-of-stripe"
ELSEWHERE = "hush-hush-elsewhere"
BODY = b'{"order": 7}'

HOOKS = f"""\
from trafficrelay import Relay, Route
from trafficrelay.errors import Unverified
from trafficrelay.verify import Key, asana, bearer, github, meta, slack, stripe, twilio

relay = Relay(trusted_proxies=TRUSTED)


def tenant(event):
    return {{"acme": "{SECRET}"}}[event.params["shop"]]


def own(event):
    if event.headers.get("x-own") == "raise":
        raise KeyError("missing")
    if event.headers.get("x-own") == "refuse":
        raise Unverified("The seal is broken.")
    if event.headers.get("x-own") == "say":
        raise Unverified(event.headers["x-said"])
    print("a verifier prints")
    return event.headers.get("x-own") == "yes"


keys = [Key("{SECRET}", name="new"), Key("{OLD}", name="old", until="2026-01-31")]
relay.add(Route("/github", verify=github(keys), job="jobs.push"))
relay.add(Route("/stripe", verify=stripe("{STRIPE}"), job="jobs.push"))
relay.add(Route("/hooks/<shop>", verify=github(tenant), job="jobs.push"))
relay.add(Route("/twilio", verify=twilio("{SECRET}"), job="jobs.push"))
relay.add(Route("/fixed", verify=twilio("{SECRET}", public_url="https://public.example"), job="jobs.push"))
relay.add(Route("/hooks/added", verify=twilio("{SECRET}", public_url="https://public.example"), job="jobs.push"))
relay.add(Route("/slack", verify=slack("{SECRET}"), job="jobs.push"))
relay.add(Route("/token", verify=bearer("{SECRET}"), job="jobs.push"))
relay.add(Route("/meta", verify=meta("{SECRET}", verify_token="right"), job="jobs.push"))
relay.add(Route("/asana", verify=asana(), job="jobs.push"))
relay.add(Route("/own", verify=own, job="jobs.push"))
relay.add(Route("/open", verify=None, job="jobs.push"))
"""


class Shop:
    """A relay, files beside it, and the command."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys

    def save(self, path: str, headers: dict[str, str], body: bytes = BODY, *, date: datetime | None = NOON) -> str:
        """Save a request as it travels; give the file's name."""
        lines = [f"POST {path} HTTP/1.1", "Host: hooks.example"]
        if date is not None:
            lines.append(f"Date: {date:%a, %d %b %Y %H:%M:%S GMT}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        (self.directory / "request.http").write_bytes(head.encode("latin-1") + body)
        return "request.http"

    def said(self, *arguments: str) -> tuple[int, str]:
        self.capsys.readouterr()
        try:
            code = main(["verify", "hooks:relay", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self.capsys.readouterr()
        for secret in (SECRET, OLD, STRIPE, ELSEWHERE):
            assert secret not in captured.out + captured.err
        return code, captured.out or captured.err

    def told(self, route: str, file: str, *options: str) -> tuple[int, dict[str, Any]]:
        code, out = self.said("--explain", route, file, "--json", *options)
        return code, json.loads(out)


@pytest.fixture
def trusted() -> list[str]:
    return []


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trusted: list[str]
) -> Iterator[Shop]:
    (tmp_path / "hooks.py").write_text(HOOKS.replace("TRUSTED", repr(trusted)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield Shop(tmp_path, capsys)
    sys.modules.pop("hooks", None)


def signed(secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    return github(secret).sign(body)


def test_a_request_that_verifies_is_told_with_the_key(shop: Shop) -> None:
    code, said = shop.said("--explain", "/github", shop.save("/github", signed()))

    assert code == 0
    assert said == (
        "POST /github: verified (by key new): github, received at 2026-03-01 12:00:00 UTC, as its header Date says\n"
    )


def test_one_that_does_not_is_told_with_what_happened_and_what_to_do(shop: Shop) -> None:
    code, said = shop.said("--explain", "/github", shop.save("/github", signed(body=BODY + b"\n")))

    assert code == 1
    assert said.splitlines()[:3] == [
        "POST /github: not verified: github, received at 2026-03-01 12:00:00 UTC, as its header Date says",
        "   401: The signature does not match. (mismatch)",
        "The body lost the line break at its end after it was signed.",
    ]
    assert "Hand the relay the bytes as they came" in said


def test_it_is_told_to_machines_too(shop: Shop) -> None:
    code, told = shop.told("/github", shop.save("/github", signed(body=BODY + b"\n")))

    assert code == 1
    assert told["verified"] is False
    assert told["refusal"] == {"status": 401, "cause": "mismatch", "why": "The signature does not match."}
    assert [one["name"] for one in told["mistakes"]] == ["body-line-break-lost"]
    assert told["received_at"] == "2026-03-01T12:00:00+00:00"
    assert told["verify"] == "github"


def mistakes(told: dict[str, Any]) -> list[str]:
    return [one["name"] for one in told["mistakes"]]


def test_the_secret_of_another_route_is_told_by_its_rule(shop: Shop) -> None:
    _, told = shop.told("/github", shop.save("/github", signed(STRIPE)))

    assert mistakes(told) == ["secret-other"]
    assert "that of the route /stripe" in told["mistakes"][0]["text"]


def test_a_key_that_counts_no_more_is_told_with_its_day(shop: Shop) -> None:
    file = shop.save("/github", signed(OLD))
    _, told = shop.told("/github", file)

    assert mistakes(told) == ["secret-ended"]
    assert "the key old, which stopped counting on 2026-02-01" in told["mistakes"][0]["text"]
    assert shop.told("/github", file, "--at", "2026-01-15T00:00:00Z")[1]["key"] == "old"


def test_secrets_of_the_environment_and_of_files_are_tried(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", ELSEWHERE)
    (shop.directory / "secret.txt").write_text(f"{ELSEWHERE}\n")
    file = shop.save("/github", signed(ELSEWHERE))

    assert mistakes(shop.told("/github", file)[1]) == []
    told = shop.told("/github", file, "--secret-env", "ELSEWHERE")[1]
    assert told["mistakes"][0]["text"] == "The secret is another one: that of the environment variable ELSEWHERE."
    told = shop.told("/github", file, "--secret-file", "secret.txt")[1]
    assert told["mistakes"][0]["text"] == "The secret is another one: that of the file secret.txt."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--secret-env", "NO_SUCH"), "The environment variable of --secret-env is not set: NO_SUCH."),
        (("--secret-file", "no.txt"), "The file of --secret-file cannot be read: No such file or directory (no.txt)."),
        (("--at", "noon"), "'noon' is neither a time such as"),
        (("--public-url", "shop.example"), "argument --public-url: it is the URL that the sender was given"),
        (("--public-url", "//shop.example/a"), "such as https://hooks.example"),
        (("--public-url", "ftp://shop.example"), "such as https://hooks.example"),
        (("--public-url", "https:///a"), "such as https://hooks.example"),
        (("--public-url", "https://[::1/a"), "such as https://hooks.example"),
    ],
)
def test_what_is_not_there_is_one_sentence_and_code_2(shop: Shop, arguments: tuple[str, ...], sentence: str) -> None:
    code, said = shop.said("--explain", "/github", shop.save("/github", signed()), *arguments)

    assert code == 2
    assert sentence in said


def test_a_body_alone_is_no_request(shop: Shop) -> None:
    (shop.directory / "body.json").write_bytes(BODY)
    code, said = shop.said("--explain", "/github", "body.json")

    assert code == 2
    assert "does not begin as a request does" in said


def test_an_open_route_verifies_nothing(shop: Shop) -> None:
    code, said = shop.said("--explain", "/open", shop.save("/open", {}))

    assert code == 2
    assert "/open is open to everybody" in said


def test_the_time_is_the_one_of_the_header_date_of_the_option_or_now(shop: Shop) -> None:
    headers = stripe(STRIPE).sign(BODY, NOON)

    assert shop.said("--explain", "/stripe", shop.save("/stripe", headers))[0] == 0
    file = shop.save("/stripe", headers, date=None)
    code, said = shop.said("--explain", "/stripe", file)
    assert code == 1
    assert "now, since it has no header Date; --at says when it was" in said
    assert "The signature is right, but its time is" in said
    code, said = shop.said("--explain", "/stripe", file, "--at", "2026-03-01T13:00:00+01:00")
    assert code == 0
    assert "as --at says" in said
    assert shop.said("--explain", "/stripe", file, "--at", str(int(NOON.timestamp())))[0] == 0


def test_a_date_that_is_none_is_now(shop: Shop) -> None:
    file = shop.save("/stripe", stripe(STRIPE).sign(BODY, datetime.now(UTC)) | {"Date": "once"}, date=None)

    assert shop.said("--explain", "/stripe", file)[0] == 0


def test_the_request_comes_from_stdin_too(shop: Shop) -> None:
    raw = (shop.directory / shop.save("/github", signed())).read_bytes()
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(raw))):
        code, _ = shop.said("--explain", "/github", "-")

    assert code == 0


def test_the_secret_of_a_tenant_is_looked_up_by_the_path(shop: Shop) -> None:
    file = shop.save("/hooks/acme", signed())

    assert shop.said("--explain", "/hooks/<shop>", file)[0] == 0
    code, told = shop.told("/hooks/nobody", shop.save("/hooks/nobody", signed("of nobody")))
    assert code == 1
    assert told["refusal"]["cause"] == "unknown"
    assert any("knows none for this request" in one for one in told["remains"])


def twilio_headers(url: str) -> dict[str, str]:
    signature = hmac.digest(SECRET.encode(), f"{url}A1".encode(), "sha1")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return form | {"X-Twilio-Signature": base64.b64encode(signature).decode()}


@pytest.mark.parametrize("query", ["", "?a=x%20y", "?b=2&a=1", "?a=%2F"])
def test_the_url_is_taken_as_it_was_sent(shop: Shop, query: str) -> None:
    file = shop.save(f"/twilio{query}", twilio_headers(f"http://hooks.example/twilio{query}"), b"A=1")

    assert shop.said("--explain", "/twilio", file)[0] == 0


def test_a_path_is_taken_as_it_was_sent(shop: Shop) -> None:
    file = shop.save("/prefix/a%2Fb", twilio_headers("http://hooks.example/prefix/a%2Fb"), b"A=1")

    assert shop.said("--explain", "/twilio", file)[0] == 0


def test_a_url_in_the_first_line_is_the_one(shop: Shop) -> None:
    file = shop.save("https://a.example/twilio", twilio_headers("https://a.example/twilio"), b"A=1")

    assert shop.said("--explain", "/twilio", file)[0] == 0


def test_a_wrong_url_is_told_with_what_to_declare(shop: Shop) -> None:
    _, told = shop.told("/twilio", shop.save("/twilio", twilio_headers("https://hooks.example/twilio"), b"A=1"))

    assert mistakes(told) == ["url"]
    assert 'public_url="https://hooks.example/twilio"' in told["mistakes"][0]["fix"]


def test_the_urls_of_other_routes_are_tried(shop: Shop) -> None:
    _, told = shop.told("/twilio", shop.save("/twilio", twilio_headers("https://public.example/twilio"), b"A=1"))

    assert 'public_url="https://public.example/twilio"' in told["mistakes"][0]["fix"]


def test_a_path_that_a_proxy_put_something_before_is_told_as_the_sender_knows_it(shop: Shop) -> None:
    file = shop.save("/hooks/added", twilio_headers("https://public.example/added"), b"A=1")
    _, told = shop.told("/hooks/added", file)

    assert 'public_url="https://public.example/added"' in told["mistakes"][0]["fix"]


def test_a_url_that_is_given_is_tried(shop: Shop) -> None:
    file = shop.save("/twilio", twilio_headers("https://x.example/y/z"), b"A=1")

    assert mistakes(shop.told("/twilio", file)[1]) == []
    assert mistakes(shop.told("/twilio", file, "--public-url", "https://x.example/y/z")[1]) == ["url"]


def test_which_key_has_a_prefix_too_many_or_too_few_is_told(shop: Shop) -> None:
    _, told = shop.told("/github", shop.save("/github", signed(f"whsec_{SECRET}")))

    assert mistakes(told) == ["secret-prefix"]
    assert told["mistakes"][0]["text"].endswith("given without. It is the route's key new.")


def test_a_signature_that_is_not_there_is_told_without_what_was_not_tried(shop: Shop) -> None:
    _, said = shop.said("--explain", "/github", shop.save("/github", {}))

    assert said.splitlines()[1:3] == [
        "   401: The header X-Hub-Signature-256 is missing. (missing)",
        "What to look at:",
    ]
    assert "Whether the sender signs at all" in said
    assert "Tried" not in said


def test_what_was_tried_comes_after_what_to_look_at(shop: Shop) -> None:
    _, said = shop.said("--explain", "/github", shop.save("/github", signed("of nobody")))

    assert said.splitlines()[2] == "No likely mistake fits. What remains:"
    assert "Whether the secret is the one of this very webhook" in said.splitlines()[3]
    assert re.fullmatch(r"Tried: \d+ secrets, .*, alone and in pairs\.", said.splitlines()[-1])


PROXIED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.example"}


def test_what_a_proxy_says_does_not_count_unless_it_is_trusted(shop: Shop) -> None:
    file = shop.save("/twilio", twilio_headers("https://public.example/twilio") | PROXIED, b"A=1")
    code, told = shop.told("/twilio", file)

    assert code == 1
    assert "trusted_proxies=" in told["mistakes"][0]["fix"]


@pytest.mark.parametrize("trusted", [["10.0.0.0/8"]])
def test_what_a_trusted_proxy_says_counts(shop: Shop) -> None:
    file = shop.save("/twilio", twilio_headers("https://public.example/twilio") | PROXIED, b"A=1")

    assert shop.said("--explain", "/twilio", file)[0] == 0


def test_of_a_verifier_of_ones_own_it_says_what_that_says(shop: Shop) -> None:
    def told(value: str) -> tuple[int, dict[str, Any]]:
        return shop.told("/own", shop.save("/own", {"X-Own": value}))

    assert told("yes")[0] == 0
    code, refused = told("refuse")
    assert code == 1
    assert refused["refusal"] == {"status": 401, "cause": "other", "why": "The seal is broken."}
    assert refused["mistakes"] == []
    assert refused["remains"] == []
    assert told("no")[1]["refusal"]["why"] == "The sender is not verified."
    assert "KeyError: 'missing'" in told("raise")[1]["refusal"]["why"]


def test_a_verifier_of_ones_own_that_gives_no_reason_is_told_to_give_one(shop: Shop) -> None:
    file = shop.save("/own", {"X-Own": "no"})

    assert 'raise Unverified("why")' in shop.said("--explain", "/own", file)[1]
    assert 'raise Unverified("why")' in shop.told("/own", file)[1]["remains"][0]
    assert 'raise Unverified("why")' not in shop.said("--explain", "/own", shop.save("/own", {"X-Own": "refuse"}))[1]


def test_a_challenge_is_told_as_what_it_is(shop: Shop) -> None:
    body = b'{"type": "url_verification", "challenge": "abc"}'
    stamp = str(int(NOON.timestamp()))
    signature = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + body, "sha256").hexdigest()
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={signature}"}
    code, told = shop.told("/slack", shop.save("/slack", headers, body))

    assert code == 0
    assert told["challenge"] == "url_verification"


def test_a_challenge_that_is_refused_is_told_without_guesses(shop: Shop) -> None:
    (shop.directory / "request.http").write_text(
        "GET /meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong HTTP/1.1\nHost: a.example\n\n"
    )
    code, told = shop.told("/meta", "request.http")

    assert code == 1
    assert told["refusal"]["status"] == 401
    assert told["mistakes"] == told["remains"] == []


def test_a_token_that_came_with_something_before_it_is_told(shop: Shop) -> None:
    _, told = shop.told("/token", shop.save("/token", {"Authorization": f"Token {SECRET}"}))

    assert mistakes(told) == ["header-prefix"]


def test_what_a_sender_wrote_cannot_command_the_terminal(shop: Shop) -> None:
    _, said = shop.said("--explain", "/own", shop.save("/own", {"X-Own": "say", "X-Said": "\x1b[31mred"}))

    assert "[31mred" in said
    assert "\x1b" not in said


@pytest.mark.rq
def test_a_secret_that_was_brought_is_taken_from_redis(shop: Shop, redis_url: str) -> None:
    outbox = RQOutbox(redis_url)
    outbox.keep_secret("/asana", "-", ELSEWHERE.encode())
    outbox.close()
    signature = hmac.new(ELSEWHERE.encode(), BODY, "sha256").hexdigest()
    file = shop.save("/asana", {"X-Hook-Signature": signature})

    assert shop.said("--explain", "/asana", file, "--redis", redis_url)[0] == 0


@pytest.mark.rq
def test_the_counters_are_listed_by_route(shop: Shop, redis_url: str) -> None:
    outbox = RQOutbox(redis_url)
    outbox.add_counts(
        {
            Counter("refused", "mismatch", "/github"): 3,
            Counter("verified", "old", "/github"): 1_200,
            Counter("verified", "new", "/github"): 7,
            Counter("refused", "missing", "/of another relay"): 1,
        }
    )
    outbox.close()
    code, said = shop.said("--redis", redis_url)

    assert code == 0
    assert [line.split() for line in said.splitlines()[:3]] == [
        ["/github", "verified", "new", "7"],
        ["/github", "verified", "old", "1,200"],
        ["/github", "refused", "mismatch", "3"],
    ]
    assert "3 requests refused." in said
    assert "/of" not in said
    assert json.loads(shop.said("--redis", redis_url, "--json")[1])["counts"] == [
        {"route": "/github", "what": "refused", "why": "mismatch", "requests": 3},
        {"route": "/github", "what": "verified", "why": "new", "requests": 7},
        {"route": "/github", "what": "verified", "why": "old", "requests": 1_200},
    ]


@pytest.mark.rq
def test_where_nothing_was_counted_it_says_so(shop: Shop, redis_url: str) -> None:
    code, said = shop.said("--redis", redis_url)

    assert code == 0
    assert said.startswith("Nothing was counted yet")


def test_help_says_when_a_secret_can_go(shop: Shop) -> None:
    code, said = shop.said("--help")

    assert code == 0
    assert "A secret that nobody signs with any more can go" in said


def test_the_moment_of_a_clock_that_is_off_is_told(shop: Shop) -> None:
    headers = stripe(STRIPE).sign(BODY, NOON - timedelta(seconds=1_234))
    _, told = shop.told("/stripe", shop.save("/stripe", headers))

    assert "1,234 seconds before" in told["mistakes"][0]["text"]


PAGE = (Path(__file__).parents[1] / "docs" / "verifying.md").read_text("utf-8")


@pytest.mark.parametrize("how", ["plain", "chunked"])
def test_what_the_page_saves_requests_with_saves_them_whole(shop: Shop, how: str) -> None:
    """The block of docs/verifying.md runs as it stands, but for the port."""
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "create_server" in one)
    port = free_port_number()
    (shop.directory / "save.py").write_text(dedent(block).replace("8080", str(port)))
    with subprocess.Popen([sys.executable, "save.py"], cwd=shop.directory) as saving:
        try:
            connection = wait_until(lambda: connected(port))
            headers = signed() | {"Date": f"{NOON:%a, %d %b %Y %H:%M:%S GMT}"}
            body: Any = BODY if how == "plain" else iter([BODY[:4], BODY[4:]])
            connection.request("POST", "/github?a=b", body, headers, encode_chunked=how == "chunked")
            status = connection.getresponse().status
            # What is answered is saved: it may be ended at once.
            saved = {one.name for one in shop.directory.glob("request-*.http") if one.stat().st_size}
            connection.close()
        finally:
            saving.terminate()
    (file,) = saved

    assert status == 200
    assert shop.said("--explain", "/github", file)[0] == 0


def connected(port: int) -> http.client.HTTPConnection | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.connect()
    except OSError:
        return None
    return connection


def test_the_page_has_every_cause() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(get_args(Cause))


def test_what_the_page_shows_is_what_is_said(shop: Shop) -> None:
    """But for the lines' ends."""
    was = BODY.replace(b" ", b"")
    _, said = shop.said("--explain", "/github", shop.save("/github", signed(body=was)))
    shown = next(one for one in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) if "--explain" in one)

    assert said.split() == shown.partition("\n")[2].split()
