"""Find repeated ids and repeated texts among the keys of a corpus."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.errors import InputError, listed
from operators.keys import Keys
from operators.schemas import DUPLICATES, to_numpy
from operators.segments import starts_of

# Where each document of a source file is: the number of its partition, from 0 within the file, and its row there.
PLACES = pa.schema(
    {"doc_id": pa.string(), "doc_key": pa.int64(), "text_key": pa.int64(), "part": pa.int32(), "row": pa.int32()}
)
# What travels of each document to be held against the others: once under the key of its id, once of its text.
IDENTITIES = pa.schema(
    {
        "of_text": pa.bool_(),
        "key": pa.int64(),
        "part": pa.int32(),
        "row": pa.int32(),
        "doc_id": pa.string(),  # null under the key of the text
        "doc_key": pa.int64(),
        "text_key": pa.int64(),
    }
)


def places_of(documents: pa.Table, part: int) -> pa.Table:
    """List the documents of a partition (schema PLACES)."""
    size = documents.num_rows
    places = [np.full(size, part, dtype=np.int32), np.arange(size, dtype=np.int32)]
    columns = [*documents.select(["doc_id", "doc_key", "text_key"]).columns, *map(pa.array, places)]
    return pa.table(columns, schema=PLACES)


def identities_of(places: pa.Table, first: int) -> pa.Table:
    """List the identities of documents (schema IDENTITIES): two for each.

    Args:
        places: schema PLACES.
        first: the number, in the corpus, of the first partition of their source file.
    """
    size = places.num_rows
    doc_key, text_key = to_numpy(places, "doc_key"), to_numpy(places, "text_key")
    ids = pa.chunked_array([*places.column("doc_id").chunks, pa.nulls(size, pa.string())])
    columns = {
        "of_text": np.repeat([False, True], size),
        "key": np.concatenate([doc_key, text_key]),
        "part": np.tile(to_numpy(places, "part") + np.int32(first), 2),
        "row": np.tile(to_numpy(places, "row"), 2),
        "doc_id": ids,
        "doc_key": np.tile(doc_key, 2),
        "text_key": np.tile(text_key, 2),
    }
    return pa.table(columns, schema=IDENTITIES)


class DuplicateFinder:
    """Tell which documents repeat an earlier one. Takes all identities that share a set of keys (schema IDENTITIES)."""

    def __init__(self, exact_duplicates: Literal["keep_first", "keep"]) -> None:
        self.exact_duplicates = exact_duplicates

    def __call__(self, identities: pa.Table) -> pa.Table:
        """Return the repetitions (schema DUPLICATES), each with the key of the first such document.

        First means in the order of the source. With `keep`, only rows that repeat an id and its text are repetitions.

        Raises:
            InputError: one id with two texts, or two ids with one key.
        """
        by_id = _first_of_each(identities.filter(pc.invert(identities.column("of_text"))))
        _refuse_conflicts(*by_id)
        if self.exact_duplicates == "keep":
            return _repetitions(*by_id, "repeated_id")
        by_text = _first_of_each(identities.filter(identities.column("of_text")))
        return _repetitions(*by_text, "exact_duplicate")


def _first_of_each(identities: pa.Table) -> tuple[pa.Table, Keys]:
    """Sort by key and then by place; return that and for each row the row of the first with its key."""
    ordered = identities.sort_by([("key", "ascending"), ("part", "ascending"), ("row", "ascending")])
    starts = starts_of(to_numpy(ordered, "key"))
    return ordered, np.repeat(starts, np.diff(np.append(starts, ordered.num_rows)))


def _refuse_conflicts(ordered: pa.Table, first: Keys) -> None:
    text_key = to_numpy(ordered, "text_key")
    ids = ordered.column("doc_id")
    other_text = text_key != text_key[first]
    other_id = pc.not_equal(ids, ids.take(pa.array(first))).to_numpy()
    if other_id.any():
        row = int(np.flatnonzero(other_id)[0])
        raise InputError(
            f"The ids {ids[int(first[row])].as_py()!r} and {ids[row].as_py()!r} have the same 63-bit key. "
            f"Rename one of the two."
        )
    if other_text.any():
        conflicting = list(dict.fromkeys(ids.filter(pa.array(other_text)).to_pylist()))
        raise InputError(
            f"{len(conflicting)} doc_id of the corpus stand for several documents with different texts: "
            f"{listed(conflicting)}. Give each document an id of its own."
        )


def _repetitions(ordered: pa.Table, first: Keys, reason: str) -> pa.Table:
    repeats = np.flatnonzero(first != np.arange(len(first)))
    table = ordered.take(pa.array(repeats))
    kept = to_numpy(ordered, "doc_key")[first[repeats]]
    columns = {name: table.column(name) for name in ("part", "row", "doc_key", "text_key")}
    return (
        pa.table({**columns, "kept_key": kept, "reason": pa.repeat(pa.scalar(reason), len(repeats))})
        .select(DUPLICATES.names)
        .cast(DUPLICATES)
    )
