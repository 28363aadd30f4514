"""Hide known positives: a view of a query in which some of its positives are candidates that nobody judged."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.false_negatives.list_similarity import LISTS
from operators.schemas import CANDIDATES, NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT, POSITIVES, Vectors, to_numpy
from operators.segments import first_index, join_sorted, join_sorted_in_blocks, pair_in, starts_of
from operators.vectors.geometry import AS_THEY_ARE, InnerProduct
from operators.vectors.precision import in_float32
from operators.vectors.similarity import score_pairs

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# A query with n positives and k candidates has n^2 k of them in its views.
PAIRS_AT_ONCE = 1 << 22
# Candidates with all that the model reads; and those of views, where `query_key` is the number of the view.
LISTED = pa.schema([*CANDIDATES, *(pa.field(name, pa.float32()) for name in LISTS)])
VIEWED = LISTED.append(pa.field("hidden", pa.bool_())).append(pa.field("weight", pa.float32()))


@dataclass(frozen=True)
class Shown:
    """Which positives are shown in which view, flat; all others of the view's query are hidden.

    Attributes:
        view: the number of the view, from 0, ascending, int64 of shape (n,).
        positive: the row of the positive, int64 of shape (n,).
    """

    view: Ints
    positive: Ints


def leave_one_out(query: Ints, sampled: Mask) -> Shown:
    """Hide one positive in each view.

    Args:
        query: of each positive, those of one query together, shape (positives,).
        sampled: which positives are hidden, each in a view of its own; those of queries with one positive cannot be.
    """
    return _shown(query, sampled, hide=True)


def keep_one(query: Ints, sampled: Mask) -> Shown:
    """Hide all positives but one in each view.

    Args:
        query: of each positive, those of one query together, shape (positives,).
        sampled: which positives are shown, each in a view of its own; those of queries with one positive cannot be.
    """
    return _shown(query, sampled, hide=False)


def of_several(query: Ints) -> Mask:
    """Return which positives are of a query that has others: bool of shape (positives,).

    Args:
        query: of each positive, those of one query together, shape (positives,).
    """
    _, length = _lengths(query)
    return np.repeat(length, length) > 1


def _shown(query: Ints, sampled: Mask, hide: bool) -> Shown:
    starts, length = _lengths(query)
    segment = np.repeat(np.arange(len(starts)), length)
    chosen = np.flatnonzero(sampled & of_several(query))
    if not hide:
        return Shown(np.arange(len(chosen)), chosen)
    view, positive = join_sorted(segment[chosen], segment)
    other = positive != chosen[view]
    return Shown(view[other], positive[other])


def _lengths(query: Ints) -> tuple[Ints, Ints]:
    starts = starts_of(query)
    return starts, np.diff(np.append(starts, len(query)))


def similarities(
    candidates: pa.Table, positives: pa.Table, key: Ints, vectors: Vectors, geometry: InnerProduct = AS_THEY_ARE
) -> Floats:
    """Return the similarity of each candidate to each positive of its query, in the order of `hide`: shape (pairs,).

    Args:
        candidates: schema CANDIDATES, in ascending order of `query_key`; those of queries that are in `positives`.
        positives: schema POSITIVES, in ascending order of `query_key`.
        key: of the documents, each once, shape (documents,).
        vectors: of the documents, shape (documents, dimension).
        geometry: of the vectors.

    Raises:
        LookupError: a document has no vector.
    """
    row, judged = (first_index(key, to_numpy(table, "doc_key")) for table in (candidates, positives))
    if (row < 0).any() or (judged < 0).any():
        raise LookupError("A candidate or a positive names a document whose vector did not arrive.")
    candidate, positive = join_sorted(*(to_numpy(table, "query_key") for table in (candidates, positives)))
    as_queries = in_float32(geometry.as_queries(vectors))
    return geometry.scores(score_pairs(vectors, row[candidate], as_queries, judged[positive]))


def by_query(table: pa.Table) -> pa.Table:
    """Return a table in ascending order of `query_key`, the rows of one query in the order in which they were."""
    return table.take(pa.array(np.argsort(to_numpy(table, "query_key"), kind="stable")))


def hide(candidates: pa.Table, positives: pa.Table, similarity: Floats, shown: Shown) -> tuple[pa.Table, pa.Table]:
    """Return what the search would have found, had nobody judged the hidden positives.

    Args:
        candidates: schema LISTED, in ascending order of `query_key`; those of queries that are in `positives`.
        positives: schema POSITIVES, in ascending order of `query_key`.
        similarity: of each candidate and each positive of its query, in the order of the candidates and then of the
            positives, shape (pairs,).
        shown: the views, each of at least one positive.

    Returns:
        The candidates of each view (schema VIEWED), without those that are positives still, and its positives (schema
        POSITIVES); `query_key` is the number of the view in both. Documents with the text of a hidden positive are
        hidden with it. Of a query with n positives, of which a view shows m, the hidden ones weigh m / n together, and
        each other candidate 1 / n: as if there were one hidden positive for each that is shown.
    """
    if not len(shown.view):
        return VIEWED.empty_table(), POSITIVES.empty_table()
    names, first_positive, of_positive, number = np.unique(
        to_numpy(positives, "query_key"), return_index=True, return_inverse=True, return_counts=True
    )
    of_candidate = np.searchsorted(names, to_numpy(candidates, "query_key"))
    starts = starts_of(shown.view)
    view_query = of_positive[shown.positive[starts]]
    view_count = np.diff(np.append(starts, len(shown.view)))
    view, candidate = join_sorted(view_query, of_candidate)
    # Pairs of a candidate of a view with a positive that the view shows: as many as both, for each view.
    first_pair = np.cumsum(number[of_candidate]) - number[of_candidate] - first_positive[of_candidate]
    highest, total = np.full(len(view), -np.inf, np.float32), np.zeros(len(view))
    for row, at in join_sorted_in_blocks(view, shown.view, PAIRS_AT_ONCE):
        seen, begin = similarity[first_pair[candidate[row]] + shown.positive[at]], starts_of(row)
        here = row[begin]
        highest[here] = np.maximum(highest[here], np.maximum.reduceat(seen, begin))
        total[here] += np.add.reduceat(seen, begin, dtype=np.float64)
    mean = total / view_count[view]

    document, text = to_numpy(candidates, "doc_key")[candidate], to_numpy(candidates, "text_key")[candidate]
    shown_document, shown_text = (to_numpy(positives, name)[shown.positive] for name in ("doc_key", "text_key"))
    known = pair_in((view, document), (shown.view, shown_document)) | pair_in((view, text), (shown.view, shown_text))
    was = to_numpy(candidates, "positive_kind")[candidate]
    hidden = np.isin(was, (POSITIVE_DOCUMENT, POSITIVE_TEXT)) & ~known
    of_view = number[view_query]
    weight = np.where(hidden, (view_count / np.maximum(of_view - view_count, 1))[view], 1.0) / of_view[view]
    kept = np.flatnonzero(~known)
    table = candidates.select(LISTED.names).take(pa.array(candidate[kept]))
    columns = {
        **dict(zip(table.column_names, table.columns, strict=True)),
        "query_key": view[kept],
        "positive_kind": np.full(len(kept), NOT_POSITIVE, np.uint8),
        "max_positive_similarity": highest[kept],
        "mean_positive_similarity": mean[kept].astype(np.float32),
        "hidden": hidden[kept],
        "weight": weight[kept].astype(np.float32),
    }
    judged = positives.select(POSITIVES.names).take(pa.array(shown.positive))
    judged = judged.set_column(0, POSITIVES.field("query_key"), pa.array(shown.view))
    return pa.table(columns, schema=VIEWED), judged
