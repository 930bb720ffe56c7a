"""`trafficrelay send`: requests, signed as providers sign them, to a relay that runs."""

from __future__ import annotations

import importlib
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.receiver import Answer, Receiver, receiving
from tests.servers import free_port_number
from tests.standalone_support import Run, write_modules
from tests.support import make_event
from trafficrelay import MemoryOutbox, Relay
from trafficrelay.cli import main
from trafficrelay.commands.bodies import content_type_of
from trafficrelay.commands.sending import read_base
from trafficrelay.errors import DeclarationError
from trafficrelay.verify import github, square

SECRET = "hush-hush"

HOOKS = f"""\
import threading

from trafficrelay import MemoryOutbox, Relay, Route, verify

outbox = MemoryOutbox()
relay = Relay(outbox=outbox)


def shop_secret(event):
    if threading.current_thread() is threading.main_thread():  # not the server's
        print("a function of the user's prints")
    return {{"acme": "{SECRET}"}}[event.params["shop"]]


class Own:
    def __call__(self, event):
        return event.headers.get("x-own") == "{SECRET}"


class Broken(Own):
    def sign(self, body, now):
        raise ValueError("{SECRET}")


class Keyed(Own):
    def sign(self, body, now):
        raise KeyError("{SECRET}")


class Showing(Own):
    reveals_secret = True

    def sign(self, body, now):
        return {{"X-Own": "{SECRET}"}}


def add(rule, check, **options):
    relay.add(Route(rule, **({{"verify": check, "job": "jobs.echo"}} | options)))


add("/open", None, methods=["GET", "POST"])
add("/github", verify.github("{SECRET}"))
add("/shops/<shop>/<number:int>", verify.github(shop_secret))
add("/square", verify.square("{SECRET}"))
add("/public", verify.square("{SECRET}", public_url="https://hooks.example/square"))
add("/twilio", verify.twilio("{SECRET}"))
add("/stripe", verify.stripe("{SECRET}"))
add("/mailgun", verify.mailgun("{SECRET}"))
add("/telegram", verify.telegram("{SECRET}"))
add("/graph", verify.microsoft_graph("{SECRET}"))
add("/postmark", verify.postmark("{SECRET}", username="me"))
add("/standard", verify.standard_webhooks("whsec_aHVzaC1odXNo"))
add("/slack", verify.slack("{SECRET}"))
add("/asana", verify.asana())
add(
    "/rotated",
    verify.github(["{SECRET}", verify.Key("{SECRET}-2", name="old")]),
    transform=lambda event: event.verified_by,
)
add("/past", verify.github(["{SECRET}", verify.Key("{SECRET}-2", name="old", until="2020-01-01")]))
add("/sns", verify.aws_sns("arn:aws:sns:eu-west-1:123456789012:orders"))
add("/discord", verify.discord("5e" * 32))
add("/own", Own())
add("/broken", Broken())
add("/showing", Showing())
add("/keyed", Keyed())
add("/lookup", verify.github(lambda event: 1 / 0))
add("/known", verify.github("{SECRET}"), dedupe=lambda event: event.body)
"""


