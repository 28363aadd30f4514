"""Take the candidates on which the sources disagree most."""

from typing import Self

import numpy as np
from pydantic import model_validator

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs
from operators.candidates.sources import NOT_NAMED, rank_column


class Disagreement(Draw):
    """The candidates whose ranks differ most between sources: those about which one ranking or the other is wrong.

    Query by committee (Seung, Opper and Sompolinsky, COLT 1992) with the variance of reciprocal ranks as the measure of
    disagreement. A rank is the place in the whole ranking of a source, positives counted, here from 1; filters change
    none. A source that did not name a candidate gives it the reciprocal 0. Reciprocals make a difference at the top of
    a ranking count most. Filters come before it: a candidate that is probably relevant is no better for being disputed.

    Attributes:
        sources: which rankings: `search` and the sources of proposers, two at least.
    """

    sources: tuple[str, ...]

    @model_validator(mode="after")
    def _two_at_least(self) -> Self:
        if len(set(self.sources)) < 2:
            raise ValueError(f"sources: two different ones at least, not {list(self.sources)}")
        return self

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The ranks of all sources."""
        return tuple(map(rank_column, self.sources))

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the variance of the reciprocal ranks."""
        del free
        ranks = np.stack([pairs[name].astype(np.float64) for name in self.needs])
        reciprocal = np.where(ranks == NOT_NAMED, 0.0, 1.0 / np.maximum(ranks + 1, 1.0))
        # Sorted, so that equal ranks are added up in one order, whichever source gave them.
        return np.asarray(np.sort(reciprocal, axis=0).var(axis=0))
