"""What each step costs: µs a payload, of 0.4 and of 8 KB, beside `json.loads` of the same payload, in turns.

    pip install -e '.[steps]'
    python benchmarks/steps.py
    python benchmarks/steps.py --data github-webhooks.ndjson --json

The payloads are webhooks that GitHub sent: those of the file that come nearest to the sizes, cut to them where they are
larger, and several together where they are smaller. A number is the least of `--rounds` averages: what else the machine
does only adds to it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from trafficrelay import Event
from trafficrelay import transforms as t
from trafficrelay.event import Headers
from trafficrelay.transform import apply

DATA = Path(__file__).parents[1] / "tests/data/github.ndjson"
SIZES = {"0.4 KB": 400, "8 KB": 8_000}
KEY = "a key for benchmarks, of 32 bytes"


class Repository(TypedDict):
    id: int
    full_name: str


class Sender(msgspec.Struct):
    login: str
    id: int


class Hook(msgspec.Struct):
    repository: Repository
    sender: Sender


def typed_transform(hook: Hook) -> Any:
    return hook.repository["full_name"]


def same(event: Event) -> Any:
    return event.data


SCHEMA = {
    "type": "object",
    "required": ["repository", "sender"],
    "properties": {
        "repository": {
            "type": "object",
            "required": ["id", "full_name"],
            "properties": {"id": {"type": "integer"}, "full_name": {"type": "string", "pattern": "^[^/]+/[^/]+$"}},
        },
        "sender": {"type": "object", "properties": {"login": {"type": "string", "minLength": 1}}},
    },
}

STEPS: dict[str, t.Step | t.Chain | Callable[[Event], Any]] = {
    "select": t.select("{repo: repository.full_name, by: sender.login}"),
    "select, all keys": t.select("*.id"),
    "keep": t.keep("repository.full_name", "sender.login"),
    "keep, *": t.keep("*.id"),
    "omit": t.omit("repository.owner", "sender.id"),
    "rename": t.rename({"repository.full_name": "repo", "sender.login": "by"}),
    "set": t.set({"source": "github", "sender.kind": "user"}),
    "default": t.default({"source": "github", "sender.login": "nobody"}),
    "redact": t.redact("sender.login", "repository.owner"),
    "redact, **": t.redact("**.login", "**.email", "**.node_id"),
    "hash": t.hash("sender.login", "repository.id", key=KEY),
    "hash, **": t.hash("**.login", key=KEY),
    "cast": t.cast({"repository.id": "str", "sender.id": "str"}),
    "only_if": t.only_if("sender.login != 'nobody'"),
    "drop_if": t.drop_if("length(sender.login) > `39` || sender.type == 'Bot'"),
    "split": t.split("list"),
    "with_request": t.with_request(headers=["X-GitHub-Event"], params=["shop"], address=True),
    "validate": t.validate(SCHEMA),
    "validate, not allowed": t.validate({"properties": {"sender": {"type": "string"}}}, invalid="skip"),
    "typed": t.typed(typed_transform),
    "a function": t.Chain([t.set({"source": "github"}), same]),
    "a chain of five": t.Chain(
        [
            t.only_if("sender.login"),
            t.redact("**.email"),
            t.keep("repository.full_name", "sender", "action"),
            t.rename({"repository.full_name": "repo"}),
            t.set({"source": "github"}),
        ]
    ),
}


def main() -> int:
    """Run it."""
    options = parse()
    payloads = {name: payload(options.data, size) for name, size in SIZES.items()}
    least: dict[tuple[str, str], float] = {}
    for _ in range(options.rounds):
        for size, body in payloads.items():
            for name, work in works(body):
                key = (name, size)
                least[key] = min(least.get(key, float("inf")), measure(work, options.seconds))
    rows = [
        {
            "step": name,
            **{size: round(least[name, size], 2) for size in SIZES},
            **{f"{size}, times json.loads": round(least[name, size] / least["json.loads", size], 2) for size in SIZES},
        }
        for name in ["json.loads", *STEPS]
    ]
    bytes_ = {name: len(body) for name, body in payloads.items()}
    if options.json:
        print(
            json.dumps(
                {"python": platform.python_version(), "bytes": bytes_, "unit": "µs", "steps": rows},
                indent=2,
                ensure_ascii=False,
            )
        )
    else:
        show(rows, bytes_)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help='lines of {"event": …, "payload": …}')
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="for each step and size of a round")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def payload(path: Path, size: int) -> bytes:
    """Give a webhook of about so many bytes, with the fields that the steps speak of."""
    found = [json.loads(line)["payload"] for line in path.read_text("utf-8").strip().split("\n")]
    fitting = [one for one in found if "repository" in one and "sender" in one] or found
    nearest = min(fitting, key=lambda one: abs(len(json.dumps(one, separators=(",", ":"))) - size))
    data = {"list": [{"id": 1}, {"id": 2}], **nearest}
    if length(data) > 1.2 * size:  # the smaller one: no hook of GitHub's is that small, so fields of it are
        slim = {
            "sender": fields(data["sender"], "login", "id"),
            "repository": fields(data["repository"], "id", "full_name"),
        }
        data = {"list": data["list"], **slim, "action": str(data.get("action", "")), "rest": {}}
        source = iter(nearest["repository"].items())
        while length(data) < size and (item := next(source, None)) is not None:
            if not isinstance(item[1], dict | list):
                data["rest"][item[0]] = item[1]
    also: list[Any] = []
    for other in sorted(found, key=length):  # the larger one: the file in the tree has none, so several are one
        if length(data) + length(other) <= 1.1 * size and other is not nearest:
            also.append(other)
            data["also"] = also
    return json.dumps(data, separators=(",", ":")).encode()


def fields(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """Give some fields of an object."""
    return {name: data[name] for name in names if name in data}


def length(data: Any) -> int:
    """Give the bytes of data as JSON."""
    return len(json.dumps(data, separators=(",", ":")))


def works(body: bytes) -> list[tuple[str, Callable[[], object]]]:
    """Give what is measured, json.loads first."""
    event = Event(
        id="0" * 32,
        route="/github",
        received_at=datetime.now(UTC),
        method="POST",
        params={"shop": "acme"},
        query={},
        headers=Headers({"X-GitHub-Event": "push", "Content-Type": "application/json"}),
        remote_addr="192.0.2.7",
        body=body,
    )
    event = replace(event, data=json.loads(body))
    found: list[tuple[str, Callable[[], object]]] = [("json.loads", lambda: json.loads(body))]
    for name, step in STEPS.items():
        apply(step, event)  # it works on this payload
        if name == "split":
            found.append((name, lambda step=step: list(step(event))))  # type: ignore[misc]
        else:
            found.append((name, lambda step=step: step(event)))  # type: ignore[misc]
    return found


def measure(work: Callable[[], object], seconds: float) -> float:
    """Give µs a call."""
    calls, spent = 1, 0.0
    while spent < seconds:
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        spent = time.perf_counter() - begun
        if spent < seconds:
            calls = max(calls * 2, int(calls * seconds / max(spent, 1e-9) * 1.1))
    return spent / calls * 1e6


def show(rows: list[dict[str, Any]], bytes_: dict[str, int]) -> None:
    """Print a table."""
    sizes = list(bytes_)
    print("| µs a payload | " + " | ".join(f"{size} ({bytes_[size]:,} bytes) | times" for size in sizes) + " |")
    print("| --- | " + " | ".join("---: | ---:" for _ in sizes) + " |")
    for row in rows:
        cells = " | ".join(f"{row[size]:.1f} | {row[f'{size}, times json.loads']:.2f}" for size in sizes)
        print(f"| {row['step']} | {cells} |")


if __name__ == "__main__":
    sys.exit(main())
