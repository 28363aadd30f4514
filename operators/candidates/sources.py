"""The sources of candidates: the vector search and the proposers, and the rank that each gave a candidate."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.keys import Keys, keys_of, pair_keys
from operators.schemas import CANDIDATES, PAIR, PROPOSALS, concat, to_numpy
from operators.segments import count_before, first_index, rank_within
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
    """Return the column, and the signal, with the ranks of a source, or NOT_NAMED.

    A rank is the place in the whole ranking of the source, from 0. Every source counts documents that are judged
    positive, whether it gives them or not: only so can the ranks of two sources be compared.
    """
    return "rank" if source == SEARCH else f"{source}_rank"


def seeds_of(seed: int, source: str) -> tuple[int, Keys]:
    """Return what the random numbers of a source begin with: neither a draw nor another source of that seed has them.

    They are the first parts of `operators.keys.uniform`; the key of the name has the shape (1,).
    """
    return seed, keys_of(pa.array([source]))


def keys_of_pairs(table: pa.Table) -> Keys:
    """Return a key for each pair of query and document: int64 of shape (rows,)."""
    return pair_keys(*(to_numpy(table, key) for key in PAIR))


def distinct(pairs: pa.Table) -> pa.Table:
    """Return each pair of a query and a document once: its first row."""
    _, first = np.unique(keys_of_pairs(pairs), return_index=True)
    return pairs.take(pa.array(first))


def ranked_proposals(query_key: Keys, doc_key: Keys, positive: npt.NDArray[np.bool_], limit: int) -> pa.Table:
    """Leave positives out of a ranking: return the best others of each query, with their ranks (schema PROPOSALS).

    Args:
        query_key: those of one query together, its ranking in order, shape (n,).
        doc_key: each once for a query, shape (n,).
        positive: whether it is judged positive for the query, shape (n,).
        limit: how many others each query gets.
    """
    kept = ~positive & (count_before(~positive, query_key) < limit)
    columns = [query_key[kept], doc_key[kept], rank_within(query_key)[kept].astype(np.int32)]
    return pa.table(columns, schema=PROPOSALS)


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
