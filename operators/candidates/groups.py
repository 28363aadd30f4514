"""Groups that must not meet: candidates with what a positive of their query has, such as its URL or parent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.comparison import Comparison, rows_of
from operators.candidates.rule import fields_of
from operators.errors import InputError, shown
from operators.keys import Keys, keys_of
from operators.plugins import code_of_function, function_named
from operators.schemas import PAIR, to_numpy
from operators.segments import first_index, pair_in

# The filter, its reason and, with the field, the signal.
GROUPS = "same_group"
# The key of what is in no group; others are not negative.
_NO_GROUP = -1
# Below it each integer is a float of its own.
EXACT = 2.0**53


def group_column(field: str) -> str:
    """Return the column, and the signal, that tells which candidates share a group: no signal of a user is so named."""
    return f"{GROUPS} {field}"


def group_names(metadata: pa.ChunkedArray, field: str, place: str) -> pa.Array:
    """Return the value of a field of each document as text, null where it has none: 7, 7.0 and "7" are one.

    Args:
        metadata: JSON objects as strings, or null.
        field: its name.
        place: the key that names it, for messages.

    Raises:
        InputError: the field is a list or an object.
    """
    try:
        values = fields_of(metadata, [field])[field]
    except InputError:  # of several kinds, or lists and objects
        return _row_by_row(metadata, field, place)
    if pa.types.is_string(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return values.cast(pa.string())
    if not pa.types.is_floating(values.type) or pc.any(pc.greater_equal(pc.abs(values), EXACT)).as_py():
        return _row_by_row(metadata, field, place)  # they may stand for integers that differ
    different = values.dictionary_encode()
    names = pa.array(list(map(_text_of, different.dictionary.to_pylist())), pa.string())
    return names.take(different.indices)


def _row_by_row(metadata: pa.ChunkedArray, field: str, place: str) -> pa.Array:
    values = [None if one is None else json.loads(one).get(field) for one in metadata.to_pylist()]
    nested = next((one for one in values if isinstance(one, list | dict)), None)
    if nested is not None:
        raise InputError(
            f"{place}: the metadata {shown(field)} is {shown(json.dumps(nested))}. Name a field that has one text or "
            f"number in each document."
        )
    return pa.array(list(map(_text_of, values)), pa.string())


def names_by(documents: pa.Table, function: str, place: str) -> pa.Array:
    """Return what a function says of each document, null where it is in no group.

    Args:
        documents: what it gets.
        function: `module:function`.
        place: the key that names it, for messages.

    Raises:
        InputError: it raised, or returned something else than a text or None for each document.
    """
    try:
        names = pa.array(function_named(function)(documents), pa.string())
    except Exception as error:  # the code of a user may raise anything
        said = " ".join(str(error).split())
        raise InputError(f"{place}: {function}: {type(error).__name__}: {said}. Correct this function.") from error
    if len(names) != documents.num_rows:
        raise InputError(
            f"{place}: {function} returned {len(names):,} texts for {documents.num_rows:,} documents. Return one for "
            f"each, or None."
        )
    return names


def _text_of(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


@dataclass(frozen=True)
class Groups(Comparison):
    """Gives for each field or function whether a candidate shares its value with a positive of its query: 1, else 0.

    A document without a value is in no group.

    Attributes:
        places: field or function -> the key of the configuration that names it.
        functions: which of them are functions.
    """

    places: Mapping[str, str]
    functions: frozenset[str] = frozenset()

    name = GROUPS

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Metadata, and texts where a function may read them."""
        return ("text", "metadata") if self.functions else ("metadata",)

    @property
    def fields(self) -> list[str]:
        """The fields and functions, ascending."""
        return sorted(self.places)

    @property
    def schema(self) -> pa.Schema:
        """The keys of the groups of a document, _NO_GROUP where it is in none."""
        return pa.schema({"doc_key": pa.int64(), **{group_column(field): pa.int64() for field in self.fields}})

    def settings(self) -> Mapping[str, Any]:
        """Return the fields, and digests of the code of functions."""
        return {"fields": self.fields, "code": {one: code_of_function(one) for one in sorted(self.functions)}}

    def features(self, documents: pa.Table) -> pa.Table:
        """Return the keys of the groups.

        Raises:
            InputError: a field is a list or an object, or a function raised or returned something else than texts.
        """
        names = [
            names_by(documents.select(list(self.reads)), field, self.places[field])
            if field in self.functions
            else group_names(documents.column("metadata"), field, self.places[field])
            for field in self.fields
        ]
        return pa.table([documents.column("doc_key"), *map(_keys_of_groups, names)], schema=self.schema)

    def comparable(self, features: pa.Table) -> Mapping[str, int]:
        """Return how many documents each field or function gives a group."""
        return {field: int((to_numpy(features, group_column(field)) != _NO_GROUP).sum()) for field in self.fields}

    def warning(self, what: str) -> str:
        """Say that a field is in no metadata, or that a function gives no group."""
        if what in self.functions:
            return f"{self.places[what]}: {what} gives no candidate a group"
        return f"{self.places[what]}: no candidate has the metadata {shown(what)}"

    def __call__(self, candidates: pa.Table, positives: pa.Table, features: pa.Table) -> pa.Table:
        """Look for the groups of each candidate among those of the positives of its query."""
        candidate, positive = (rows_of(features, table) for table in (candidates, positives))
        judged = to_numpy(positives, "query_key")
        queries = np.unique(judged)
        asked, of_positive = (first_index(queries, keys) for keys in (to_numpy(candidates, "query_key"), judged))
        signals = candidates.select(list(PAIR))
        for field in self.fields:
            group = to_numpy(features, group_column(field))
            grouped = group[positive] != _NO_GROUP
            shared = pair_in((asked, group[candidate]), (of_positive[grouped], group[positive][grouped]))
            signals = signals.append_column(group_column(field), pa.array(shared.astype(np.uint8)))
        return signals


def _keys_of_groups(names: pa.Array) -> Keys:
    keys: npt.NDArray[np.int64] = np.full(len(names), _NO_GROUP, np.int64)
    keys[pc.is_valid(names).to_numpy(zero_copy_only=False)] = keys_of(pc.drop_null(names))
    return keys
