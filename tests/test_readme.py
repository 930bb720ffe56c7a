"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_its_first_example_is_the_file_that_its_first_command_runs() -> None:
    heading, _, code = BLOCKS[0].partition("\n")
    path = heading.removeprefix("# ")

    assert code == (ROOT / path).read_text("utf-8")
    assert f"run {path.removesuffix('.py').replace('/', '.')}:relay" in README


def test_its_first_example_is_whole_within_thirty_lines() -> None:
    head = "\n".join(README.splitlines()[:30])

    assert f"```python\n{BLOCKS[0]}```" in head


def test_its_second_example_declares_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SECRET", "new")
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)

    assert names["relay"].queues == ("hooks",)  # type: ignore[attr-defined]


def test_its_example_of_a_test_passes() -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS[2], names)

    names["test_a_push_becomes_a_job"]()


def test_it_states_the_default_limit_of_a_body() -> None:
    from trafficrelay.route import MAX_BODY

    assert MAX_BODY == 1024 * 1024
    assert "1 MiB unless you say so" in README
