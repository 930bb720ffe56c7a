"""The step validate: data against a JSON Schema that was compiled when the step was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

from ..errors import DeclarationError
from ..event import Event
from .paths import show
from .step import Step, flag, give_up, noted, outcome, step

_INSTALL: Final = "pip install 'trafficrelay[steps]'"

_BACKTRACKS: Final = 1_000
"""Steps back that a pattern may take which looks ahead or behind. With 1,000 a bad one took 0.05 s over a text of 30
KB, with the library's own million 46 s over one of 100 KB (measured with jsonschema-rs 0.60). All others are linear."""


@step("validate")
def validate(schema: Any, *, formats: bool = False, invalid: str = "reject") -> Step:
    """Refuse data that a JSON Schema does not allow: `validate("schemas/order.json")`.

    The answer is 422 and names the place and the keyword at fault, never the value. Drafts 4, 6, 7, 2019-09 and 2020-12
    are known, by `$schema`; without it, it is 2020-12. A `$ref` leads within the schema: nothing is fetched, from the
    network or the disk.

    Args:
        schema: the schema as a dict, or the path of a file with it, relative to the working directory.
        formats: whether `format` is checked too; else it is a comment, as the standard has it.
        invalid: what happens where the data is not allowed: `"reject"` (422), `"error"`, `"drop"` or `"skip"`.

    Raises:
        DeclarationError: it is no valid schema, an option is wrong, or the package jsonschema-rs is missing.
    """
    read, name = _read(schema)
    outcome(invalid, "invalid")
    validator = _compile(read, name, flag(formats, "formats"))
    text = noted(f"validate by {name}", invalid=(invalid, "reject"))

    def run(data: Any, _event: Event) -> Any:
        try:
            # It stops at the first fault. `iter_errors` finds them all first, half a million in a megabyte.
            validator.validate(data)
        except (ValueError, RecursionError, OverflowError) as error:
            words = _sentence(error) if hasattr(error, "instance_path") else "The data is nothing that JSON can say."
            return give_up(invalid, data, words)
        return data

    return Step("validate", text, run)


def _sentence(fault: Any) -> str:
    """Say where the fault is and which keyword found it. What it shows beside the place is the schema's."""
    place = show(fault.instance_path) or "The data"
    keyword = str(fault.kind.name)
    if keyword == "required":
        return f"{place} has no {show([fault.kind.property])} (required)."
    if keyword == "type":
        return f"{place} is of another type than {' or '.join(fault.kind.types)} (type)."
    return f"{place} is not what the schema allows ({show([keyword])})."


def _read(schema: Any) -> tuple[Any, str]:
    if isinstance(schema, Mapping | bool):
        title = schema.get("title") if isinstance(schema, Mapping) else None
        return schema, f"the schema {title!r:.60}" if isinstance(title, str) else "a schema"
    if not isinstance(schema, str | PathLike):
        raise DeclarationError(
            f"validate takes a JSON Schema as a dict, or the path of its file, not {type(schema).__name__}.",
            option="validate",
        )
    path = Path(schema)
    try:
        return json.loads(path.read_bytes()), str(path)
    except OSError as error:
        raise DeclarationError(
            f"validate cannot read the schema {path}: {error.strerror or error}. (It looked in {Path.cwd()}.)",
            option="validate",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DeclarationError(f"The schema {path} is no JSON: {error}.", option="validate") from error


def _compile(schema: Any, name: str, formats: bool) -> Any:
    try:
        # Here and not above, because importing it takes 31 ms (measured) and most programs declare no such step.
        import jsonschema_rs
    except ImportError as error:
        raise DeclarationError(f"validate needs the package jsonschema-rs: {_INSTALL}", option="validate") from error
    bounded = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS)
    failure: ValueError | None = None
    # First with the engine that takes linear time. It refuses patterns that look ahead or behind; the other takes them.
    for patterns in (jsonschema_rs.RegexOptions(), bounded):
        try:
            return jsonschema_rs.validator_for(
                dict(schema) if isinstance(schema, Mapping) else schema,
                validate_formats=formats,
                ignore_unknown_formats=not formats,
                retriever=_fetch_nothing,
                pattern_options=patterns,
            )
        except ValueError as error:
            failure = error
    kind = getattr(getattr(failure, "kind", None), "name", "")
    message = str(getattr(failure, "message", failure))
    if kind == "$ref" or "registry" in message:
        raise DeclarationError(
            f"validate cannot use {name}: {message.partition(' and retrieving')[0]}. Nothing is fetched; put it under "
            '"$defs" of the schema.',
            option="validate",
        ) from failure
    place = show(getattr(failure, "instance_path", ()))
    raise DeclarationError(
        f"validate cannot use {name}, which is no valid JSON Schema{f', at {place}' if place else ''}: {message:.300}.",
        option="validate",
    ) from failure


def _fetch_nothing(uri: str) -> Any:
    raise LookupError(f"{uri} is not fetched")
