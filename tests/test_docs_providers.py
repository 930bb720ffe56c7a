"""docs/providers.md: its tables are those of the catalogue, its examples run; CONTRIBUTING shows a row that is one."""

from __future__ import annotations

import hmac
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.providers_table import END, PAGE, ROOT, VECTORS, page, tables
from trafficrelay import Event, Unverified
from trafficrelay.config import SCHEMA_FILE
from trafficrelay.config.loading import load
from trafficrelay.verify import CATALOGUE
from trafficrelay.verify.catalogue import work

from .config_support import STANDARD_KEY, write
from .support import NOON, make_event

TEXT = PAGE.read_text("utf-8")
WORDS = TEXT.partition("<!--")[0]
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", WORDS, re.DOTALL | re.MULTILINE)
PYTHON = [code for kind, code in BLOCKS if kind == "python"]
TOML = [code for kind, code in BLOCKS if kind == "toml"]
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA_FILE.read_text("utf-8")))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## A provider\n")[2]


class Environ(dict[str, str]):
    """Has whatever a file names."""

    def get(self, name: str, default: Any = None) -> Any:
        return STANDARD_KEY


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "shop_hooks.py").write_text("def secret_of(event):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("STRIPE_SECRET", "STRIPE_OLD_SECRET"):
        monkeypatch.setenv(name, STANDARD_KEY)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("shop_hooks", None)


def run(code: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "hooks"}
    exec(code, found)
    return found


def test_the_tables_are_those_of_the_catalogue() -> None:
    """`python -m tests.providers_table` writes them anew."""
    assert page(TEXT) == TEXT


def test_every_provider_has_a_row_with_where_its_vector_comes_from() -> None:
    rows = [line for line in tables().splitlines() if line.startswith("| [")]
    names = [re.search(r"<br>`(\w+)` \|", row)[1] for row in rows]  # type: ignore[index]

    assert sorted(names) == sorted(CATALOGUE)
    assert [row for row in rows if not re.search(r"\[(docs example|SDK test|SDK signed)\]\(\S+\)[^|]*\|$", row)] == []


def test_a_row_of_the_table_is_one_line_with_six_cells() -> None:
    lines = [line for line in tables().splitlines() if line.startswith("|")]

    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}


@pytest.mark.parametrize("code", PYTHON)
def test_every_example_in_python_runs(code: str) -> None:
    assert run(code)


@pytest.mark.parametrize("text", TOML)
def test_every_example_of_a_file_loads_and_is_good_for_editors(folder: Path, text: str) -> None:
    VALIDATOR.validate(json.loads(json.dumps(tomllib.loads(text), default=str)))

    assert load(write(folder, text), environ=Environ()).routes


def test_the_function_of_ones_own_verifies() -> None:
    (is_ours,) = [found["is_ours"] for code in PYTHON if "is_ours" in (found := run(code))]

    assert is_ours(make_event(headers={"X-Shop-Token": "s3cret"})) is True
    assert is_ours(make_event(headers={"X-Shop-Token": "other"})) is False
    with pytest.raises(Unverified):
        is_ours(make_event())


def test_its_own_lines_fit_a_terminal() -> None:
    words = WORDS + TEXT.partition(END)[2]

    assert [line for line in words.splitlines() if len(line) > 120] == []


def test_contributing_shows_a_row_and_a_vector_that_are_there() -> None:
    row, vector = (code for _, code in re.findall(r"^```(\w+)\n(.*?)^```$", CONTRIBUTING, re.DOTALL | re.MULTILINE)[:2])
    shown = json.loads(vector)
    (real,) = [one for one in json.loads((VECTORS / "typeform.json").read_text("utf-8")) if "answer" not in one]
    body = shown[0]["request"].pop("body")

    assert row in inspect.getsource(work)
    assert body.endswith(" …")
    assert real["request"].pop("body").startswith(body.removesuffix(" …"))
    assert shown == [real]


def test_the_pages_own_verifier_of_a_signed_time_verifies() -> None:
    """The page's own verifier of a signed time takes what is signed and new, and nothing else."""
    (is_acmes,) = [found["is_acmes"] for code in PYTHON if "is_acmes" in (found := run(code))]
    time = str(int(NOON.timestamp()))
    signed = hmac.digest(b"s3cret", time.encode() + b":{}", "sha512").hex()

    def event(header: str, **fields: Any) -> Event:
        return make_event(headers={"X-Acme-Signature": header}, **({"body": b"{}", "data": None} | fields))

    assert is_acmes(event(f"t={time},s={signed}")) is True
    for header in ("", "t,s", f"t={time}", f"s={signed}", f"t={time}0,s={signed}", f"t={time},s={signed[:-1]}"):
        with pytest.raises(Unverified):
            is_acmes(event(header))
    with pytest.raises(Unverified):
        is_acmes(event(f"t={time},s={signed}", received_at=NOON + timedelta(minutes=6)))