class Shop:
    """A relay that serves, and the command."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], relay: Relay, url: str) -> None:
        self.directory = directory
        self.url = url
        self.relay = relay
        self._capsys = capsys
        self.error = ""

    @property
    def outbox(self) -> MemoryOutbox:
        return importlib.import_module("hooks").outbox  # type: ignore[no-any-return]

    def file(self, content: bytes | str | dict[str, Any] | list[Any], name: str = "body.json") -> str:
        if isinstance(content, dict | list):
            content = json.dumps(content)
        (self.directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def said(self, route: str, file: str, *options: str, url: str | None = None) -> tuple[int, str]:
        code = main(["send", "hooks:relay", route, file, "--url", url or self.url, *options])
        captured = self._capsys.readouterr()
        self.error = captured.err
        return code, captured.out

    def told(self, route: str, file: str, *options: str, url: str | None = None) -> tuple[int, dict[str, Any]]:
        code, out = self.said(route, file, "--json", *options, url=url)
        return code, json.loads(out)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    (tmp_path / "hooks.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    relay = importlib.import_module("hooks").relay
    try:
        with relay.serve(port=0) as server:
            yield Shop(tmp_path, capsys, relay, server.url)
    finally:
        sys.modules.pop("hooks", None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_a_signed_request_is_taken_and_the_answer_shown(shop: Shop) -> None:
    code, said = shop.said("/github", shop.file({"ref": "main"}), "--header", "X-GitHub-Event: push")
    lines = said.splitlines()

    assert code == 0
    assert lines[0] == f"POST {shop.url}/github: 15 bytes of application/json, signed as github"
    assert lines[1].startswith("202 Accepted, in ")
    assert any(line.lower() == "   content-type: application/json" for line in lines)
    assert json.loads(lines[-1])["jobs"]
    assert SECRET not in said
    assert [job.data for job in shop.outbox.jobs] == [{"ref": "main"}]


@pytest.mark.parametrize(("key", "name"), [("old", "old"), ("2", "old"), ("1", "1")])
def test_any_of_several_keys_signs(shop: Shop, key: str, name: str) -> None:
    code, said = shop.said("/rotated", shop.file({}), "--key", key)

    assert code == 0
    assert f"signed as github with the key {key}\n" in said
    assert [job.data for job in shop.outbox.jobs] == [name]


def test_a_key_whose_date_has_passed_signs_and_is_refused(shop: Shop) -> None:
    code, said = shop.said("/past", shop.file({}), "--key", "old")

    assert code == 1
    assert "401 Unauthorized" in said


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("/rotated", "A request for /rotated cannot be signed: it has no key 'odl'; its keys are called 1 and old."),
        ("/open", "The route /open is open to everybody: it has no key 'odl'.\n"),
        ("/own", "The verifier of /own cannot sign: it is one of your own, and has no keys to choose from."),
    ],
)
def test_a_key_that_is_not_there_is_a_sentence_and_code_2(shop: Shop, route: str, sentence: str) -> None:
    code, said = shop.said(route, shop.file({}), "--key", "odl")

    assert (code, said) == (2, "")
    assert sentence in shop.error
    assert SECRET not in shop.error


def test_a_machine_is_told_one_object(shop: Shop) -> None:
    code, told = shop.told("/github", shop.file({}))
    (answer,) = told.pop("answers")

    assert code == 0
    assert told == {
        "route": "/github",
        "method": "POST",
        "url": f"{shop.url}/github",
        "signed": True,
        "accepted": True,
    }
    assert answer["status"] == 202
    assert json.loads(answer["body"])["id"]
    assert answer["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/open", {}),
        ("/square", {"event_id": "7"}),
        ("/square?shop=7&q=%2f", {"event_id": "7"}),
        ("/public?shop=7", {"event_id": "7"}),
        ("/twilio", {"json": 1}),
        ("/twilio?shop=7", {"json": 1}),
        ("/stripe", {"id": "evt_1"}),
        ("/mailgun", {"event-data": {}}),
        ("/telegram", {"update_id": 7}),
        ("/graph", {"value": [{"id": 7}]}),
        ("/postmark", {}),
        ("/standard", {}),
        ("/slack", {}),
        ("/shops/acme/07", {}),
        ("/known", {}),
    ],
)
def test_every_kind_of_signature_is_made(shop: Shop, route: str, body: dict[str, Any]) -> None:
    """Of URLs, of public ones, in bodies, with a secret that is looked up; what is made up for it arrives, too."""
    code, told = shop.told(route, shop.file(body))

    assert code == 0, told
    assert shop.outbox.jobs


def test_a_refusal_is_code_1(shop: Shop) -> None:
    code, said = shop.said("/stripe", shop.file({"id": "evt_1"}), "--at", "2026-03-01T12:00:00Z")

    assert code == 1
    assert "401 Unauthorized" in said
    assert "The timestamp is more than 300 seconds off." in said


def test_unsigned_it_is_refused_as_anybody_is(shop: Shop) -> None:
    code, said = shop.said("/github", shop.file({}), "--unsigned")

    assert code == 1
    assert "not signed" in said
    assert "The header X-Hub-Signature-256 is missing." in said


def test_a_saved_request_is_sent_as_it_was_but_for_what_belongs_to_its_way(shop: Shop, receiver: Receiver) -> None:
    raw = (
        b"POST /relay/shops/acme/7?q=%2F+x HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: elsewhere.example\r\nVia: 1.1 proxy\r\n"
        b"Accept-Encoding: gzip\r\nX-Hub-Signature-256: sha256=old\r\nUser-Agent: GitHub-Hookshot\r\n"
        b"X-Shop: 7\r\nContent-Type: application/vnd.shop+json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    )
    code, _ = shop.said("/shops/acme/7", shop.file(raw, "push.http"), url=receiver.url + "/relay/")
    (request,) = receiver.requests

    assert code == 0
    assert request.path == "/relay/shops/acme/7?q=%2F+x"
    assert request.body == b"{}"
    assert request.headers["host"] == receiver.url.removeprefix("http://")
    assert request.headers["user-agent"] == "GitHub-Hookshot"
    assert request.headers["content-type"] == "application/vnd.shop+json"
    assert request.headers["x-shop"] == "7"
    assert not {"x-forwarded-for", "x-forwarded-host", "via", "connection", "transfer-encoding"} & set(request.headers)
    assert github(SECRET)(make_event(headers=request.headers, body=request.body)) is True


def test_the_path_of_a_saved_request_fills_in_a_rule(shop: Shop, receiver: Receiver) -> None:
    file = shop.file(b"POST /shops/acme/7?a=1 HTTP/1.1\n\n{}", "push.http")
    shop.said("/shops/<shop>/<number:int>", file, url=receiver.url)
    shop.said("/open", file, url=receiver.url)
    shop.said("/open?b=2", file, url=receiver.url)

    assert [one.path for one in receiver.requests] == ["/shops/acme/7?a=1", "/open?a=1", "/open?b=2"]


def test_a_path_is_encoded_and_what_is_encoded_stays_so(shop: Shop, receiver: Receiver) -> None:
    shop.said("/open?q=Zoë %41[]", shop.file({}), url=receiver.url)

    assert [one.path for one in receiver.requests] == ["/open?q=Zo%C3%AB%20%41[]"]


def test_it_can_come_from_stdin(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"n": 7}')))
    code, _ = shop.said("/github", "-")

    assert code == 0
    assert [job.data for job in shop.outbox.jobs] == [{"n": 7}]


def test_a_method_without_a_body_is_sent_so(shop: Shop, receiver: Receiver) -> None:
    code, said = shop.said("/open", shop.file(b"", "empty"), "--method", "get", url=receiver.url)
    (request,) = receiver.requests

    assert code == 0
    assert (request.method, request.body) == ("GET", b"")
    assert "content-type" not in request.headers
    assert "no body, not signed: its route is open to everybody" in said


def test_the_header_of_the_event_s_id_is_made_up_where_there_is_one(shop: Shop, receiver: Receiver) -> None:
    """As its provider sends one with each."""
    file = shop.file({})
    shop.said("/github", file, url=receiver.url)
    shop.said("/github", file, "--message-id", "mine", url=receiver.url)
    shop.said("/github", file, "--header", "X-GitHub-Delivery: theirs", url=receiver.url)
    ids = [one.headers["x-github-delivery"] for one in receiver.requests]

    assert ids[0].startswith("msg_")
    assert ids[1:] == ["mine", "theirs"]


def test_many_have_ids_of_their_own(shop: Shop) -> None:
    """In headers that are signed or not, and in bodies; so each of them becomes a job."""
    bodies: dict[str, Any] = {
        "/github": {},
        "/standard": {},
        "/stripe": {"id": "evt_1"},
        "/telegram": {"update_id": 7},
    }
    for route, body in bodies.items():
        assert shop.said(route, shop.file(body), "--count", "3")[0] == 0

    assert len(shop.outbox.jobs) == 3 * len(bodies)
    assert {job.data["update_id"] for job in shop.outbox.jobs if "update_id" in job.data} == {7, 8, 9}


def test_the_id_of_a_body_stays_unless_another_is_given(shop: Shop) -> None:
    file = shop.file({"id": "evt_1"})
    for options in ([], [], ["--message-id", "evt_2"], ["--message-id", "evt_2"]):
        assert shop.said("/stripe", file, *options)[0] == 0

    assert [job.data["id"] for job in shop.outbox.jobs] == ["evt_1", "evt_2"]


def test_one_id_for_many_is_numbered(shop: Shop, receiver: Receiver) -> None:
    shop.said("/github", shop.file({}), "--count", "2", "--message-id", "mine", url=receiver.url)

    assert [one.headers["x-github-delivery"] for one in receiver.requests] == ["mine-1", "mine-2"]
    assert len({one.peer for one in receiver.requests}) == 1


def test_many_are_summed_up_with_the_first_of_each_refusal(shop: Shop, receiver: Receiver) -> None:
    receiver.answer(202, 429, 202, 429, 500, 429)
    code, said = shop.said("/github", shop.file({}), "--count", "6", url=receiver.url)
    lines = said.splitlines()

    assert code == 1
    assert lines[1].startswith("6 requests in ")
    assert lines[1].endswith("s: 2 answered 202, 3 answered 429, 1 answered 500")
    assert [line.partition(",")[0] for line in lines if ", in " in line] == [
        "429 Too Many Requests",
        "500 Internal Server Error",
    ]


# What would be sent


def test_a_dry_run_gives_a_request_that_can_be_sent_as_it_stands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, into a file or a pipe."""
    body = '{"n":\t7, "b": "é"}\n'.encode()
    output = io.TextIOWrapper(io.BytesIO())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        code = main(["send", "hooks:relay", "/twilio?a=1", shop.file(body), "--dry-run", "--url", shop.url])
    raw = output.buffer.getvalue()  # type: ignore[attr-defined]
    head, _, shown = raw.partition(b"\r\n\r\n")

    assert code == 0
    assert not shop.outbox.jobs
    assert head.startswith(b"POST /twilio?a=1&bodySHA256=")
    assert f"\r\nHost: {shop.url.removeprefix('http://')}\r\n".encode() in head
    assert b"\r\nX-Twilio-Signature: " in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    assert shown == body
    assert shop.said("/twilio", shop.file(raw, "saved.http"), "--unsigned")[0] == 0


