"""What mining must give, by brute force in float64: cleaning, judgements, candidates, filters, draws.

Nothing here is taken from the operators: this is what the documentation says, one query and one document at a time.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

SUSPECTED = ("positive_text", "max_positive_similarity", "absolute_margin", "relative_margin", "max_score", "range_min")
# Scores that differ by less, and are not equal, could be rounded to either order.
CLOSE = 1e-5

Vector = npt.NDArray[np.float64]


class RefusedError(Exception):
    """The input must be refused."""


@dataclass(frozen=True)
class Document:
    doc_id: str
    text: str
    metadata: Any
    vector: Vector
    title: str | None = None  # stands before the text


@dataclass(frozen=True)
class Query:
    query_id: str
    text: str
    metadata: Any
    vector: Vector


@dataclass(frozen=True)
class Judgement:
    query_id: str
    doc_id: str
    score: float


@dataclass(frozen=True)
class Collection:
    """What the sources hold, in their order."""

    documents: Sequence[Document]
    queries: Sequence[Query]
    judgements: Sequence[Judgement]


@dataclass(frozen=True)
class Settings:
    """The keys of the configuration that decide the result, with their documented defaults."""

    drop_empty: bool = True
    min_words: int = 0
    drop_containing: tuple[str, ...] = ()
    exact_duplicates: str = "keep_first"
    on_dangling: str = "refuse"
    k: int = 100
    max_k: int | str = "auto"
    num_negatives: int = 4
    range_min: int = 0
    range_max: int = 100
    sampling_strategy: str = "top"
    margin_positive: str = "row"
    max_positive_similarity: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Take the settings out of a configuration as it is written."""
        found = {key: config.get("data", {}).get(key) for key in ("on_dangling",)}
        for section in ("clean", "search", "select"):
            found.update(config.get(section) or {})
        known = {name: value for name, value in found.items() if name in cls.__dataclass_fields__ and value is not None}
        known["drop_containing"] = tuple(known.get("drop_containing", ()))
        return cls(**known)

    def depths(self) -> list[int]:
        """Return `k` and the depths at which short queries are searched again."""
        deepest = 10 * self.k if self.max_k == "auto" else int(self.max_k)
        depths = [self.k]
        while depths[-1] < deepest:
            depths.append(min(depths[-1] * 4, deepest))
        return depths


@dataclass(frozen=True)
class Candidate:
    document: Document
    score: float
    reason: str  # "" while it would do


@dataclass(frozen=True)
class Row:
    """A (query, positive): what it must get.

    Attributes:
        eligible: what negatives are drawn from, best first.
        chosen: the negatives of `top`; of `random`, so many are drawn.
        suspected: (doc_id, reason) of what was dropped because it is probably relevant.
    """

    query: Query
    positive: Document
    positive_score: float
    eligible: Sequence[Candidate]
    chosen: Sequence[Candidate]
    suspected: Sequence[tuple[str, str]]


@dataclass
class Mined:
    """The result.

    Attributes:
        rows: one for each query and positive.
        dropped: reason -> count, of all stages.
        settings: with which it was mined.
        close: some scores are so close that rounding may order them either way.
        deepened: queries were searched again.
        unsure: the documentation leaves open whether this is refused.
    """

    rows: list[Row]
    dropped: Counter[str]
    settings: Settings
    close: bool = False
    deepened: bool = False
    unsure: bool = False
    found: int = 0


