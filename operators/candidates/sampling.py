"""Draw from the whole corpus: a table of all documents with cumulated weights, and queries that draw from it.

The documents of a bucket lie sorted by cell and key; a cell is what a rule cannot tell apart for any query. A draw is a
number in [0, total weight of the cells that the query allows): it falls into a cell, and in the cell on a document,
both found by bisection of cumulated weights (inverse transform sampling; Devroye, "Non-uniform random variate
generation", 1986, section III.2). Weights are cumulated in each cell by itself: no cell loses the precision of its
weights to a heavier one. A draw that repeats one before is drawn again, so documents are drawn one after the other in
proportion to the weights of those that are left.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.corpus_sampler import CorpusSampler, Weights
from operators.candidates.rule import cell_names, fields_of
from operators.candidates.sources import seeds_of
from operators.errors import InputError, placed, shown
from operators.keys import Keys, uniform
from operators.schemas import PROPOSALS, concat, to_numpy
from operators.segments import first_index, first_of_each, group_indices, rank_within, starts_of

Ints = npt.NDArray[np.int64]

# A document, and how often it is judged relevant: both come as such rows.
ENTRIES = pa.schema(
    {
        "doc_key": pa.int64(),
        "number": pa.float64(),  # what its weight is made of
        "cell": pa.string(),  # the metadata that a rule compares with those of queries, as a JSON object
        "judgement": pa.bool_(),
    }
)
# The weights of a cell up to each document of it.
WEIGHTED = pa.schema({"doc_key": pa.int64(), "cumulated": pa.float64()})
# The rows of a cell, how many of them have any weight, and how much they have together.
CELLS = pa.schema(
    {
        "cell": pa.string(),
        "begin": pa.int64(),
        "end": pa.int64(),
        "weighted": pa.int64(),
        "weight": pa.float64(),
    }
)
MOST_CELLS = 100_000
# A query that has not its documents by then has fewer: the rest of the corpus has next to no weight.
MOST_TRIES = 64
PAIRS_AT_ONCE = 1 << 20


def entries_of(sampler: CorpusSampler, documents: pa.Table) -> pa.Table:
    """Return the documents that a sampler may draw for some query: schema ENTRIES.

    Args:
        sampler: decides which.
        documents: has `doc_key` and `metadata`.

    Raises:
        InputError: metadata that it reads have the wrong kind.
    """
    (alone, together), rows = sampler.rules, documents.num_rows
    with placed(f"{sampler.place}: "):
        fields = fields_of(documents.column("metadata"), sampler.fields)
        allowed = np.ones(rows, dtype=np.bool_) if alone is None else alone(fields, {}, rows)
        number = sampler.numbers(fields, rows)
    names = () if together is None else together.fields
    cells = cell_names({name: fields[name] for name in names}, rows)
    columns = [documents.column("doc_key"), number, cells, np.zeros(rows, dtype=np.bool_)]
    return pa.table(columns, schema=ENTRIES).filter(pa.array(allowed))


def judgement_entries(judgements: pa.Table) -> pa.Table:
    """Return an entry for each positive judgement: schema ENTRIES."""
    positive = judgements.filter(pc.greater(judgements.column("relevance"), pa.scalar(0, pa.float32())))
    rows = positive.num_rows
    return pa.table(
        [positive.column("doc_key"), np.ones(rows), pa.array([""] * rows, pa.string()), np.ones(rows, dtype=np.bool_)],
        schema=ENTRIES,
    )


def weighted(sampler: CorpusSampler, entries: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Cumulate the weights of the documents of a bucket, in each cell from 0.

    Args:
        sampler: makes the weights.
        entries: schema ENTRIES, in any order.

    Returns:
        The documents (WEIGHTED), sorted by cell and key, and the cells (CELLS).

    Raises:
        InputError: a weight is negative or no number.
    """
    is_judgement = entries.column("judgement").combine_chunks()
    documents = entries.filter(pc.invert(is_judgement)).sort_by([("cell", "ascending"), ("doc_key", "ascending")])
    number, keys = to_numpy(documents, "number"), to_numpy(documents, "doc_key")
    if sampler.counts_judgements:
        judged, counts = np.unique(to_numpy(entries.filter(is_judgement), "doc_key"), return_counts=True)
        number = np.append(counts, 0)[first_index(judged, keys)].astype(np.float64)
    weight = np.asarray(sampler.weight(number), dtype=np.float64)
    wrong = ~np.isfinite(weight) | (weight < 0)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{sampler.place}: {_made_of(sampler)} is {number[at]}, which gives the weight {weight[at]}. "
            f"Weights are numbers of 0 or more."
        )
    codes = documents.column("cell").combine_chunks().dictionary_encode()
    begin = starts_of(codes.indices.to_numpy())
    end = np.append(begin[1:], len(keys))[: len(begin)]
    counts = np.add.reduceat((weight > 0).astype(np.int64), begin) if len(keys) else begin
    cumulated = _cumulated(weight, begin, end)
    return (
        pa.table([keys, cumulated], schema=WEIGHTED),
        pa.table([codes.dictionary, begin, end, counts, cumulated[end - 1]], schema=CELLS),
    )


