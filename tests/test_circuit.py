"""The circuit breaker of a destination: its rules in Redis, and what deliveries make of it."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import redis

from tests import delivery_support
from tests.delivery_support import LOOPBACK, Deliveries
from tests.receiver import Answer, Receiver, receiving
from trafficrelay import Deliver
from trafficrelay.cli import main
from trafficrelay.delivery.circuit import FIRST, LONGEST, THRESHOLD, Circuit, Circuits, Permit

pytestmark = pytest.mark.rq

SHOP = Deliver("https://shop.example/hook?token=t0ken")


@pytest.fixture
def circuit(client: redis.Redis) -> Circuit:
    return Circuit(client, SHOP)


def key(destination: Deliver = SHOP) -> str:
    return f"trafficrelay:1:circuit:{destination.key}"


def pass_time(client: redis.Redis, *fields: str, destination: Deliver = SHOP) -> None:
    """Let the time come that stands in these fields."""
    for name in fields:
        assert client.hexists(key(destination), name), name
        client.hset(key(destination), name, 1)


def fail(circuit: Circuit, times: int = 1, hold: float = 0.0) -> None:
    for _ in range(times):
        circuit.down(Permit("go", 0.0), hold)


def state(client: redis.Redis, destination: Deliver = SHOP) -> str:
    return str(Circuits(client).standings([destination])[0].state)


# Its rules


def test_a_destination_that_is_well_has_no_key(circuit: Circuit, client: redis.Redis) -> None:
    permit = circuit.ask()
    circuit.up()

    assert permit.answer == "go"
    assert client.keys("*") == []
    assert state(client) == "closed"


def test_it_opens_after_failures_in_a_row_and_not_before(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD - 1)
    circuit.up()
    fail(circuit, THRESHOLD - 1)
    before = circuit.ask()
    fail(circuit)
    after = circuit.ask()

    assert before.answer == "go"
    assert after.answer == "open"
    assert FIRST - 5 < after.wait <= FIRST
    assert state(client) == "open"


def test_half_open_it_lets_one_probe_through(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD)
    pass_time(client, "until")
    before = state(client)
    answers = [circuit.ask().answer for _ in range(3)]

    assert before == "half-open"
    assert answers == ["probe", "busy", "busy"]


def test_of_many_who_ask_at_once_one_is_the_probe(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD)
    pass_time(client, "until")
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(circuit.ask().answer)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == ["busy"] * 19 + ["probe"]


def test_a_probe_that_is_answered_closes_it(
    circuit: Circuit, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    fail(circuit, THRESHOLD)
    pass_time(client, "until")
    circuit.ask()
    circuit.up()

    assert circuit.ask().answer == "go"
    assert client.keys("*") == []
    assert [record.getMessage() for record in caplog.records] == [
        "https://shop.example/… seems to be down; nothing is sent to it for 30 s",
        "https://shop.example/… answers again; deliveries to it go on",
    ]


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD)
    waits = [circuit.ask().wait]
    for _ in range(8):
        pass_time(client, "until")
        circuit.down(circuit.ask())
        waits.append(circuit.ask().wait)

    assert [round(wait, -1) for wait in waits] == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert max(waits) <= LONGEST


def test_failures_of_tries_that_were_on_their_way_do_not_make_it_longer(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD + 20)
    open_for = circuit.ask().wait
    pass_time(client, "until")
    fail(circuit)

    assert open_for <= FIRST
    assert circuit.ask().answer == "probe"


def test_a_late_answer_closes_it(circuit: Circuit) -> None:
    """Who answers is not down."""
    fail(circuit, THRESHOLD)
    circuit.up()

    assert circuit.ask().answer == "go"


def test_a_probe_whose_worker_died_frees_its_place(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD)
    pass_time(client, "until")
    circuit.ask()
    busy = circuit.ask()
    pass_time(client, "probe")

    assert busy.wait <= SHOP.longest + 30
    assert circuit.ask().answer == "probe"


def test_a_probe_that_learnt_nothing_frees_its_place(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, THRESHOLD)
    pass_time(client, "until")
    circuit.back(circuit.ask())

    assert circuit.ask().answer == "probe"


def test_what_it_asks_for_with_retry_after_holds_for_all_of_its_deliveries(
    circuit: Circuit, client: redis.Redis
) -> None:
    circuit.up(hold=100.0)
    circuit.up()  # of one that was on its way
    held = circuit.ask()
    seen = state(client)
    pass_time(client, "until")

    assert (held.answer, seen) == ("held", "held")
    assert 95 < held.wait <= 100
    assert circuit.ask().answer == "go"


@pytest.mark.parametrize("answered", ["429", "503"])
def test_after_a_retry_after_has_passed_it_is_closed_and_the_next_delivery_is_no_probe(
    circuit: Circuit, client: redis.Redis, answered: str
) -> None:
    """It was never down: it said when it wants to be tried."""
    if answered == "429":
        circuit.up(hold=100.0)
    else:
        fail(circuit, hold=100.0)
    pass_time(client, "until")

    assert state(client) == "closed"
    assert [circuit.ask().answer for _ in range(3)] == ["go", "go", "go"]


def test_failures_that_ask_for_a_wait_open_it_after_as_many_in_a_row_as_others(
    circuit: Circuit, client: redis.Redis
) -> None:
    seen = []
    for _ in range(THRESHOLD):
        fail(circuit, hold=10.0)
        [standing] = Circuits(client).standings([SHOP])
        seen.append((standing.state, standing.failures))
        waited = circuit.ask().wait
        pass_time(client, "until")

    assert seen == [*(("held", failures) for failures in range(1, THRESHOLD)), ("open", THRESHOLD)]
    assert FIRST - 5 < waited <= FIRST
    assert state(client) == "half-open"
    assert circuit.ask().answer == "probe"


def test_it_does_not_open_for_less_than_it_asked_to_be_left_alone(circuit: Circuit) -> None:
    """The failures may be of tries that were on their way."""
    circuit.up(hold=300.0)
    fail(circuit, THRESHOLD)

    assert circuit.ask().answer == "open"
    assert circuit.ask().wait > 295


def test_an_answer_after_a_wait_that_was_asked_for_leaves_nothing_behind(circuit: Circuit, client: redis.Redis) -> None:
    fail(circuit, hold=100.0)
    pass_time(client, "until")
    circuit.up()

    assert client.keys("*") == []


def test_what_is_said_of_a_destination_names_it_and_how_to_enable_it(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Several may lie on one host."""
    named = Circuit(client, Deliver("https://shop.example/hook", name="orders"))
    fail(named, THRESHOLD)
    named.gone(410)
    Circuit(client, Deliver("https://b.example/[x]", name="[::1]:80")).gone(410)
    said = [record.getMessage() for record in caplog.records]

    assert said[0] == "orders (https://shop.example/…) seems to be down; nothing is sent to it for 30 s"
    assert said[1].startswith("orders (https://shop.example/…) answered 410 and is disabled; ")
    assert said[1].endswith("; `trafficrelay deliveries MODULE:RELAY --enable orders` enables it")
    assert said[2].startswith("[::1]:80 (https://b.example/…) answered 410 ")
    assert said[2].endswith(" --enable '[::1]:80'` enables it")