def key_of(text: str) -> int:
    """Return the 63-bit key of an id."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) & ((1 << 63) - 1)


def read_as(text: str) -> str:
    """Return a text as it is compared: decomposed, with single blanks."""
    return " ".join(unicodedata.normalize("NFD", text).split())


def mine(collection: Collection, settings: Settings) -> Mined:
    """Mine a collection.

    Raises:
        RefusedError: it must be refused.
    """
    prepared = _Prepared(collection, settings)
    result = Mined([], prepared.dropped, settings, unsure=prepared.unsure)
    if not prepared.judged:
        raise RefusedError("no query has a positive")
    for query, positives in prepared.judged:
        _mine_query(result, query, positives, prepared.documents)
    return result


@dataclass
class _Prepared:
    """The documents that are kept, and the queries with their positives."""

    collection: Collection
    settings: Settings
    dropped: Counter[str] = field(default_factory=Counter)
    documents: list[Document] = field(default_factory=list)
    judged: list[tuple[Query, list[Document]]] = field(default_factory=list)
    unsure: bool = False
    kept: dict[str, Document] = field(default_factory=dict)  # doc_id -> the document that stands for it
    cleaned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._clean()
        self._identify()
        self._judge()

    def _clean(self) -> None:
        left = []
        for document in self.collection.documents:
            text = f"{document.title or ''} {document.text}" if document.title is not None else document.text
            text = text.strip()
            reason = ""
            if not text and self.settings.drop_empty:
                reason = "empty_text"
            elif len(text.split()) < self.settings.min_words:
                reason = "too_few_words"
            elif any(marker in text for marker in self.settings.drop_containing):
                reason = "marker_word"
            if reason:
                self.dropped[f"document_{reason}"] += 1
                self.cleaned.add(document.doc_id)
            else:
                left.append(Document(document.doc_id, text, document.metadata, document.vector))
        self.documents = left
        if not left:
            raise RefusedError("no document is left")

    def _identify(self) -> None:
        by_id: dict[str, Document] = {}
        by_text: dict[str, Document] = {}
        left = []
        for document in self.documents:
            text = read_as(document.text)
            first = by_id.setdefault(document.doc_id, document)
            if read_as(first.text) != text:
                raise RefusedError(f"the id {document.doc_id!r} has two texts")
            same = by_text.setdefault(text, document)
            if self.settings.exact_duplicates == "keep_first" and same is not document:
                self.dropped["document_exact_duplicate"] += 1
                self.kept[document.doc_id] = same
            elif first is not document:
                self.dropped["document_repeated_id"] += 1
            else:
                left.append(document)
                self.kept[document.doc_id] = document
        self.documents = left

    def _judge(self) -> None:
        if not self.collection.judgements:
            raise RefusedError("no judgements")
        queries = _once_each(self.collection.queries)
        known, unknown = [], 0
        for judgement in self.collection.judgements:
            if judgement.query_id in queries:
                known.append(judgement)
            else:
                unknown += 1
        self._dangling("query", unknown)
        led = self._merged(queries, {judgement.query_id for judgement in known})
        judged = self._documents_of(known, led)
        for query_id in dict.fromkeys(led.values()):
            positives = [self.kept[d] for d, score in judged.get(query_id, {}).items() if score > 0]
            if positives:
                self.judged.append((queries[query_id], positives))
            else:
                self.dropped["query_no_positive"] += 1

    def _merged(self, queries: Mapping[str, Query], judged: set[str]) -> dict[str, str]:
        """Return query_id -> the query_id that stands for it, of the queries that are judged and have a text."""
        led: dict[str, str] = {}
        by_text: dict[str, str] = {}
        for query_id, query in queries.items():
            if query_id not in judged:
                self.dropped["query_not_judged"] += 1
            elif self.settings.drop_empty and not query.text.strip():
                self.dropped["query_empty_text"] += 1
            else:
                text = read_as(query.text) if self.settings.exact_duplicates == "keep_first" else query_id
                led[query_id] = by_text.setdefault(text, query_id)
                self.dropped["query_exact_duplicate"] += led[query_id] != query_id
        return led

    def _documents_of(self, judgements: Iterable[Judgement], led: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Return query_id -> the id of a kept document -> its highest score."""
        judged: dict[str, dict[str, float]] = {}
        unknown = 0
        for one in judgements:
            if one.query_id not in led:
                self.unsure = self.unsure or one.doc_id not in self.kept
            elif one.doc_id in self.kept:
                scores = judged.setdefault(led[one.query_id], {})
                kept = self.kept[one.doc_id].doc_id
                scores[kept] = max(scores.get(kept, -np.inf), one.score)
            elif one.doc_id in self.cleaned:
                self.dropped["judgement_of_cleaned_document"] += 1
            else:
                unknown += 1
        self._dangling("document", unknown)
        return judged

    def _dangling(self, side: str, count: int) -> None:
        if count and self.settings.on_dangling == "refuse":
            raise RefusedError(f"{count} judgements of an unknown {side}")
        self.dropped[f"judgement_of_unknown_{side}"] += count


