"""What was refused and why, and by which secret what was not: counted in a process, and added up in Redis."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from webtest import TestApp

from tests.redis_proxy import RedisProxy
from tests.standalone_support import Run, environment, post
from tests.support import NOON, accept, make_event, make_relay, raising
from tests.waiting import wait_until
from trafficrelay import MemoryOutbox
from trafficrelay.errors import OutboxUnavailable, Refusal, Unavailable, Unverified
from trafficrelay.event import Event
from trafficrelay.intake import Intake
from trafficrelay.outbox import counters
from trafficrelay.outbox.counters import MOST, Counter, Counters
from trafficrelay.outbox.names import COUNTS_KEY
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.route import Route
from trafficrelay.verify import Key, github, stripe

SECRET = "hush-hush"
BODY = b'{"order": 1}'
REFUSED = Counter("refused", "mismatch", "/x")
VERIFIED = Counter("verified", "new", "/x")


def counted(verify: object, event: Event) -> dict[Counter, int]:
    """What is counted of one request."""
    outbox = MemoryOutbox()
    with contextlib.suppress(Refusal):
        Intake(outbox).accept(Route("/x", verify=verify, job="jobs.a"), event)  # type: ignore[arg-type]
    return outbox.counts()


def github_event(secret: str = SECRET, **headers: str) -> Event:
    return make_event(headers=github(secret).sign(BODY) | headers, body=BODY, data=None)


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (make_event(), "missing"),
        (make_event(headers={"X-Hub-Signature-256": "sha1=00"}), "malformed"),
        (github_event("another"), "mismatch"),
    ],
)
def test_what_is_refused_is_counted_by_its_cause(event: Event, cause: str) -> None:
    assert counted(github(SECRET), event) == {Counter("refused", cause, "/x"): 1}


def test_a_time_that_is_off_is_counted_as_stale() -> None:
    event = make_event(headers=stripe(SECRET).sign(BODY, NOON.replace(hour=1)), body=BODY)

    assert counted(stripe(SECRET), event) == {Counter("refused", "stale", "/x"): 1}


def test_a_sender_of_whom_no_secret_is_known_is_counted_as_unknown() -> None:
    assert counted(github(lambda event: None), github_event()) == {Counter("refused", "unknown", "/x"): 1}


def test_keys_that_cannot_be_had_are_counted() -> None:
    away = Unavailable("They are away.", cause="keys")

    assert counted(raising(away), make_event()) == {Counter("refused", "keys", "/x"): 1}


def test_a_verifier_of_ones_own_is_counted_as_other() -> None:
    assert counted(lambda event: False, make_event()) == {Counter("refused", "other", "/x"): 1}
    assert counted(raising(Unverified("No.")), make_event()) == {Counter("refused", "other", "/x"): 1}


def test_which_of_several_secrets_it_was_is_counted_by_its_name_or_number() -> None:
    several = github([Key("next", name="new"), SECRET])

    assert counted(several, github_event("next")) == {Counter("verified", "new", "/x"): 1}
    assert counted(several, github_event()) == {Counter("verified", "2", "/x"): 1}


def test_of_one_secret_nothing_is_counted() -> None:
    assert counted(github(SECRET), github_event()) == {}


def test_an_outbox_of_ones_own_need_not_count() -> None:
    class Uncounted(MemoryOutbox):
        add_counts = None  # type: ignore[assignment]

    outbox = Uncounted()
    route = Route("/x", verify=github(["a", SECRET]), job="jobs.a")
    with mock.patch.object(Uncounted, "add_counts", property(raising(AttributeError("add_counts")))):
        reply = Intake(outbox).accept(route, github_event())

    assert reply.status == 202
    assert len(outbox.jobs) == 1


def test_an_open_route_counts_nothing() -> None:
    _, outbox = accept()

    assert outbox.counts() == {}


class Sums:
    """Where counters are sent to, which may be away."""

    def __init__(self) -> None:
        self.away = False
        self.sent: dict[Counter, int] = {}
        self.times = 0

    def __call__(self, counts: Mapping[Counter, int]) -> None:
        if self.away:
            raise OutboxUnavailable("It is away.")
        self.times += 1
        for counter, count in counts.items():
            self.sent[counter] = self.sent.get(counter, 0) + count


@pytest.fixture
def sums() -> Sums:
    return Sums()


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trafficrelay-counters"]


def test_many_are_sent_at_once_and_a_little_later(sums: Sums) -> None:
    with mock.patch.object(counters, "EVERY", 0.05):
        counts = Counters(sums)
        for _ in range(1_000):
            counts.add({REFUSED: 1})
        wait_until(lambda: sums.sent == {REFUSED: 1_000})

    assert sums.times < 100
    wait_until(lambda: not timers())


def test_what_is_counted_in_many_threads_is_all_there(sums: Sums) -> None:
    with mock.patch.object(counters, "EVERY", 0.01):
        counts = Counters(sums)
        threads = [threading.Thread(target=lambda: [counts.add({REFUSED: 1}) for _ in range(500)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts.flush()
        wait_until(lambda: not timers())

    assert sums.sent == {REFUSED: 4_000}


def test_what_cannot_be_sent_goes_with_what_is_counted_next(sums: Sums) -> None:
    counts = Counters(sums)
    sums.away = True
    counts.add({REFUSED: 2})
    counts.flush()
    sums.away = False
    counts.add({REFUSED: 1, VERIFIED: 1})
    counts.flush()

    assert sums.sent == {REFUSED: 3, VERIFIED: 1}


def test_how_many_different_ones_are_kept_is_bounded(sums: Sums) -> None:
    """The names of keys may come from a function of the event; one that is known goes on."""
    counts = Counters(sums)
    counts.add({REFUSED: 1})
    for number in range(MOST + 500):
        counts.add({Counter("verified", f"key {number}", "/x"): 1})
    counts.add({REFUSED: 1})
    counts.flush()

    assert len(sums.sent) == MOST
    assert sums.sent[REFUSED] == 2


def test_they_stay_bounded_while_nothing_can_be_sent(sums: Sums) -> None:
    sums.away = True
    counts = Counters(sums)
    for turn in range(3):
        for number in range(MOST):
            counts.add({Counter("verified", f"key {turn} {number}", "/x"): 1})
        counts.flush()
    sums.away = False
    counts.flush()

    assert len(sums.sent) == MOST


@pytest.mark.rq
def test_what_is_counted_is_in_redis_when_the_outbox_is_closed(redis_url: str) -> None:
    with closing(ResilientOutbox(RQOutbox(redis_url))) as outbox:
        intake, route = Intake(outbox), Route("/x", verify=github([Key(SECRET, name="new"), "b"]), job="jobs.a")
        for event in (make_event(), github_event("another"), github_event("a third")):
            with pytest.raises(Unverified):
                intake.accept(route, event)
        intake.accept(route, github_event())

    with closing(RQOutbox(redis_url)) as there:
        assert there.counts() == {Counter("refused", "missing", "/x"): 1, REFUSED: 2, VERIFIED: 1}


@pytest.mark.rq
def test_counting_asks_redis_nothing_for_each_request(redis_url: str) -> None:
    with RedisProxy(redis_url) as proxy, closing(ResilientOutbox(RQOutbox(proxy.url))) as outbox:
        for _ in range(500):
            outbox.add_counts({REFUSED: 1})

        assert "HINCRBY" not in proxy.commands
        outbox.close()
        assert proxy.commands.count("HINCRBY") == 1


@pytest.mark.rq
def test_two_outboxes_add_up(redis_url: str) -> None:
    for number in (1, 20):
        with closing(ResilientOutbox(RQOutbox(redis_url))) as outbox:
            outbox.add_counts({REFUSED: number})

    with closing(ResilientOutbox(RQOutbox(redis_url))) as there:
        assert there.counts() == {REFUSED: 21}


PROCESS = """\
import sys
from trafficrelay.outbox.counters import Counter
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.outbox.rq import RQOutbox