def test_what_a_dry_run_shows_is_verified(shop: Shop) -> None:
    _, told = shop.told("/square", shop.file({"a": 1}), "--dry-run")
    event = make_event(headers=told["headers"], body=told["body"].encode(), url=told["url"])

    assert told["signed"]
    assert square(SECRET)(event) is True
    assert not shop.outbox.jobs


@pytest.mark.parametrize("route", ["/telegram", "/graph", "/postmark", "/showing"])
@pytest.mark.parametrize("json_", [True, False])
def test_a_secret_that_is_sent_is_shown_where_that_is_asked_for_alone(shop: Shop, route: str, json_: bool) -> None:
    options = ["--dry-run", *(["--json"] if json_ else [])]
    file = shop.file({"value": [{}]})
    _, hidden = shop.said(route, file, *options)
    _, shown = shop.said(route, file, *options, "--show-secrets")
    secret = "bWU6aHVzaC1odXNo" if route == "/postmark" else SECRET
    placeholder = "bWU6WU9VUi1TRUNSRVQ=" if route == "/postmark" else "YOUR-SECRET"

    assert secret in shown
    assert secret not in hidden
    assert placeholder in hidden


def test_a_terminal_is_not_commanded_by_what_it_shows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    main(["send", "hooks:relay", "/github", shop.file(b'{"a": "\x1b[31m"}\n{}', "odd"), "--dry-run", "--url", shop.url])
    said = terminal.getvalue()

    assert "\x1b" not in said
    assert '{"a": "\N{REPLACEMENT CHARACTER}[31m"}\n{}\n' in said
    assert "X-Hub-Signature-256: sha256=" in said


