"""Which file is meant, and what else it means: light, because programs look here that read no file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from ..errors import ConfigError

CONFIG_VARIABLE: Final = "TRAFFICRELAY_CONFIG"
"""The environment variable that names the file of `trafficrelay.configured` and `trafficrelay.wsgi`."""

SCHEMA_FILE: Final = Path(__file__).with_name("relay.schema.json")
"""The JSON Schema of such files, for editors; draft-07, which taplo and "Even Better TOML" read."""

_USUAL: Final = "relay.toml"


def config_file() -> Path:
    """Give the file that `TRAFFICRELAY_CONFIG` names, or `relay.toml` in the working directory.

    Raises:
        ConfigError: there is none.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    file = Path(named or _USUAL).expanduser().absolute()
    if not file.is_file():
        whence = f"{CONFIG_VARIABLE} names it" if named else f"Name another one with {CONFIG_VARIABLE}"
        raise ConfigError(f"There is no file {file}. {whence}.", file=str(file))
    return file


def put_on_path(file: Path) -> None:
    """Let modules be imported that lie beside a configuration, as beside a program; or in the working directory."""
    for folder in (str(Path.cwd()), str(file.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
