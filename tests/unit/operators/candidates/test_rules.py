"""Which candidates meet rules: what a look at each candidate by itself finds, whatever the order and the batch."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.rule import Rule, fields_of, rule_column
from operators.candidates.rules import Met, Rules
from operators.errors import InputError
from operators.schemas import PAIR

Row = dict[str, Any]
TEXTS = (
    "domain == query.domain",
    "domain != query.domain and year < 3",
    "year < 2",
    "query.domain == 'a'",
    "not (domain in ['a', 'b'] or year >= query.year)",
    "document['a.b'] == 1 or query['a.b'] == 1",
    "1 == 1",
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"domain": st.sampled_from("abc"), "year": st.integers(0, 4), "a.b": st.just(1), "other": st.just([1])}
)


def table_of(key: str, rows: list[Row]) -> pa.Table:
    """Keys 7, 17, ...; a row without metadata has null."""
    metadata = pa.array([json.dumps(row) if row else None for row in rows], pa.string())
    return pa.table({key: np.arange(len(rows)) * 10 + 7, "metadata": metadata})


def met(rules: Rules, pairs: list[tuple[int, int]], queries: list[Row], documents: list[Row]) -> Met:
    """The documents arrive from two partitions, the later ones first."""
    keys = np.array(pairs, dtype=np.int64).reshape(-1, 2) * 10 + 7
    table, half = table_of("doc_key", documents), len(documents) // 2
    arrived = pa.concat_tables([rules.cells(table.slice(half)), rules.cells(table.slice(0, half))])
    candidates = pa.table({"query_key": keys[:, 0], "doc_key": keys[:, 1]})
    return rules(candidates, table_of("query_key", queries), arrived)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    queries=st.lists(FIELDS, min_size=1, max_size=4),
    documents=st.lists(FIELDS, min_size=1, max_size=8),
    data=st.data(),
)
def test_a_candidate_meets_what_a_look_at_it_alone_says(
    queries: list[Row], documents: list[Row], data: st.DataObject
) -> None:
    """The oracle evaluates each rule for one document and one query at a time."""
    pair = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
    pairs = data.draw(st.lists(pair, unique=True, max_size=20))
    found = met(Rules(TEXTS), pairs, queries, documents)
    assert found.table.column_names == [*PAIR, *map(rule_column, TEXTS)]
    assert found.table.column("doc_key").to_pylist() == [document * 10 + 7 for _, document in pairs]
    for text in TEXTS:
        rule = Rule(text)
        expected = []
        for query, document in pairs:
            alone = fields_of(pa.array([json.dumps(documents[document])]), rule.fields)
            expected.append(int(rule(alone, queries[query], 1)[0]))
        assert found.table.column(rule_column(text)).to_pylist() == expected, text
        assert found.counts()[text] == sum(expected)
    sides = {"document": documents, "query": queries}
    names = {f"{side}.{name}" for side, rows in sides.items() for row in rows for name in row}
    assert found.known == names & Rules(TEXTS).names


def test_only_the_fields_that_rules_name_travel() -> None:
    rules = Rules(["domain == query.domain", "year < 3"])
    cells = rules.cells(table_of("doc_key", [{"domain": "a", "year": 1, "text": "long"}, {"domain": "b"}]))
    assert [json.loads(cell) for cell in cells.column("cell").to_pylist()] == [
        {"domain": "a", "year": 1},
        {"domain": "b", "year": None},
    ]


def test_a_batch_without_candidates_or_documents_has_all_columns() -> None:
    found = met(Rules(TEXTS), [], [], [])
    assert found.table.num_rows == 0
    assert found.known == frozenset()
    assert found.counts() == dict.fromkeys(TEXTS, 0)
    assert met(Rules(TEXTS), [], [{"domain": "a"}], [{"year": 1}]).known == {"query.domain", "document.year"}


def test_wrong_kinds_and_missing_documents_are_named() -> None:
    with pytest.raises(InputError, match=r"select\.draws\.0\.where: the metadata 'year' .*several kinds"):
        met(
            Rules(["year < 3"], {"year < 3": "select.draws.0.where"}),
            [(0, 0), (0, 1)],
            [{}],
            [{"year": "x"}, {"year": 1}],
        )
    same, place = "year == query.year", "select.draws.1.where"
    with pytest.raises(InputError, match=rf"{place}: '{same}': year is a number, and query.year is text\. Compare"):
        met(Rules(["year < 3", same], {same: place}), [(0, 0)], [{"year": "x"}], [{"year": 1}])
    with pytest.raises(InputError, match=r"query\.year: rows of one query have different values .*the same value"):
        met(Rules(["year == query.year"]), [(0, 0)], [{"year": [1, 2]}], [{"year": 1}])
    with pytest.raises(InputError, match="several kinds"):
        met(Rules(["year == query.year"]), [(0, 0), (1, 0)], [{"year": 1}, {"year": "x"}], [{"year": 1}])
    with pytest.raises(LookupError, match="doc_key"):
        met(Rules(["year < 3"]), [(0, 5)], [{}], [{"year": 1}])