def test_what_is_answered_does_not_command_it_either(shop: Shop, receiver: Receiver) -> None:
    receiver.answer(Answer(200, {"X-Odd": "a\x1b[31mb"}, b"\x1b[31m\xff" + b"x" * 100_000))
    _, said = shop.said("/open", shop.file({}), "--count", "1", url=receiver.url)

    assert "\x1b" not in said
    assert len(said) < 70_000


# What cannot be signed


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("/discord", "A request for /discord cannot be signed: only the provider can sign: this is its public key."),
        ("/shops/other/1", "knows none for this request (shop='other', number=1). --unsigned sends it as it is."),
        ("/own", "The verifier of /own cannot sign: it has no method sign(body, now). Give the headers that it looks"),
        ("/broken", "The verifier of /broken fails to sign: ValueError ("),
        ("/keyed", "The verifier of /keyed fails to sign: KeyError ("),
        ("/lookup", "The secret for /lookup cannot be looked up: ZeroDivisionError ("),
        ("/mailgun", "A request for /mailgun cannot be signed: the body "),
        ("/asana", "has no Redis"),
        ("/sns", "Declare the route in Python (a relay.toml cannot say this) with keys=GivenKeys(…)"),
        ("/nosuch", "hooks:relay has no route /nosuch."),
    ],
)
def test_why_it_cannot_be_signed_is_a_sentence_and_code_2(shop: Shop, route: str, sentence: str) -> None:
    code, said = shop.said(route, shop.file([1]))

    assert (code, said) == (2, "")
    assert sentence in shop.error
    assert SECRET not in shop.error
    assert [line for line in shop.error.splitlines() if "prints" not in line] == [shop.error.splitlines()[-1]]


