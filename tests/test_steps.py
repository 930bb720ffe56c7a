"""What each ready step does to the data, and where it cannot apply."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support import make_event
from trafficrelay import DROP, Rejected, TransformError
from trafficrelay import transforms as t
from trafficrelay.transforms import Step

KEY = "a key of sixteen bytes or more"

ORDER = {
    "id": 7,
    "customer": {"name": "Ada", "email": "ada@example.com", "card": None},
    "items": [{"sku": "a", "price": "1.50"}, {"sku": "b"}],
    "note": "",
}


def after(step: Step, data: Any = ORDER, **fields: Any) -> Any:
    """Give what a step makes of data, and see that the data itself stays as it was."""
    before = copy.deepcopy(data)
    try:
        return step(make_event(data=data, **fields))
    finally:
        assert data == before


@pytest.mark.parametrize(
    ("step", "data"),
    [
        (t.keep("id"), {"id": 7}),
        (t.keep(["id", "note"]), {"id": 7, "note": ""}),
        (t.keep("customer.name"), {"customer": {"name": "Ada"}}),
        (t.keep("items.*.price"), {"items": [{"price": "1.50"}, {}]}),
        (t.keep("items[*].price"), {"items": [{"price": "1.50"}, {}]}),
        (t.keep("items.1"), {"items": [{"sku": "b"}]}),
        (t.keep("items[0].sku"), {"items": [{"sku": "a"}]}),
        (t.keep("**.email"), {"customer": {"email": "ada@example.com"}}),
        (t.keep("*.name"), {"customer": {"name": "Ada"}, "items": []}),
        (t.keep("id.deeper", "gone", "items.9"), {"items": []}),
        (t.omit("customer", "items", "gone"), {"id": 7, "note": ""}),
        (
            t.omit("items.0", "customer.name", "**.email"),
            {**ORDER, "items": [{"sku": "b"}], "customer": {"card": None}},
        ),
    ],
)
def test_keep_and_omit_give_what_their_paths_say(step: Step, data: Any) -> None:
    assert after(step) == data


@pytest.mark.parametrize("data", ["text", b"bytes", 7, None])
def test_keep_lets_nothing_pass_that_was_not_named(data: Any) -> None:
    assert after(t.keep("id"), data) == {}


def test_keep_of_a_list_keeps_a_list() -> None:
    assert after(t.keep("*.sku"), ORDER["items"]) == [{"sku": "a"}, {"sku": "b"}]
    assert after(t.keep("sku"), ORDER["items"]) == []


def test_a_key_of_digits_is_a_key_in_an_object_and_an_index_in_a_list() -> None:
    assert after(t.keep("a.0"), {"a": {"0": "x", "1": "y"}}) == {"a": {"0": "x"}}
    assert after(t.keep("a.0"), {"a": ["x", "y"]}) == {"a": ["x"]}


@pytest.mark.parametrize("path", ["first\\.name", ("first.name",), [["first.name"]]])
def test_a_key_with_a_dot_can_be_named(path: Any) -> None:
    data = {"first.name": "Ada", "first": {"name": "Bob"}}

    assert after(t.keep(path), data) == {"first.name": "Ada"}


def test_redact_replaces_values_objects_and_nulls_and_nothing_else() -> None:
    redacted = after(t.redact("customer", "items.*.price", "gone", "note"))

    assert redacted == {
        "id": 7,
        "customer": "[redacted]",
        "items": [{"sku": "a", "price": "[redacted]"}, {"sku": "b"}],
        "note": "[redacted]",
    }
    assert after(t.redact("customer.card", with_=None)) == ORDER


def test_redact_finds_a_field_at_any_depth() -> None:
    data = {"email": "a", "list": [[{"email": {"email": "b"}}], "email"], "x": {"y": {"email": None}}}

    redacted = after(t.redact("**.email", with_=0), data)

    assert redacted == {"email": 0, "list": [[{"email": 0}], "email"], "x": {"y": {"email": 0}}}


def test_hash_is_an_hmac_of_the_value_and_leaves_null() -> None:
    hashed = after(t.hash("customer.email", "id", "customer.card", "items", key=KEY))

    assert hashed["customer"]["email"] == hmac.new(KEY.encode(), b"ada@example.com", hashlib.sha256).hexdigest()
    assert hashed["id"] == hmac.new(KEY.encode(), b"7", hashlib.sha256).hexdigest()
    assert hashed["customer"]["card"] is None
    assert len(hashed["items"]) == 64


def test_hash_does_not_mind_the_order_of_keys() -> None:
    one, other = (after(t.hash("a", key=KEY), {"a": data}) for data in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))

    assert one == other


def test_the_key_of_a_hash_is_in_no_text() -> None:
    step = t.hash("a", key=KEY)

    assert KEY not in f"{step} {step!r} {t.Chain([step])!r}"


@pytest.mark.parametrize(
    ("names", "data", "renamed"),
    [
        ({"a": "b"}, {"a": 1, "c": 2}, {"b": 1, "c": 2}),
        ({"a": "b", "b": "a"}, {"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"a": "b", "b": "c"}, {"a": 1, "b": 2}, {"b": 1, "c": 2}),
        ({"a": "x.y"}, {"a": 1}, {"x": {"y": 1}}),
        ({"a": "a.b"}, {"a": 1}, {"a": {"b": 1}}),
        ({"a.b": "c"}, {"a": {"b": 1, "d": 2}}, {"a": {"d": 2}, "c": 1}),
        ({"a": "b"}, {"a": 1, "b": None}, None),
        # A path means a place as it was before anything moved.
        ({"x.0": "y", "x.1.a": "x.1.b"}, {"x": ["A", {"a": 1}, {"c": 2}]}, {"y": "A", "x": [{"b": 1}, {"c": 2}]}),
        ({"x.0": "y", "z": "x.0"}, {"x": [1, 2], "z": 3}, {"y": 1, "x": [3, 2]}),
        ({"x.0": "x.1", "x.1": "x.0"}, {"x": [1, 2, 3]}, {"x": [2, 1, 3]}),
        ({"x.0": "x.1.b", "x.1": "y"}, {"x": [1, 2, 3]}, {"x": [{"b": 1}, 3], "y": 2}),
        ({"x.*.old": "x.*.new"}, {"x": [{"old": 1}, {}, 3]}, {"x": [{"new": 1}, {}, 3]}),
        ({"x.*.a": "x.*.b", "x": "y"}, {"x": [{"a": 1}]}, {"y": [{"b": 1}]}),
        ({"x.0": "first"}, {"x": [1, 2]}, {"x": [2], "first": 1}),
        ({"gone": "b"}, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ({"a": "b"}, ["a"], ["a"]),
    ],
)
def test_rename_moves_fields_all_at_once(names: dict[str, str], data: Any, renamed: Any) -> None:
    if renamed is None:
        with pytest.raises(TransformError, match="b is there already"):
            after(t.rename(names), data)
        return

    assert after(t.rename(names), data) == renamed


def test_rename_replaces_what_is_in_the_place_only_when_told_to() -> None:
    data = {"a": 1, "b": {"c": 2}}

    with pytest.raises(TransformError, match=r"^b\.c is there already\.$"):
        after(t.rename({"a": "b.c"}), data)
    assert after(t.rename({"a": "b.c"}, overwrite=True), data) == {"b": {"c": 1}}
    assert after(t.rename({"a": "b.c"}, invalid="skip"), data) == data
    assert after(t.rename({"a": "b.c"}, invalid="drop"), data) is DROP


def test_set_puts_values_and_makes_the_parents_that_are_missing() -> None:
    put = after(t.set({"source": "shop", "meta.tags": ["x"], "items.*.currency": "EUR", "customer.card": 1}))

    assert put["source"] == "shop"
    assert put["meta"] == {"tags": ["x"]}
    assert [item["currency"] for item in put["items"]] == ["EUR", "EUR"]
    assert put["customer"]["card"] == 1


def test_what_set_puts_is_fresh_for_each_event() -> None:
    step = t.set({"tags": ["x"]})

    step(make_event(data={}))["tags"].append("y")

    assert step(make_event(data={})) == {"tags": ["x"]}


@pytest.mark.parametrize("data", [{"a": "text"}, {"a": [1]}])
def test_set_does_nothing_of_what_it_is_to_do_where_a_parent_is_no_object(data: Any) -> None:
    step = {"b": 1, "a.x.y": 2, "c": 3}

    with pytest.raises(TransformError, match=r"^a is "):
        after(t.set(step), data)
    with pytest.raises(Rejected, match=r"^a is "):
        after(t.set(step, invalid="reject"), data)
    assert after(t.set(step, invalid="skip"), data) is data


def test_set_replaces_the_item_of_a_list_that_is_there() -> None:
    assert after(t.set({"items.1": 0}))["items"] == [{"sku": "a", "price": "1.50"}, 0]
    with pytest.raises(TransformError, match="items is a list without 2"):
        after(t.set({"items.2": 0}))


def test_default_fills_what_is_absent_and_null_only_when_told_to() -> None:
    values = {"note": "x", "customer.card": "x", "customer.city.zip": "x", "items.*.price": "0"}

    filled = after(t.default(values))

    assert filled["note"] == ""
    assert filled["customer"] == {**ORDER["customer"], "city": {"zip": "x"}}  # type: ignore[dict-item]
    assert [item["price"] for item in filled["items"]] == ["1.50", "0"]
    assert after(t.default(values, null=True))["customer"]["card"] == "x"


@pytest.mark.parametrize(
    ("kind", "value", "turned"),
    [
        ("int", 7, 7),
        ("int", 7.0, 7),
        ("int", " -7 ", -7),
        ("float", 7, 7.0),
        ("float", "7.5", 7.5),
        ("float", "1e3", 1000.0),
        ("str", 7, "7"),
        ("str", 7.5, "7.5"),
        ("str", True, "true"),
        ("bool", "No", False),
        ("bool", 1, True),
        ("decimal", "+010.50", "10.50"),
        ("decimal", 1e-7, "0.0000001"),
        ("decimal", 12, "12"),
        ("datetime", 1772366400, "2026-03-01T12:00:00+00:00"),
        ("datetime", "1772366400.5", "2026-03-01T12:00:00.500000+00:00"),
        ("datetime", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00"),
        ("datetime", "2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00+00:00"),
        ("datetime", "2026-03-01 12:00", "2026-03-01T12:00:00+00:00"),
        ("datetime", "20260301", "2026-03-01T00:00:00+00:00"),
        ("datetime_ms", 1772366400123, "2026-03-01T12:00:00.123000+00:00"),
        (int, "7", 7),
        ("int", None, None),
    ],
)
def test_cast_turns_values_into_other_types(kind: Any, value: Any, turned: Any) -> None:
    result = after(t.cast({"a.*": kind}), {"a": [value]})["a"][0]

    assert result == turned
    assert type(result) is type(turned)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("int", value) for value in (True, 7.5, 1e300, "7.5", "", "0x7", "1_000", "٣", "9" * 4_001, [], {})],
        *[("float", value) for value in (True, "nan", "inf", "1e999", "", "1_0", 10**400, [])],
        *[("str", value) for value in ([], {}, b"x", 10**4_001)],
        *[("bool", value) for value in (2, 1.0, "maybe", "", [])],
        *[("decimal", value) for value in (True, "1e5", "NaN", "1" * 401, "")],
        *[("datetime", value) for value in (True, "", "yesterday", 1772366400123, "2026-02-30", 10**400, [], 1e300)],
    ],
)
def test_cast_refuses_what_would_lose_or_guess_and_names_no_value(kind: str, value: Any) -> None:
    with pytest.raises(Rejected) as caught:
        after(t.cast({"a": kind}), {"a": value})

    assert caught.value.status == 422
    assert caught.value.detail.startswith("a is n")
    assert len(caught.value.detail) < 40


def test_cast_turns_all_fields_or_none() -> None:
    step = {"a": "int", "b": "int", "c.*": "int"}
    data = {"a": "1", "b": "2", "c": ["3", "x"]}

    with pytest.raises(Rejected, match=r"^c\.1 is no whole number\.$"):
        after(t.cast(step), data)
    with pytest.raises(TransformError):
        after(t.cast(step, invalid="error"), data)
    assert after(t.cast(step, invalid="drop"), data) is DROP
    assert after(t.cast(step, invalid="skip"), data) is data


MISSING = [
    lambda **options: t.keep("id", "gone.deep", **options),
    lambda **options: t.omit("id", "gone.deep", **options),
    lambda **options: t.redact("id", "gone.deep", **options),
    lambda **options: t.hash("id", "gone.deep", key=KEY, **options),
    lambda **options: t.cast({"id": "str", "gone.deep": "int"}, **options),
    lambda **options: t.rename({"id": "new", "gone.deep": "other"}, **options),
]


@pytest.mark.parametrize("make", MISSING)
def test_a_missing_field_does_what_its_option_says(make: Any) -> None:
    assert after(make(missing="drop")) is DROP
    with pytest.raises(Rejected, match=r"^gone is missing\.$") as caught:
        after(make(missing="reject"))
    assert caught.value.status == 422
    with pytest.raises(TransformError, match=r"^gone is missing\.$"):
        after(make(missing="error"))
    assert after(make()) == after(make(missing="skip")) != ORDER


def test_a_star_wants_the_field_in_each_of_what_there_is() -> None:
    with pytest.raises(Rejected, match=r"^items\.1\.price is missing\.$"):
        after(t.keep("items.*.price", missing="reject"))
    with pytest.raises(Rejected, match=r"^note\.\* is missing\.$"):
        after(t.keep("note.*.price", missing="reject"))
    assert after(t.keep("items.*.price", missing="reject"), {"items": []}) == {"items": []}


def test_two_stars_want_the_field_somewhere() -> None:
    assert after(t.keep("**.price", missing="reject")) == {"items": [{"price": "1.50"}]}
    with pytest.raises(Rejected, match=r"^\*\*\.phone is missing\.$"):
        after(t.keep("**.phone", missing="reject"))


def test_select_takes_what_an_expression_finds() -> None:
    assert after(t.select("{id: id, skus: items[].sku}")) == {"id": 7, "skus": ["a", "b"]}


def test_select_that_finds_nothing_is_an_error_unless_it_says_otherwise() -> None:
    with pytest.raises(TransformError, match=r"^gone finds nothing"):
        after(t.select("gone"))
    with pytest.raises(Rejected):
        after(t.select("gone", missing="reject"))
    assert after(t.select("gone", missing="drop")) is DROP
    assert after(t.select("gone", missing="skip")) is ORDER


def test_the_literals_of_an_expression_are_fresh_for_each_event() -> None:
    step = t.select("`[1]`")

    step(make_event()).append(2)

    assert step(make_event()) == [1]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("id == `7`", True),
        ("customer.name == 'Ada' && length(items) > `1`", True),
        ("note", False),
        ("gone", False),
        ("customer.card", False),
        ("`0`", True),
        ("items[?sku == 'z']", False),
        ("`[]` || `{}` || ''", False),
        ("!gone", True),
    ],
)
def test_conditions_hold_as_jmespath_has_it(condition: str, holds: bool) -> None:
    assert after(t.only_if(condition)) is (ORDER if holds else DROP)
    assert after(t.drop_if(condition)) is (DROP if holds else ORDER)
    assert t.condition(condition)(ORDER) is holds


@pytest.mark.parametrize(
    "expression", ["length(gone)", "id > 'x'", "sort(items)", "sort_by(items, &price)", "items[::0]"]
)
def test_data_that_an_expression_cannot_work_on_is_an_error_without_the_value(expression: str) -> None:
    with pytest.raises(TransformError, match="does not fit the data") as caught:
        after(t.only_if(expression))
    assert "Ada" not in str(caught.value)
    with pytest.raises(TransformError):
        t.condition(expression)(ORDER)
    with pytest.raises(Rejected) as refused:
        after(t.select(expression, invalid="reject"))
    assert expression not in refused.value.detail
    assert after(t.drop_if(expression, invalid="drop")) is DROP
    assert after(t.drop_if(expression, invalid="skip")) is ORDER


def test_split_gives_the_items_of_a_list() -> None:
    assert list(after(t.split("items"))) == ORDER["items"]
    assert list(after(t.split(), [1, 2])) == [1, 2]
    assert list(after(t.split(True), [1, 2])) == [1, 2]
    assert list(after(t.split("a"), {"a": []})) == []


def test_split_gives_each_item_with_the_rest_of_the_data_when_told_to() -> None:
    split = list(after(t.split("items", rest=True)))

    assert split == [{**ORDER, "items": item} for item in ORDER["items"]]  # type: ignore[attr-defined]


def test_split_of_what_is_no_list_does_what_its_options_say() -> None:
    with pytest.raises(TransformError, match=r"^note is no list"):
        after(t.split("note"))
    with pytest.raises(TransformError, match=r"^gone is missing"):
        after(t.split("gone"))
    with pytest.raises(Rejected):
        after(t.split("note", invalid="reject"))
    assert after(t.split("note", invalid="drop")) is DROP
    assert after(t.split("gone", missing="skip")) is ORDER


def test_with_request_adds_what_was_chosen() -> None:
    step = t.with_request(headers=["X-Shop", "X-Gone"], query=["q"], params=["shop"], address=True, method=True)

    added = after(step, {"id": 1}, headers={"x-shop": "acme", "X-Other": "no"}, query={"q": ["1", "2"], "token": "no"})

    assert added == {
        "id": 1,
        "request": {
            "headers": {"X-Shop": "acme"},
            "query": {"q": ["1", "2"]},
            "params": {"shop": "acme"},
            "address": "192.0.2.7",
            "method": "POST",
        },
    }


def test_with_request_replaces_what_the_sender_says_of_the_request() -> None:
    added = after(t.with_request(address=True, under="from"), {"from": {"address": "10.0.0.1"}})

    assert added == {"from": {"address": "192.0.2.7"}}


def test_with_request_puts_data_that_is_no_object_beside_it() -> None:
    assert after(t.with_request({"method": True}), [1]) == {"data": [1], "request": {"method": "POST"}}


def test_with_request_does_what_its_option_says_where_the_request_lacks_something() -> None:
    with pytest.raises(Rejected, match=r"^The request has no X-Shop in its headers"):
        after(t.with_request(headers=["X-Shop"], missing="reject"))
    assert after(t.with_request(query="q", missing="drop")) is DROP


SCHEMA = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "integer"},
        "email": {"type": "string", "format": "email"},
        "items": {"items": {"properties": {"price": {"minimum": 0}, "kind": {"enum": ["a", "b"]}}}},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ([], "The data is of another type than object (type)."),
        ({}, "The data has no id (required)."),
        ({"id": "secret"}, "id is of another type than integer (type)."),
        ({"id": 1, "items": [{}, {"price": -77}]}, "items.1.price is not what the schema allows (minimum)."),
        ({"id": 1, "items": [{"kind": "secret"}]}, "items.0.kind is not what the schema allows (enum)."),
        ({"id": 1, "secret\r\nX: y": 1}, "The data is not what the schema allows (additionalProperties)."),
    ],
)
def test_validate_answers_with_the_place_and_the_keyword(data: Any, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        after(t.validate(SCHEMA), data)

    assert (caught.value.status, caught.value.detail) == (422, detail)


def test_validate_lets_pass_what_the_schema_allows_as_it_is() -> None:
    data = {"id": 1, "email": "no address"}

    assert after(t.validate(SCHEMA), data) is data
    with pytest.raises(Rejected, match=r"^email is not what the schema allows .format.[.]$"):
        after(t.validate(SCHEMA, formats=True), data)
    assert after(t.validate(SCHEMA, invalid="drop"), {}) is DROP


def test_validate_asks_for_the_first_fault_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # A megabyte can hold half a million, and to find them all takes gigabytes.
    class FirstFault:
        def __init__(self, schema: Any, **options: Any) -> None:
            self.validate = compile_(schema, **options).validate

    compile_ = jsonschema_rs.validator_for
    monkeypatch.setattr(jsonschema_rs, "validator_for", FirstFault)

    with pytest.raises(Rejected, match=r"^0 is of another type than string .type.\.$"):
        after(t.validate({"items": {"type": "string"}}), [1, 2, 3])
    assert after(t.validate({"items": {"type": "string"}}), ["a"]) == ["a"]


def test_validate_reads_a_schema_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.json").write_text(json.dumps(SCHEMA))
    monkeypatch.chdir(tmp_path)

    step = t.validate("order.json")

    assert str(step) == "validate by order.json"
    assert after(step, {"id": 1}) == {"id": 1}


@pytest.mark.parametrize("data", [b"bytes", {1: 2}])
def test_validate_refuses_what_json_cannot_say(data: Any) -> None:
    with pytest.raises(Rejected):
        after(t.validate(True), data)


def test_the_place_that_validate_names_is_one_short_line_of_ascii() -> None:
    key = "key \r\nLocation: x " + "\u2028ö" * 500
    data: Any = "secret"
    for _ in range(50):
        data = {key: data}

    with pytest.raises(Rejected) as caught:
        after(t.validate({"additionalProperties": {"$ref": "#"}, "not": {"const": "secret"}}), data)

    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300
