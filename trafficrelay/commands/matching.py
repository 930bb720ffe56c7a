"""Finding the route that somebody means by a rule or by a path."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import unquote

from ..app import find_route, is_challenge_method
from ..errors import DeclarationError, Malformed
from ..relay import Relay
from ..route import Route
from ..standalone.banner import sample_path

Params: TypeAlias = Mapping[str, str | int | float]


def match(relay: Relay, text: str, method: str, path: str, target: str) -> tuple[Route, Params]:
    """Give the route that is meant, and what its wildcards are.

    Args:
        relay: the relay.
        text: a rule of it, or a path, which may have a query.
        method: the request's method; `""` for whichever the route takes.
        path: the request's path, if it was saved with one: it fills in a rule's wildcards. `""` otherwise.
        target: how the relay was named.

    Raises:
        DeclarationError: no route is meant, or it does not take the method.
    """
    named = [route for route in relay.routes if route.rule == text]
    if not named:
        return _by_path(relay, unquote(text.partition("?")[0]), method, target)
    route = next((one for one in named if method in one.methods), None if method else named[0])
    if route is None:
        route = next((one for one in named if is_challenge_method(one, method)), None)
    if route is None:
        allowed = sorted({each for one in named for each in one.methods})
        raise DeclarationError(f"{text} does not take {method}; it takes {' and '.join(allowed)}.")
    for tried in (path, sample_path(route.rule)):
        found = tried and find_route((route,), route.methods[0], tried)
        if found:
            return found
    raise DeclarationError(f"What {text} takes cannot be made up: name a path in place of the rule, with --method too.")


def _by_path(relay: Relay, path: str, method: str, target: str) -> tuple[Route, Params]:
    methods = [method] if method else list(dict.fromkeys(each for route in relay.routes for each in route.methods))
    try:
        for each in sorted(methods, key=lambda one: one != "POST"):
            found = find_route(relay.routes, each, path) or find_route(relay.routes, each, path, challenges=True)
            if found:
                return found
        allowed = [each for route in relay.routes for each in route.methods if find_route((route,), each, path)]
    except Malformed as error:
        raise DeclarationError(f"{target} has no route {path}: {error.detail}") from error
    if allowed:
        raise DeclarationError(f"{path} does not take {method}; it takes {' and '.join(sorted(set(allowed)))}.")
    rules = [route.rule for route in relay.routes]
    near = difflib.get_close_matches(path, rules, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(dict.fromkeys(rules))}."
    raise DeclarationError(f"{target} has no route {path}. {hint}")
