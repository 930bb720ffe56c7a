"""Who sent it: verifiers for routes.

    @relay.route("/github", verify=github(secret=...), ...)

A verifier is any callable of an `Event` (its `data` is still `None`) that returns `True` when the sender is who they
should be. Anything else refuses: a forgotten `return` closes the route, it does not open it. To say why, raise
`Unverified`. A verifier may also have

- `secret_headers`: a frozenset of header names (lower case) that must not be stored;
- `sign(body, now)`: the headers that a sender would send with `body`, for tests, for trying a route out, and for
  deliveries (`Deliver(sign=…)`), which give `message_id=` too where it is taken;
- `reveals_secret`: true where what `sign` gives is the secret itself, which is then not shown;
- `sender_retries`: whether the sender tries again what got no 2xx, which decides a route's `on_outage`.

Every `secret=` takes a string, bytes, several of these (all are good at once, so that keys can be rotated), or a
function of the event that gives any of these (tenants behind one rule). A function that raises `LookupError` or gives
nothing refuses. Comparisons take the same time wherever the difference is (`hmac.compare_digest`), over all secrets.
"""

from __future__ import annotations

from .providers import github
from .schemes import Secret, Verifier, basic, bearer, hmac_signature, standard_webhooks

__all__ = ["Secret", "Verifier", "basic", "bearer", "github", "hmac_signature", "standard_webhooks"]
