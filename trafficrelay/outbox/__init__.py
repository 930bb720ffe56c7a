"""The outbox: what accepts events durably.

`handover` holds what goes in and what comes back, `rq` the real one, `memory` the one for tests.
"""

from __future__ import annotations

from .handover import DeadLetter, Handover, Job, Outbox, Receipt

__all__ = ["DeadLetter", "Handover", "Job", "Outbox", "Receipt"]
