"""The test client: what it sends, and what it tells of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from tests.support import raising
from trafficrelay import DROP, Deliver, Rejected, Relay, Reply, Route, To
from trafficrelay.errors import ClientError
from trafficrelay.testing import RelayClient, queued, relay_client
from trafficrelay.verify import Key, basic, bearer, github, hmac_signature, standard_webhooks

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make_client(*, relay: Relay | None = None, **options: Any) -> RelayClient:
    """Make a client of a relay with one route, /x; `signed` and `raise_errors` are the client's."""
    mine = {name: options.pop(name) for name in ("signed", "raise_errors", "headers") if name in options}
    relay = relay or Relay("redis://redis.invalid:6379/0")
    usual = {"verify": None} | ({} if "to" in options or "deliver" in options else {"job": "tests.jobs.echo"})
    relay.add(Route(options.pop("rule", "/x"), **(usual | options)))
    return relay_client(relay, **mine)


# What was queued


def test_a_request_becomes_what_its_route_says_without_redis() -> None:
    client = make_client(queue="hooks", transform=lambda event: {"n": event.data["n"] + 1})
    answer = client.post_json("/x", {"n": 1})

    assert answer.status == 202
    assert answer.json == {"id": answer.id, "jobs": [f"{answer.id}-1"]}
    assert answer.queued == [queued("tests.jobs.echo", {"n": 2}, queue="hooks")]
    assert answer.data == client.data == {"n": 2}


def test_what_an_expectation_leaves_out_does_not_count() -> None:
    answer = make_client(queue="hooks").post_json("/x", {"n": 1, "m": [2]})

    assert answer.queued == [queued()]
    assert answer.queued == [queued(data={"n": 1, "m": ANY})]
    assert answer.queued == [queued(queue="hooks")]
    assert answer.queued != [queued(queue="other")]
    assert answer.queued != [queued("tests.jobs.other")]
    assert answer.queued != [queued(data={"n": 1})]
    assert answer.queued != []
    assert queued("tests.jobs.echo") in answer.queued


def test_a_job_may_be_named_by_its_function() -> None:
    from tests.jobs import echo

    assert make_client().post_json("/x", 1).queued == [queued(echo, 1)]


def test_what_cannot_be_a_job_is_no_expectation() -> None:
    with pytest.raises(ClientError, match="does not name a job"):
        queued("echo")
    with pytest.raises(ClientError, match="not of both"):
        queued("tests.jobs.echo", deliver="https://shop.example/")


def test_jobs_are_shown_as_they_are_expected() -> None:
    (job,) = make_client(queue="hooks").post_json("/x", {"n": 1}).queued

    assert repr(job) == "queued('tests.jobs.echo', {'n': 1}, queue='hooks')"
    assert repr(queued(data={"n": 1})) == "queued(data={'n': 1})"


def test_a_job_tells_its_event_and_its_options() -> None:
    client = make_client(rule="/hooks/<shop>", timeout="2m")
    (job,) = client.post_json("/hooks/acme", {"n": 1}, headers={"X-Kind": "push"}).queued

    assert job.options.timeout == 120
    assert job.event.params == {"shop": "acme"}
    assert job.event.headers["x-kind"] == "push"
    assert job.event.data == {"n": 1}
    assert job.id == f"{job.event.id}-1"


def test_several_jobs_come_in_their_order() -> None:
    client = make_client(
        to=[To("tests.jobs.echo", queue="a"), To("tests.jobs.echo", queue="b", when="n > `1`"), To("tests.jobs.echo")]
    )

    assert client.post_json("/x", {"n": 2}).queued == [queued(queue="a"), queued(queue="b"), queued(queue="default")]
    assert client.post_json("/x", {"n": 1}).queued == [queued(queue="a"), queued(queue="default")]


def test_events_that_come_together_are_told_together() -> None:
    client = make_client(split=True, dedupe="data:id")
    client.post_json("/x", [{"id": 1}])

    assert client.post_json("/x", [{"id": 1}, {"id": 2}, {"id": 2}]).queued == [queued(data={"id": 2})]
    assert client.queued == [queued(data={"id": 1}), queued(data={"id": 2})]


