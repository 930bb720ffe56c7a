"""Reading a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..relay import Relay
from . import relays
from .finding import home
from .lines import Lines
from .place import Place, Source


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Relay:
    """Make the relay that a file describes.

    Args:
        path: the file.
        environ: where its environment variables are looked up; those of the process unless given.

    Raises:
        ConfigError: it cannot be read, or something in it cannot be.
    """
    file = home(path)
    name = _shown(file)
    text = _read(file, name)
    document = _parse(text, name)
    source = Source(name, file.parent, Lines(text), os.environ if environ is None else environ)
    return relays.read(document, Place(source))


def _read(file: Path, name: str) -> str:
    try:
        # Windows' editors and shells begin a file with a byte order mark.
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"There is no file {name}.", file=name) from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or type(error).__name__}.", file=name) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not written in UTF-8, as TOML is.", file=name) from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its words hold the place, and nothing of the file but single characters and keys.
        raise ConfigError(f"{name} is no TOML: {error}.", file=name) from error
    except RecursionError as error:
        raise ConfigError(f"{name} is nested too deep.", file=name) from error


def _shown(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
