"""`module:relay` -> Relay."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trafficrelay.errors import TargetError
from trafficrelay.relay import Relay
from trafficrelay.standalone.target import load_target

from .standalone_support import write_modules


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    importlib.invalidate_caches()
    yield tmp_path
    # The next test's modules have the same names and lie in another directory.
    for name in ("hooks", "jobs", "broken"):
        sys.modules.pop(name, None)


def test_a_relay_is_found() -> None:
    """A relay in a module of the working directory is found."""
    relay = load_target("hooks:relay")

    assert isinstance(relay, Relay)
    assert relay.queues == ("hooks",)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("hooks", "'hooks' does not say where the relay is; write module:name, such as shop.hooks:relay."),
        ("hooks:", "does not say where the relay is"),
        (":relay", "does not say where the relay is"),
        ("nowhere:relay", "There is no module 'nowhere' here"),
        ("hooks.py:relay", "names a file; write its module, such as hooks:relay"),
        ("./shop/hooks.py:relay", "such as shop.hooks:relay"),
        ("nowhere.hooks:relay", "There is no module 'nowhere' here"),
        ("hooks.inner:relay", "There is no module 'hooks.inner' here"),
        ("hooks:replay", "hooks has no 'replay'; the relays that it has: hooks:nothing and hooks:relay."),
        ("jobs:relay", "jobs has no 'relay', and no other Relay either."),
        ("hooks:number", "hooks:number is no Relay; its type is int."),
        ("hooks:nothing", "hooks:nothing has no routes"),
    ],
)
def test_what_is_wrong_is_said(target: str, sentence: str) -> None:
    """Each way to get a target wrong has a sentence of its own."""
    with pytest.raises(TargetError) as caught:
        load_target(target)

    assert sentence in str(caught.value)
    assert caught.value.target == target


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_thing", "broken cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("from hooks import nobody", "broken cannot be imported: ImportError: cannot import name 'nobody'"),
        ("1 / 0", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("def", "broken cannot be imported: SyntaxError"),
    ],
)
def test_an_error_inside_the_module_is_shown_as_such(directory: Path, code: str, sentence: str) -> None:
    """A module that is there and fails says why and where, not that it is not found."""
    (directory / "broken.py").write_text(f"\n{code}\n")
    with pytest.raises(TargetError) as caught:
        load_target("broken:relay")

    assert sentence in str(caught.value)
    assert "broken.py, line 2" in str(caught.value)


def test_an_error_in_the_target_names_the_users_own_line(directory: Path) -> None:
    """Not the line of the library that raised it."""
    (directory / "broken.py").write_text(
        "import os\nfrom trafficrelay import Relay\nrelay = Relay()\nSECRET = os.environ['NO_SUCH_VARIABLE']\n"
    )
    with pytest.raises(TargetError) as caught:
        load_target("broken:relay")

    assert f"({directory / 'broken.py'}, line 4, in <module>)" in str(caught.value)