def test_the_only_job_must_be_the_only_one() -> None:
    def twice(event: Any) -> Iterator[Any]:
        yield 1
        yield 2

    client = make_client(transform=twice)
    with pytest.raises(AssertionError, match=r"2 jobs were queued; look at .queued"):
        _ = client.post("/x").data
    with pytest.raises(AssertionError, match=r"No job was queued\. GET /x was answered 405: This path takes POST\."):
        _ = client.get("/x").data


# What became of it otherwise


def test_an_event_that_was_dropped_is_told() -> None:
    answer = make_client(transform=lambda event: DROP).post("/x")

    assert answer.dropped
    assert answer.queued == []
    assert answer.rejected is None
    assert "its transform dropped it" in repr(answer)


def test_a_health_check_is_no_dropped_event() -> None:
    assert not make_client().get("/-/health").dropped
    assert make_client().get("/-/ready").status == 200


def test_a_refusal_has_its_status_and_its_sentence() -> None:
    answer = make_client(transform=raising(Rejected(422, "no such shop"))).post("/x")

    assert answer.rejected == (422, "no such shop")
    assert answer.rejected.detail == "no such shop"
    assert not answer.unverified
    assert not answer.dropped


def test_a_duplicate_is_told_with_the_first_ones_id() -> None:
    client = make_client(dedupe="data:id")
    first = client.post_json("/x", {"id": 7})
    again = client.post_json("/x", {"id": 7, "more": 1})

    assert again.duplicate
    assert again.id == first.id
    assert again.queued == []
    assert not first.duplicate


def test_a_route_that_answers_in_its_own_way_is_told_as_others_are() -> None:
    client = make_client(methods=["GET"], reply="pixel")
    answer = client.get("/x", {"page": "/a b", "tag": ["x", "y"]})

    assert answer.headers["Content-Type"] == "image/gif"
    assert answer.body.startswith(b"GIF89a")
    assert answer.data == {"page": "/a b", "tag": ["x", "y"]}
    with pytest.raises(AssertionError, match="The answer is no JSON"):
        _ = answer.json


# Bugs


def test_a_bug_in_a_transform_fails_the_test() -> None:
    client = make_client(transform=lambda event: event.data["missing"])
    with pytest.raises(KeyError, match="missing") as caught:
        client.post_json("/x", {})

    (note,) = caught.value.__notes__

    assert note.startswith("(In earnest: POST /x was answered 202, and its transform failed: <Letter KeyError: 'mis")
    assert note.endswith("A client made with raise_errors=False gives this answer instead.)")
    assert [entry.name for entry in caught.traceback][-1] == "<lambda>"
    assert "_handover" not in [entry.name for entry in caught.traceback]


def test_a_forgotten_return_fails_the_test() -> None:
    from trafficrelay import TransformError

    with pytest.raises(TransformError, match="None"):
        make_client(transform=lambda event: None).post("/x")


def test_a_dead_letter_has_what_was_raised() -> None:
    client = make_client(transform=lambda event: event.data["missing"], raise_errors=False, queue="hooks")
    letter = client.post_json("/x", {"n": 1}).dead_letter

    assert letter is not None
    assert isinstance(letter.error, KeyError)
    assert "KeyError: 'missing'" in letter.traceback
    assert letter.event.body == b'{"n":1}'
    assert letter.queue == "hooks"
    assert [one.error for one in client.dead_letters] == [letter.error]


@pytest.mark.parametrize("where", ["verify", "reply", "queue", "dedupe"])
def test_a_bug_anywhere_in_the_users_code_fails_the_test(where: str) -> None:
    def buggy(event: Any) -> Any:
        raise LookupError("a bug of the user's")

    with pytest.raises(LookupError, match="a bug of the user's"):
        make_client(**{where: buggy}).post("/x")


def test_a_route_that_refuses_on_error_answers_as_in_earnest_when_told_to() -> None:
    client = make_client(transform=raising(ValueError()), on_error="refuse", raise_errors=False)

    assert client.post("/x").rejected == (500, "The event could not be processed.")


