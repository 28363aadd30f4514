"""Ask each shard for fewer than the k best, and tell where that was too few.

A shard gives the best rows of a query up to the last that is asked for; its list is cut there where it has more, and
all of that ranks behind the last row given. So once the lists are merged, a list can lack a row of the k best only if
it was cut, and if its last row ranks before the k-th of the merged ranking (or there is no k-th). The k-th of the whole
lists ranks no later than that of the cut ones. So what such a shard has behind its last row and before that k-th, added
to what was merged, makes the ranking that the whole lists make, row for row.

The lists that lack something all end before the k-th row, so they hold less than k counted rows together. As a shard is
asked for at least `AT_LEAST` times its share of k, those shards hold less than 1 / `AT_LEAST` of the documents: so
much more, at most, is searched for a query, however its neighbours are spread.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import POSITIVE_DOCUMENT, to_numpy
from operators.segments import first_index, starts_of
from operators.vectors.order import comes_before

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Of documents in random order, a shard holds more of the k best than it is then asked for in one case of a million.
AT_LEAST, AND_MORE = 4, 4

# A query's list from a shard: what it has behind one row and before another may be missing.
MISSING = pa.schema(
    {
        "query_key": pa.int64(),
        "shard": pa.int32(),
        "behind_score": pa.float32(),
        "behind_key": pa.int64(),
        "before_score": pa.float32(),
        "before_key": pa.int64(),
    }
)
# Behind every row.
NO_SCORE, NO_KEY = np.float32(-np.inf), np.iinfo(np.int64).max


def asked_of(k: int, rows: int, documents: int) -> int:
    """Return for how many of the `k` best a shard is asked that has `rows` of all documents."""
    return min(k, -(-AT_LEAST * k * rows // max(documents, 1)) + AND_MORE)


def cut_lists(found: pa.Table, shard: int, asked: int, rows: int) -> pa.Table:
    """Return where the lists of a shard were cut (schema MISSING, without an end).

    Args:
        found: the candidates of the shard (schema CANDIDATES), those of a query side by side and best first.
        shard: its number.
        asked: for how many it was asked.
        rows: how many documents it has.
    """
    last, counted, length = _lists(found)
    last = last[(counted >= asked) & (length < rows)]
    return pa.table(
        {
            "query_key": to_numpy(found, "query_key")[last],
            "shard": np.full(len(last), shard, dtype=np.int32),
            "behind_score": to_numpy(found, "score")[last],
            "behind_key": to_numpy(found, "doc_key")[last],
            "before_score": np.full(len(last), NO_SCORE),
            "before_key": np.full(len(last), NO_KEY),
        },
        schema=MISSING,
    )


def still_missing(cut: pa.Table, merged: pa.Table, k: int) -> pa.Table:
    """Return those of the lists that may lack rows of the `k` best, and before which row these are (schema MISSING).

    Args:
        cut: lists that were cut (schema MISSING).
        merged: the ranking of what the shards gave so far (schema CANDIDATES). When there is more, lists are left out,
            and none is added.
        k: how many counted rows the ranking has, where there are so many.
    """
    last, counted, _ = _lists(merged)
    last = last[counted >= k]
    # Where there is no k-th row this is -1: behind all rows.
    at = first_index(to_numpy(merged, "query_key")[last], to_numpy(cut, "query_key"))
    score = np.append(to_numpy(merged, "score")[last], NO_SCORE)[at]
    key = np.append(to_numpy(merged, "doc_key")[last], NO_KEY)[at]
    lacks = pa.array(comes_before(_place(cut, "behind"), (score, key)))
    ends_at = {"before_score": score, "before_key": key}
    columns = [ends_at.get(name, cut.column(name)) for name in MISSING.names]
    return pa.table(columns, schema=MISSING).filter(lacks)


def missing_rows(found: pa.Table, missing: pa.Table) -> pa.Table:
    """Return those of a shard's candidates (schema CANDIDATES) that were missing.

    Args:
        found: of queries that are all in `missing`.
        missing: of that shard (schema MISSING).
    """
    missing = missing.take(pa.array(first_index(to_numpy(missing, "query_key"), to_numpy(found, "query_key"))))
    place = to_numpy(found, "score"), to_numpy(found, "doc_key")
    return found.filter(
        pa.array(comes_before(_place(missing, "behind"), place) & comes_before(place, _place(missing, "before")))
    )


def _lists(candidates: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Return of each query's list its last row, how many of its rows count, and how many it has: shape (lists,)."""
    starts = starts_of(to_numpy(candidates, "query_key"))
    length = np.diff(np.append(starts, candidates.num_rows))
    counted = to_numpy(candidates, "positive_kind") != POSITIVE_DOCUMENT
    return starts + length - 1, np.add.reduceat(counted, starts, dtype=np.int64), length


def _place(missing: pa.Table, side: str) -> tuple[Floats, Ints]:
    return to_numpy(missing, f"{side}_score"), to_numpy(missing, f"{side}_key")
