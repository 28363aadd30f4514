"""The rows of a query lie apart, whatever the queries and however many rows each has."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.datasets.order import spread

queries = st.lists(st.sampled_from("abcdefgh"), max_size=60).map(sorted)


@given(queries)
def test_rows_of_a_query_have_a_row_of_every_query_as_frequent_between_them(query: list[str]) -> None:
    table = pa.table({"query_id": pa.array(query, pa.string()), "row": range(len(query))})
    apart = spread(table)
    assert sorted(apart.column("row").to_pylist()) == list(range(len(query)))  # nothing is lost or repeated

    count = Counter(query)
    last: dict[str, int] = {}
    order = apart.column("query_id").to_pylist()
    for place, one in enumerate(order):
        if one in last:
            between = set(order[last[one] + 1 : place])
            assert {other for other in count if other != one and count[other] >= count[one]} <= between
        last[one] = place


@given(queries)
def test_the_rows_of_a_query_keep_their_order(query: list[str]) -> None:
    rows = spread(pa.table({"query_id": pa.array(query, pa.string()), "row": range(len(query))})).to_pylist()
    for one in set(query):
        own = [row["row"] for row in rows if row["query_id"] == one]
        assert own == sorted(own)
