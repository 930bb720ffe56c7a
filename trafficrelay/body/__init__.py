"""Reading bodies: from what a sender sent to events with data.

`reading` chooses, by what the sender and the route say; `text` reads JSON, forms and queries in their charsets, `items`
arrays and lines, `multipart` forms with files, `cloudevents` CloudEvents. `compression` inflates. docs/bodies.md says
what becomes of what.
"""

from __future__ import annotations

from .reading import read_data, read_events
from .text import MAX_FIELDS, read_query

__all__ = ["MAX_FIELDS", "read_data", "read_events", "read_query"]
