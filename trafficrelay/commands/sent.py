"""What `trafficrelay send` says, for people and for machines."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ..verify.message import Outgoing
from .posting import Answer, headers_of, target_of
from .saying import count, say, shown
from .sending import Planned

_INDENT: Final = "   "


def tell(planned: Planned, answers: Sequence[Answer]) -> None:
    """Write what was answered to stdout: of several answers how many there were of each kind, and the first of those.

    Of what was accepted, the first is not written where there are several.
    """
    event = planned.event
    kind = event.headers.get("content-type", "")
    what = f"{len(event.body):,} bytes of {shown(kind)}" if event.body else "no body"
    say(f"{event.method} {shown(event.url, most=None)}: {what}, {planned.signed}")
    if len(answers) == 1:
        _tell(answers[0])
        return
    seconds = sum(answer.seconds for answer in answers)
    numbers = Counter(answer.status for answer in answers)
    said = ", ".join(f"{number:,} answered {status}" for status, number in sorted(numbers.items()))
    say(f"{count(len(answers), 'request')} in {seconds:.1f} s: {said}")
    firsts = {answer.status: answer for answer in reversed(answers) if not answer.accepted}
    for _, answer in sorted(firsts.items()):
        say("")
        _tell(answer)


def _tell(answer: Answer) -> None:
    say(f"{answer.status} {shown(answer.reason)}".rstrip() + f", in {answer.seconds * 1000:.0f} ms")
    for name, value in answer.headers:
        say(f"{_INDENT}{shown(name)}: {shown(value, most=None)}")
    text = answer.body.decode("utf-8", "replace")
    if text:
        say("")
    for line in text.splitlines():
        say(f"{_INDENT}{shown(line, most=None)}")


def tell_request(planned: Planned, request: Outgoing) -> None:
    """Write a request as it would travel. To a file or a pipe it goes byte for byte."""
    host = str(planned.base).partition("://")[2]
    length = {"Content-Length": str(len(request.body))} if request.body else {}
    headers = {"Host": host, **headers_of(request), **length}
    lines = [
        f"{request.method} {target_of(request)} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if not sys.stdout.isatty():
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        sys.stdout.flush()
        sys.stdout.buffer.write(head + request.body)
        return
    for line in [*lines, "", *request.body.decode("utf-8", "replace").splitlines()]:
        say(shown(line, most=None))


def as_json(planned: Planned, answers: Sequence[Answer]) -> dict[str, Any]:
    """Give what was answered as JSON can say it."""
    return _head(planned, planned.event.url) | {
        "accepted": all(answer.accepted for answer in answers),
        "answers": [
            {
                "status": answer.status,
                "headers": {name.lower(): value for name, value in answer.headers},
                "seconds": round(answer.seconds, 4),
                **_body(answer.body),
            }
            for answer in answers
        ],
    }


def request_as_json(planned: Planned, request: Outgoing) -> dict[str, Any]:
    """Give a request that would be sent as JSON can say it."""
    return _head(planned, request.url) | {"headers": headers_of(request), **_body(request.body)}


def _head(planned: Planned, url: str) -> dict[str, Any]:
    return {
        "route": planned.route.rule,
        "method": planned.event.method,
        "url": url,
        "signed": planned.signer is not None,
    }


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}
