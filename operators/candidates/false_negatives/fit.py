"""Fit the model of false negatives on views in which positives are hidden."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from operators.candidates.false_negatives.model import FURTHEST, FalseNegativeModel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Of scikit-learn: the inverse of the strength of the quadratic penalty.
C = 1.0
MOST_STEPS = 100


def fitted(
    features: Mapping[str, Floats],
    hidden: Mask,
    weight: Floats,
    names: Sequence[str],
    similarity: str = "cosine",
    fitted_on: Mapping[str, Any] | None = None,
) -> FalseNegativeModel:
    """Fit a model.

    Args:
        features: of the candidates of views, name -> float32 of shape (n,).
        hidden: which are hidden positives, shape (n,): at least one of either kind.
        weight: of each candidate, shape (n,).
        names: of the features that the model reads.
        similarity: how vectors are compared; kept with the model.
        fitted_on: kept with the model.
    """
    matrix = np.column_stack([features[name] for name in names]).astype(np.float64)
    centre = np.average(matrix, axis=0, weights=weight)
    spread = np.sqrt(np.average((matrix - centre) ** 2, axis=0, weights=weight))
    scale = np.where(spread > 0, spread, 1.0)
    standard = np.clip((matrix - centre) / scale, -FURTHEST, FURTHEST)
    regression = LogisticRegression(C=C, solver="newton-cholesky", max_iter=MOST_STEPS).fit(
        standard, hidden, sample_weight=weight
    )
    return FalseNegativeModel(
        features=tuple(names),
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        coefficients=tuple(regression.coef_[0].tolist()),
        intercept=float(regression.intercept_[0]),
        similarity=similarity,
        fitted_on=dict(fitted_on or {}),
    )