outbox = ResilientOutbox(RQOutbox(sys.argv[1]))
for _ in range(100):
    outbox.add_counts({Counter("refused", "mismatch", "/x"): 1})
outbox.close()
"""


@pytest.mark.rq
def test_two_processes_add_up(redis_url: str) -> None:
    command = [sys.executable, "-c", PROCESS, redis_url]
    processes = [subprocess.Popen(command, env=environment()) for _ in range(2)]

    assert [process.wait(30) for process in processes] == [0, 0]
    with closing(RQOutbox(redis_url)) as there:
        assert there.counts() == {REFUSED: 200}


@pytest.mark.rq
def test_a_redis_that_is_away_gets_them_when_it_is_back(redis_url: str) -> None:
    with (
        mock.patch.object(counters, "EVERY", 0.05),
        RedisProxy(redis_url) as proxy,
        closing(ResilientOutbox(RQOutbox(proxy.url))) as outbox,
    ):
        proxy.refuse()
        outbox.add_counts({REFUSED: 1})
        wait_until(lambda: not timers())
        proxy.admit()
        outbox.add_counts({VERIFIED: 1})
        wait_until(lambda: len(_in_redis(redis_url)) == 2)

        assert outbox.counts() == {REFUSED: 1, VERIFIED: 1}


def _in_redis(url: str) -> dict[Counter, int]:
    with closing(RQOutbox(url)) as outbox:
        return outbox.counts()


@pytest.mark.rq
def test_a_rule_is_kept_as_it_is_written(redis_url: str) -> None:
    odd = Counter("refused", "mismatch", '/é/"<a:re:[^|]+>"')
    with closing(RQOutbox(redis_url)) as outbox:
        outbox.add_counts({odd: 1})

        assert outbox.counts() == {odd: 1}


def test_the_hash_has_a_name_of_ours() -> None:
    assert COUNTS_KEY.startswith("trafficrelay:1:")


HOOKS = """\
from trafficrelay import Relay, Route
from trafficrelay.verify import Key, github