def _once_each(queries: Iterable[Query]) -> dict[str, Query]:
    found: dict[str, Query] = {}
    for query in queries:
        first = found.setdefault(query.query_id, query)
        if read_as(first.text) != read_as(query.text):
            raise RefusedError(f"the query_id {query.query_id!r} has two texts")
    return found


def _mine_query(result: Mined, query: Query, positives: list[Document], documents: Sequence[Document]) -> None:
    settings = result.settings
    scored = [(float(query.vector @ document.vector), document) for document in documents]
    ranked = sorted(scored, key=lambda one: (-one[0], key_of(one[1].doc_id)))
    scores = np.array([score for score, _ in ranked])
    result.close |= _are_close(np.diff(scores))
    own = {document.doc_id for document in positives}
    rows: list[tuple[Document, float, list[Candidate]]] = []
    for depth in settings.depths():
        found = _to_depth(ranked, own, depth)
        rows = [_filtered(result, query, positive, positives, found) for positive in positives]
        enough = settings.range_min + settings.num_negatives
        short = any(sum(not one.reason for one in candidates) < enough for _, _, candidates in rows)
        others = sum(document.doc_id not in own for _, document in found)
        if not short or others < depth:
            break
        result.deepened |= depth != settings.depths()[-1]
    for positive, score, candidates in rows:
        result.rows.append(_drawn(result, query, positive, score, candidates))


def _to_depth(ranked: Sequence[tuple[float, Document]], own: set[str], depth: int) -> list[tuple[float, Document]]:
    """Return the best until there are `depth` that are not judged positive."""
    found, counted = [], 0
    for one in ranked:
        if counted >= depth:
            break
        counted += one[1].doc_id not in own
        found.append(one)
    return found


def _filtered(
    result: Mined,
    query: Query,
    positive: Document,
    positives: Sequence[Document],
    found: Sequence[tuple[float, Document]],
) -> tuple[Document, float, list[Candidate]]:
    settings = result.settings
    own = float(query.vector @ positive.vector)
    lowest = min(float(query.vector @ one.vector) for one in positives)
    against = lowest if settings.margin_positive == "lowest" else own
    texts = {read_as(one.text) for one in positives}
    ids = {one.doc_id for one in positives}
    candidates = []
    for score, document in found:
        similarity = max(float(document.vector @ one.vector) for one in positives)
        tests = {
            "positive": document.doc_id in ids,
            "positive_text": read_as(document.text) in texts,
            **_thresholds(result, score, similarity, against),
        }
        reason = next((name for name, holds in tests.items() if holds), "")
        candidates.append(Candidate(document, score, reason))
    return positive, own, candidates


def _thresholds(result: Mined, score: float, similarity: float, against: float) -> dict[str, bool]:
    settings = result.settings
    limits: dict[str, tuple[float, float | None]] = {
        "max_positive_similarity": (similarity, settings.max_positive_similarity),
        "absolute_margin": (score, None if settings.absolute_margin is None else against - settings.absolute_margin),
        "relative_margin": (
            score,
            None if settings.relative_margin is None else against - abs(against) * settings.relative_margin,
        ),
        "max_score": (score, settings.max_score),
        "min_score": (-score, None if settings.min_score is None else -settings.min_score),
    }
    for value, limit in limits.values():
        result.close |= limit is not None and _are_close(np.array([value - limit]))
    return {name: limit is not None and value > limit for name, (value, limit) in limits.items()}


def _are_close(differences: npt.NDArray[np.float64]) -> bool:
    away = np.abs(differences)
    return bool(((away > 0) & (away < CLOSE)).any())


def _drawn(result: Mined, query: Query, positive: Document, score: float, candidates: Sequence[Candidate]) -> Row:
    settings = result.settings
    place = 0
    eligible, suspected = [], []
    for one in candidates:
        reason = one.reason
        if not reason:
            reason = "range_min" if place < settings.range_min else ""
            reason = "range_max" if place >= settings.range_max else reason
            place += 1
        if not reason:
            eligible.append(one)
            reason = "not_drawn" if len(eligible) > settings.num_negatives else ""
        result.found += 1
        result.dropped[reason] += bool(reason)
        if reason in SUSPECTED:
            suspected.append((one.document.doc_id, reason))
    return Row(query, positive, score, eligible, eligible[: settings.num_negatives], suspected)
