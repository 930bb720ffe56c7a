"""Who sent it: verifiers for routes.

    @relay.route("/github", verify=github(secret=...), ...)

A verifier is any callable of an `Event` (its `data` is still `None`) that returns `True` when the sender is who they
should be. Anything else refuses: a forgotten `return` closes the route, it does not open it. To say why, raise
`Unverified`. A verifier may also have

- `check(event)`: called in place of the verifier; gives a `Verified`, which says which of several secrets matched;
- `secret_headers`: a frozenset of header names (lower case) that must not be stored;
- `sign(body, now)`: the headers that a sender would send with `body`, for tests, for trying a route out, and for
  deliveries (`Deliver(sign=…)`), which give `message_id=` too where it is taken;
- `reveals_secret`: true where what `sign` gives is the secret itself, which is then not shown;
- `sender_retries`: whether the sender tries again what got no 2xx, which decides a route's `on_outage`;
- `dedupe`, `reply`, `bare`, `content_type`, `empty`, `handshakes`: a route's defaults: where the sender's id of an
  event is, the answer that it wants, whether refusals have no body, what its bodies are in truth, whether there may be
  none, the challenges that it sends;
- `signs_url`: whether `event.url` is needed; `blocks`: whether checking may wait for something.

Every `secret=` takes a string, bytes, a `Key` (which may have a name and a date until which it counts), several of
these (all are good at once, so that keys can be rotated), or a function of the event that gives any of these (tenants
behind one rule). A function that raises `LookupError` or gives nothing refuses. Comparisons take the same time wherever
the difference is (`hmac.compare_digest`), over all secrets.

Each provider of the catalogue is a function of its own name; docs/providers.md has them all. What is not in it may be
`hmac_signature`, `bearer` or `basic`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, Final

from .checking import Check as Check
from .checking import PublicUrl as PublicUrl
from .provider import Provider as Provider
from .schemes import basic as basic
from .schemes import bearer as bearer
from .schemes import hmac_signature as hmac_signature
from .secrets import Key as Key
from .secrets import Secret as Secret
from .verified import Cause as Cause
from .verified import Verified as Verified
from .verified import Verifier as Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    # They hold rows, and nothing else that is public: a new row is a new name here.
    from .catalogue.cloud import *
    from .catalogue.code import *
    from .catalogue.fetched import *
    from .catalogue.messages import *
    from .catalogue.others import *
    from .catalogue.payments import *
    from .catalogue.shops import *
    from .catalogue.standard import *
    from .catalogue.work import *
    from .keys import GivenKeys as GivenKeys

    CATALOGUE: Mapping[str, Provider]
    """All providers, by their names."""

_MODULES: Final = ("code", "standard", "payments", "shops", "messages", "work", "cloud", "others", "fetched")
"""The catalogue's modules, in the order in which a name is looked for."""


def __getattr__(name: str) -> Any:
    # A host with one provider, or none, does not pay for all: they are half of what this package takes to import.
    if name == "CATALOGUE":
        return _catalogue()
    if name == "GivenKeys":
        # For tests of those whose keys are fetched.
        return importlib.import_module(".keys", __name__).GivenKeys
    if not name.startswith("_"):
        for module in _MODULES:
            rows = vars(importlib.import_module(f".catalogue.{module}", __name__))
            if isinstance(row := rows.get(name), Provider):
                globals()[name] = row  # found at once the next time
                return row
        near = difflib.get_close_matches(name, __dir__(), n=1)
        if near:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}. Did you mean {near[0]}?", name=name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_catalogue()})


def _catalogue() -> dict[str, Provider]:
    """Give all providers, by their names."""
    rows = [vars(importlib.import_module(f".catalogue.{module}", __name__)) for module in _MODULES]
    found = {name: value for row in rows for name, value in row.items() if isinstance(value, Provider)}
    return dict(sorted(found.items()))
