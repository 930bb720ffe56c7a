"""docs/routes.md: every block is run, section by section, as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trafficrelay.route import MAX_BODY
from trafficrelay.testing import relay_client

PAGE = (Path(__file__).parents[1] / "docs" / "routes.md").read_text("utf-8")
SECTIONS = {
    section.partition("\n")[0].lstrip("# "): re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for section in re.split(r"^(?=##? )", PAGE, flags=re.MULTILINE)
}


@pytest.mark.parametrize("name", [name for name, blocks in SECTIONS.items() if blocks])
def test_the_examples_of_each_section_do_what_they_say(name: str) -> None:
    """After a block that declares comes one that asserts."""
    blocks = SECTIONS[name]
    names: dict[str, Any] = {"relay_client": relay_client, "__name__": "shop.hooks"}

    assert [("assert " in block) for block in blocks] == [False, True] * (len(blocks) // 2)
    for block in blocks:
        exec(compile(block, name, "exec", dont_inherit=True), names)


def test_it_names_the_defaults_that_are() -> None:
    """The limit of a body, and the methods."""
    assert MAX_BODY == 1 << 20
    assert "1 MiB" in PAGE
