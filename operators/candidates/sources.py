"""The sources of candidates: the vector search and the proposers, and the rank that each gave a candidate."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.keys import Keys, pair_keys
from operators.schemas import CANDIDATES, PAIR, concat, to_numpy
from operators.segments import first_index
from operators.vectors.order import argsort_ranked

Ints = npt.NDArray[np.int64]

# Of a source or a signal: it names a column, and the folder of a stage.
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
# What a signal cannot be named: what tells which candidates meet the rules of draws.
WHERE = "where"
# The source of what the vector search found.
SEARCH = "search"
# The rank of a candidate that a source did not name.
NOT_NAMED = -1


def rank_column(source: str) -> str:
    """Return the column, and the signal, with the ranks of a source: from 0, or NOT_NAMED."""
    return "rank" if source == SEARCH else f"{source}_rank"


def keys_of_pairs(table: pa.Table) -> Keys:
    """Return a key for each pair of query and document: int64 of shape (rows,)."""
    return pair_keys(*(to_numpy(table, key) for key in PAIR))


def union(proposals: Mapping[str, pa.Table]) -> pa.Table:
    """Bring the proposals of several sources together, each pair once.

    Args:
        proposals: source -> schema PROPOSALS, each pair once.

    Returns:
        The columns of PAIR, and the ranks of every source.
    """
    pairs = pa.concat_tables([table.select(list(PAIR)) for table in proposals.values()])
    key = keys_of_pairs(pairs)
    _, first = np.unique(key, return_index=True)
    first.sort()
    pairs, key = pairs.take(pa.array(first)), key[first]
    for source, table in proposals.items():
        at = first_index(keys_of_pairs(table), key)
        pairs = pairs.append_column(rank_column(source), _ranks(table, "rank", at))
    return pairs


def merged(found: pa.Table, proposed: pa.Table, sources: Sequence[str]) -> pa.Table:
    """Merge what proposers named into what the search found: a candidate of several sources is one candidate.

    Args:
        found: schema CANDIDATES, those of one query together.
        proposed: schema CANDIDATES and the ranks of every source, each pair once.
        sources: of `proposed`.

    Returns:
        Schema CANDIDATES and the ranks of every source: those of one query together, best first, of equal scores the
        smaller key first. The `rank` of a candidate that the search did not find is NOT_NAMED.
    """
    of_found, of_proposed = keys_of_pairs(found), keys_of_pairs(proposed)
    new = proposed.filter(pa.array(first_index(of_found, of_proposed) < 0)).select(CANDIDATES.names)
    not_found = pa.array(np.full(new.num_rows, NOT_NAMED, np.int32))
    new = new.set_column(CANDIDATES.get_field_index("rank"), CANDIDATES.field("rank"), not_found)
    table = concat([found, new], CANDIDATES)
    queries = to_numpy(table, "query_key")
    query = first_index(np.unique(queries), queries)
    table = table.take(pa.array(argsort_ranked(query, to_numpy(table, "score"), to_numpy(table, "doc_key"))))
    at = first_index(of_proposed, keys_of_pairs(table))
    for source in sources:
        table = table.append_column(rank_column(source), _ranks(proposed, rank_column(source), at))
    return table


def names_of(candidates: pa.Table, sources: Sequence[str], row: Ints) -> pa.ListArray:
    """Return the names of the sources of some candidates: lists of strings, in the order of `sources`.

    Args:
        candidates: has the ranks of every source.
        sources: the search among them.
        row: which candidates, shape (n,).
    """
    named = np.column_stack([to_numpy(candidates, rank_column(source))[row] != NOT_NAMED for source in sources])
    ends = np.cumsum(named.sum(axis=1))
    names = pa.array(list(sources), pa.string()).take(pa.array(np.nonzero(named)[1]))
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), names)


def _ranks(table: pa.Table, column: str, row: Ints) -> pa.Array:
    """Return the ranks at some rows; NOT_NAMED for the row -1."""
    return pa.array(np.append(to_numpy(table, column), np.int32(NOT_NAMED))[row], pa.int32())
