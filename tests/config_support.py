"""Writes configurations for the tests, and says what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from trafficrelay import Relay
from trafficrelay.config.loading import load
from trafficrelay.errors import ConfigError

STANDARD_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def write(folder: Path, text: str, name: str = "relay.toml") -> Path:
    file = folder / name
    file.write_text(dedent(text), "utf-8")
    return file


def read(folder: Path, text: str, **environ: str) -> Relay:
    """Load a file with this text."""
    return load(write(folder, text), environ=environ)


def route(folder: Path, text: str, **environ: str) -> Relay:
    """Load a file with one open route at /in that has a job, and this text in its table."""
    usual = {"path": '"/in"', "verify": '"none"', "job": '"shop.jobs.on_it"'}
    table = dedent(text)
    lines = [f"{key} = {value}" for key, value in usual.items() if not _says(table, key)]
    return read(folder, "\n".join(["[[route]]", *lines, table]), **environ)


def _says(table: str, key: str) -> bool:
    keys = ("job", "deliver", "to") if key == "job" else (key,)
    heads = tuple(head for one in keys for head in (f"{one} =", f"[route.{one}", f"[[route.{one}"))
    return any(line.startswith(heads) for line in table.splitlines())


def refusal(folder: Path, text: str, **environ: str) -> ConfigError:
    """Load a file with this text, and give what is wrong with it."""
    try:
        read(folder, text, **environ)
    except ConfigError as error:
        return error
    raise AssertionError("nothing was wrong with it")


def route_refusal(folder: Path, text: str, **environ: str) -> ConfigError:
    """Load a file with one open route that has a job, and this text in its table, and give what is wrong with it."""
    try:
        route(folder, text, **environ)
    except ConfigError as error:
        return error
    raise AssertionError("nothing was wrong with it")
