"""How often one document may serve as a negative over the whole set: a matching of rows with documents.

Rows propose to the documents that they would draw; a document keeps the best proposals, as many as the cap allows, and
the rows that it turned away propose to the next. This is deferred acceptance (Gale and Shapley, "College admissions and
the stability of marriage", American Mathematical Monthly 69(1), 1962; Roth, "The evolution of the labor market for
medical interns and residents", 1984, for many partners on both sides). Its result is the stable matching that is best
for the rows, and the same whatever the order in which they propose. A document prefers the rows whose query it scores
highest for; of equal scores the smaller key of the row.

What rows have to know of documents is a cutoff: the worst proposal that a full document keeps (Azevedo and Leshno, "A
supply and demand framework for two-sided matching markets", Journal of Political Economy 124(5), 2016).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.keys import Keys
from operators.schemas import concat, to_numpy
from operators.segments import first_index, in_sorted, rank_within
from operators.vectors.order import comes_before

Mask = npt.NDArray[np.bool_]

# A row, named by the key of its query and positive, proposes to a document.
PROPOSED_ROWS = pa.schema({"doc_key": pa.int64(), "score": pa.float32(), "row_key": pa.int64()})
# The worst proposal that a document keeps which turned others away; each document once, ascending.
CUTOFFS = PROPOSED_ROWS


def kept(proposals: pa.Table, most: int) -> tuple[pa.Table, pa.Table]:
    """Let each document keep its best proposals.

    Args:
        proposals: schema PROPOSED_ROWS, each pair of document and row once.
        most: how many rows a document may serve.

    Returns:
        The proposals that are kept, and the cutoffs (CUTOFFS) of the documents that turned some away.
    """
    keys = ("doc_key", "row_key")
    document, row = (to_numpy(proposals, name) for name in keys)
    order = np.lexsort((row, -to_numpy(proposals, "score"), document))
    place = rank_within(document[order])
    ordered = proposals.take(pa.array(order))
    refused = document[order][place == most]  # one for each document that has more than it may keep
    last = (place == most - 1) & in_sorted(document[order], refused)
    return ordered.filter(pa.array(place < most)), ordered.filter(pa.array(last))


def joined(earlier: pa.Table, later: pa.Table) -> pa.Table:
    """Bring cutoffs together: those of later rounds count."""
    document = to_numpy(earlier, "doc_key")
    others = earlier.filter(pa.array(~in_sorted(document, np.sort(to_numpy(later, "doc_key")))))
    return concat([others, later], CUTOFFS).sort_by("doc_key")


def raised_documents(before: pa.Table, now: pa.Table) -> Keys:
    """Return the documents whose cutoff is not what it was before: int64 of shape (n,), ascending."""
    document, earlier = to_numpy(now, "doc_key"), to_numpy(before, "doc_key")
    at = first_index(earlier, document)
    columns = ("score", "row_key")
    same = np.all([to_numpy(now, name) == np.append(to_numpy(before, name), 0)[at] for name in columns], axis=0)
    return np.asarray(document[(at < 0) | ~same])


def turned_away(proposals: pa.Table, cutoffs: pa.Table) -> Mask:
    """Return which proposals their document would turn away: bool of shape (n,).

    Args:
        proposals: schema PROPOSED_ROWS.
        cutoffs: schema CUTOFFS, ascending.
    """
    document, full = to_numpy(proposals, "doc_key"), to_numpy(cutoffs, "doc_key")
    if not len(full):
        return np.zeros(len(document), dtype=np.bool_)
    at = np.minimum(np.searchsorted(full, document), len(full) - 1)
    worst = (to_numpy(cutoffs, "score")[at], to_numpy(cutoffs, "row_key")[at])
    worse = comes_before(worst, (to_numpy(proposals, "score"), to_numpy(proposals, "row_key")))
    return np.asarray((full[at] == document) & worse)
