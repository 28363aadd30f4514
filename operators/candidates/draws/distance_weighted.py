"""Sample evenly over the distances from the query."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from operators.candidates.draw import Priority
from operators.candidates.pairs import Pairs
from operators.candidates.weighted import KEYS, WeightedDraw


class DistanceWeighted(WeightedDraw):
    """A candidate is taken with probability proportional to 1 / q(d), q the density of distances on the sphere.

    Of points that are uniform on the unit sphere of n dimensions nearly all are at a distance of about sqrt(2); the
    inverse of that density gives all distances their share. With d = |query - document|,
    log q(d) = (n - 2) log d + (n - 3) / 2 * log(1 - d^2 / 4) (Wu et al., "Sampling matters in deep embedding learning",
    arXiv 1706.07567, section 4.2). For models that compare by cosine.

    Attributes:
        cutoff: nearer candidates have the weight of this distance, as the weight of the nearest would exceed all
            bounds.
        farthest: candidates farther away are not taken.
    """

    needs = (*KEYS, "score")
    only_cosine = True
    cutoff: float = Field(default=0.5, gt=0, lt=2)
    farthest: float = Field(default=1.4, gt=0, lt=2)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.cutoff > self.farthest:
            raise ValueError(f"cutoff ({self.cutoff}) is above farthest ({self.farthest}), so nothing would be taken")
        return self

    def log_weight(self, pairs: Pairs) -> Priority:
        """Return -log q(d)."""
        n = pairs.dimension
        distance = np.sqrt(np.maximum(2 - 2 * pairs["score"].astype(np.float64), 0))
        clipped = np.clip(distance, self.cutoff, self.farthest)
        weight = (2 - n) * np.log(clipped) - (n - 3) / 2 * np.log1p(-(clipped**2) / 4)
        return np.where(distance <= self.farthest, weight, -np.inf)
