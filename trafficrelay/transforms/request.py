"""The step with_request: what else the request said, beside its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import DeclarationError
from ..event import CREDENTIAL_HEADERS, Event
from .step import Step, flag, give_up, nearest, noted, outcome, step

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PARTS: Final = ("headers", "query", "params", "address", "method", "under", "missing")


@step("with_request")
def with_request(
    parts: Mapping[str, Any] | None = None,
    *,
    headers: Any = (),
    query: Any = (),
    params: Any = (),
    address: bool = False,
    method: bool = False,
    under: str = "request",
    missing: str = "skip",
) -> Step:
    """Add what else the request said: `with_request(headers=["X-Shop"], params=["shop"], address=True)`.

    It becomes an object under one key of the data: `{"request": {"headers": {"X-Shop": "acme"}, …}}`. If the data has
    that key, it is replaced: what the sender says there must not pass for the relay's word. Data that is no object
    becomes `{"data": …, "request": …}`.

    Args:
        parts: the same as a table, as relay.toml says it.
        headers: names of headers. Those that hold credentials are refused: they are stored nowhere.
        query: keys of the query.
        params: names of the rule's wildcards.
        address: whether to add the sender's address.
        method: whether to add the HTTP method.
        under: the key.
        missing: what happens where the request lacks one of these: `"skip"` (it is left out), `"drop"`, `"reject"`
            (422) or `"error"`.

    Raises:
        DeclarationError: an option is wrong, or names a credential.
    """
    said: dict[str, Any] = {
        "headers": headers,
        "query": query,
        "params": params,
        "address": address,
        "method": method,
        "under": under,
        "missing": missing,
    }
    if parts is not None:
        if not isinstance(parts, Mapping):
            raise DeclarationError(
                'with_request takes a table such as { headers = ["X-Shop"], address = true }; in Python say '
                'with_request(headers=["X-Shop"], address=True).',
                option="with_request",
            )
        for name in parts:
            if name not in said:
                hint = nearest(name, _PARTS) or f"It has {', '.join(_PARTS)}."
                raise DeclarationError(f"with_request has no part {name!r:.80}. {hint}", option=str(name))
        said |= parts
    wanted = {kind: _names(said[kind], kind) for kind in ("headers", "query", "params")}
    for name in wanted["headers"]:
        _check_header(name)
    with_address, with_method = flag(said["address"], "address"), flag(said["method"], "method")
    if not (any(wanted.values()) or with_address or with_method):
        raise DeclarationError(
            'with_request adds nothing; say what: with_request(headers=["X-Shop"], address=True).',
            option="with_request",
        )
    key, lack = said["under"], outcome(said["missing"], "missing")
    if not isinstance(key, str) or not key:
        raise DeclarationError(
            f'under is the key that the request comes under, such as "request", not {key!r}.', option="under"
        )

    def run(data: Any, event: Event) -> Any:
        found: dict[str, Any] = {}
        for kind, source in (("headers", event.headers), ("query", event.query), ("params", event.params)):
            if names := wanted[kind]:
                found[kind] = {name: source[name] for name in names if name in source}
                if lack != "skip" and len(found[kind]) < len(names):
                    absent = next(name for name in names if name not in source)
                    return give_up(lack, data, f"The request has no {absent} in its {kind}.")
        if with_address:
            found["address"] = event.remote_addr
        if with_method:
            found["method"] = event.method
        return {**data, key: found} if isinstance(data, dict) else {"data": data, key: found}

    shown = [f"{kind} {', '.join(names)}" for kind, names in wanted.items() if names]
    shown += ["address"] if with_address else []
    shown += ["method"] if with_method else []
    text = noted(f"with_request {', '.join(shown)} as {key}", missing=(lack, "skip"))
    return Step("with_request", text, run, frozenset(name.lower() for name in wanted["headers"]))


def _names(said: Any, kind: str) -> tuple[str, ...]:
    names = (said,) if isinstance(said, str) else said
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(name, str) and name for name in names
    ):
        raise DeclarationError(
            f'{kind} is a list of names, such as ["{_EXAMPLES[kind]}"], not {said!r:.80}.', option=kind
        )
    return tuple(dict.fromkeys(names))


_EXAMPLES: Final = {"headers": "X-Shop", "query": "campaign", "params": "shop"}


def _check_header(name: str) -> None:
    if not _HEADER.fullmatch(name):
        raise DeclarationError(f"{name!r:.80} is no header's name.", option="headers")
    if name.lower() in CREDENTIAL_HEADERS:
        raise DeclarationError(
            f"The header {name} proves something by being known. Such headers are stored nowhere, so with_request does "
            "not put them into a job.",
            option="headers",
        )
