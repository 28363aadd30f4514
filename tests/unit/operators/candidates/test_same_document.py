"""Which document a passage is from: by the text of a value, whatever other passages have."""

import json

import pyarrow as pa
import pytest

from operators.candidates.proposers.same_document import SameDocument
from operators.errors import InputError

SAMPLER = SameDocument(proposer="same_document", source="pages", field="book")


def names(*rows: dict[str, object]) -> list[str | None]:
    column = pa.chunked_array([pa.array([json.dumps(row) if row else None for row in rows], pa.string())])
    return list(SAMPLER.documents_of(column).to_pylist())


def test_a_value_has_one_name_whatever_stands_beside_it() -> None:
    rows: list[dict[str, object]] = [{"book": one} for one in (7, "7", 7.0, 7.5, True, 2**64, 2**64 + 1, "a", None)]
    rows += [{"other": 7}, {}]
    expected = ["7", "7", "7", "7.5", "true", str(2**64), str(2**64 + 1), "a", None, None, None]
    assert names(*rows) == expected
    assert [names(row)[0] for row in rows] == expected
    assert names() == []


@pytest.mark.parametrize(
    "values",
    [
        (7, 7.0, 0.1, 1e-7, -0.0, 2**53 - 1, 1e300 / 3),
        (7.5, 2**53, 2**53 + 1),
        (7, -(2**62), 2**63 - 1),
        ("a", "ü\n", '"'),
        (True, False),
    ],
)
def test_a_value_has_the_name_that_it_has_alone(values: tuple[object, ...]) -> None:
    rows: list[dict[str, object]] = [{"book": one} for one in (*values, None)]
    expected = [names(row)[0] for row in rows]
    assert names(*rows) == expected
    whole = [int(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool) and one % 1 == 0]
    assert {str(one) for one in whole} <= set(expected)


@pytest.mark.parametrize("value", [[7], {"id": 7}])
def test_a_field_with_lists_or_objects_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^proposers.pages.field: the metadata 'book' is .*7.*Name a field"):
        names({"book": 1}, {"book": value})
