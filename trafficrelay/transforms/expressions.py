"""JMESPath: what a step finds in the data, or whether a condition holds. Compiled once, checked when declared."""

from __future__ import annotations

import difflib
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import DeclarationError, TransformError

MAX_EXPRESSION: Final = 10_000
"""Characters that an expression may have; the parser calls itself for each level of it."""

_INSTALL: Final = "pip install 'trafficrelay[steps]'"


@dataclass(frozen=True, slots=True)
class Expression:
    """A JMESPath expression that was checked.

    It runs over data that strangers sent. What it can cost is bounded by the expression, which its author wrote: there
    is no way to loop, to name the root from inside, or to recurse into the data, so the time grows with the size of the
    data (n log n where it sorts). What the data can do is to be of another type than a function takes; that is a
    TransformError.

    Attributes:
        text: the expression.
        literal: whether it holds an object or a list of its own, which every result would share.
        find: gives what it finds in data, `None` where there is nothing.
    """

    text: str
    literal: bool = field(compare=False)
    find: Callable[[Any], Any] = field(repr=False, compare=False)


def expression(text: Any, option: str) -> Expression:
    """Compile a JMESPath expression.

    What the library finds out only when it runs is checked here: the names of functions, how many arguments they take,
    and text in double quotes, which JMESPath reads as a field's name.

    Args:
        text: the expression.
        option: what declares it, for errors.

    Raises:
        DeclarationError: it is none, or the package jmespath is missing.
    """
    if not isinstance(text, str) or not text.strip():
        raise DeclarationError(
            f"{option} takes a JMESPath expression, such as \"type == 'order'\", not {text!r}.", option=option
        )
    if len(text) > MAX_EXPRESSION:
        raise DeclarationError(f"The expression of {option} is longer than {MAX_EXPRESSION} characters.", option=option)
    try:
        # Here and not above, because importing it takes 20 ms (measured) and most programs declare no such step.
        import jmespath
        from jmespath import exceptions, lexer, visitor
        from jmespath.functions import Functions
    except ImportError as error:
        raise DeclarationError(f"{option} needs the package jmespath: {_INSTALL}", option=option) from error
    try:
        with warnings.catch_warnings():
            # `text` in backticks without quotes is an old way to write 'text' that is still read.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            tree = jmespath.compile(text).parsed
            tokens = list(lexer.Lexer().tokenize(text))
    except exceptions.ParseError as error:
        raise DeclarationError(
            f"The expression of {option} cannot be read at character {error.lex_position + 1}: {text!r:.200}.",
            option=option,
        ) from error
    except (exceptions.JMESPathError, RecursionError) as error:
        raise DeclarationError(f"The expression of {option} cannot be read: {text!r:.200}.", option=option) from error
    _check_quotes(tokens, text, option)
    nodes = list(_nodes(tree))
    for node in nodes:
        if node["type"] == "function_expression":
            _check_call(node, Functions.FUNCTION_TABLE, option)
    literal = any(node["type"] == "literal" and isinstance(node["value"], dict | list) for node in nodes)
    # One interpreter for all events: `search` would make one for each. It keeps nothing but its own methods.
    visit = visitor.TreeInterpreter().visit

    def find(data: Any) -> Any:
        try:
            return visit(tree, data)
        except exceptions.JMESPathTypeError as error:
            raise TransformError(
                f"The expression {text!r:.200} does not fit the data: {error.function_name}() was given a value of "
                f"type {error.actual_type} and takes {_kinds(error.expected_types)}."
            ) from None
        except Exception as error:
            # A text compared with a number is Python's TypeError, a number without end its OverflowError, and so on.
            # Its words may hold the value, and so may the error itself, which is why it is not chained.
            raise TransformError(
                f"The expression {text!r:.200} does not fit the data: {type(error).__name__}."
            ) from None

    return Expression(text, literal, find)


def is_true(value: Any) -> bool:
    """Say whether JMESPath takes a value for true: all but `false`, null, `""`, `[]` and `{}`. 0 is true."""
    return value is not None and value is not False and value not in ("", [], {})


def condition(text: str, option: str = "when") -> Callable[[Any], bool]:
    """Compile a condition over data: `condition("type == 'order' && total > `100`")`.

    Args:
        text: a JMESPath expression. It holds where its result is not `false`, null, `""`, `[]` or `{}`.
        option: what declares it, for errors.

    Returns:
        A function that says whether it holds. It raises TransformError where the data is of a type that a function or a
        comparison in it does not take.

    Raises:
        DeclarationError: it is no expression, or the package jmespath is missing.
    """
    find = expression(text, option).find
    return lambda data: is_true(find(data))


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(current.get("children", ()))


def _check_quotes(tokens: Sequence[Mapping[str, Any]], text: str, option: str) -> None:
    """Refuse `type == "order"`: JMESPath compares with the field `order`, and the condition never holds."""
    for before, token in itertools.pairwise(tokens):
        if token["type"] == "quoted_identifier" and before["type"] in ("eq", "ne", "gt", "gte", "lt", "lte"):
            name = token["value"]
            raise DeclarationError(
                f'The expression of {option}, {text!r:.200}, compares with "{name}", which JMESPath reads as the field '
                f"of that name. Write text in single quotes: '{name}'. (If the field is meant, put it on the left.)",
                option=option,
            )


def _check_call(node: dict[str, Any], table: dict[str, Any], option: str) -> None:
    name = node["value"]
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"Did you mean {near[0]}()?" if near else f"It has {', '.join(sorted(table))}."
        raise DeclarationError(f"JMESPath has no function {name}(), which {option} calls. {hint}", option=option)
    signature, given = table[name]["signature"], node["children"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if len(given) < len(signature) or (len(given) > len(signature) and not variadic):
        least = "at least " if variadic else ""
        plural = "" if len(signature) == 1 else "s"
        raise DeclarationError(
            f"In the expression of {option} {name}() takes {least}{len(signature)} argument{plural}, not {len(given)}.",
            option=option,
        )
    for wanted, child in zip(signature, given, strict=False):
        if "expref" in wanted["types"] and child["type"] != "expref":
            raise DeclarationError(
                f"In the expression of {option} {name}() takes an expression with & before it: {name}(items, &price).",
                option=option,
            )


def _kinds(expected: Any) -> str:
    return " or ".join(str(kind) for kind in expected)
