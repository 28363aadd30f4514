"""How much of an exact search a run found: its candidates against the documents that exact_search.py wrote."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from operators.keys import keys_of
from operators.schemas import POSITIVE_DOCUMENT, to_numpy
from operators.segments import count_before, first_index, pair_in

Ints = npt.NDArray[np.int64]


def recall(run: Path, found: Path, depth: int) -> float:
    """Return the share of the exact search's documents that are among the best `depth` candidates of the run.

    Args:
        run: the run directory.
        found: the Parquet file of the exact search: for each query the best documents that are no positives.
        depth: how many candidates of a query count; positives are not among them.
    """
    exact = pq.read_table(found, columns=["query_id", "doc_id"])
    columns = ["query_key", "doc_key", "rank", "positive_kind"]
    candidates = pq.read_table(sorted(candidates_folder(run).glob("*.parquet")), columns=columns)
    wanted = _distinct_keys(exact["query_id"]), _distinct_keys(exact["doc_id"])
    return share_found(wanted, best(candidates, depth))


def candidates_folder(run: Path) -> Path:
    """Return the folder of the candidates that the latest search of all queries in a run directory found."""
    return max((run / "search" / "all").glob("*/merged-*"), key=lambda folder: folder.stat().st_mtime)


def best(candidates: pa.Table, depth: int) -> tuple[Ints, Ints]:
    """Return the query and document keys of each query's best candidates that are no positives."""
    order = np.lexsort((to_numpy(candidates, "rank"), to_numpy(candidates, "query_key")))
    query = to_numpy(candidates, "query_key")[order]
    counted = to_numpy(candidates, "positive_kind")[order] != POSITIVE_DOCUMENT
    kept = counted & (count_before(counted, query) < depth)
    return query[kept], to_numpy(candidates, "doc_key")[order][kept]


def share_found(wanted: tuple[Ints, Ints], found: tuple[Ints, Ints]) -> float:
    """Return which share of the wanted pairs (query, document) is among those found."""
    queries = np.unique(wanted[0])
    ours = first_index(queries, found[0])  # -1 is no query of those wanted
    known = ours >= 0
    return float(pair_in((first_index(queries, wanted[0]), wanted[1]), (ours[known], found[1][known])).mean())


def _distinct_keys(ids: pa.ChunkedArray) -> Ints:
    coded = ids.combine_chunks().dictionary_encode()
    return np.asarray(keys_of(coded.dictionary)[coded.indices.to_numpy()])