def test_a_shorter_retry_after_does_not_shorten_a_longer_one(circuit: Circuit) -> None:
    circuit.up(hold=100.0)
    circuit.up(hold=1.0)

    assert circuit.ask().wait > 95


def test_a_retry_after_of_a_5xx_is_waited_for_beyond_the_circuits_own_time(
    circuit: Circuit, client: redis.Redis
) -> None:
    fail(circuit, THRESHOLD, hold=300.0)

    assert 295 < circuit.ask().wait <= 300


def test_a_disabled_one_stays_so_whatever_is_answered_until_it_is_enabled(
    circuit: Circuit, client: redis.Redis
) -> None:
    fail(circuit, THRESHOLD)
    circuit.gone(410)
    circuit.up()
    fail(circuit, THRESHOLD)
    circuit.back(Permit("probe", 0.0))
    before = circuit.ask().answer
    [standing] = Circuits(client).standings([SHOP])
    count = Circuits(client).enable([SHOP])

    assert before == standing.state == "disabled"
    assert standing.disabled is not None
    assert abs((standing.disabled - datetime.now(UTC)).total_seconds()) < 5
    assert client.ttl(key()) == -2
    assert count == 1
    assert circuit.ask().answer == "go"


def test_what_is_known_of_one_that_is_down_goes_after_a_week_and_a_disabled_one_stays(
    circuit: Circuit, client: redis.Redis
) -> None:
    fail(circuit)
    failing = client.ttl(key())
    circuit.gone(410)

    assert 7 * 86_400 - 5 < failing <= 7 * 86_400  # type: ignore[operator]
    assert client.ttl(key()) == -1


def test_destinations_do_not_know_each_other_and_one_url_is_one_destination(client: redis.Redis) -> None:
    other = Deliver("https://shop.example/other")
    same = Deliver(SHOP.url, name="again", headers={"X-A": "b"})
    fail(Circuit(client, SHOP), THRESHOLD)

    assert Circuit(client, other).ask().answer == "go"
    assert Circuit(client, same).ask().answer == "open"


def test_no_url_is_in_redis(circuit: Circuit, client: redis.Redis) -> None:
    """It may hold a token: only its hash is there, and the host."""
    fail(circuit, THRESHOLD)

    assert client.keys("*") == [key().encode()]
    assert client.hget(key(), "label") == "https://shop.example/…".encode()


