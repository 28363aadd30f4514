"""BM25 over shards of documents, with the document frequencies of the whole corpus.

The score of a document for a query is the sum, over the terms of the query, of
    ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length))
as in Lucene (Kamphuis, de Vries, Boytsov and Lin, "Which BM25 do you mean?", ECIR 2020, table 1, "Lucene accurate"),
with N documents, df of them with the term, tf times the term in the document, and lengths in terms. A term that is in a
query twice counts twice. As N, df and the mean length are those of the whole corpus, the shards do not change a score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from operators.keys import Keys
from operators.lexical.tokenize import Terms
from operators.schemas import to_numpy
from operators.segments import rank_within, starts_of

Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

# The postings of a shard, by term and then by document; the numbers of documents are rows of LENGTHS.
POSTINGS = pa.schema({"document": pa.int32(), "times": pa.int32()})
TERMS = pa.schema({"term": pa.int64(), "documents": pa.int64()})  # ascending by term
LENGTHS = pa.schema({"doc_key": pa.int64(), "length": pa.int32()})
FOUND = pa.schema({"query_key": pa.int64(), "doc_key": pa.int64(), "score": pa.float64()})
# Products of a query's term and a posting at a time: some 40 bytes for each.
PRODUCTS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Corpus:
    """What is known of all documents.

    Attributes:
        documents: how many there are.
        terms: in all of them, repetitions included.
    """

    documents: int
    terms: int

    @property
    def mean_length(self) -> float:
        """Terms of a document in the mean."""
        return self.terms / max(self.documents, 1)


def shard_of(doc_key: Keys, terms: Terms) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Invert documents: return the postings (POSTINGS), the terms (TERMS) and the lengths (LENGTHS) of a shard.

    Args:
        doc_key: of the documents.
        terms: of the documents; `text` is the row in `doc_key`.
    """
    key, document, times = _counted(terms.key, terms.text)
    of_term = starts_of(key)
    counts = np.diff(np.append(of_term, len(key)))
    lengths = np.bincount(terms.text, minlength=len(doc_key))
    return (
        pa.table([document.astype(np.int32), times.astype(np.int32)], schema=POSTINGS),
        pa.table([key[of_term], counts], schema=TERMS),
        pa.table([doc_key, lengths.astype(np.int32)], schema=LENGTHS),
    )


def frequencies(terms: pa.Table) -> pa.Table:
    """Add up the documents of each term over shards: schema TERMS, ascending.

    Args:
        terms: schema TERMS, of several shards, in any order.
    """
    key, documents = to_numpy(terms, "term"), to_numpy(terms, "documents")
    order = np.argsort(key, kind="stable")
    starts = starts_of(key[order])
    total = np.add.reduceat(documents[order], starts) if len(starts) else starts
    return pa.table([key[order][starts], total], schema=TERMS)


def look_up(term: Ints, tables: Sequence[pa.Table]) -> Ints:
    """Return how many documents have each term: int64 of shape (n,).

    Args:
        term: keys of terms.
        tables: schema TERMS, each ascending; a term is in the table of its key modulo their number.
    """
    counts = np.zeros(len(term), dtype=np.int64)
    for number, table in enumerate(tables):
        here = np.flatnonzero(term % len(tables) == number)
        keys = to_numpy(table, "term")
        if not len(keys) or not len(here):
            continue
        at = np.minimum(np.searchsorted(keys, term[here]), len(keys) - 1)
        counts[here] = np.where(keys[at] == term[here], to_numpy(table, "documents")[at], 0)
    return counts


@dataclass(frozen=True)
class Asked:
    """Queries as weighted terms, flat.

    Attributes:
        query: the number of the query, ascending, int64 of shape (n,).
        term: its different terms, ascending for each query, int64 of shape (n,).
        weight: how often the query has the term, times its inverse document frequency, float64 of shape (n,).
    """

    query: Ints
    term: Ints
    weight: Scores

    @classmethod
    def of(cls, terms: Terms, corpus: Corpus, tables: Sequence[pa.Table]) -> "Asked":
        """Weigh the terms of queries; those that no document has are left out."""
        query, term, times = _counted(terms.text, terms.key)
        unique, of_unique = np.unique(term, return_inverse=True)
        documents = look_up(unique, tables)
        rare = np.log1p((corpus.documents - documents + 0.5) / (documents + 0.5))[of_unique]
        known = documents[of_unique] > 0
        return cls(query[known], term[known], (times.astype(np.float64) * rare)[known])