# Sending


def test_bodies_are_sent_in_every_way() -> None:
    client = make_client(transform=lambda event: [event.headers.get("content-type"), event.data, event.method])

    assert client.post("/x", "tea", content_type="text/plain").data == ["text/plain", "tea", "POST"]
    assert client.post_form("/x", {"a": 1, "b": [2, 3]}).data[1] == {"a": "1", "b": ["2", "3"]}
    assert client.post_json("/x", {"a": 1}, content_type="application/vnd.x+json").data[:2] == [
        "application/vnd.x+json",
        {"a": 1},
    ]
    assert client.request("PUT", "/x").status == 405


def test_files_are_sent_as_multipart() -> None:
    client = make_client(transform=lambda event: event.headers["content-type"].partition(";")[0])
    answer = client.post_form("/x", {"who": "Zoë"}, files={"photo": ("a.png", b"\x89PNG", "image/png"), "raw": b"x"})

    assert answer.data == "multipart/form-data"


@pytest.mark.parametrize("option", ["signd", "header", "status"])
@pytest.mark.parametrize("way", ["post", "post_json", "post_form", "get", "request", "send", "send_again"])
def test_an_option_that_a_request_does_not_have_is_told(way: str, option: str) -> None:
    """It would be ignored otherwise, and the test pass for another reason."""
    client = make_client(methods=("GET", "POST"))
    client.post_json("/x", 1)
    given: dict[str, tuple[Any, ...]] = {
        "post_json": ("/x", 1),
        "post_form": ("/x", {}),
        "request": ("POST", "/x"),
        "send": (client.answers[0].request,),
        "send_again": (),
    }
    with pytest.raises(ClientError, match=f"^A request has no option {option}. (Did you mean|There are)"):
        getattr(client, way)(*given.get(way, ("/x",)), **{option: True})

    assert len(client.answers) == 1