def test_a_redis_that_fails_lets_everything_be_sent(
    circuit: Circuit, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The delivery matters more than its breaker."""
    client.set(key(), "something else")
    permit = circuit.ask()
    circuit.up()

    assert permit.answer == "go"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# Deliveries


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def deliveries(redis_url: str, client: redis.Redis) -> Iterator[Deliveries]:
    deliveries = Deliveries(redis_url, client)
    yield deliveries
    deliveries.close()


def to(receiver: Receiver, path: str = "/hook", **options: object) -> Deliver:
    return Deliver(receiver.url + path, allow=LOOPBACK, **options)  # type: ignore[arg-type]


def opened(deliveries: Deliveries, receiver: Receiver) -> None:
    """Open a destination's circuit by deliveries that fail."""
    receiver.answer(500)
    for _ in range(THRESHOLD):
        deliveries.send()
    deliveries.work()
    assert len(receiver.requests) == THRESHOLD


def test_deliveries_to_one_that_is_down_are_put_off_without_a_try(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    """However often: they do not use up their tries, and nothing is sent."""
    destination = to(receiver)
    deliveries.declare(destination)
    opened(deliveries, receiver)
    id_ = deliveries.run()
    wait = deliveries.wait(id_)
    for _ in range(20):
        deliveries.later()
    progress = deliveries.progress(id_)

    assert FIRST - 5 < wait < FIRST * 1.5 + 2
    assert len(receiver.requests) == THRESHOLD
    assert (progress["tries"], progress["put_offs"]) == (0, 21)
    assert deliveries.failed == []
    assert len(deliveries.scheduled) == THRESHOLD + 1


def test_a_delivery_that_was_put_off_is_made_once_the_destination_is_back(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    destination = to(receiver, schedule=[1])
    deliveries.declare(destination)
    opened(deliveries, receiver)
    id_ = deliveries.run()
    receiver.answer(200)
    pass_time(client, "until", destination=destination)
    deliveries.later()
    results = [deliveries.result(one) for one in [id_, *deliveries.scheduled]]

    assert deliveries.scheduled == []
    assert [result["tries"] for result in results] == [1]
    assert client.keys("*circuit*") == []


def test_an_open_circuit_does_not_hold_up_other_destinations(deliveries: Deliveries, receiver: Receiver) -> None:
    deliveries.declare(to(receiver, "/down", name="down"), to(receiver, "/up", name="up"))
    receiver.answer(lambda request: Answer(500 if request.path == "/down" else 200))
    for _ in range(THRESHOLD + 3):
        deliveries.send()
    deliveries.work()
    paths = [request.path for request in receiver.requests]

    assert (paths.count("/down"), paths.count("/up")) == (THRESHOLD, THRESHOLD + 3)


@pytest.mark.parametrize("status", [400, 404, 408, 429])
def test_4xx_do_not_open_it(deliveries: Deliveries, receiver: Receiver, status: int) -> None:
    deliveries.declare(to(receiver))
    receiver.answer(status)
    for _ in range(THRESHOLD * 2):
        deliveries.send()
    deliveries.work()

    assert len(receiver.requests) == THRESHOLD * 2


def test_faults_of_the_network_open_it(deliveries: Deliveries, receiver: Receiver, client: redis.Redis) -> None:
    destination = to(receiver)
    deliveries.declare(destination)
    receiver.answer(Answer(drop=True))
    for _ in range(THRESHOLD):
        deliveries.send()
    deliveries.work()

    assert state(client, destination) == "open"


def test_while_a_probe_is_on_its_way_others_are_put_off_for_seconds(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    destination = to(receiver)
    deliveries.declare(destination)
    opened(deliveries, receiver)
    pass_time(client, "until", destination=destination)
    Circuit(client, destination).ask()
    id_ = deliveries.run()

    assert deliveries.wait(id_) < 22
    assert len(receiver.requests) == THRESHOLD


def test_a_probe_that_could_not_be_signed_leaves_the_next_delivery_to_be_the_probe(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    class Vault:
        shut = False

        def sign(self, body: bytes, now: datetime) -> dict[str, str]:
            if self.shut:
                raise RuntimeError("shut")
            return {}

    vault = Vault()
    destination = to(receiver, sign=vault)
    deliveries.declare(destination)
    opened(deliveries, receiver)
    pass_time(client, "until", destination=destination)
    vault.shut = True
    id_ = deliveries.run()

    assert deliveries.failed == [id_]
    assert Circuit(client, destination).ask().answer == "probe"


def test_a_delivery_that_was_put_off_for_too_long_fails(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    """A day at least; longer where its schedule is."""
    deliveries.declare(to(receiver, schedule=[1]))
    opened(deliveries, receiver)
    id_ = deliveries.run()
    job = deliveries.job(id_)
    job.meta["trafficrelay_delivery"]["since"] -= 86_500
    job.save_meta()
    deliveries.later()

    assert deliveries.failed == [id_]
    assert "after 24 h and 0 tries the delivery is given up" in deliveries.error(id_)
    assert deliveries.progress(id_)["over"] is True


def test_a_503_with_a_retry_after_does_not_open_it_at_the_second_one(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    destination = to(receiver, schedule=[1] * THRESHOLD)
    deliveries.declare(destination)
    receiver.answer(Answer(503, {"Retry-After": "3"}))
    deliveries.run()
    states = [state(client, destination)]
    for _ in range(THRESHOLD - 1):
        pass_time(client, "until", destination=destination)
        deliveries.later()
        states.append(state(client, destination))

    assert states == ["held"] * (THRESHOLD - 1) + ["open"]
    assert len(receiver.requests) == THRESHOLD


def test_a_delivery_that_is_put_off_is_told_in_one_line_and_why(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    destination = to(receiver, name="orders")
    deliveries.declare(destination)
    opened(deliveries, receiver)
    caplog.clear()
    caplog.set_level(logging.INFO)
    ids = [deliveries.run()]
    pass_time(client, "until", destination=destination)
    Circuit(client, destination).ask()
    ids.append(deliveries.run())
    client.flushdb()
    Circuit(client, destination).up(hold=100.0)
    ids.append(deliveries.run())
    told = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "trafficrelay.deliver"]
    said = [re.sub(r"[0-9]+ s$", "9 s", text) for _, text in told]

    assert {level for level, _ in told} == {"INFO"}
    assert said == [
        f"delivery {id_} to orders (http://127.0.0.1:{receiver.port}/…): put off, {why}, again in 9 s"
        for id_, why in zip(
            ids,
            [
                "because it seems to be down",
                "because it seems to be down and another delivery probes it",
                "as it asked for with Retry-After",
            ],
            strict=True,
        )
    ]


def test_a_retry_after_puts_off_the_deliveries_behind_it(deliveries: Deliveries, receiver: Receiver) -> None:
    """They are not sent to be told the same."""
    deliveries.declare(to(receiver, schedule=[1]))
    receiver.answer(Answer(429, {"Retry-After": "600"}))
    first, second = deliveries.send()[0], deliveries.send()[0]
    deliveries.work()

    assert len(receiver.requests) == 1
    assert deliveries.progress(first)["tries"] == 1
    assert deliveries.progress(second)["tries"] == 0
    assert 590 < deliveries.wait(second) < 600 + 300 + 2


# The command


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*options: str) -> tuple[int, str]:
        code = main(["deliveries", f"{delivery_support.__name__}:relay", *options])
        captured = capsys.readouterr()
        return code, captured.out or captured.err

    return run


def test_the_command_lists_destinations_and_how_they_are(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis, command: Command
) -> None:
    well, down, gone = (to(receiver, f"/{name}?t0ken", name=name) for name in ("well", "down", "gone"))
    deliveries.declare(well, down, gone)
    fail(Circuit(client, down), THRESHOLD)
    Circuit(client, gone).gone(410)
    code, said = command()
    told = json.loads(command("--json")[1])["destinations"]

    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == ["closed", "open", "disabled"]
    assert "t0ken" not in said
    assert [(one["name"], one["state"]) for one in told] == [
        ("well", "closed"),
        ("down", "open"),
        ("gone", "disabled"),
    ]
    assert told[1]["until"] > told[2]["disabled"]
    assert told[0]["url"] == f"http://127.0.0.1:{receiver.port}/…"
    assert said.splitlines()[0].endswith(f"  /a  well (http://127.0.0.1:{receiver.port}/…)")


@pytest.mark.parametrize("by", ["name", "url"])
def test_the_command_enables_a_destination_by_name_or_url(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis, command: Command, by: str
) -> None:
    first, second = to(receiver, "/1", name="first"), to(receiver, "/2", name="second")
    deliveries.declare(first, second)
    Circuit(client, first).gone(410)
    Circuit(client, second).gone(410)
    code, said = command("--enable", first.name if by == "name" else first.url)
    again = command("--enable", "first")[1]

    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == ["closed", "disabled"]
    assert again.startswith("It was not disabled")


def test_the_command_refuses_a_destination_that_is_none_without_repeating_it(
    deliveries: Deliveries, receiver: Receiver, command: Command
) -> None:
    deliveries.declare(to(receiver, name="first"))
    code, said = command("--enable", "https://shop.example/t0ken")

    assert code == 2
    assert "has no such destination. It has first." in said
    assert "t0ken" not in said