def _cumulated(weight: Weights, begin: Ints, end: Ints) -> Weights:
    """Return the weights of each cell up to each of its rows: float64 of shape (n,)."""
    cumulated = np.empty(len(weight))
    with np.errstate(over="ignore"):  # refused with the sum over all buckets
        for first, last in zip(begin.tolist(), end.tolist(), strict=True):
            np.cumsum(weight[first:last], out=cumulated[first:last])
    return cumulated


def _made_of(sampler: CorpusSampler) -> str:
    return "judgements" if sampler.column is None else f"the metadata {shown(sampler.column)}"


@dataclass(frozen=True)
class _Cells:
    """The cells of all buckets, flat.

    Attributes:
        bucket: int64 of shape (cells,).
        begin: the first row in the bucket, int64 of shape (cells,).
        end: the row behind the last.
        documents: how many have any weight, int64 of shape (cells,).
        weight: how much they have together, float64 of shape (cells,).
        fields: what a rule compares, each an array of shape (cells,).
    """

    bucket: Ints
    begin: Ints
    end: Ints
    documents: Ints
    weight: Weights
    fields: Mapping[str, pa.Array]


class SampleCorpus:
    """Queries -> documents drawn for them from the whole corpus."""

    def __init__(self, sampler: CorpusSampler, buckets: Sequence[pa.Table], cells: Sequence[pa.Table]) -> None:
        """Open the corpus.

        Args:
            sampler: draws.
            buckets: the documents of each bucket (WEIGHTED), possibly memory maps.
            cells: of each bucket (CELLS).

        Raises:
            InputError: a rule compares more different values than there may be cells, or the weights add up to more
                than a number can be.
        """
        self.sampler = sampler
        self.seeds = seeds_of(sampler.seed, sampler.source)
        self.keys = [to_numpy(bucket, "doc_key") for bucket in buckets]
        self.cumulated = [to_numpy(bucket, "cumulated") for bucket in buckets]
        self.cells = self._all(cells)
        self._check_sum()

    def __call__(self, queries: pa.Table) -> pa.Table:
        """Return what is drawn for each query, in the order in which it was drawn: schema PROPOSALS.

        Args:
            queries: has `query_key` and `metadata`.
        """
        if not queries.num_rows:
            return PROPOSALS.empty_table()
        together = self.sampler.rules[1]
        keys = to_numpy(queries, "query_key")
        if together is None:
            return self._drawn(keys, np.ones(len(self.cells.bucket), dtype=np.bool_))
        with placed(f"{self.sampler.place}: "):
            fields = fields_of(queries.column("metadata"), self.sampler.query_fields, of_queries=True)
        kinds = cell_names(fields, len(keys)).dictionary_encode()
        of_kind = kinds.indices.to_numpy()
        parts, cells = [], len(self.cells.bucket)
        for code, name in enumerate(kinds.dictionary.to_pylist()):
            with placed(f"{self.sampler.place}: "):
                allowed = together(self.cells.fields, json.loads(name), cells)
            parts.append(self._drawn(keys[of_kind == code], allowed))
        table = concat(parts, PROPOSALS)
        place = first_index(keys, to_numpy(table, "query_key"))
        return table.take(pa.array(np.argsort(place, kind="stable")))

    def _check_sum(self) -> None:
        with np.errstate(over="ignore"):
            total = self.cells.weight.sum()
        if not np.isfinite(total):
            raise InputError(
                f"{self.sampler.place}: the weights made of {_made_of(self.sampler)} add up to more than "
                f"a number can be. Make all of them smaller by one factor."
            )

    def _all(self, cells: Sequence[pa.Table]) -> _Cells:
        table = concat(cells, CELLS)
        if table.num_rows > MOST_CELLS:
            names = ", ".join(self.sampler.rules[1].fields) if self.sampler.rules[1] is not None else ""
            raise InputError(
                f"{self.sampler.place}: {names} of documents, which the rule compares with queries, have more than "
                f"{MOST_CELLS:,} different values. Compare fields with fewer, such as a domain or a year."
            )
        rule = self.sampler.rules[1]
        with placed(f"{self.sampler.place}: "):
            fields = {} if rule is None else fields_of(table.column("cell"), rule.fields)
        bucket = np.repeat(np.arange(len(cells)), [one.num_rows for one in cells])
        begin, end, documents, weight = (to_numpy(table, name) for name in ("begin", "end", "weighted", "weight"))
        return _Cells(bucket, begin, end, documents, weight, fields)

    def _drawn(self, query_key: Keys, allowed: npt.NDArray[np.bool_]) -> pa.Table:
        """Draw for some queries from the same cells."""
        open_ = np.flatnonzero(allowed & (self.cells.documents > 0))
        if not len(open_):
            return PROPOSALS.empty_table()
        ends = np.cumsum(self.cells.weight[open_])
        limit = min(self.sampler.limit, int(self.cells.documents[open_].sum()))
        size = max(PAIRS_AT_ONCE // (2 * limit), 1)
        parts = [self._some(query_key[at : at + size], limit, open_, ends) for at in range(0, len(query_key), size)]
        return concat(parts, PROPOSALS)

    def _some(self, query_key: Keys, limit: int, cells: Ints, ends: Weights) -> pa.Table:
        query, document, tries = np.zeros(0, np.int64), np.zeros(0, np.int64), 0
        missing = np.arange(len(query_key))
        while len(missing) and tries < MOST_TRIES * limit:
            turn = np.tile(np.arange(tries, tries + limit), len(missing))
            asked = np.repeat(missing, limit)
            drawn = self._at(uniform(*self.seeds, query_key[asked], turn) * ends[-1], cells, ends)
            query, document = np.append(query, asked), np.append(document, drawn)
            tries += limit
            order = np.argsort(query, kind="stable")
            order = order[first_of_each(query[order], document[order])]
            query, document = query[order], document[order]
            missing = np.flatnonzero(np.bincount(query, minlength=len(query_key)) < limit)
        rank = rank_within(query)
        kept = rank < limit
        columns = [query_key[query[kept]], document[kept], rank[kept].astype(np.int32)]
        return pa.table(columns, schema=PROPOSALS)

    def _at(self, target: Weights, cells: Ints, ends: Weights) -> Ints:
        """Return the documents that numbers in [0, total weight) fall on: int64 of shape (n,)."""
        place = np.minimum(np.searchsorted(ends, target, side="right"), len(ends) - 1)
        # Rounding must not lead out of the cell.
        inside = np.maximum(target - np.append(0.0, ends)[place], 0.0)
        document = np.empty(len(target), dtype=np.int64)
        for one, here in group_indices(cells[place]):
            bucket, rows = self.cells.bucket[one], slice(self.cells.begin[one], self.cells.end[one])
            below = np.minimum(inside[here], np.nextafter(self.cells.weight[one], 0.0))
            row = np.searchsorted(self.cumulated[bucket][rows], below, side="right")
            document[here] = self.keys[bucket][rows][row]
        return document
