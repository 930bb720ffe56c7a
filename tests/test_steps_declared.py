"""What is wrong with a step is said when it is declared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import make_event
from trafficrelay import DeclarationError
from trafficrelay import transforms as t
from trafficrelay.event import CREDENTIAL_HEADERS
from trafficrelay.transforms import STEPS

KEY = "a key of sixteen bytes or more"


@pytest.mark.parametrize(
    ("declare", "option", "words"),
    [
        (t.keep, "keep", "given none"),
        (lambda: t.keep([]), "keep", "given none"),
        (lambda: t.keep(""), "keep", "empty key"),
        (lambda: t.keep("a..b"), "keep", "empty key"),
        (lambda: t.keep("a", ["b", "c"]), "keep", "is a tuple here"),
        (lambda: t.keep(7), "keep", "takes paths such as"),
        (lambda: t.keep(("a", "")), "keep", "takes paths such as"),
        (lambda: t.keep("a*b"), "keep", "cannot be read at"),
        (lambda: t.keep("a[b"), "keep", "cannot be read at"),
        (lambda: t.keep("a.[-1]"), "keep", "empty key"),
        (lambda: t.keep("a[-1]"), "keep", "counted from 0"),
        (lambda: t.keep("$.a"), "keep", 'write it without: "a"'),
        (lambda: t.keep("$"), "keep", 'begins with "$"'),
        (lambda: t.keep("$[0].a"), "keep", 'begins with "$"'),
        (lambda: t.redact('customer["email"]'), "redact", "has a key in quotes"),
        (lambda: t.redact("customer['email']"), "redact", "has a key in quotes"),
        (lambda: t.redact('customer."e-mail"'), "redact", "has a key in quotes"),
        (lambda: t.redact('"first.name"'), "redact", "has a key in quotes"),
        (lambda: t.redact(r'customer["first\.name"]'), "redact", "has a key in quotes"),
        (lambda: t.keep("a.**"), "keep", "ends with"),
        (lambda: t.keep(".".join("a" * 101)), "keep", "more than 100 keys"),
        (lambda: t.keep(*(f"a{n}" for n in range(1_001))), "keep", "1,000 paths"),
        (lambda: t.keep("a", mising="drop"), "mising", "Did you mean missing?"),
        (lambda: t.keep("a", missing="rejcet"), "missing", "Did you mean reject?"),
        (lambda: t.keep("a", missing=None), "missing", 'one of "skip"'),
        (lambda: t.redact("a", with_=[1]), "with_", "a text, a number"),
        (lambda: t.redact("a", with_=float("nan")), "with_", "a text, a number"),
        (lambda: t.hash("a"), "hash", "'key'"),
        (lambda: t.hash("a", key=None), "key", "found from plain hashes"),
        (lambda: t.hash("a", key=""), "key", "found from plain hashes"),
        (lambda: t.hash("a", key="short"), "key", "5 bytes; it needs 16"),
        (lambda: t.rename({}), "rename", "takes a table"),
        (lambda: t.rename(["a", "b"]), "rename", "takes a table"),
        (lambda: t.rename({"a": 1}), "rename", "takes paths"),
        (lambda: t.rename({"a": "x", "b": "x"}), "rename", "two fields to"),
        (lambda: t.rename({"a": "x", "b": "x.y"}), "rename", "two fields to"),
        (lambda: t.rename({"a": "x", "a.b": "y"}), "rename", "Make two steps"),
        (lambda: t.rename({"a.*.b": "c"}), "rename", "both must be the same"),
        (lambda: t.rename({"a.*": "a.*"}), "rename", "after the last wildcard"),
        (lambda: t.rename({"**.a": "**.b"}), "rename", "takes no **"),
        (lambda: t.rename({"a.b.c": "a"}), "rename", "which it is in, unless you say overwrite=True"),
        (lambda: t.rename({"a": "b"}, overwrite="yes"), "overwrite", "True or False"),
        (lambda: t.set({"a": object()}), "set", "cannot be said in JSON"),
        (lambda: t.set({"**.a": 1}), "set", "with its **"),
        (lambda: t.set({"a.b": 1, ("a", "b"): 2}), "set", "twice"),
        (lambda: t.set({"a": 1}, missing="drop"), "missing", "It has invalid"),
        (lambda: t.default({"a": 1}, null=1), "null", "True or False"),
        (lambda: t.default("a"), "default", "takes a table"),
        (lambda: t.cast({"a": "integer"}), "cast", "Did you mean int?"),
        (lambda: t.cast({"a": list}), "cast", "There are int"),
        (lambda: t.cast({"a": "int"}, invalid="ignore"), "invalid", "is one of"),
        (lambda: t.only_if(""), "only_if", "takes a JMESPath expression"),
        (lambda: t.only_if("a =="), "only_if", "at character 5"),
        (lambda: t.only_if("a = 'b'"), "only_if", "cannot be read"),
        (lambda: t.only_if('type == "order"'), "only_if", "Write text in single quotes: 'order'"),
        (lambda: t.drop_if("lenght(a)"), "drop_if", "Did you mean length()?"),
        (lambda: t.drop_if("length(a, b)"), "drop_if", "takes 1 argument, not 2"),
        (lambda: t.drop_if("not_null()"), "drop_if", "takes at least 1 argument, not 0"),
        (lambda: t.select("sort_by(a, b)"), "select", "with & before it"),
        (lambda: t.select("(" * 5_000), "select", "cannot be read"),
        (lambda: t.select("a" * 10_001), "select", "longer than"),
        (lambda: t.select(None), "select", "takes a JMESPath expression"),
        (lambda: t.condition("a =="), "when", "at character 5"),
        (lambda: t.split("a.*"), "split", "several lists"),
        (lambda: t.split("a", rest=1), "rest", "True or False"),
        (lambda: t.split("a", "b"), "split", "cannot be called so"),
        (t.with_request, "with_request", "adds nothing"),
        (lambda: t.with_request({"header": ["a"]}), "header", "Did you mean headers?"),
        (lambda: t.with_request("X-Shop"), "with_request", "takes a table"),
        (lambda: t.with_request(headers=["bad name"]), "headers", "no header's name"),
        (lambda: t.with_request(headers=7), "headers", "list of names"),
        (lambda: t.with_request(address=1), "address", "True or False"),
        (lambda: t.with_request(address=True, under=""), "under", "the key"),
        (lambda: t.validate({"type": "strin"}), "validate", "no valid JSON Schema, at type"),
        (lambda: t.validate({"pattern": "("}), "validate", "no valid JSON Schema"),
        (lambda: t.validate({"$schema": "http://json-schema.org/draft-03/schema#"}), "validate", "cannot use"),
        (lambda: t.validate({"$ref": "#/$defs/no"}), "validate", "does not exist"),
        (lambda: t.validate({"format": "emial"}, formats=True), "validate", "emial"),
        (lambda: t.validate("no/such.json"), "validate", "No such file"),
        (lambda: t.validate(7), "validate", "as a dict, or the path"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(declare: Callable[[], object], option: str, words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare()

    assert caught.value.option == option
    assert words in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", sorted(CREDENTIAL_HEADERS))
def test_with_request_refuses_credentials(name: str) -> None:
    with pytest.raises(DeclarationError, match="stored nowhere"):
        t.with_request(headers=[name.title()])


def test_with_request_says_which_headers_it_adds() -> None:
    assert t.with_request(headers=["X-Shop"]).headers == {"x-shop"}


def test_a_key_that_is_too_short_is_not_shown() -> None:
    with pytest.raises(DeclarationError) as caught:
        t.hash("a", key="hunter2")

    assert "hunter2" not in str(caught.value)


def test_paths_that_would_need_too_large_an_automaton_are_refused() -> None:
    paths = [f"**.k{n}.*.*.*.*.*.*.*.*.*.*.*.a" for n in range(40)]

    with pytest.raises(DeclarationError, match="too many paths with"):
        t.redact(*paths)


@pytest.mark.parametrize(
    ("name", "value", "options", "text"),
    [
        ("keep", ["a", "b.c"], {"missing": "drop"}, "keep a, b.c (missing: drop)"),
        ("omit", ["a"], {}, "omit a"),
        ("rename", {"old": "new"}, {}, "rename old to new"),
        ("set", {"source": "shop"}, {}, "set source"),
        ("default", {"source": "shop"}, {"null": True}, "default source"),
        ("redact", ["card.number"], {"with": "***"}, "redact card.number"),
        ("hash", ["email"], {"key": KEY}, "hash email"),
        ("cast", {"amount": "int"}, {"missing": "reject"}, "cast amount to int (missing: reject)"),
        ("only_if", "type == 'order'", {}, "only if type == 'order'"),
        ("drop_if", "test", {}, "drop if test"),
        ("split", "items", {}, "split items"),
        ("split", True, {}, "split the data"),
        (
            "with_request",
            {"headers": ["X-Shop"], "address": True},
            {},
            "with_request headers X-Shop, address as request",
        ),
        ("select", "{id:\n  id}", {}, "select {id: id}"),
        ("validate", {"title": "An order"}, {}, "validate by the schema 'An order'"),
    ],
)
def test_each_step_is_declared_from_a_table_and_says_what_it_does(
    name: str, value: Any, options: dict[str, Any], text: str
) -> None:
    step = STEPS[name](value, **options)

    assert str(step) == text
    assert step.name == name
    assert repr(step) == f"Step(name={name!r}, text={text!r}, headers={step.headers!r})"


def test_a_step_does_what_it_does_when_it_is_called_by_hand() -> None:
    assert t.redact("a", **{"with": "*"})(make_event(data={"a": 1})) == {"a": "*"}  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", ["http://127.0.0.1:{port}/x.json", "file://{file}", "{file}", "other.json"])
@pytest.mark.parametrize("identified", [False, True])
def test_validate_fetches_nothing(reference: str, identified: bool, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"type": "integer"}')
    schema = {"$ref": reference.format(port=9, file=other)}
    if identified:
        schema["$id"] = f"file://{tmp_path}/root.json"

    with pytest.raises(DeclarationError, match="Nothing is fetched"):
        t.validate(schema)


def test_a_schema_may_hold_others_that_it_refers_to() -> None:
    schema = {"$ref": "https://shop.example/id", "$defs": {"id": {"$id": "https://shop.example/id", "type": "integer"}}}

    assert t.validate(schema)(make_event(data=7)) == 7


def test_the_draft_is_the_one_that_the_schema_names() -> None:
    # Up to draft 4 `exclusiveMinimum` is a boolean, which 2020-12 refuses.
    schema = {"minimum": 1, "exclusiveMinimum": True}

    step = t.validate({"$schema": "http://json-schema.org/draft-04/schema#", **schema}, invalid="skip")

    assert step(make_event(data=2)) == 2
    with pytest.raises(DeclarationError):
        t.validate(schema)


def test_importing_the_steps_loads_no_library_that_only_some_need() -> None:
    code = "import json, sys, trafficrelay.transforms; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout

    assert not {"jmespath", "jsonschema_rs"} & set(json.loads(printed))


@pytest.mark.parametrize(
    ("module", "declare"), [("jmespath", lambda: t.only_if("a")), ("jsonschema_rs", lambda: t.validate({}))]
)
def test_a_missing_package_is_named_when_a_step_needs_it(
    module: str, declare: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(DeclarationError, match=r"pip install 'trafficrelay\[steps\]'"):
        declare()


def test_keys_with_quotes_and_dollars_can_be_said() -> None:
    data = {"it's": 1, '"q"': 2, "$": 3, "$a": 4}

    assert t.keep("it's", r"\"q\"", r"\$", "$a")(make_event(data=data)) == data
    assert t.keep(('"q"',), ("$",))(make_event(data=data)) == {'"q"': 2, "$": 3}


def test_rename_moves_a_field_to_where_its_object_was_if_that_may_go() -> None:
    assert t.rename({"a.b": "a"}, overwrite=True)(make_event(data={"a": {"b": 1, "c": 2}})) == {"a": 1}


def test_a_key_of_hash_may_hold_what_is_no_utf_8() -> None:
    key = b"\xff" + b"k" * 16
    event = make_event(data={"a": 1})

    assert t.hash("a", key=key.decode("utf-8", "surrogateescape"))(event) == t.hash("a", key=key)(event)
