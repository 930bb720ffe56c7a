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
    file = home(named or _USUAL)
    if not file.is_file():
        whence = f"{CONFIG_VARIABLE} names it" if named else f"Name another one with {CONFIG_VARIABLE}"
        raise ConfigError(f"There is no file {file}. {whence}.", file=str(file))
    return file


def home(path: str | os.PathLike[str]) -> Path:
    """Give the absolute path of a file, with `~` as somebody's home.

    Raises:
        ConfigError: it is nobody's, or no file can be called so.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise ConfigError("No file has a NUL character in its name.", file="")
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"The home that {name} begins with cannot be found.", file=name) from error


def put_on_path(file: Path) -> None:
    """Let modules be imported that lie beside a configuration, as beside a program; or in the working directory."""
    for folder in (str(Path.cwd()), str(file.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
