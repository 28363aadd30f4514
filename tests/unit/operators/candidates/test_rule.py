"""Rules hold for the documents that a row-by-row reading finds, and anything else is refused without being run."""

import json
import math
import re
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from operators.candidates.rule import Rule, RuleText, fields_of
from operators.documents.metadata import metadata_of
from operators.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"year": 2001, "domain": "law", "cited": True, "share": 0.5, "big": 2**62 + 1},
    {"year": 2010, "domain": "news", "share": 1, "big": 2**62},
    {"domain": "law"},
    {"year": 1999, "a b": "x"},
    {},
]
METADATA = pa.array([json.dumps(row) if row else None for row in ROWS])


def held(text: str, query: dict[str, Any] | None = None) -> list[int]:
    """The rows for which a rule holds."""
    rule = Rule(text)
    return np.flatnonzero(rule(fields_of(METADATA, rule.fields), query or {}, len(ROWS))).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("year < 2010", [0, 3]),
        ("year <= 2010 and domain == 'law'", [0]),
        ("year != 2001", [1, 3]),
        ("not year == 2001", [1, 3]),
        ("domain == 'law' or year > 2005", [0, 1, 2]),
        ("not (domain == 'law' or year > 2005)", []),
        ("2000 < year < 2005", [0]),
        ("domain in ['law', 'sport']", [0, 2]),
        ("domain not in ['law']", [1]),
        ("year in (2001, 1999)", [0, 3]),
        ("cited == True", [0]),
        ("share >= 0.75", [1]),
        ("share > -1", [0, 1]),
        ("document['a b'] == 'x'", [3]),
        ("document.year == 1999", [3]),
        ("nothing == 1", []),
        ("nothing != 1", []),
        ("nothing == 'x' or year == 1999", [3]),
        ("not nothing == 'x'", []),
        ("nothing in ['x']", []),
        ("nothing not in ['x'] or year == 1999", [3]),
        ("nothing == True", []),
        ("year in [1999.0, 0.5]", [3]),
        ("share in [1, 2]", [1]),
        ("year in [2001, 2010.0]", [0, 1]),
        ("year in [2001, 0.5]", [0]),
        ("cited in [True]", [0]),
        ("big == 4611686018427387904.0", [1]),
        ("big in [4611686018427387904.0]", [1]),
        ("big > 0.5", [0, 1]),
        ("big < 99999999999999999999.0", [0, 1]),
        ("year == -9223372036854775808 or year == --2001", [0]),
        ("year < 2005 # old", [0, 3]),
        (" and ".join(["year<3000"] * 130), [0, 1, 3]),
        ("not " * 46 + "year == 1999", [3]),
    ],
)
def test_a_rule_holds_where_it_says(text: str, rows: list[int]) -> None:
    assert held(text) == rows


def test_a_rule_compares_with_the_query() -> None:
    assert held("domain != query.domain", {"domain": "law"}) == [1]
    assert held("domain == query.domain and year < query['the year']", {"domain": "law", "the year": 2005}) == [0]
    assert held("domain != query.domain", {}) == []
    assert held("not domain == query.domain", {"domain": None}) == []
    assert held("nothing == query.domain or year == 2010", {"domain": "law"}) == [1]
    assert held("query.domain in ['law'] or year == 2010", {}) == [1]


def test_what_concerns_documents_alone_is_told_apart() -> None:
    rule = Rule("year < 2010 and domain != query.domain and (cited == True or share > 0)")
    alone, together = rule.parts()
    assert alone is not None
    assert together is not None
    assert alone.fields == ("cited", "share", "year")
    assert (together.fields, together.query_fields) == (("domain",), ("domain",))
    assert Rule.all_of([alone, together]).parts()[0].text == alone.text  # type: ignore[union-attr]
    either = Rule("year < 2010 or domain != query.domain").parts()
    assert either[0] is None
    assert either[1] is not None


def test_a_query_for_each_document_may_come_as_columns() -> None:
    rule = Rule("domain == query.domain and not year == query.year")
    asked = {"domain": pa.array(["law", "law", None, "law", "law"]), "year": pa.array([2000, 2000, 1, 1999, 1])}
    assert rule(fields_of(METADATA, rule.fields), asked, len(ROWS)).tolist() == [True, False, False, False, False]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.data())
