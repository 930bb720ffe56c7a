"""Writes `relay.schema.json` anew: `python -m trafficrelay.config.schema`. A test tells when that is due."""

from __future__ import annotations

import json

from .finding import SCHEMA_FILE
from .relays import schema


def text() -> str:
    """Give the file's text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text(), "utf-8")
