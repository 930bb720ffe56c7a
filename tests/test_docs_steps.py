"""What docs/steps.md shows is what the steps do."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import GeneratorType
from typing import Any

import pytest

from tests.support import make_event
from trafficrelay import DROP, Rejected, Relay
from trafficrelay import transforms as t
from trafficrelay.event import Headers
from trafficrelay.transforms import STEPS, Step

PAGE = (Path(__file__).parents[1] / "docs/steps.md").read_text("utf-8")
TABLE = PAGE[PAGE.index("| step | missing=") : PAGE.index("## keep")]
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
EXAMPLES = [
    (code, toml)
    for (kind, code), (other, toml) in pairwise(BLOCKS)
    if (kind, other) == ("python", "toml") and "step =" in code
]
KEY = "what HASH_KEY holds in the tests"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a program that has the files and variables that the page speaks of."""
    monkeypatch.setenv("HASH_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "schemas").mkdir()
    yield tmp_path
    for module in ("hooks", "typed_hooks"):
        sys.modules.pop(module, None)


def names(code: str, place: Path) -> dict[str, Any]:
    """Run an example. Its schema, if it has one, is in the file that it names."""
    if schema := re.search(r"^schema = (.*)$", code, re.MULTILINE):
        (place / "schemas/order.json").write_text(json.dumps(eval(schema[1])))
    found: dict[str, Any] = {**STEPS, "os": os, "DROP": DROP, "Rejected": Rejected}
    exec(code, found)
    return found


def result(step: Step, said: dict[str, Any]) -> Any:
    request = dict(said.get("request", {}))
    event = make_event(data=said["before"], **(request | {"headers": Headers(request.get("headers", {}))}))
    try:
        given = step(event)
    except Rejected as refusal:
        return refusal.status, refusal.detail
    return list(given) if isinstance(given, GeneratorType) else given


def expected(said: dict[str, Any]) -> Any:
    after = said["after"]
    return (after.status, after.detail) if isinstance(after, Rejected) else after


def from_file(toml: str, place: Path) -> tuple[Step, ...]:
    """Give the steps of a route that relay.toml declares."""
    if "[[route]]" not in toml:
        toml = f'[[route]]\npath = "/x"\nverify = "none"\njob = "shop.jobs.on_order"\n{toml}'
    (place / "relay.toml").write_text(toml)
    (route,) = Relay.from_config(place / "relay.toml").routes
    return route.reshape.steps  # type: ignore[attr-defined, no-any-return]


def ids(example: tuple[str, str]) -> str:
    return str(re.search(r"step = (\w+)", example[0])[1])  # type: ignore[index]


@pytest.mark.parametrize("example", EXAMPLES, ids=map(ids, EXAMPLES))
def test_each_example_gives_what_it_shows(example: tuple[str, str], place: Path) -> None:
    said = names(example[0], place)

    assert result(said["step"], said) == expected(said)


@pytest.mark.parametrize("example", EXAMPLES, ids=map(ids, EXAMPLES))
def test_each_example_is_the_same_from_a_file(example: tuple[str, str], place: Path) -> None:
    said = names(example[0], place)

    (step,) = from_file(example[1], place)

    assert step.name == said["step"].name
    assert result(step, said) == expected(said)


def test_each_step_has_an_example() -> None:
    assert sorted(map(ids, EXAMPLES)) == sorted(STEPS)


def test_each_step_has_its_defaults_in_the_table() -> None:
    rows = [[cell.strip() for cell in row] for row in re.findall(r"^\|(.*?)\|(.*?)\|(.*?)\|$", TABLE, re.MULTILINE)]
    stated = {name: outcomes for first, *outcomes in rows for name in first.split(", ")}

    for name, make in STEPS.items():
        options = inspect.signature(make).parameters
        for option, text in zip(("missing", "invalid"), stated[name], strict=True):
            assert (option in options) == bool(text), (name, option)
            if option in options:
                assert text.startswith(f'`"{options[option].default}"`'), (name, option)


def test_its_routes_do_what_it_says(place: Path) -> None:
    modules = {re.match(r"# (\w+)\.py", code)[1]: code for kind, code in BLOCKS if kind == "python" and code[0] == "#"}  # type: ignore[index]
    for name, code in modules.items():
        (place / f"{name}.py").write_text(code)

    hooks, typed_hooks = (importlib.import_module(name) for name in ("hooks", "typed_hooks"))

    (orders,) = relay_routes(hooks.relay)
    data = {"id": 7, "x": 1, "customer": {"email": "a@b", "x": 1}, "items": [{"price": "1.5"}, {"price": 2}]}
    given = orders.reshape(make_event(data=data))
    assert given == {
        "id": 7,
        "customer": {},
        "items": [{"price": 1.5}, {"price": 2.0}],
        "total": 3.5,
        "email": "[redacted]",
    }
    assert orders.reshape(make_event(data={"test": True})) is DROP
    (typed,) = relay_routes(typed_hooks.relay)
    assert typed.reshape(make_event(data={"id": 7, "total": 0})) is DROP
    said = re.search(r'`(\{.*\})` is answered with "(.*)"$', PAGE, re.MULTILINE)
    with pytest.raises(Rejected) as caught:
        typed.reshape(make_event(data=json.loads(said[1])))  # type: ignore[index]
    assert caught.value.detail == said[2]  # type: ignore[index]


def relay_routes(relay: Relay) -> Any:
    return relay.routes


def test_its_route_of_a_file_has_the_steps_of_its_route_of_python(place: Path) -> None:
    python, toml = BLOCKS[0][1], BLOCKS[1][1]
    (place / "hooks.py").write_text(python)

    steps = from_file(toml, place)

    (route,) = importlib.import_module("hooks").relay.routes
    assert list(map(str, steps)) == list(map(str, route.reshape.steps))


def test_it_says_how_many_items_there_may_be() -> None:
    assert f"Up to {t.spending.MAX_ITEMS:,} may be left in the end, of {t.spending.MAX_LOOKED_AT:,}." in PAGE
    assert f"{t.spending.MAX_REPEATED >> 20} MB" in PAGE


def test_its_lines_fit_a_terminal() -> None:
    assert [line for line in PAGE.splitlines() if len(line) > 120] == []
