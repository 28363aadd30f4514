"""All candidates of all rows: what the search must find, what proposers named, and what the filters drop."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.collection import Document, Query, key_of
from tests.fuzz.mixture import Mixture
from tests.fuzz.oracle import Mined, filtered, reference_of, to_depth
from tests.fuzz.prepared import Prepared
from tests.fuzz.proposed import Ranks
from tests.fuzz.shares import window_of
from tests.fuzz.strategies import Pair

SEARCH, MAX_RANK = "search", "max_rank"
Scored = tuple[float, Document]


@dataclass(frozen=True)
class Row:
    """A (query, positive), with all candidates of its query, best first.

    Attributes:
        query: which.
        positive: which.
        score: of the positive.
        reference: the score that margins are taken against.
        pairs: the candidates.
    """

    query: Query
    positive: Document
    score: float
    reference: float
    pairs: Sequence[Pair]

    @property
    def keys(self) -> tuple[int, int]:
        """The keys of query and positive."""
        return key_of(self.query.query_id), key_of(self.positive.doc_id)

    @property
    def name(self) -> str:
        """The ids of query and positive."""
        return f"{self.query.query_id!r}, {self.positive.doc_id!r}"


@dataclass
class Finder:
    """Finds the candidates of queries.

    Attributes:
        made: the configuration.
        prepared: documents and queries.
        ranks: what proposers named.
    """

    made: Mixture
    prepared: Prepared
    ranks: Ranks

    def __post_init__(self) -> None:
        self.mined = Mined([], Counter(), self.prepared.settings)

    def rows(self) -> list[Row] | None:
        """Return the rows; None where a score is so close to a limit that rounding decides."""
        rows = [row for query, positives in self.prepared.judged for row in self._rows(query, positives)]
        return None if self.mined.close else rows

    def _rows(self, query: Query, positives: Sequence[Document]) -> list[Row]:
        scored = [(float(query.vector @ one.vector), one) for one in self.prepared.documents]
        ranked = sorted(scored, key=lambda one: (-one[0], key_of(one[1].doc_id)))
        searched = {one.doc_id: rank for rank, (_, one) in enumerate(self._searched(query, positives, ranked))}
        of_document: dict[str, dict[str, int]] = {name: {SEARCH: rank} for name, rank in searched.items()}
        for source, of_query in self.ranks.items():
            named = of_query.get(key_of(query.query_id), {})
            for _, one in ranked:
                if key_of(one.doc_id) in named:
                    of_document.setdefault(one.doc_id, {})[source] = named[key_of(one.doc_id)]
        return [self._row(query, positive, positives, ranked, of_document) for positive in positives]

    def _row(
        self,
        query: Query,
        positive: Document,
        positives: Sequence[Document],
        ranked: Sequence[Scored],
        of_document: Mapping[str, Mapping[str, int]],
    ) -> Row:
        judged = {_source(one) for one in self.made.config["proposers"] if one["proposer"] == "explicit"}
        known = {name for name, of_source in of_document.items() if judged & of_source.keys()}
        found = [one for one in ranked if one[1].doc_id in of_document]
        _, score, candidates = filtered(self.mined, query, positive, positives, found, known)
        limit = self._deepest_rank()
        pairs = []
        for one in candidates:
            of_source = of_document[one.document.doc_id]
            deep = limit is not None and of_source.get(SEARCH, -1) >= limit
            pairs.append(Pair(one.document, one.score, of_source, one.reason or (MAX_RANK if deep else "")))
        reference = reference_of(self.mined.settings, query, positive, positives)
        return Row(query, positive, score, reference, pairs)

    def _searched(self, query: Query, positives: Sequence[Document], ranked: Sequence[Scored]) -> Sequence[Scored]:
        """Return what the search finds: deeper, while some row has too few that pass the filters."""
        own, limit, depths = {one.doc_id for one in positives}, self._deepest_rank(), self.mined.settings.depths()
        found: Sequence[Scored] = []
        for depth in depths:
            found = to_depth(ranked, own, depth)
            if sum(one.doc_id not in own for _, one in found) < depth or (limit is not None and limit <= depth):
                break
            passed = [
                sum(not one.reason for one in filtered(self.mined, query, positive, positives, found)[2])
                for positive in positives
            ]
            if min(passed) >= self._enough():
                break
        return found

    def _deepest_rank(self) -> int | None:
        return next((one["limit"] for one in self.made.config["select"].get("filters", ())), None)

    def _enough(self) -> int:
        """Return how many have to pass the filters: of `top` without a cap those that may be drawn, else the window."""
        select = self.made.config["select"]
        draws = [draw for draw in self.made.draws if draw.get("source", SEARCH) == SEARCH]
        windows = [window_of(select, draw) for draw in draws]
        if "max_rows_per_document" in select or any(draw["strategy"] != "top" for draw in draws):
            return max((end for *_, end in windows), default=0)
        return max((min(first + self.made.per_row, end) for *_, first, end in windows), default=0)


def _source(section: Mapping[str, Any]) -> str:
    return str(section.get("source", section["proposer"]))