class ScoreShard:
    """Queries -> the best documents of a shard for each."""

    def __init__(self, shard: tuple[pa.Table, pa.Table, pa.Table], corpus: Corpus, k1: float, b: float) -> None:
        """Open a shard.

        Args:
            shard: its postings (POSTINGS), terms (TERMS) and lengths (LENGTHS), possibly memory maps.
            corpus: all documents.
            k1: how fast further occurrences of a term count less.
            b: how much the length of a document counts.
        """
        postings, terms, lengths = shard
        self.document, self.times = to_numpy(postings, "document"), to_numpy(postings, "times")
        self.term = to_numpy(terms, "term")
        self.start = np.append(0, np.cumsum(to_numpy(terms, "documents")))
        self.doc_key = to_numpy(lengths, "doc_key")
        share = to_numpy(lengths, "length") / max(corpus.mean_length, np.finfo(np.float64).tiny)
        self.norm = k1 * (1 - b + b * share)

    def __call__(self, keys: Keys, asked: Asked, limit: int) -> pa.Table:
        """Return the `limit` best documents of each query that share a term with it: schema FOUND, best first.

        Args:
            keys: of the queries.
            asked: their terms.
            limit: how many.
        """
        at = np.minimum(np.searchsorted(self.term, asked.term), max(len(self.term) - 1, 0))
        here = np.flatnonzero(self.term[at] == asked.term) if len(self.term) else np.zeros(0, np.int64)
        parts = [
            self._best(keys, asked, at[here[some]], here[some], limit)
            for some in self._pieces(asked.query[here], at[here])
        ]
        return pa.concat_tables(parts or [FOUND.empty_table()])

    def _pieces(self, query: Ints, place: Ints) -> Iterator[slice]:
        """Yield ranges of terms of whole queries, so that the products of each are not too many."""
        starts = starts_of(query)
        products = np.add.reduceat(self.start[place + 1] - self.start[place], starts) if len(starts) else starts
        ends = np.append(starts[1:], len(query))
        first, held = 0, 0
        for number, count in enumerate(products.tolist()):
            if held and held + count > PRODUCTS_AT_ONCE:
                yield slice(int(starts[first]), int(ends[number - 1]))
                first, held = number, 0
            held += count
        if len(starts):
            yield slice(int(starts[first]), int(ends[-1]))

    def _best(self, keys: Keys, asked: Asked, place: Ints, row: Ints, limit: int) -> pa.Table:
        needed, column = np.unique(place, return_inverse=True)
        counts = self.start[needed + 1] - self.start[needed]
        ends = np.cumsum(counts)
        posting = np.arange(ends[-1]) + np.repeat(self.start[needed] - (ends - counts), counts)
        document, times = self.document[posting], self.times[posting].astype(np.float64)
        saturated = times / (times + self.norm[document])
        by_term = sparse.csr_array((saturated, document, np.append(0, ends)), shape=(len(needed), len(self.doc_key)))
        query = asked.query[row]
        starts = starts_of(query)
        weights = sparse.csr_array(
            (asked.weight[row], column, np.append(starts, len(query))), shape=(len(starts), len(needed))
        )
        scores = weights @ by_term
        of_query = np.repeat(np.arange(len(starts)), np.diff(scores.indptr))
        at = _highest(scores.indptr, scores.data, self.doc_key[scores.indices], limit)
        query_key = keys[query[starts]][of_query[at]]
        return pa.table([query_key, self.doc_key[scores.indices[at]], scores.data[at]], schema=FOUND)


def merged(found: Sequence[pa.Table], keys: Keys, limit: int) -> pa.Table:
    """Merge what shards found: the `limit` best of each query, of equal scores the smaller key first.

    Args:
        found: schema FOUND.
        keys: of the queries; their order is that of the result.
        limit: how many.

    Returns:
        Schema FOUND.
    """
    table = pa.concat_tables(found)
    order = np.argsort(keys)
    query = (
        order[np.searchsorted(keys[order], to_numpy(table, "query_key"))] if table.num_rows else np.zeros(0, np.int64)
    )
    ranked = np.lexsort((to_numpy(table, "doc_key"), -to_numpy(table, "score"), query))
    return table.take(pa.array(ranked[rank_within(query[ranked]) < limit]))


def _highest(starts: npt.NDArray[np.integer], score: Scores, doc_key: Keys, limit: int) -> Ints:
    """Return the places of the `limit` best of each run, best first; of equal scores the smaller key first."""
    parts = []
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):  # of a query, not of a document
        at = np.arange(begin, end)
        if len(at) > limit:
            worst = np.partition(score[begin:end], len(at) - limit)[len(at) - limit]
            at = at[score[begin:end] >= worst]
        order = np.lexsort((doc_key[at], -score[at]))[:limit]
        parts.append(at[order])
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _counted(left: Ints, right: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the different pairs of two arrays, ascending, and how often each occurs."""
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    starts = np.flatnonzero(first)
    return left[starts], right[starts], np.diff(np.append(starts, len(order)))
