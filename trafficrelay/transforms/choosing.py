"""Steps of JMESPath: select, only_if, drop_if."""

from __future__ import annotations

from typing import Any

from ..errors import TransformError
from ..event import Event
from ..transform import DROP, MAX_DEPTH, plain
from .expressions import expression, is_true
from .step import Step, give_up, noted, outcome, step


@step("select")
def select(expression_: str, *, missing: str = "error", invalid: str = "error") -> Step:
    """Take what a JMESPath expression finds: `select("{id: id, skus: items[].sku}")`.

    Args:
        expression_: the expression.
        missing: what happens where it finds nothing, which is null in JMESPath: `"error"`, `"skip"` (the data stays),
            `"drop"` or `"reject"` (422).
        invalid: what happens where the data is of a type that a function in it does not take: the same.

    Raises:
        DeclarationError: it is no expression, an option is wrong, or the package jmespath is missing.
    """
    compiled = expression(expression_, "select")
    outcome(missing, "missing")
    outcome(invalid, "invalid")
    shown = _shown(expression_)
    text = noted(f"select {shown}", missing=(missing, "error"), invalid=(invalid, "error"))
    find, literal = compiled.find, compiled.literal

    def run(data: Any, _event: Event) -> Any:
        try:
            found = find(data)
        except TransformError as error:
            return _unfit(invalid, data, error)
        if found is None:
            # The sender is not told the expression: it is the program's own.
            text = "What is taken of the data is missing." if missing == "reject" else f"{shown} finds nothing."
            return give_up(missing, data, text)
        return plain(found, MAX_DEPTH) if literal else found

    return Step("select", text, run)


@step("only_if")
def only_if(condition: str, *, invalid: str = "error") -> Step:
    """Drop the event, or the item, unless a condition holds: `only_if("type == 'order'")`.

    Args:
        condition: a JMESPath expression. It holds where its result is not `false`, null, `""`, `[]` or `{}`.
        invalid: what happens where the data is of a type that a function or a comparison in it does not take:
            `"error"`, `"skip"` (the event goes on), `"drop"` or `"reject"` (422).

    Raises:
        DeclarationError: it is no expression, an option is wrong, or the package jmespath is missing.
    """
    return _conditional("only_if", "only if", condition, invalid, drops=False)


@step("drop_if")
def drop_if(condition: str, *, invalid: str = "error") -> Step:
    """Drop the event, or the item, if a condition holds: `drop_if("test || starts_with(sku, 'x-')")`.

    Args:
        condition: a JMESPath expression. It holds where its result is not `false`, null, `""`, `[]` or `{}`.
        invalid: what happens where the data is of a type that a function or a comparison in it does not take:
            `"error"`, `"skip"` (the event goes on), `"drop"` or `"reject"` (422).

    Raises:
        DeclarationError: it is no expression, an option is wrong, or the package jmespath is missing.
    """
    return _conditional("drop_if", "drop if", condition, invalid, drops=True)


def _conditional(name: str, words: str, condition: str, invalid: str, *, drops: bool) -> Step:
    find = expression(condition, name).find
    outcome(invalid, "invalid")

    def run(data: Any, _event: Event) -> Any:
        try:
            holds = is_true(find(data))
        except TransformError as error:
            return _unfit(invalid, data, error)
        return DROP if holds is drops else data

    return Step(name, noted(f"{words} {_shown(condition)}", invalid=(invalid, "error")), run)


def _unfit(invalid: str, data: Any, error: TransformError) -> Any:
    return give_up(invalid, data, "The data is of other types than expected." if invalid == "reject" else str(error))


def _shown(expression_: str) -> str:
    return " ".join(expression_.split())