@pytest.mark.parametrize(
    ("way", "given", "sentence"),
    [
        ("post_json", ("x", {}), "A path begins with a slash, such as \"/github\"; 'x' does not."),
        ("get", ("http://localhost/x",), "A path begins with a slash"),
        ("post", ("/x", {"a": 1}), "A body is bytes or a string, not dict. post_json sends data as JSON."),
        ("post_json", ("/x", object()), "This payload cannot be said in JSON: Encoding objects of type object"),
        ("run_jobs", ("defalt",), "None of the relay's jobs goes to a queue defalt. Did you mean default?"),
    ],
)
def test_what_cannot_be_sent_or_run_is_told_in_a_sentence(way: str, given: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(make_client(), way)(*given)

    assert str(caught.value).startswith(sentence)


def test_paths_are_written_as_people_read_them() -> None:
    client = make_client(rule="/hooks/<shop>", transform=lambda event: event.params["shop"])

    assert client.post("/hooks/Zoë & Söhne").data == "Zoë & Söhne"
    assert client.post("/hooks/a%20b").data == "a b"


def test_the_senders_address_can_be_said() -> None:
    client = make_client(transform=lambda event: event.remote_addr)

    assert client.post("/x").data == "127.0.0.1"
    assert client.post("/x", address="192.0.2.7").data == "192.0.2.7"


def test_headers_of_all_requests_give_way_to_those_of_one() -> None:
    client = make_client(headers={"X-Kind": "push"}, transform=lambda event: event.headers["x-kind"])

    assert client.post("/x").data == "push"
    assert client.post("/x", headers={"x-kind": "ping"}).data == "ping"


# Signing


@pytest.mark.parametrize(
    "verify",
    [
        github("secret"),
        hmac_signature("secret", header="X-Signature", encoding="base64"),
        standard_webhooks(KEY),
        bearer("t"),
        bearer("token"),
        basic("me", "p"),
        github(lambda event: {"acme": ["new", "old"]}[event.params["shop"]]),
    ],
    ids=["github", "base64", "standard", "short", "bearer", "basic", "looked up"],
)
def test_requests_are_signed_as_the_verifier_expects_them_or_spoilt(verify: Any) -> None:
    client = make_client(rule="/<shop>", verify=verify)

    assert client.post_json("/acme", {}, signed=True).queued
    assert client.post_json("/acme", {}, signed="wrong").unverified
    assert client.post_json("/acme", {}).unverified


def test_a_body_that_was_changed_after_it_was_signed_is_refused() -> None:
    assert make_client(verify=github("secret")).post_json("/x", {}, signed="tampered").unverified


def test_each_signed_message_is_one_of_its_own_until_it_is_sent_again() -> None:
    client = make_client(verify=standard_webhooks(KEY), dedupe="header:webhook-id", signed=True)
    first, second = client.post_json("/x", 1), client.post_json("/x", 1)

    assert not second.duplicate
    assert client.send_again(first).duplicate
    assert client.post_json("/x", 1, headers={"webhook-id": second.request.headers["webhook-id"]}).duplicate


def test_a_verifier_of_ones_own_signs_if_it_can() -> None:
    class Own:
        def __call__(self, event: Any) -> bool:
            return bool(event.headers.get("x-own") == str(len(event.body)))

        def sign(self, body: bytes, now: Any) -> dict[str, str]:
            return {"X-Own": str(len(body))}

    client = make_client(verify=Own())

    assert client.post("/x", b"abc", signed=True).queued
    assert client.post("/x", b"abc", signed="wrong").unverified


def test_a_verifier_that_cannot_sign_says_what_to_do() -> None:
    client = make_client(verify=lambda event: event.headers.get("x-key") == "k")
    with pytest.raises(ClientError, match=r"cannot sign: it has no method sign.*Send the headers"):
        client.post("/x", signed=True)

    assert client.post("/x", headers={"X-Key": "k"}).queued


def test_a_secret_that_is_not_known_cannot_sign() -> None:
    client = make_client(rule="/<shop>", verify=github(lambda event: {}[event.params["shop"]]))
    with pytest.raises(ClientError, match=r"knows none for this request.*shop='acme'"):
        client.post("/acme", signed=True)


def test_signing_for_no_route_names_the_routes() -> None:
    with pytest.raises(ClientError, match=r"leads to no route.*There are POST /x"):
        make_client().post("/y", signed=True)


def test_a_client_that_signs_everything_asks_for_health_too() -> None:
    assert make_client(verify=github("s"), signed=True).get("/-/health").status == 200


def test_an_unsigned_request_is_told_how_to_sign() -> None:
    assert "signed=True signs" in make_client(verify=github("s")).post_json("/x", {}).said


def test_signed_takes_four_words() -> None:
    with pytest.raises(ClientError, match='signed is True, False, "wrong" or "tampered"'):
        make_client().post("/x", signed="yes")  # type: ignore[arg-type]


ROTATED = ["new", Key("old", name="old"), Key("older", name="past", until="2020-01-01"), "last"]


@pytest.mark.parametrize(
    ("name", "taken"),
    [("1", True), ("old", True), ("2", True), ("past", False), ("4", True)],
    ids=["number", "name", "number of a named one", "past its date", "last number"],
)
@pytest.mark.parametrize("secret", [ROTATED, lambda event: ROTATED], ids=["fixed", "looked up"])
def test_any_of_several_keys_signs_and_counts_as_its_date_says(secret: Any, name: str, taken: bool) -> None:
    answer = make_client(verify=github(secret)).post_json("/x", {}, signed_with=name)

    assert bool(answer.queued) is taken
    assert answer.unverified is not taken
    assert [job.event.verified_by for job in answer.queued] == ([{"2": "old"}.get(name, name)] if taken else [])


def test_where_the_only_key_that_is_looked_up_has_ended_it_signs_and_is_refused() -> None:
    client = make_client(verify=github(lambda event: Key("s", name="past", until="2020-01-01")))

    assert client.post_json("/x", {}, signed_with="past").unverified


def test_the_only_key_is_number_1() -> None:
    assert make_client(verify=github("s")).post_json("/x", {}, signed_with="1").queued


@pytest.mark.parametrize("how", ["wrong", "tampered"])
def test_what_another_key_signs_is_spoilt_as_well(how: Any) -> None:
    client = make_client(verify=github(ROTATED))

    assert client.post_json("/x", {}, signed=how, signed_with="old").unverified


def test_a_request_is_sent_again_with_another_key() -> None:
    client = make_client(verify=github(ROTATED), signed=True)
    client.post_json("/x", {})

    assert client.send_again(signed_with="old").queued[0].event.verified_by == "old"


@pytest.mark.parametrize(
    ("verify", "options", "sentence"),
    [
        (github(ROTATED), {"signed_with": "odl"}, "it has no key 'odl'; its keys are called 1, old, past and 4"),
        (github(ROTATED), {"signed_with": "5"}, "it has no key '5'; its keys are called 1, old, past and 4"),
        (github(ROTATED), {"signed_with": "0"}, "it has no key '0'; its keys are called 1, old, past and 4"),
        (github(lambda event: ROTATED), {"signed_with": "odl"}, "; its keys are called 1, old, past and 4"),
        (github("s"), {"signed_with": "old"}, "it has no key 'old'; its only key is called 1"),
        (github(Key("s", name="new")), {"signed_with": "old"}, "it has no key 'old'; its only key is called new"),
        (github(lambda event: None), {"signed_with": "old"}, "knows none for this request"),
        (None, {"signed_with": "old"}, "The route /x is open to everybody: it has no key 'old'"),
        (lambda event: True, {"signed_with": "old"}, "it is one of your own, and has no keys to choose from"),
        (github(ROTATED), {"signed_with": 2}, "signed_with is a key's name, or its number as text"),
        (github(ROTATED), {"signed_with": ""}, "signed_with is a key's name, or its number as text"),
        (github(ROTATED), {"signed_with": "old", "signed": False}, "signed_with says what signs, and signed=False"),
    ],
)
def test_a_key_that_cannot_sign_is_said_with_those_that_can(verify: Any, options: Any, sentence: str) -> None:
    client = make_client(verify=verify)
    with pytest.raises(ClientError) as caught:
        client.post_json("/x", {}, **options)

    assert sentence in str(caught.value)
    assert client.answers == []


def test_a_key_for_no_route_names_the_routes() -> None:
    with pytest.raises(ClientError, match=r"leads to no route.*There are POST /x"):
        make_client().post("/y", signed_with="old")


# Checking all of them


def test_what_was_expected_is_found_among_all_jobs() -> None:
    client = make_client(queue="hooks")
    client.post_json("/x", {"n": 1})
    client.post_json("/x", {"n": 2})

    assert client.assert_queued("tests.jobs.echo", {"n": 2}).data == {"n": 2}
    with pytest.raises(AssertionError, match="Jobs were queued, and none was expected"):
        client.assert_nothing_queued()


def test_what_was_not_queued_is_shown_beside_what_is_most_like_it() -> None:
    client = make_client(queue="hooks")
    client.post_json("/x", {"n": 1, "shop": "acme"})
    client.post_json("/x", [])
    with pytest.raises(AssertionError) as caught:
        client.assert_queued("tests.jobs.echo", {"n": 2, "shop": ANY})

    assert str(caught.value).splitlines() == [
        "No such job was queued: queued('tests.jobs.echo', {'n': 2, 'shop': <ANY>})",
        "Queued so far:",
        "  queued('tests.jobs.echo', {'n': 1, 'shop': 'acme'}, queue='hooks')",
        "  queued('tests.jobs.echo', [], queue='hooks')",
        "  POST /x was answered 202, 1 job queued.",
        "  POST /x was answered 202, 1 job queued.",
        "",
        "The one that is most like it:",
        "(- expected, + queued)",
        "     'tests.jobs.echo',",
        "     {",
        "-        'n': 2,",
        "+        'n': 1,",
        "         'shop': <ANY>,",
        "     },",
    ]


def test_where_nothing_was_queued_it_says_why() -> None:
    client = make_client(verify=github("s"))
    client.post_json("/x", {})

    with pytest.raises(AssertionError, match=r"Nothing was queued.\n  POST /x was answered 401: The header"):
        client.assert_queued()


def test_a_reset_forgets_everything() -> None:
    client = make_client(dedupe="data:id")
    client.post_json("/x", {"id": 1})
    client.reset()

    client.assert_nothing_queued()
    assert client.answers == []
    assert not client.post_json("/x", {"id": 1}).duplicate


# Deliveries


def test_deliveries_are_shown_as_they_would_be_sent() -> None:
    sign = standard_webhooks(KEY)
    client = make_client(
        deliver=[Deliver("https://a.example/hook", sign=sign), Deliver("https://b.example/", body="raw", name="b")],
        transform=lambda event: {"paid": event.data["n"]},
    )
    answer = client.post_json("/x", {"n": 1})
    first, second = client.deliveries

    assert answer.queued == [
        queued(deliver="https://a.example/hook", data={"paid": 1}),
        queued(deliver="b", data=b'{"n":1}'),
    ]
    assert repr(answer.queued[0]) == ("queued(deliver='https://a.example/hook', data={'paid': 1}, queue='default')")
    assert (first.url, first.method, first.json) == ("https://a.example/hook", "POST", {"paid": 1})
    assert first.headers["webhook-id"] == answer.queued[0].id
    assert first.headers["webhook-signature"].startswith("v1,")
    assert (second.to, second.body) == ("b", b'{"n":1}')
    assert client.run_jobs() == []


# The relay itself


def test_the_relay_stays_as_it_was() -> None:
    relay = Relay("redis://redis.invalid:6379/0", address_rate="1/m")
    client = make_client(relay=relay)
    app = relay.app
    before = dict(vars(relay))
    client.post_json("/x", {})

    assert client.post_json("/x", {}).status == 429
    assert relay.app is app
    assert vars(relay) == before
    assert not relay.door.pressure._arrivals


def test_a_relay_without_a_redis_can_be_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)

    assert make_client(relay=Relay()).post("/x").queued


