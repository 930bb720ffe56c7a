"""How long it takes to read a body of each kind, beside `json.loads` of the same payload.

    python benchmarks/bodies.py            # a table; --json for machines

The payload is an order with its items, of 0.4 and of 8 KB; each kind of body says the same in its own way. What is
timed is all that reading does: from a verified event to its events. The best of several rounds counts, because other
programs can only make a round slower.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import timeit
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import brotli

from trafficrelay.body import read_events
from trafficrelay.event import Event, Headers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SIZES = (400, 8_000)
ROUNDS = 7
MOST = 10
"""How many times as long as `json.loads` a kind may take without a reason."""

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "A-1",
    "source": "/shop/7",
    "type": "shop.sold",
    "time": "2026-03-01T12:00:00Z",
}

REASONS: Mapping[str, str] = {
    "multipart": "each field is a part with a header of its own, which a parser in Python reads",
    "form": "each field is unescaped for itself, in Python",
    "split": "each item becomes an event of its own, with an id and its bytes",
    "batch": "each item becomes an event of its own, with its attributes checked",
    "gzip": "making a decoder takes most of it, and does not grow with the body",
    "br": "making a decoder takes most of it, and does not grow with the body",
    "zstd": "making a decoder takes most of it, and does not grow with the body",
}
"""Why the kinds whose names hold these words may take longer."""


@dataclass(frozen=True)
class Body:
    """A body and how it is sent."""

    content: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] | None = None
    split: bool = False


def order(size: int) -> dict[str, Any]:
    """Make an order whose JSON has about so many bytes."""
    items: list[dict[str, Any]] = []
    made = {"id": 48213, "shop": "acme", "customer": "Ada Lovelace", "express": True, "items": items}
    while len(json.dumps(made)) < size - 40:
        number = len(items)
        items.append(
            {"sku": f"A-{number:05}", "name": "Blue thing, large", "count": number % 7, "price": 12.5 + number}
        )
    return made


def multipart(fields: Mapping[str, str | bytes]) -> bytes:
    parts = []
    for name, value in fields.items():
        is_file = isinstance(value, bytes)
        head = f'--boundary\r\nContent-Disposition: form-data; name="{name}"'
        head += '; filename="order.bin"\r\nContent-Type: application/octet-stream' if is_file else ""
        parts.append(head.encode() + b"\r\n\r\n" + (value if isinstance(value, bytes) else value.encode()) + b"\r\n")
    return b"".join(parts) + b"--boundary--\r\n"


def bodies(payload: dict[str, Any]) -> dict[str, Body]:
    """Give the payload as a body of each kind."""
    text = json.dumps(payload).encode()
    items = payload["items"]
    array = json.dumps(items).encode()
    lines = "\n".join(json.dumps(item) for item in items).encode()
    fields = {f"{name}{number}": str(value) for number, item in enumerate(items) for name, value in item.items()}
    events = [ATTRIBUTES | {"id": str(number), "data": item} for number, item in enumerate(items)]
    form = "multipart/form-data; boundary=boundary"
    return {
        "json": Body(text),
        "json as text": Body(text, "text/plain"),
        "bytes": Body(text, "application/octet-stream"),
        "form": Body(urlencode(fields).encode(), "application/x-www-form-urlencoded"),
        "form of one field": Body(urlencode({"payload": text}).encode(), "application/x-www-form-urlencoded"),
        "multipart, fields": Body(multipart(fields), form),
        "multipart, a file": Body(multipart({"title": "order", "order": text}), form),
        "ndjson": Body(lines, "application/x-ndjson"),
        "ndjson, split": Body(lines, "application/x-ndjson", split=True),
        "array, split": Body(array, split=True),
        "cloudevent, binary": Body(text, headers={f"ce-{name}": value for name, value in ATTRIBUTES.items()}),
        "cloudevent, structured": Body(
            json.dumps(ATTRIBUTES | {"data": payload}).encode(), "application/cloudevents+json"
        ),
        "cloudevents, batch": Body(json.dumps(events).encode(), "application/cloudevents-batch+json"),
        "json, gzip": Body(gzip.compress(text), headers={"content-encoding": "gzip"}),
        "json, deflate": Body(zlib.compress(text), headers={"content-encoding": "deflate"}),
        "json, br": Body(brotli.compress(text), headers={"content-encoding": "br"}),
        "json, zstd": Body(zstd.compress(text), headers={"content-encoding": "zstd"}),
    }


def event_of(body: Body) -> Event:
    return Event(
        id="0" * 32,
        route="/x",
        received_at=datetime.now(UTC),
        method="POST",
        params={},
        query={},
        headers=Headers({"content-type": body.content_type, "user-agent": "bench", **(body.headers or {})}),
        remote_addr="192.0.2.7",
        body=body.content,
    )


def microseconds(run: Callable[[], object]) -> float:
    timer = timeit.Timer(run)
    number, _ = timer.autorange()
    return min(timer.repeat(ROUNDS, max(1, number // 4))) / max(1, number // 4) * 1e6


def measure(size: int) -> list[dict[str, Any]]:
    payload = order(size)
    text = json.dumps(payload).encode()
    loads = microseconds(lambda: json.loads(text))
    rows = [{"kind": "json.loads", "payload": len(text), "body": len(text), "us": round(loads, 2), "ratio": 1.0}]
    for kind, body in bodies(payload).items():
        event = event_of(body)
        took = microseconds(lambda event=event, body=body: read_events(event, limit=1 << 20, split=body.split))
        rows.append(
            {
                "kind": kind,
                "payload": len(text),
                "body": len(body.content),
                "us": round(took, 2),
                "ratio": round(took / loads, 2),
            }
        )
    for row in rows:
        if row["ratio"] > MOST:
            row["reason"] = next((why for word, why in REASONS.items() if word in row["kind"]), "none is known")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = [row for size in SIZES for row in measure(size)]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'kind':<24}{'payload B':>10}{'body B':>8}{'µs':>10}{'to json.loads':>14}")
    for row in rows:
        print(f"{row['kind']:<24}{row['payload']:>10}{row['body']:>8}{row['us']:>10.1f}{row['ratio']:>14.1f}")
        if "reason" in row:
            print(f"    {row['reason']}")


if __name__ == "__main__":
    main()
