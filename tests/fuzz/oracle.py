"""What mining must give, by brute force in float64: cleaning, judgements, candidates, filters, draws.

Nothing here is taken from the operators: this is what the documentation says, one query and one document at a time.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.fuzz.collection import Collection, Document, Query, RefusedError, Settings, key_of, read_as
from tests.fuzz.prepared import Prepared

SUSPECTED = ("positive_text", "max_positive_similarity", "absolute_margin", "relative_margin", "max_score", "range_min")
# Scores that differ by less, and are not equal, could be rounded to either order.
CLOSE = 1e-5


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


def mine(collection: Collection, settings: Settings) -> Mined:
    """Mine a collection.

    Raises:
        RefusedError: it must be refused.
    """
    prepared = Prepared(collection, settings)
    result = Mined([], prepared.dropped, settings, unsure=prepared.unsure)
    if not prepared.judged:
        raise RefusedError("no query has a positive")
    for query, positives in prepared.judged:
        _mine_query(result, query, positives, prepared.documents)
    return result


def _mine_query(result: Mined, query: Query, positives: list[Document], documents: Sequence[Document]) -> None:
    settings = result.settings
    scored = [(float(query.vector @ document.vector), document) for document in documents]
    ranked = sorted(scored, key=lambda one: (-one[0], key_of(one[1].doc_id)))
    scores = np.array([score for score, _ in ranked])
    result.close |= _are_close(np.diff(scores))
    own = {document.doc_id for document in positives}
    rows: list[tuple[Document, float, list[Candidate]]] = []
    for depth in settings.depths():
        found = to_depth(ranked, own, depth)
        rows = [filtered(result, query, positive, positives, found) for positive in positives]
        of_top = settings.range_min + settings.num_negatives
        enough = of_top if settings.sampling_strategy == "top" else settings.range_max
        short = any(sum(not one.reason for one in candidates) < enough for _, _, candidates in rows)
        others = sum(document.doc_id not in own for _, document in found)
        if not short or others < depth:
            break
        result.deepened |= depth != settings.depths()[-1]
    for positive, score, candidates in rows:
        result.rows.append(_drawn(result, query, positive, score, candidates))


def to_depth(ranked: Sequence[tuple[float, Document]], own: set[str], depth: int) -> list[tuple[float, Document]]:
    """Return the best until there are `depth` that are not judged positive."""
    found, counted = [], 0
    for one in ranked:
        if counted >= depth:
            break
        counted += one[1].doc_id not in own
        found.append(one)
    return found


def reference_of(settings: Settings, query: Query, positive: Document, positives: Sequence[Document]) -> float:
    """Return the score that margins are taken against."""
    scores = [float(query.vector @ one.vector) for one in positives]
    own = float(query.vector @ positive.vector)
    return {"row": own, "lowest": min(scores), "mean": sum(scores) / len(scores)}[settings.margin_positive]


def filtered(
    result: Mined,
    query: Query,
    positive: Document,
    positives: Sequence[Document],
    found: Sequence[tuple[float, Document]],
    known: Container[str] = (),
) -> tuple[Document, float, list[Candidate]]:
    """Say which candidates the filters drop for a row; the `known` ids are no suspected false negatives."""
    own, against = float(query.vector @ positive.vector), reference_of(result.settings, query, positive, positives)
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
        exempt = SUSPECTED[1:] if document.doc_id in known else ()
        reason = next((name for name, holds in tests.items() if holds and name not in exempt), "")
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
