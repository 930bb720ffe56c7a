"""URLs that were changed on the way, for those who sign them: what the sender may have been given."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from ..event import Event
from ..rule import WILDCARD
from .trial import Mistake, Trial, Variation

_MOST: Final = 160
_MOST_FIELDS: Final = 200
_MOST_SEGMENTS: Final = 6
_SAFE: Final = "/~!$&'()*+,;=:@"

_HOSTS: Final = ("host", "x-forwarded-host", "x-original-host", "x-forwarded-server")
_WHOLE: Final = ("x-original-uri", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-envoy-original-path")
"""Headers in which proxies say what they were asked for before they changed it."""

_USER: Final = re.compile("//[^/]*@")
_PARTS: Final = ("scheme", "host", "path", "query")
_SEVERAL: Final = "The route takes several paths, so make public_url= a function of the event."


def urls(trial: Trial, *, others: Sequence[str] = (), forwarded: str = "") -> Iterator[Variation]:
    """Give the URLs that a request may have been sent to.

    Args:
        trial: the request.
        others: URLs that senders may have been given, or the origins of such.
        forwarded: the URL that a trusted proxy would tell.
    """
    if not trial.scheme.signs_url:
        return
    parts = _parts(trial, others)
    seen = {trial.url}
    # Those that differ in one part first.
    chosen = sorted(itertools.product(*(range(len(part)) for part in parts)), key=lambda places: sum(map(bool, places)))
    for places in itertools.islice(chosen, _MOST):
        scheme, host, path, query = (part[place] for part, place in zip(parts, places, strict=True))
        url = f"{scheme}://{host}{path}{f'?{query}' if query else ''}"
        if host and url not in seen:
            seen.add(url)
            differ = [name for name, place in zip(_PARTS, places, strict=True) if place]
            keeps_query = query == parts[3][0]
            mistake = _mistake(url, differ, keeps_query=keeps_query, is_forwarded=url == forwarded)
            if path != parts[2][0] and WILDCARD.search(trial.event.route):
                mistake = replace(mistake, fix=f"{mistake.fix} {_SEVERAL}")
            yield Variation("url", mistake, replace(trial, url=url), common=differ in (["scheme"], ["scheme", "host"]))


def _mistake(url: str, differ: Sequence[str], *, keeps_query: bool, is_forwarded: bool) -> Mistake:
    what = " and ".join([", ".join(differ[:-1]), differ[-1]] if len(differ) > 1 else differ)
    text = f"The URL that was signed is not the one that the request seems to have been sent to: another {what}."
    # Where the query is the request's own, it is not said: it may hold a token.
    shown = _USER.sub("//", url.partition("?")[0] if keeps_query else url)
    fix = f'Declare the URL that the sender was given: public_url="{shown}".'
    if is_forwarded:
        fix += " Or name your proxy in trusted_proxies=, which says so in its X-Forwarded headers."
    elif "query" in differ:
        fix += " Something before the relay rewrites the query."
    return Mistake("url", text, fix)


def _parts(trial: Trial, others: Sequence[str]) -> tuple[list[str], ...]:
    here = _split(trial.url)
    given = [_split(url) for url in others]
    headers = trial.event.headers
    wholes = [_split(headers[name]) for name in _WHOLE if headers.get(name)]
    prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
    paths = [here.path, *(one.path for one in (*wholes, *given) if one.path)]
    if prefix.startswith("/"):
        paths.append(prefix + here.path)
    paths += [here.path.removesuffix("/") if here.path.endswith("/") else f"{here.path}/"]
    paths += _without_prefix(here.path, trial.event)
    paths += [quote(unquote(here.path), safe=_SAFE), quote(unquote(here.path), safe="/"), unquote(here.path)]
    return (
        _once([here.scheme, "https", "http"]),
        _once([here.netloc, *_hosts(trial, given)]),
        _once(paths),
        _once([here.query, *(one.query for one in wholes), *_queries(here.query)]),
    )


def _without_prefix(path: str, event: Event) -> Iterator[str]:
    """Give the path as it was before a proxy put something in front of it: `/hooks/twilio` may have been `/twilio`."""
    yield WILDCARD.sub(lambda found: quote(str(event.params.get(found[1], "")), safe=_SAFE), event.route)
    rest = path
    for _ in range(_MOST_SEGMENTS):
        _, slash, rest = rest.removeprefix("/").partition("/")
        if not slash:
            break
        rest = f"/{rest}"
        yield rest
    yield "/"


def _hosts(trial: Trial, given: Iterable[SplitResult]) -> Iterator[str]:
    headers = trial.event.headers
    for name in _HOSTS:
        yield from (one.strip() for one in headers.get(name, "").split(",") if one.strip())
    for pair in headers.get("forwarded", "").replace(",", ";").split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "host" and value:
            yield value.strip('"')
    yield from (one.netloc for one in given)
    # Without its port, and with the one that the sender used.
    bare, colon, port = _split(trial.url).netloc.rpartition(":")
    if colon and port.isdecimal():
        yield bare
    elif port := headers.get("x-forwarded-port", ""):
        yield f"{_split(trial.url).netloc}:{port}"


def _queries(query: str) -> Iterator[str]:
    if not query:
        return
    yield ""
    yield query.replace("+", "%20")
    yield query.replace("%20", "+")
    yield unquote(query)
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return
    yield urlencode(fields)
    yield urlencode(sorted(fields))


def _split(url: str) -> SplitResult:
    """Give the parts of a URL; of none of what is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _once(values: Iterable[str]) -> list[str]:
    first, *rest = values
    # The first stays, empty or not: it is what there is.
    return list(dict.fromkeys([first, *rest]))
