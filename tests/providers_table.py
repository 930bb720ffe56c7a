"""Writes the tables of docs/providers.md out of the catalogue and its vectors: `python -m tests.providers_table`."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from trafficrelay.verify import Provider, catalogue

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/providers.md"
VECTORS = ROOT / "tests/vectors"
BEGIN = "<!-- written by `python -m tests.providers_table` -->"
END = "<!-- up to here -->"

HEAD = """\
| provider | how it signs | event's id | again | answer, handshakes | vector |
| --- | --- | --- | --- | --- | --- |
"""

_URL = re.compile(r"https://[^\s,;:)]+(?::[^\s,;)]+)*")
_AGAIN = {True: "yes", False: "no", None: "?"}


def tables() -> str:
    """All tables, a section for each module of the catalogue."""
    modules = [
        importlib.import_module(f"{catalogue.__name__}.{module.name}")
        for module in pkgutil.iter_modules(catalogue.__path__)
    ]
    sections = [_section(module) for module in sorted(modules, key=_heading) if _rows(module)]
    return "\n".join(sections)


def page(text: str) -> str:
    """The page with its tables written anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no marks {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _heading(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0].rstrip(".")


def _rows(module: ModuleType) -> list[Provider]:
    found = [value for name, value in vars(module).items() if isinstance(value, Provider) and not name.startswith("_")]
    return sorted(found, key=lambda row: row.title.casefold())


def _section(module: ModuleType) -> str:
    rows = _rows(module)
    lines = "".join(f"| {' | '.join(_cell(cell) for cell in _cells(row))} |\n" for row in rows)
    words = "".join(f"{_wrapped(_words(row))}\n" for row in rows)
    return f"### {_heading(module)}\n\n{HEAD}{lines}\n{words}"


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _cells(row: Provider) -> Iterator[str]:
    yield f"[{row.title}]({row.docs})<br>`{row.name}`"
    yield _signs(row)
    yield f"`{row.dedupe}`" if row.dedupe else "none"
    yield _AGAIN[row.retries]
    yield "<br>".join(_answers(row)) or "any 2xx"
    sources: dict[str, str] = {}
    for vector in _vectors(row):
        if "answer" not in vector:
            sources.setdefault(vector["what"], _source(row, vector))
    yield "<br>".join(sources.values())


def _signs(row: Provider) -> str:
    scheme: Any = row.scheme
    place = getattr(scheme, "place", None)
    headers = [*getattr(place, "headers", ())]
    if getattr(scheme, "time", "").startswith("header:"):
        headers.append(scheme.time.removeprefix("header:"))
    shown = [f"`{name}`" for name in headers] if len(headers) < 4 else [f"`{headers[0]}`", "…", f"`{headers[-1]}`"]
    within = f", within {_time(scheme.tolerance)}" if scheme.tolerance is not None else ""
    return "<br>".join([f"{scheme.title}{within}", *([" ".join(shown)] if shown else [])])


def _time(seconds: int) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit and unit != 60:
            return f"{round(seconds / unit)} {name}"
    return f"{seconds} s" if seconds % 60 else f"{seconds // 60} min"


def _answers(row: Provider) -> Iterator[str]:
    if row.reply is not None:
        yield str(row.reply.status)
    for handshake in row.handshakes:
        yield f"{handshake.method} {handshake.title}, {'signed' if handshake.signed else 'unsigned'}"


def _vectors(row: Provider) -> list[dict[str, Any]]:
    file = VECTORS / f"{row.name}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.exists() else []
    return found


def _source(row: Provider, vector: dict[str, Any]) -> str:
    """Say in a few words who signed a vector; the file that is linked where no page is says it in full."""
    said = str(vector["source"]).removeprefix("SDK ")
    url = _URL.search(said)
    if url is not None:
        return f"[{vector['what']}]({url[0]})"
    short = re.split(r"[,;:]| \(", said)[0]
    return f"[{vector['what']}](../tests/vectors/{row.name}.json): {short}"


def _words(row: Provider) -> str:
    options = [name for name in inspect.signature(row).parameters if name != "secret"]  # type: ignore[arg-type]
    call = ", ".join(["secret", *(f"{name}=" for name in options)])
    note = f" {row.note}" if row.note else ""
    return f"`{row.name}({call})`: {row.needs}.{note}".replace("..", ".")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
