"""The pytest plugin: the fixtures `relay_client` and `relay`, and failures that show what was queued as a diff.

Everything is imported where it is used: pytest loads this module in every run of every project in its environment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from ..relay import Relay
    from .client import RelayClient

_OPTION: Final = "trafficrelay_target"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the relay is."""
    text = "the relay under test, for the fixture `relay`: module:name, such as shop.hooks:relay"
    parser.getgroup("trafficrelay").addoption("--trafficrelay-target", metavar="MODULE:RELAY", help=text)
    parser.addini(_OPTION, text)


@pytest.fixture
def relay(pytestconfig: pytest.Config) -> Relay:
    """The relay that `trafficrelay_target` names, in the project's pytest settings or on the command line."""
    from ..standalone.target import load_target  # the head of this file says why here

    target = pytestconfig.getoption("--trafficrelay-target") or pytestconfig.getini(_OPTION)
    if not target:
        raise pytest.UsageError(
            f'The fixture relay does not know your relay. Set {_OPTION} = "shop.hooks:relay" in pytest\'s settings, '
            "or write a fixture relay of your own."
        )
    return load_target(target)


@pytest.fixture
def relay_client(request: pytest.FixtureRequest) -> Callable[..., RelayClient]:
    """`relay_client()` makes a client of the fixture `relay`, `relay_client(other_relay)` one of another."""
    from .client import relay_client as make  # the head of this file says why here

    def client(relay: Relay | None = None, **options: Any) -> RelayClient:
        return make(request.getfixturevalue("relay") if relay is None else relay, **options)

    return client


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain why what was queued is not what was expected."""
    if op != "==" or f"{__package__}.jobs" not in sys.modules:
        return None
    from .differences import explained  # the head of this file says why here

    return explained(left, right)
