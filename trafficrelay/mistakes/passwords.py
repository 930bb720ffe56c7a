"""Names and passwords in the Authorization header."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import replace

from ..verify.tokens import NameAndPassword
from .trial import Mistake, Trial, Variation


def other_names(trial: Trial) -> Iterator[Variation]:
    """Give the request with the name that came as the one that is expected."""
    scheme = trial.scheme
    if not isinstance(scheme, NameAndPassword):
        return
    try:
        given = base64.b64decode(trial.event.headers.get("authorization", "").partition(" ")[2].strip(), validate=True)
        name = given.partition(b":")[0].decode()
    except (binascii.Error, ValueError):
        return
    if name and name != scheme.username:
        text = "The password is right, and the name before it is another than the route's."
        mistake = Mistake("name", text, "Make username= the name that the sender uses, or the other way about.")
        yield Variation("header", mistake, replace(trial, scheme=replace(scheme, username=name)))