def test_headers_of_ones_own_make_up_for_a_verifier_that_cannot_sign(shop: Shop) -> None:
    assert shop.said("/own", shop.file({}), "--unsigned", "--header", f"X-Own: {SECRET}")[0] == 0


def test_a_challenge_that_comes_unsigned_is_not_signed(shop: Shop) -> None:
    code, said = shop.said("/asana", shop.file(b"POST /asana HTTP/1.1\nX-Hook-Secret: s3cret\n\n", "hook.http"))

    assert code == 0
    assert "not signed: it is a challenge" in said


def test_a_challenge_that_is_signed_is_signed(shop: Shop) -> None:
    code, told = shop.told("/slack", shop.file({"type": "url_verification", "challenge": "abc"}))

    assert code == 0
    assert told["answers"][0]["body"] == "abc"


@pytest.mark.parametrize("header", ["X-A: a\nb", "X A: b", "X-A: \N{EURO SIGN}", "X-A: a\x00"])
def test_a_header_that_cannot_be_sent_is_code_2(shop: Shop, header: str) -> None:
    code, said = shop.said("/github", shop.file({}), "--header", header)

    assert (code, said) == (2, "")
    assert "cannot be sent: its name is a word, and its value one line." in shop.error


@pytest.mark.parametrize(
    "options",
    [
        ["--at", "soon"],
        ["--message-id", "a b"],
        ["--message-id", ""],
        ["--message-id", "a\n"],
        ["--count", "0"],
        ["--count", "2", "--dry-run"],
        ["--header", "nothing"],
        ["--content-type", "json"],
        ["--key", "old", "--unsigned"],
    ],
)
def test_wrong_usage_is_code_2(shop: Shop, options: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        shop.said("/github", shop.file({}), *options)

    assert end.value.code == 2


# Where it goes


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://me:hush@127.0.0.1",
        "http://127.0.0.1/?a=1",
        "http://127.0.0.1/#a",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://exämple",
        "http://a b",
        "http://a\r\nb",
    ],
)
def test_a_url_that_is_none_of_a_relay_is_code_2(shop: Shop, url: str) -> None:
    code = main(["send", "hooks:relay", "/github", shop.file({}), f"--url={url}"])

    assert code == 2
    with pytest.raises(DeclarationError, match="--url is where the relay is"):
        read_base(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("https://Hooks.Example:443/relay/", "https://hooks.example"),
        ("https://hooks.example:8443", "https://hooks.example:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_url_is_signed_as_the_host_header_says_it(url: str, shown: str) -> None:
    assert str(read_base(url)) == shown


def test_where_nobody_listens_it_says_what_to_do(shop: Shop) -> None:
    port = free_port_number()
    code, said = shop.said("/github", shop.file({}), url=f"http://127.0.0.1:{port}")

    assert (code, said) == (1, "")
    assert shop.error == (
        f"trafficrelay: http://127.0.0.1:{port} takes no connection: nothing listens there. `trafficrelay run "
        "hooks:relay` starts the relay, and --url says where else it is.\n"
    )


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that answers one request with these bytes, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                came = b""
                while not came.endswith(b"\r\n\r\n{}") and (more := connection.recv(65_536)):
                    came += more
                connection.sendall(raw)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            thread.join(20)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "closed the connection before it answered."),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "answered with something that is no answer of HTTP/1.1."),
    ],
)
def test_what_is_no_answer_is_a_sentence_and_code_1(shop: Shop, raw: bytes, sentence: str) -> None:
    with answering(raw) as url:
        code, said = shop.said("/github", shop.file({}), url=url)

    assert (code, said) == (1, "")
    assert sentence in shop.error
    assert "SSH" not in shop.error


