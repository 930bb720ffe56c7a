"""Testing one's relay: a client that posts to it with no Redis and no socket.

    from trafficrelay.testing import queued, relay_client

    def test_a_push_becomes_a_job():
        client = relay_client(relay)
        answer = client.post_json("/github", {"ref": "refs/heads/main"}, signed=True)
        assert answer.queued == [queued("shop.jobs.on_push", {"ref": "refs/heads/main"}, queue="hooks")]

Needs `pip install 'trafficrelay[testing]'`. Its pytest plugin brings the fixtures `relay_client`
and `relay`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .answer import Answer, Letter, Refused
    from .client import RelayClient, relay_client
    from .delivering import Delivery
    from .jobs import Queued, queued
    from .saved import SavedRequest, saved_requests

__all__ = [
    "Answer",
    "Delivery",
    "Letter",
    "Queued",
    "Refused",
    "RelayClient",
    "SavedRequest",
    "queued",
    "relay_client",
    "saved_requests",
]

_PLACES: Final = {
    "Answer": "answer",
    "Delivery": "delivering",
    "Letter": "answer",
    "Queued": "jobs",
    "Refused": "answer",
    "RelayClient": "client",
    "SavedRequest": "saved",
    "queued": "jobs",
    "relay_client": "client",
    "saved_requests": "saved",
}


def __getattr__(name: str) -> Any:
    # pytest imports the plugin, and so this package, in every run of every project in the environment; the client
    # brings bottle and webtest along (some 250 modules), which only those pay for who use it.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