relay = Relay()
relay.add(Route("/x", verify=github([Key("hush-hush", name="new"), "b"]), job="jobs.echo"))
"""


@pytest.mark.rq
def test_the_standalone_server_counts_and_the_command_lists_it(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "jobs.py").write_text("def echo(data):\n    return data\n")
    with Run(tmp_path, "--redis", redis_url) as run:
        run.wait_until_up()
        refused = [post(run.port, "/x", BODY)[0], post(run.port, "/x", BODY, github("another").sign(BODY))[0]]
        taken = post(run.port, "/x", BODY, {**github(SECRET).sign(BODY), "Content-Type": "application/json"})[0]
        wait_until(lambda: sum(_in_redis(redis_url).values()) == 3)
        log = run.log.read_text()

    assert (refused, taken) == ([401, 401], 202)
    assert "POST /x answered 401: The header X-Hub-Signature-256 is missing. (missing)" in log
    assert "POST /x answered 401: The signature does not match. (mismatch)" in log
    command = [sys.executable, "-m", "trafficrelay", "verify", "hooks:relay", "--redis", redis_url, "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["counts"] == [
        {"route": "/x", "what": "refused", "why": "mismatch", "requests": 1},
        {"route": "/x", "what": "refused", "why": "missing", "requests": 1},
        {"route": "/x", "what": "verified", "why": "new", "requests": 1},
    ]


@pytest.mark.rq
def test_redis_keeps_a_bounded_number_of_sums(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that a function of the event makes up do not fill Redis; what is counted already goes on."""
    monkeypatch.setattr("trafficrelay.outbox.rq.MOST_SUMS", 2)
    with closing(RQOutbox(redis_url)) as outbox:
        outbox.add_counts({VERIFIED: 1, REFUSED: 1})
        outbox.add_counts({Counter("verified", "another", "/x"): 1, REFUSED: 1})

        assert outbox.counts() == {VERIFIED: 1, REFUSED: 2}


def logged(caplog: pytest.LogCaptureFixture, verify: object) -> list[str]:
    """What the log says of one request that is refused."""
    relay, _ = make_relay(Route("/x", verify=verify, job="jobs.a"))  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "trafficrelay"):
        TestApp(relay.app).post("/x", BODY, {"X-Hub-Signature-256": "sha256=00"}, status="*")
        TestApp(relay.app).post("/nothing", BODY, status=404)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("verify", "line"),
    [
        (github(SECRET), "401: The signature does not match. (mismatch)"),
        (stripe(SECRET), "401: The header Stripe-Signature is missing. (missing)"),
        (raising(Unverified("No.")), "401: No. (other)"),
        (raising(Unavailable("They are away.", cause="keys")), "503: They are away. (keys)"),
        (raising(Unavailable("It is full.")), "503: It is full."),
    ],
)
def test_the_log_says_the_cause_of_a_refusal(caplog: pytest.LogCaptureFixture, verify: object, line: str) -> None:
    assert logged(caplog, verify) == [
        f"POST /x answered {line}",
        "POST answered 404: There is nothing at this path.",
    ]
