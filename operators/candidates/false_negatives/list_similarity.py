"""How similar candidates are to what search found for their query: to be near all of it is no sign of relevance."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import Vectors, to_numpy
from operators.segments import first_index
from operators.vectors.geometry import AS_THEY_ARE, InnerProduct
from operators.vectors.similarity import list_similarities

# Of the list of a query so many count: neither a deeper search nor proposers change the features of a candidate.
DEPTH = 100
# Signals, and how many of the first that search found each looks at.
LISTS = {"head_similarity": 10, "list_similarity": DEPTH}


def with_list_similarities(
    candidates: pa.Table,
    key: npt.NDArray[np.int64],
    vectors: Vectors,
    geometry: InnerProduct = AS_THEY_ARE,
) -> pa.Table:
    """Append the mean similarity of each candidate to the first documents that search found, a column for each LISTS.

    What is near everything that the query finds is near the known positives, too, relevant or not: the similarity to
    the positives tells more beside these. Known positives are of the list like all others, so hiding them does not
    change it.

    Args:
        candidates: schema CANDIDATES, those of one query together.
        key: of the documents, each once, shape (documents,).
        vectors: of the documents, shape (documents, dimension).
        geometry: of the vectors.

    Raises:
        LookupError: a document has no vector.
    """
    row = first_index(key, to_numpy(candidates, "doc_key"))
    if (row < 0).any():
        raise LookupError("A candidate names a document whose vector did not arrive.")
    rank, query = to_numpy(candidates, "rank"), to_numpy(candidates, "query_key")
    listed = [(rank >= 0) & (rank < depth) for depth in LISTS.values()]
    for name, similarity in zip(LISTS, list_similarities((vectors, row), query, listed, geometry), strict=True):
        candidates = candidates.append_column(name, pa.array(similarity))
    return candidates
