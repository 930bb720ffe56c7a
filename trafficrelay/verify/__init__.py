"""Who sent it: verifiers for routes.

    @relay.route("/github", verify=github(secret=...), ...)

`schemes` says what a verifier is and how to write one.
"""

from __future__ import annotations

from .providers import github
from .schemes import Secret, Verifier, basic, bearer, hmac_signature, standard_webhooks

__all__ = ["Secret", "Verifier", "basic", "bearer", "github", "hmac_signature", "standard_webhooks"]
