"""Draw from the whole corpus: a table of all documents with cumulated weights, and queries that draw from it.

The documents of a bucket lie sorted by cell and key; a cell is what a rule cannot tell apart for any query. A draw is a
number in [0, total weight of the cells that the query allows): it falls into a cell, and in the cell on a document,
both found by bisection of cumulated weights (inverse transform sampling; Devroye, "Non-uniform random variate
generation", 1986, section III.2). A draw that repeats one before is drawn again, so documents are drawn one after the
other in proportion to the weights of those that are left.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.corpus_sampler import CorpusSampler
from operators.candidates.rule import cell_names, fields_of
from operators.errors import InputError, placed, shown
from operators.keys import Keys, keys_of, uniform
from operators.plugins import calling
from operators.schemas import PROPOSALS, concat, to_numpy
from operators.segments import first_index, first_of_each, rank_within, starts_of

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
WEIGHTED = pa.schema({"doc_key": pa.int64(), "cumulated": pa.float64()})
# The rows of a cell, and how many of them have any weight.
CELLS = pa.schema({"cell": pa.string(), "begin": pa.int64(), "end": pa.int64(), "weighted": pa.int64()})
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
    """Cumulate the weights of the documents of a bucket.

    Args:
        sampler: makes the weights.
        entries: schema ENTRIES, in any order.

    Returns:
        The documents (WEIGHTED), sorted by cell and key, and the cells (CELLS) with the rows that they begin and end
        at.

    Raises:
        InputError: a weight is negative or no number.
    """
    is_judgement = entries.column("judgement").combine_chunks()
    documents = entries.filter(pc.invert(is_judgement)).sort_by([("cell", "ascending"), ("doc_key", "ascending")])
    number, keys = to_numpy(documents, "number"), to_numpy(documents, "doc_key")
    if sampler.counts_judgements:
        judged, counts = np.unique(to_numpy(entries.filter(is_judgement), "doc_key"), return_counts=True)
        number = np.append(counts, 0)[first_index(judged, keys)].astype(np.float64)
    with calling(f"{sampler.place}: {sampler.proposer}", sampler, "weight"):
        weight = np.asarray(sampler.weight(number), dtype=np.float64)
    wrong = ~np.isfinite(weight) | (weight < 0)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{sampler.place}: {_made_of(sampler)} is {number[at]}, which gives the weight {weight[at]}. "
            f"Weights are numbers of 0 or more."
        )
    codes = documents.column("cell").combine_chunks().dictionary_encode()
    starts = starts_of(codes.indices.to_numpy())
    with np.errstate(over="ignore"):  # refused with the sum over all buckets
        table = pa.table([keys, np.cumsum(weight)], schema=WEIGHTED)
    ends = np.append(starts[1:], len(keys)) if len(keys) else starts
    counts = np.add.reduceat((weight > 0).astype(np.int64), starts) if len(keys) else starts
    return table, pa.table([codes.dictionary, starts, ends, counts], schema=CELLS)


def _made_of(sampler: CorpusSampler) -> str:
    return "judgements" if sampler.column is None else f"the metadata {shown(sampler.column)}"


@dataclass(frozen=True)
class _Cells:
    """The cells of all buckets, flat.

    Attributes:
        bucket: int64 of shape (cells,).
        low: the cumulated weight of the bucket before the cell, float64 of shape (cells,).
        high: the same with the cell.
        documents: how many have any weight, int64 of shape (cells,).
        fields: what a rule compares, each an array of shape (cells,).
    """

    bucket: Ints
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    documents: Ints
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
        # Two sources of one seed draw independently.
        self.seeds = (sampler.seed, keys_of(pa.array([sampler.source])))
        self.keys = [to_numpy(bucket, "doc_key") for bucket in buckets]
        self.cumulated = [to_numpy(bucket, "cumulated") for bucket in buckets]
        self._check_sum()
        self.cells = self._all(cells)

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
            total = np.sum([cumulated[-1] for cumulated in self.cumulated if len(cumulated)])
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
        bucket = np.repeat(np.arange(len(cells)), [one.num_rows for one in cells])
        low = np.zeros(table.num_rows)
        high = np.zeros(table.num_rows)
        begin, end = to_numpy(table, "begin"), to_numpy(table, "end")
        for number, cumulated in enumerate(self.cumulated):
            here = np.flatnonzero(bucket == number)
            low[here] = np.where(begin[here] > 0, cumulated[np.maximum(begin[here] - 1, 0)], 0.0)
            high[here] = cumulated[end[here] - 1]
        rule = self.sampler.rules[1]
        with placed(f"{self.sampler.place}: "):
            fields = {} if rule is None else fields_of(table.column("cell"), rule.fields)
        return _Cells(bucket, low, high, to_numpy(table, "weighted"), fields)

    def _drawn(self, query_key: Keys, allowed: npt.NDArray[np.bool_]) -> pa.Table:
        """Draw for some queries from the same cells."""
        open_ = np.flatnonzero(allowed & (self.cells.documents > 0))
        if not len(open_):
            return PROPOSALS.empty_table()
        ends = np.cumsum(self.cells.high[open_] - self.cells.low[open_])
        limit = min(self.sampler.limit, int(self.cells.documents[open_].sum()))
        size = max(PAIRS_AT_ONCE // (2 * limit), 1)
        parts = [self._some(query_key[at : at + size], limit, open_, ends) for at in range(0, len(query_key), size)]
        return concat(parts, PROPOSALS)

    def _some(self, query_key: Keys, limit: int, cells: Ints, ends: npt.NDArray[np.float64]) -> pa.Table:
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

    def _at(self, target: npt.NDArray[np.float64], cells: Ints, ends: npt.NDArray[np.float64]) -> Ints:
        """Return the documents that numbers in [0, total weight) fall on: int64 of shape (n,)."""
        place = np.minimum(np.searchsorted(ends, target, side="right"), len(ends) - 1)
        cell = cells[place]
        low, high = self.cells.low[cell], self.cells.high[cell]
        # Rounding must not lead out of the cell.
        inside = np.clip(target - np.append(0.0, ends)[place] + low, low, np.nextafter(high, low))
        document, bucket = np.empty(len(target), dtype=np.int64), self.cells.bucket[cell]
        for number in np.unique(bucket):
            here = np.flatnonzero(bucket == number)
            cumulated, keys = self.cumulated[number], self.keys[number]
            row = np.searchsorted(cumulated, inside[here], side="right")
            document[here] = keys[np.minimum(row, len(keys) - 1)]
        return document