def test_an_answer_whose_body_breaks_off_counts(shop: Shop) -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort") as url:
        code, told = shop.told("/github", shop.file({}), url=url)

    assert code == 0
    assert told["answers"][0]["body"] == "short"


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
def test_what_is_too_large_is_told_by_the_relay(shop: Shop, size: int) -> None:
    """Which reads no more of it than it takes."""
    code, said = shop.said("/github", shop.file(b'"' + b"x" * size + b'"', "large.json"))

    assert code == 1
    assert "413 " in said


def test_an_answer_that_fails_midway_says_how_many_came_before(shop: Shop, receiver: Receiver) -> None:
    receiver.answer(Answer(200), Answer(200), Answer(drop=True))
    code, _ = shop.said("/github", shop.file({}), "--count", "4", url=receiver.url)

    assert code == 1
    assert "2 of 4 had been answered." in shop.error
    assert len(receiver.requests) == 3


def test_redirects_are_not_followed_nor_proxies_asked(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    receiver.answer(Answer(307, {"Location": f"{receiver.url}/elsewhere"}))
    code, said = shop.said("/github", shop.file({}), url=receiver.url)

    assert code == 1
    assert "307 Temporary Redirect" in said
    assert [one.path for one in receiver.requests] == ["/github"]


# What it is


@pytest.mark.parametrize(
    ("file", "raw", "kind"),
    [
        ("a.json", b"a=1", "application/json"),
        ("a.ndjson", b"", "application/x-ndjson"),
        ("a.txt", b"{}", "text/plain"),
        ("-", b' {"a": 1}\n', "application/json"),
        ("-", b'{"a":\n1}', "application/json"),
        ("-", b'{"a":', "application/json"),
        ("-", b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
        ("-", b'{"a": 1}\n[]\n{}\n{"a"', "application/x-ndjson"),
        ("-", b"[" * 100_000 + b"\n[", "application/json"),
        ("-", b"a=1&b=%20x+y&c=", "application/x-www-form-urlencoded"),
        ("-", b"a=1\n", "application/x-www-form-urlencoded"),
        ("-", b"a = 1", "text/plain"),
        ("-", b"hello", "text/plain"),
        ("-", b"\xff\x00", "text/plain"),
    ],
)
def test_what_a_body_is_is_told_by_its_name_or_by_itself(file: str, raw: bytes, kind: str) -> None:
    assert content_type_of(file, raw) == kind


@pytest.mark.rq
def test_a_relay_that_runs_by_itself_takes_what_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its URL as that server sees it, and the secret that a challenge brought, which is in the Valkey of the run."""
    write_modules(tmp_path)
    (tmp_path / "signed.py").write_text(
        "from trafficrelay import Relay, Route, verify\n"
        "relay = Relay()\n"
        "relay.add(Route('/twilio/<shop>', verify=verify.twilio('s'), job='jobs.echo'))\n"
        "relay.add(Route('/asana', verify=verify.asana(), job='jobs.echo'))\n"
    )
    (tmp_path / "body.json").write_text('{"events": [{"a": 1}]}')
    (tmp_path / "hook.http").write_text("POST /asana HTTP/1.1\nX-Hook-Secret: s3cret\n\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with Run(tmp_path, target="signed:relay") as run:
        run.wait_until_up()
        url = f"http://127.0.0.1:{run.port}"
        codes = [
            main(["send", "signed:relay", route, file, "--url", url, *more])
            for route, file, *more in (
                ("/twilio/a%20%C3%A9?x=%2f", "body.json"),
                ("/asana", "hook.http"),
                ("/asana", "body.json"),
                ("/asana", "body.json", "--unsigned"),
            )
        ]
    sys.modules.pop("signed", None)

    assert codes == [0, 0, 0, 1], capsys.readouterr().out
