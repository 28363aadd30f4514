"""Filters: flat candidates in, a mask of what to drop out, each under the reason that the report counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.schemas import POSITIVE_DOCUMENT, POSITIVE_TEXT
from operators.settings import Settings

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NEGATIVE = "negative"  # chosen
NOT_DRAWN = "not_drawn"  # would do, but num_negatives were already drawn
# Dropped because it is probably relevant. These candidates are written out as suspected false negatives.
SUSPECTED = ("positive_text", "max_positive_similarity", "absolute_margin", "relative_margin", "max_score", "range_min")


class FilterConfig(Settings):
    """Which candidates are not fit to be negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        max_positive_similarity: drop candidates whose similarity to a positive document of the query is higher.
        absolute_margin: drop candidates whose score is above the positive's score less this.
        relative_margin: drop candidates whose score is above the positive's score less this fraction of its magnitude:
            `score > positive - abs(positive) * relative_margin`, so right for negative scores too (0.05 is TopK-PercPos
            95 % of NV-Retriever, arXiv 2407.15831, section 3.2).
        margin_positive: against which positive the margins are taken where a query has several. `row`: the positive
            of the row that the negatives are drawn for, so rows of one query may have different negatives. `lowest`:
            the lowest-scored positive of the query for all its rows, as sentence-transformers does.
        max_score: drop candidates with a higher score.
        min_score: drop candidates with a lower score.
    """

    max_positive_similarity: float | None = None
    absolute_margin: float | None = Field(default=None, ge=0)
    relative_margin: float | None = Field(default=None, ge=0)
    margin_positive: Literal["row", "lowest"] = "row"
    max_score: float | None = None
    min_score: float | None = None


@dataclass(frozen=True)
class Candidates:
    """The signals of flat candidates, each array of shape (n,)."""

    score: Floats
    positive_score: Floats  # of the positive that margins are taken against
    max_positive_similarity: Floats
    positive: npt.NDArray[np.uint8]


Filter = Callable[[Candidates, FilterConfig], Mask]


def _absolute_margin(candidates: Candidates, config: FilterConfig) -> Mask:
    margin = np.float32(config.absolute_margin or 0)
    return np.asarray(candidates.score + margin > candidates.positive_score)


def _relative_margin(candidates: Candidates, config: FilterConfig) -> Mask:
    margin = np.float32(config.relative_margin or 0)
    return np.asarray(candidates.score > candidates.positive_score - np.abs(candidates.positive_score) * margin)


# In the order in which they are asked: a candidate is counted under the first reason that holds.
FILTERS: Mapping[str, Filter] = {
    "positive": lambda candidates, _: candidates.positive == POSITIVE_DOCUMENT,
    "positive_text": lambda candidates, _: candidates.positive == POSITIVE_TEXT,
    "max_positive_similarity": lambda candidates, config: (
        candidates.max_positive_similarity > np.float32(config.max_positive_similarity)
    ),
    "absolute_margin": _absolute_margin,
    "relative_margin": _relative_margin,
    "max_score": lambda candidates, config: candidates.score > np.float32(config.max_score),
    "min_score": lambda candidates, config: candidates.score < np.float32(config.min_score),
}
ALWAYS = ("positive", "positive_text")


def active_filters(config: FilterConfig) -> dict[str, Filter]:
    """Return the filters that the configuration sets, by reason."""
    return {reason: drop for reason, drop in FILTERS.items() if reason in ALWAYS or getattr(config, reason) is not None}
