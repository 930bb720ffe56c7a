"""`trafficrelay routes`: what a relay takes and what it becomes, without a Redis and without a secret."""

from __future__ import annotations

import functools
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trafficrelay.cli import main
from trafficrelay.commands.describing import step, verifier
from trafficrelay.verify import basic, bearer, github, hmac_signature, standard_webhooks

HOOKS = """\
import functools

print("this module prints")

from trafficrelay import Relay, Route, To
from trafficrelay.transforms import hash, keep, redact
from trafficrelay.verify import github, hmac_signature

relay = Relay("redis://:hush@127.0.0.1:1", spool="spool.db")


def shorten(event):
    return event.data


def is_large(data):
    return True


def check_token(token, event):
    return True


@relay.route("/github", verify=github("hush-hush"), job="jobs.push", queue="hooks", methods=["POST", "PUT"])
def push(event):
    return event.data


relay.add(Route("/plain", verify=None, job="jobs.echo"))
relay.add(
    Route(
        "/orders/<id:int>",
        verify=functools.partial(check_token, "hush-hush"),
        transforms=[keep("id", "customer.*"), redact("customer.email"), hash("id", key="hush-hush-hush-hush"), shorten],
        to=[
            To("jobs.order", queue="orders", when="type == 'order'", retry=[10, 60]),
            To(deliver="https://shop.example/t0ken?hush", when=is_large),
        ],
        dedupe="data:id",
        rate="10/s per address",
        max_body="2MB",
        split=True,
        status=True,
    )
)
relay.add(Route("/any", verify=None, job=lambda event: "jobs.any", queue=lambda event: "q", dedupe=is_large))
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "hooks.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("hooks", None)


def routes(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["routes", "hooks:relay", *options]) == 0
    return capsys.readouterr().out


def test_there_is_a_line_for_each_job_of_each_route(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split("  ") for line in routes(capsys).splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]

    assert rows[0] == ["/github", "POST,PUT", "github", "hooks.push", "jobs.push", "hooks"]
    assert rows[1] == ["/plain", "POST", "none", "-", "jobs.echo", "default"]
    assert rows[2][:3] == rows[3][:3] == ["/orders/<id:int>", "POST", "hooks.check_token"]
    assert rows[2][4:] == ["jobs.order", "orders", "type == 'order'"]
    assert rows[3][4:] == ["deliver to shop.example (https://shop.example/…)", "default", "hooks.is_large"]
    assert rows[4][3:] == ["-", "chosen for each event", "chosen for each event"]


def test_the_steps_are_said_once_and_marked_in_the_lines_below(capsys: pytest.CaptureFixture[str]) -> None:
    """They may be long; a mark keeps the columns."""
    first, second = [re.split("  +", line) for line in routes(capsys).splitlines()][2:4]

    assert first[3].startswith("keep ")
    assert second[3] == '"'
    assert len(first) == len(second)


def test_the_steps_are_said_in_their_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(routes(capsys, "--json"))["routes"][2]["steps"]

    assert [one.split()[0] for one in said] == ["keep", "redact", "hash", "hooks.shorten"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_secret_is_said(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    said = routes(capsys, *options)

    assert "hush" not in said
    assert "t0ken" not in said


def test_machines_are_told_all_of_it_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    github, _, orders, any_ = json.loads(routes(capsys, "--json"))["routes"]

    assert (github["rule"], github["methods"], github["verify"]) == ("/github", ["POST", "PUT"], "github")
    assert (github["on_outage"], github["on_error"], github["dedupe"]) == (
        "spool",
        "keep",
        "header:X-GitHub-Delivery",
    )
    assert (github["reply"], orders["dedupe"]) == (202, "data:id")
    assert (orders["dedupe"], orders["max_body"], orders["split"], orders["status"]) == ("data:id", 2 << 20, True, True)
    assert orders["rate"] == "10/s per address"
    assert [to["queue"] for to in orders["to"]] == ["orders", "default"]
    assert orders["to"][0]["retries"] == {"max": 2, "intervals": [10, 60]}
    assert orders["to"][1]["deliver"] == [{"name": "shop.example", "url": "https://shop.example/…"}]
    assert (any_["to"][0]["job"], any_["to"][0]["queue"], any_["dedupe"]) == (None, None, "hooks.is_large")


def test_what_a_module_prints_is_not_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    main(["routes", "hooks:relay", "--json"])
    captured = capsys.readouterr()

    assert len(captured.out.splitlines()) == 1
    assert captured.err == "this module prints\n"


@pytest.mark.parametrize(
    ("verify", "kind"),
    [
        (None, "none"),
        (github("s"), "github"),
        (hmac_signature("s", header="X-Signature"), "hmac_signature"),
        (standard_webhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "standard_webhooks"),
        (bearer("s"), "bearer"),
        (basic("ann", "s"), "basic"),
        (functools.partial(functools.partial(len, "secret")), "builtins.len"),
    ],
)
def test_a_verifier_is_named_by_its_kind(verify: Any, kind: str) -> None:
    assert verifier(verify) == kind


class Step:
    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return self.secret

    def __call__(self, event: object) -> object:
        return event


class Worded(Step):
    def __str__(self) -> str:
        return "in its own words"


def test_a_step_without_words_of_its_own_is_named_and_not_shown() -> None:
    assert step(Step("hush")) == f"{__name__}.Step"
    assert step(Worded("hush")) == "in its own words"