def test_two_clients_share_nothing() -> None:
    relay = Relay()
    first = make_client(relay=relay, dedupe="data:id")
    second = relay_client(relay)
    first.post_json("/x", {"id": 1})

    second.assert_nothing_queued()
    assert second.post_json("/x", {"id": 1}).queued


def test_a_route_that_is_declared_later_is_there() -> None:
    client = make_client()
    client.post("/x")
    client.relay.add(Route("/y", verify=None, job="tests.jobs.echo"))

    assert client.post("/y").queued
    assert len(client.queued) == 2


def test_only_a_relay_can_be_tested() -> None:
    with pytest.raises(ClientError, match="takes a Relay, not str"):
        relay_client("shop.hooks:relay")  # type: ignore[arg-type]


def test_a_reply_function_is_called_once() -> None:
    asked = []

    def reply(event: Any) -> Reply:
        asked.append(event.id)
        return Reply(200)

    answer = make_client(reply=reply).post("/x")

    assert asked == [answer.id]
    assert answer.status == 200


# What it brings along


def test_without_webtest_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webtest", None)
    with pytest.raises(ClientError, match=r"pip install 'trafficrelay\[testing\]'"):
        make_client()


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = (
        "import sys, trafficrelay; before = set(sys.modules)\n"
        "import trafficrelay.testing.plugin\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted(name for name in new if name.partition('.')[0] in ('trafficrelay', 'bottle', 'webtest', 'rq')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.split() == ["trafficrelay.testing", "trafficrelay.testing.plugin"]


def test_a_client_is_used_without_rq_and_redis() -> None:
    code = (
        "import sys; from trafficrelay import Relay, Route; from trafficrelay.testing import relay_client\n"
        "relay = Relay('redis://redis.invalid:6379/0'); relay.add(Route('/x', verify=None, job='a.b'))\n"
        "assert relay_client(relay).post('/x').queued\n"
        "print('rq' in sys.modules, 'redis' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.split() == ["False", "False"]


def test_what_is_not_there_is_an_attribute_error() -> None:
    import trafficrelay.testing

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trafficrelay.testing.nothing
