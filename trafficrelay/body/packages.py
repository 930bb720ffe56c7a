"""The packages that read what not every relay is sent; without them such a body is a 415.

They are imported when the first body needs them: together they take 10 ms (measured), and most relays never do.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Final

log = logging.getLogger("trafficrelay")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that may be installed or not.

    Attributes:
        modules: the names that its module may have, the best first.
        has: a dotted name in the module that only the right package has, in a version that will do.
    """

    modules: tuple[str, ...]
    has: str


BROTLI: Final = Package(("brotli",), "Decompressor.can_accept_more_data")
"""Since 1.2 it can be told how much to give."""

MULTIPART: Final = Package(("multipart",), "PushMultipartParser")
"""python-multipart, which FastAPI brings along, has a module of the same name."""

ZSTD: Final = Package(("compression.zstd", "backports.zstd"), "ZstdDecompressor")
"""Python's own since 3.14, and the same for those before it."""


@cache
def found(package: Package) -> ModuleType | None:
    """Give the package's module; `None` if it is not installed."""
    for name in package.modules:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        inside: object = module
        for part in package.has.split("."):
            inside = getattr(inside, part, None)
        if inside is not None:
            return module
    return None


def needed(package: Package) -> ModuleType | None:
    """Give the package's module for a body that needs it. If it is not installed, the log says so, once."""
    module = found(package)
    if module is None:
        _tell(package)
    return module


@cache
def _tell(package: Package) -> None:
    log.warning(
        "a body was refused because the package %s is not installed, or is too old; "
        "pip install 'trafficrelay[bodies]' to read such bodies",
        package.modules[-1],
    )
