"""`relay`: the relay of the file that `TRAFFICRELAY_CONFIG` names, or of `relay.toml` in the working directory.

Workers find a relay from a file again by this module's name. Functions that the file names may lie in its folder or in
the working directory: both are put on the path.
"""

from __future__ import annotations

from .config.finding import config_file, put_on_path
from .relay import Relay

file = config_file()
"""The file."""

put_on_path(file)

relay = Relay.from_config(file)
"""The relay."""
