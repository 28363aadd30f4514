"""Select negatives: filter the candidates, cut the window, draw, and account for every candidate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.config import SelectConfig
from operators.candidates.draw import labels_of
from operators.candidates.drawing import AFTER, BEFORE, INSIDE, NOT_MET, NOT_OF_SOURCE, PLACES, Places, Share, draw_all
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.filter import CAPPED, NEGATIVE, NO_RULE, NOT_DRAWN, POSITIVES, SHORT_ROW, WINDOW, Filter
from operators.candidates.matching import PROPOSED_ROWS, raised_documents, turned_away
from operators.candidates.pairs import Floats, Pairs, pairs_of
from operators.candidates.short_draws import ROWS, WANTING, short_draws
from operators.candidates.sources import NOT_NAMED, SEARCH, names_of, rank_column
from operators.errors import InputError
from operators.keys import pair_keys
from operators.plugins import calling
from operators.schemas import POSITIVE_DOCUMENT, SELECTED, to_numpy
from operators.segments import in_sorted

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int16]

# What names a proposal of a row to a document.
KEYS = ("doc_key", "row_key")


@dataclass(frozen=True)
class Selection:
    """What was selected from one batch.

    Attributes:
        negatives: schema SELECTED; in the order of the rows, best score first.
        suspected: schema SELECTED; the candidates dropped because they are probably relevant.
        rows: how many (query, positive) rows there are.
        counts: reason -> how many candidates; the sum is all that were found, once for each row of their query.
        short_rows: how many (query, positive) rows got some, but fewer than they should.
        empty_rows: how many rows got none.
        given_back: how many of these got some, but fewer than they should, and may keep none (`short_rows: drop`).
        draws: what each draw should take and took, before such rows gave back what they had.
        short_draws: the label of a draw -> what became of the candidates of its source in the rows that it left short:
            reason -> how many, and how many such rows there are (ROWS), and negatives that they lack (WANTING).
    """

    negatives: pa.Table
    suspected: pa.Table
    rows: int
    counts: dict[str, int]
    short_rows: int
    empty_rows: int
    given_back: int
    draws: tuple[Share, ...]
    short_draws: dict[str, dict[str, int]]


class Select:
    """Choose the negatives of (query, positive) rows among the candidates of their queries."""

    def __init__(
        self, config: SelectConfig, sources: Sequence[str] = (), dimension: int = 0, judged: Sequence[str] = ()
    ) -> None:
        """Select as configured.

        Args:
            config: what is chosen.
            sources: the proposers of candidates beside the search.
            dimension: of the vectors behind the scores.
            judged: those of the sources whose candidates are known not to be relevant.
        """
        self.judged = judged
        self.config, self.sources, self.dimension = config, (SEARCH, *sources), dimension
        self.filters, self.draws = config.active_filters(), config.active_draws()

    def limited(self, limit: float) -> "Select":
        """Return the same selection with a limit on the false-negative probability in the place of a target."""
        update = {"max_false_negative_probability": limit, "target_false_negative_rate": None}
        return Select(self.config.model_copy(update=update), self.sources[1:], self.dimension, self.judged)

    @cached_property
    def reasons(self) -> list[str]:
        """What becomes of candidates; reason codes are places in this list."""
        of_filters = (one.reason for one in self.filters)
        return list(dict.fromkeys([NEGATIVE, *of_filters, *WINDOW, NO_RULE, CAPPED, SHORT_ROW, NOT_DRAWN]))

    @cached_property
    def labels(self) -> list[str]:
        """The name of each draw: its strategy; with its place from 1 where several have the same."""
        return labels_of(self.draws)

    def __call__(self, candidates: pa.Table, positives: pa.Table, cutoffs: pa.Table | None = None) -> Selection:
        """Select for every positive of a batch.

        Args:
            candidates: schema CANDIDATES, the ranks of every proposer, and a column for every further signal in use;
                those of one query together, best first; with `rule_column` of every rule of a draw. Those of a query
                without positives have no row to be drawn for: they are left out.
            positives: schema POSITIVES, those of one query together; each one is a row of the output.
            cutoffs: schema CUTOFFS, ascending; None where documents are not capped.

        With several positives per query, margins are taken against the positive of the row (`margin_positive: row`),
        the lowest of them, or their mean.
        """
        pairs = self._pairs(candidates, positives)
        reason, negatives, draws = self._selected(pairs, cutoffs)
        assert negatives.draw is not None
        chosen = negatives.pairs.row, negatives.draw
        left_short = short_draws(pairs, reason, len(self.reasons), chosen, self.draws)
        counted, given_back = [*self.reasons, ROWS, WANTING], 0
        if self.config.short_rows == "drop":
            reason, negatives, given_back = self._without_short_rows(reason, negatives)
        suspects = self._suspects(pairs, reason)
        found = np.bincount(negatives.pairs.row, minlength=pairs.rows.num_rows)
        totals = np.bincount(reason, minlength=len(self.reasons))
        return Selection(
            negatives=self._rows(negatives),
            suspected=self._rows(Rows(pairs.take(suspects), reason[suspects])),
            rows=pairs.rows.num_rows,
            counts={name: int(total) for name, total in zip(self.reasons, totals, strict=True)},
            short_draws={
                self.labels[number]: {name: count for name, count in zip(counted, counts, strict=True) if count}
                for number, counts in left_short.items()
            },
            short_rows=int(((found > 0) & (found < self.config.negatives_per_row)).sum()),
            empty_rows=int((found == 0).sum()),
            given_back=given_back,
            draws=draws,
        )

    def proposals(self, candidates: pa.Table, positives: pa.Table, before: pa.Table | None, now: pa.Table) -> pa.Table:
        """Return the documents to which rows propose under the cutoffs `now`, and did not under those `before`.

        Args:
            candidates: as for a selection.
            positives: as for a selection.
            before: schema CUTOFFS, ascending; None where nothing has been proposed.
            now: schema CUTOFFS, ascending.

        Returns:
            Schema PROPOSED_ROWS, each pair of document and row once.
        """
        if before is None:
            return self._chosen(candidates, positives, now)
        raised = in_sorted(to_numpy(candidates, "doc_key"), raised_documents(before, now))
        touched = pa.array(np.unique(to_numpy(candidates, "query_key")[raised]))
        some = [table.filter(pc.is_in(table.column("query_key"), touched)) for table in (candidates, positives)]
        earlier, later = self._chosen(some[0], some[1], before), self._chosen(some[0], some[1], now)
        of_earlier, of_later = (pair_keys(*(to_numpy(t, name) for name in KEYS)) for t in (earlier, later))
        return later.filter(pa.array(~np.isin(of_later, of_earlier)))

    def _chosen(self, candidates: pa.Table, positives: pa.Table, cutoffs: pa.Table) -> pa.Table:
        return proposed_rows(self._selected(self._pairs(candidates, positives), cutoffs)[1].pairs)

    def _selected(self, pairs: Pairs, cutoffs: pa.Table | None) -> tuple[Codes, "Rows", tuple[Share, ...]]:
        """Return the reason code of each pair, int16 of shape (n,), the negatives, whose code is 0, and the shares."""
        reason = self._filtered(pairs, self.filters)
        passed = np.flatnonzero(reason == 0)
        passing = pairs.take(passed)
        draws, windows = zip(*((draw, self.config.window_of(draw)) for draw in self.draws), strict=True)
        places = {window: window(passing) for window in dict.fromkeys(windows)}
        inside = {window: np.flatnonzero(place == INSIDE) for window, place in places.items()}
        away = np.zeros(len(passing), dtype=np.bool_)
        if cutoffs is not None:
            away = turned_away(proposed_rows(passing), cutoffs)
        taken_by, log_probability, shares = draw_all(passing, list(zip(draws, windows, strict=True)), inside, away)
        why = self._not_drawn(list(places.values()), away)
        chosen = np.flatnonzero(taken_by >= 0)
        why[chosen] = 0
        reason[passed] = why
        return reason, Rows(passing.take(chosen), why[chosen], taken_by[chosen], log_probability[chosen]), shares

    def _not_drawn(self, places: Sequence[Places], away: npt.NDArray[np.bool_]) -> Codes:
        """Return why each pair that passed is not drawn: int16 of shape (n,).

        It is outside all windows, and then the first that counts it says where, or inside one. Where none counts it, it
        meets the rule of no draw whose source named it, or no draw has such a source.
        """
        not_drawn, capped = (np.int16(self.reasons.index(name)) for name in (NOT_DRAWN, CAPPED))
        meaning = {BEFORE: WINDOW[0], AFTER: WINDOW[1], NOT_MET: NO_RULE}
        reasons = np.array([self.reasons.index(meaning.get(one, NOT_DRAWN)) for one in PLACES], dtype=np.int16)
        why = np.full(len(away), not_drawn)
        outside = np.flatnonzero(np.all([place != INSIDE for place in places], axis=0))
        if len(outside):
            code = np.full(len(outside), NOT_OF_SOURCE, dtype=np.int8)
            for place in places:
                code = np.where(code >= NOT_MET, np.minimum(code, place[outside]), code)
            why[outside] = reasons[code]
            away = away.copy()
            away[outside] = False
        return np.where(away, capped, why) if away.any() else why

    def _without_short_rows(self, reason: Codes, negatives: "Rows") -> tuple[Codes, "Rows", int]:
        """Take the negatives of rows that have fewer than they should; return how many rows these are, too."""
        row = negatives.pairs.row
        found = np.bincount(row, minlength=negatives.pairs.rows.num_rows)
        full = found >= self.config.negatives_per_row
        kept, reason = full[row], reason.copy()
        reason[np.flatnonzero(reason == 0)[~kept]] = self.reasons.index(SHORT_ROW)
        return reason, negatives.take(np.flatnonzero(kept)), int(((found > 0) & ~full).sum())

    def short_queries(self, candidates: pa.Table, positives: pa.Table, k: int) -> Ints:
        """Return the keys of queries for which a search deeper than `k` may find what is missing: int64 of shape (n,).

        Those with a row for which fewer candidates pass the filters than decide what is drawn (`SelectConfig.needed`),
        although the search found as many as it was asked for.

        Args:
            candidates: schema CANDIDATES, as for a selection.
            positives: schema POSITIVES, as for a selection.
            k: how many documents that are not judged positive were asked for.
        """
        if self.config.depth is not None and self.config.depth <= k:
            return np.zeros(0, dtype=np.int64)
        pairs = self._pairs(candidates, positives)
        query = to_numpy(pairs.rows, "query_key")
        passed = self._filtered(pairs, self.config.filters_of_search()) == 0
        passing = np.bincount(pairs.row[passed], minlength=len(query))
        counted = pairs["positive_kind"] != POSITIVE_DOCUMENT
        found = np.bincount(pairs.row[counted], minlength=len(query))
        missing = (passing < self.config.needed) & (found >= k)
        return np.asarray(np.unique(query[missing]))

    def _pairs(self, candidates: pa.Table, positives: pa.Table) -> Pairs:
        known = self._with_judged(candidates)
        return pairs_of(known, positives, self.config.margin_positive, self.dimension, self.config.max_rows_per_query)

    def _with_judged(self, candidates: pa.Table) -> pa.Table:
        """Return the candidates with probability 0 where a judge said that they are not relevant."""
        if not self.judged or PROBABILITY not in candidates.column_names:
            return candidates
        named = [to_numpy(candidates, rank_column(source)) != NOT_NAMED for source in self.judged]
        probability = np.where(np.any(named, axis=0), np.float32(0), to_numpy(candidates, PROBABILITY))
        place = candidates.schema.get_field_index(PROBABILITY)
        return candidates.set_column(place, PROBABILITY, pa.array(probability))

    def _filtered(self, pairs: Pairs, filters: Sequence[Filter]) -> Codes:
        """Return the reason code of each pair, shape (n,), 0 for those that passed."""
        reason, kept = np.zeros(len(pairs), dtype=np.int16), np.ones(len(pairs), dtype=np.bool_)
        for one in filters:
            with calling(f"select.filters: {one.filter}", one, "drops"):
                mask = np.asarray(one.drops(pairs))
            if mask.shape != kept.shape or mask.dtype != np.bool_:
                raise InputError(
                    f"select.filters: {one.filter}: {type(one).__name__}.drops: bool of shape {kept.shape} is wanted, "
                    f"not {mask.dtype} of {mask.shape}"
                )
            of_judged = self.judged and one.suspected and one.reason not in POSITIVES
            dropped = kept & (mask & ~self._judged(pairs) if of_judged else mask)
            reason[dropped] = self.reasons.index(one.reason)
            kept &= ~dropped
        return reason

    def _judged(self, pairs: Pairs) -> npt.NDArray[np.bool_]:
        """Return which pairs a source named whose candidates are known not to be relevant: bool of shape (n,)."""
        none = np.zeros(len(pairs), dtype=np.bool_)
        named = [none, *(pairs[rank_column(source)] != NOT_NAMED for source in self.judged)]
        return np.asarray(np.any(named, axis=0))

    def _suspects(self, pairs: Pairs, reason: Codes) -> Ints:
        """Return the pairs that were dropped because they are probably relevant, ascending: int64 of shape (m,)."""
        suspected = {one.reason for one in self.filters if one.suspected}
        skipped = (reason == self.reasons.index(WINDOW[0])) & ~self._judged(pairs)
        return np.flatnonzero(np.array([name in suspected for name in self.reasons])[reason] | skipped)

    def _rows(self, rows: "Rows") -> pa.Table:
        pairs = rows.pairs
        of_row = pairs.rows.select(["query_key", "doc_key", "score"]).take(pa.array(pairs.row))
        of_candidate = pairs.candidates.select(
            ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
        ).take(pa.array(pairs.candidate))
        sources = names_of(pairs.candidates, self.sources, pairs.candidate)
        draws, log_probabilities = pa.nulls(len(pairs), pa.string()), pa.nulls(len(pairs), pa.float32())
        if rows.draw is not None:
            draws = _named(rows.draw, self.labels)
            log_probabilities = pa.array(rows.log_probability, from_pandas=True)  # null for not a number
        probabilities = pa.nulls(len(pairs), pa.float32())
        if PROBABILITY in pairs.candidates.column_names:
            probabilities = pa.array(pairs[PROBABILITY], from_pandas=True)
        names = [probabilities, sources, draws, log_probabilities, _named(rows.reason, self.reasons)]
        return pa.table([*of_row.columns, *of_candidate.columns, *names], names=SELECTED.names).cast(SELECTED)


@dataclass(frozen=True)
class Rows:
    """Some pairs, as rows of an output.

    Attributes:
        pairs: which.
        reason: code, int16 of shape (n,).
        draw: the number of the draw that took each, int16 of shape (n,); None for pairs that none took.
        log_probability: with which it takes each first, float32 of shape (n,), not a number where it has none.
    """

    pairs: Pairs
    reason: Codes
    draw: Codes | None = None
    log_probability: Floats | None = None

    def take(self, at: Ints) -> "Rows":
        """Return some of them, in ascending order."""
        draw = None if self.draw is None else self.draw[at]
        log_probability = None if self.log_probability is None else self.log_probability[at]
        return Rows(self.pairs.take(at), self.reason[at], draw, log_probability)


def proposed_rows(pairs: Pairs) -> pa.Table:
    """Return pairs of rows and candidates as proposals of the rows: schema PROPOSED_ROWS."""
    row_key = pair_keys(pairs["query_key"], pairs["positive_key"])
    return pa.table([pairs["doc_key"], pairs["score"], row_key], schema=PROPOSED_ROWS)


def _named(codes: Codes, names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names)).cast(pa.string())
