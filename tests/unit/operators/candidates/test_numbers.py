"""Numbers compare as those of Python do, which are exact, whatever stands beside them in a column or a partition."""

import json
import operator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.numbers import as_exact, as_floats, numbers_of, python_values
from operators.candidates.rule import fields_of
from operators.candidates.rules import Rules
from operators.errors import InputError
from tests.unit.operators.candidates.test_rules import met

BIG = 2**53
EDGES = [2**53, 2**63, 2**64 - 1]
NUMBERS = (
    st.sampled_from([sign * (edge + near) for edge in EDGES for near in (-2, -1, 0) for sign in (1, -1)])
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
).filter(lambda value: value >= -(2**63) or isinstance(value, float))
COMPARED = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le}
KERNELS = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal}


@settings(deadline=None, max_examples=200)
@given(st.lists(st.none() | NUMBERS, min_size=1, max_size=6), NUMBERS)
def test_columns_compare_as_numbers_of_python_and_give_them_again(values: list[float | None], other: float) -> None:
    column, one = numbers_of(values), numbers_of([other])[0]
    assert python_values(column) == values
    known = [np.nan if value is None else float(value) for value in values]
    assert np.array_equal(as_floats(column), known, equal_nan=True)
    for name, compare in COMPARED.items():
        expected = [None if value is None else compare(value, other) for value in values]
        assert KERNELS[name](as_exact(column), as_exact(one)).to_pylist() == expected


@pytest.mark.parametrize("big", [BIG + 1, 2**63 - 1, 2**63 + 1])
@pytest.mark.parametrize("beside", [0.5, 3, -1e300])
def test_what_stands_beside_a_large_integer_does_not_round_it(big: int, beside: float) -> None:
    documents: list[dict[str, Any]] = [{"n": big}, {"n": beside}, {"n": float(big)}, {}]
    texts = ["n == query.n", "n < query.n", "n >= query.n", "n != query.n"]
    texts += [f"n in [{BIG}, 0.5]", f"n in [{BIG + 1}, 0.5]", f"n == {BIG}", f"{BIG}.0 < n"]
    for query in (big, big - 1, float(big), 0.5):
        whole = met(Rules(texts), [(0, n) for n in range(4)], [{"n": query}], documents).table
        for n in range(3):
            alone = met(Rules(texts), [(0, 0)], [{"n": query}], [documents[n]]).table
            assert whole.slice(n, 1).drop(["doc_key"]).equals(alone.drop(["doc_key"]))
            value = documents[n]["n"]
            expected = [value == query, value < query, value >= query, value != query]
            expected += [value in (BIG, 0.5), value in (BIG + 1, 0.5), value == BIG, value > BIG]
            assert [alone.column(at + 2)[0].as_py() for at in range(8)] == expected
        assert not any(whole.column(at + 2)[3].as_py() for at in range(8))


@pytest.mark.parametrize("rows", [[2**64 + 1], [0.5, -(10**400)]])
def test_an_integer_of_more_than_64_bits_is_refused(rows: list[float]) -> None:
    with pytest.raises(InputError, match=r"the metadata 'n' has the number .*64 bits\. Give it as text"):
        fields_of(pa.array([json.dumps({"n": value}) for value in rows]), ["n"])
