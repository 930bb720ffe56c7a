"""How a route's rule is written, and which methods there are."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

from .errors import DeclarationError

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

WILDCARD: Final = re.compile(r"<([a-zA-Z_][a-zA-Z_0-9]*)(?::([a-zA-Z_]+)(?::(?:\\.|[^\\>])+)?)?>")
"""One of Bottle's wildcards, its name and its filter: `<name>`, `<name:filter>`, `<name:filter:config>`."""


def check_rule(rule: Any) -> str:
    """Check how a rule is written; Bottle's router checks the rest when the route is added to a relay.

    Raises:
        DeclarationError: it is no path, or holds what Bottle would read in another way than its author.
    """
    if inspect.isfunction(rule):
        raise DeclarationError('The decorator needs a rule: write @relay.route("/path", …) above the function.')
    if not isinstance(rule, str) or not rule.startswith("/"):
        raise DeclarationError(f'A rule is a path that begins with a slash, such as "/github", not {rule!r}.')
    if rule == "/-" or rule.startswith("/-/"):
        raise DeclarationError(f"The rule {rule} is taken: what is under /-/ belongs to the relay.")
    literal = WILDCARD.sub("", rule)
    if any(mark in literal for mark in "<>{}"):
        raise DeclarationError(
            f"The rule {rule} has a wildcard that cannot be read. Write <name> or <name:filter>, the name of ASCII "
            "letters, digits and _."
        )
    if any(mark in literal for mark in "?# \t\r\n%"):
        raise DeclarationError(
            f"The rule {rule!r} holds a character that no path has. A rule is written as people read it, without %20 "
            "and the like, and without a query."
        )
    if any(mark in literal for mark in ":\\"):
        raise DeclarationError(
            f"The rule {rule} has a colon or a backslash outside of <…>, where Bottle reads an old kind of wildcard. "
            "Write <name>."
        )
    return rule
