"""Loading the relay that is meant, without what only a Redis needs."""

from __future__ import annotations

import contextlib
import sys

from ..relay import Relay
from ..standalone.target import load_target


def read_target(target: str) -> Relay:
    """Load a relay. What its modules print while they are imported goes to stderr: stdout may be read by a machine.

    Raises:
        TargetError: there is no such relay.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return load_target(target)