def test_any_rule_agrees_with_three_valued_logic(data: st.DataObject) -> None:
    values = st.none() | st.integers(0, 3)
    rows = data.draw(st.lists(st.fixed_dictionaries({"a": values, "b": values}), min_size=1, max_size=6))
    query = {"a": data.draw(values)}

    def condition(depth: int) -> tuple[str, Any]:
        kind = data.draw(st.sampled_from(["compare", "compare", "and", "or", "not"] if depth else ["compare"]))
        if kind == "not":
            text, one = condition(depth - 1)
            return f"not ({text})", lambda row: None if one(row) is None else not one(row)
        if kind in {"and", "or"}:
            (left, one), (right, other) = condition(depth - 1), condition(depth - 1)
            decisive = kind == "or"

            def both(row: dict[str, Any]) -> bool | None:
                found = (one(row), other(row))
                return decisive if decisive in found else None if None in found else not decisive

            return f"({left}) {kind} ({right})", both
        field, operator = data.draw(st.sampled_from("ab")), data.draw(st.sampled_from(["==", "!=", "<", ">="]))
        right = data.draw(st.sampled_from(["0", "2", "query.a"]))

        def compared(row: dict[str, Any]) -> bool | None:
            value, with_ = row[field], query["a"] if right == "query.a" else int(right)
            if value is None or with_ is None:
                return None
            found = {"==": value == with_, "!=": value != with_, "<": value < with_, ">=": value >= with_}
            return bool(found[operator])

        return f"{field} {operator} {right}", compared

    text, oracle = condition(3)
    rule = Rule(text)
    table = fields_of(pa.array([json.dumps(row) for row in rows]), rule.fields)
    expected = [oracle(row) is True for row in rows]
    assert rule(table, query, len(rows)).tolist() == expected
    alone, together = rule.parts()
    parts = [part(table, query, len(rows)) for part in (alone, together) if part is not None]
    assert np.all(parts, axis=0).tolist() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no rule"),
        ("year <", "is no rule"),
        ("year", "is no comparison"),
        ("__import__('os').system('x') == 1", "neither a field"),
        ("year == len(domain)", "neither a field"),
        ("year.real == 1", "neither a field"),
        ("query == 1", "neither a field"),
        ("year in domain", "a list of texts or numbers"),
        ("year in []", "a list of texts or numbers"),
        ("year in [1, 'a']", "a list of texts or of numbers"),
        ("year in [1, True]", "a list of texts or of numbers"),
        ("year in [1] == year", "neither a field"),
        ("year is None", "no such comparison"),
        ("(lambda: 1)() == 1", "neither a field"),
        ("year == 1; x = 2", "is no rule"),
        ("year == 1 if x else 2", "is no comparison"),
        ("year < 99999999999999999999", "64 bits"),
        ("year in [1, -9223372036854775809]", "64 bits"),
        ("domain == '\\ud800'", "half a character"),
        ("domain in ['\\ud800']", "half a character"),
        ("query['\\ud800'] == 1", "half a character"),
        ("not " * 450 + "year == 1", "more than 50 levels"),
        ("year == " + "-" * 1500 + "1", "more than 50 levels"),
        ("year == " + "1 + " * 450 + "1", "more than 50 levels"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rule(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("class == 1", "If class is metadata, write document['class']"),
        ("year < 2 and query.from == 'a'", "If from is metadata, write query['from']"),
        ("document . in == 1", "If in is metadata, write document['in']"),
        ("year <", None),
        ("domain == 'class' and not", None),
    ],
)
def test_a_name_that_python_keeps_for_itself_is_named(text: str, hint: str | None) -> None:
    with pytest.raises(ValueError, match="is no rule") as refused:
        Rule(text)
    assert (hint or "") in str(refused.value)
    assert ("metadata" in str(refused.value)) == (hint is not None)


@pytest.mark.parametrize("name", ["cafe\u0301", "\ufb01rst", "\u00b5m", "\uff41", "\u212a"])
def test_a_name_that_the_parser_changes_is_refused_and_may_be_quoted(name: str) -> None:
    """An accent of its own, a ligature, the micro sign, a wide letter, the Kelvin sign."""
    for text, said in (
        (f"{name} == 1", f"document['{name}']"),
        (f"a == 2 or document . {name} == 1", f"document['{name}']"),
        (f"b == query.{name}", f"query['{name}']"),
        (f"{unicodedata.normalize('NFKC', name)} == 1 and {name} == 1", f"document['{name}']"),
    ):
        with pytest.raises(ValueError, match=rf"the name '{name}' .*Write {re.escape(said)}"):
            Rule(text)
    rule = Rule(f"document['{name}'] == 1")
    assert rule(fields_of(pa.array([json.dumps({name: 1})]), rule.fields), {}, 1).tolist() == [True]
    composed = Rule("caf\u00e9 == 1 or \u4e2d == 2")
    assert composed.fields == ("caf\u00e9", "\u4e2d")


def test_what_a_user_writes_has_a_longest_length() -> None:
    user = TypeAdapter(RuleText)
    text = "x == 1" + " " * 1_994
    assert user.validate_python(text) == text
    with pytest.raises(ValidationError, match="at most 2,000 characters, and this one has 2,001"):
        user.validate_python(text + " ")


@pytest.mark.parametrize(
    "text", ["year == 'x'", "year in ['2001']", "year not in ['2001']", "cited == 1", "cited in [1]", "domain < True"]
)
def test_values_of_different_kinds_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="numbers with numbers"):
        held(text)


def test_metadata_of_several_kinds_are_refused() -> None:
    with pytest.raises(InputError, match=r"'price' has .*: 2\.5, 'Infinity'; infinite numbers are texts\. Give it"):
        fields_of(metadata_of("x", [{"price": 2.5}, {}, {"price": 3.5}, {"price": math.inf}]), ["price"])
    with pytest.raises(InputError, match="several kinds"):
        fields_of(pa.array(['{"a": 1}', '{"a": "x"}']), ["a"])
    with pytest.raises(InputError, match="several kinds"):
        fields_of(pa.array(['{"a": [1]}']), ["a"])
