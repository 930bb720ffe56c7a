"""What `trafficrelay run` prints when it starts: where the routes are, where jobs go, and a line to try it with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from ..event import Headers, now
from ..outbox.connection import masked
from ..relay import Relay
from ..reply import JSON
from ..route import Route
from ..rule import WILDCARD
from ..server import base_url
from ..signing import added, sign
from ..verify.message import Outgoing

SAMPLE: Final = b'{"hello": "world"}'


def banner(
    relay: Relay,
    target: str,
    *,
    host: str,
    port: int,
    url: str | None,
    data: Path | None,
    workers: bool,
    redis: str | None = None,
    signed: bool = True,
) -> str:
    """Make the text.

    Args:
        relay: the relay that is served.
        target: how it was named, `module:relay` or `relay.toml`.
        host: the address it listens on.
        port: its port.
        url: the Redis URL that jobs go to; `None` for what the relay is declared with, if that is no URL.
        data: where the embedded Valkey keeps its data, `None` with a Redis of the user's own.
        workers: whether the embedded worker runs.
        redis: the Redis URL that was given in place of the relay's own.
        signed: whether the line to try it with is signed. A log is no place for that: who reads it could send the line,
            and try secrets on it without being seen.
    """
    address = base_url(host, port)
    lines = [f"trafficrelay listens on {address}", ""]
    lines += [f"  {'/'.join(route.methods):<6} {address}{route.rule}  ->  {_queue(route)}" for route in relay.routes]
    lines += ["", *_where_jobs_go(relay, target, url=url, data=data, workers=workers, redis=redis), ""]
    lines += ["Try it:", f"  {curl_line(relay.routes[0], address, signed=signed)}", "", "Ctrl-C ends it."]
    return "\n".join(lines)


def curl_line(route: Route, address: str, *, signed: bool = True) -> str:
    """Make a line for the shell that sends a route what it takes; a secret shows as a word to put one's own for."""
    method = "POST" if "POST" in route.methods else route.methods[0]
    url = address + sample_path(route.rule)
    bodiless = method in ("GET", "DELETE")
    plain = Outgoing(b"", url, method) if bodiless else Outgoing(SAMPLE, url, method, Headers({"content-type": JSON}))
    made = _signed(route, plain)
    sent = made if signed and not getattr(route.verify, "reveals_secret", False) else plain
    words = ["curl", "-i"]
    if method not in ("GET", "POST"):
        words += ["-X", method]
    if sent.body:
        words += ["-H", f"Content-Type: {JSON}"]
    for name, value in added(plain.headers, made).items():
        words += ["-H", f"{name}: {value if sent is made else _hidden(route, value)}"]
    if sent.body:
        words += ["-d", sent.body.decode()]
    return shlex.join([*words, sent.url])


def sample_path(rule: str) -> str:
    """Fill in a rule's wildcards: `/orders/<id:int>` gives `/orders/1`, any other wildcard `example`."""
    return WILDCARD.sub(lambda found: "1" if found[2] in ("int", "float") else "example", rule)


def _queue(route: Route) -> str:
    names = dict.fromkeys(one.queue_of if isinstance(one.queue_of, str) else "" for one in route.targets)
    known = [name for name in names if name]
    told = [f"queue{'s' if len(known) > 1 else ''} {' and '.join(known)}"] if known else []
    return " and ".join([*told, *(["a queue chosen for each event"] if "" in names else [])])


def _where_jobs_go(
    relay: Relay, target: str, *, url: str | None, data: Path | None, workers: bool, redis: str | None
) -> list[str]:
    if url is None or data is None:
        place = "what the relay is declared with" if url is None else masked(url)
        return [f"Jobs go to {place}. Workers run them:", _worker_line(relay, target, redis)]
    lines = [f"Jobs go to a Valkey of this run's own; its data lies in {data}"]
    lines.append(f"Look at it: {shlex.join(['rq', 'info', '--url', url])}")
    if not workers:
        return [*lines, "No worker runs. Start some:", _worker_line(relay, target, url)]
    if relay.queues:
        lines.append(f"A worker runs on {', '.join(relay.queues)}")
    if relay.dynamic_queues:
        lines.append("Queues that are chosen for each event need workers of their own:")
        lines.append(_worker_line(relay, target, url))
    return lines


def _worker_line(relay: Relay, target: str, redis: str | None) -> str:
    words = ["trafficrelay", "worker", target]
    words += ["--redis", masked(redis)] if redis else []
    if relay.dynamic_queues:
        words += [word for queue in (*relay.queues, "NAME") for word in ("--queue", queue)]
    return f"  {shlex.join(words)}"


def _signed(route: Route, message: Outgoing) -> Outgoing:
    if not hasattr(route.verify, "sign"):
        return message
    try:
        return sign(route.verify, message, now())
    except Exception:
        # A secret that is looked up for each event, say; there is none to look it up for.
        return message


def _hidden(route: Route, value: str) -> str:
    if not getattr(route.verify, "reveals_secret", False):
        return "YOUR-SIGNATURE"
    # Of others the first word may be the secret's own.
    scheme = value.partition(" ")[0]
    return f"{scheme} YOUR-SECRET" if scheme in ("Bearer", "Basic") else "YOUR-SECRET"
