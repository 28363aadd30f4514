"""Losses of samples, from the confidence alone."""

import numpy as np

from operators.detections.boxes import Floats
from operators.detections.kinds import MISSED
from operators.detections.tables import Samples

# A missed object has no confidence; a loss stays finite.
LEAST_PROBABILITY = 1e-7


def probability(samples: Samples) -> Floats:
    """Return how probable the detector finds what is true, float64 of shape (n,).

    That is the confidence of a prediction that is right, 1 minus it where it is wrong, and next to nothing for an
    object that it missed.
    """
    confidence = np.nan_to_num(samples["confidence"])
    true = np.where(samples.are("true_positive", MISSED), confidence, 1 - confidence)
    return np.asarray(np.clip(true, LEAST_PROBABILITY, 1.0))


def cross_entropy(samples: Samples) -> Floats:
    """Return minus the natural logarithm of the probability: float64 of shape (n,)."""
    return np.asarray(-np.log(probability(samples)))


def focal_weight(samples: Samples, gamma: float, alpha: float) -> Floats:
    """Return what the focal loss multiplies the cross-entropy with: float64 of shape (n,).

    alpha * (1 - p) ** gamma of objects, and 1 - alpha of what is none (Lin et al., "Focal Loss for Dense Object
    Detection", arXiv 1708.02002, equation 5).
    """
    share = np.where(samples.are("true_positive", MISSED), alpha, 1 - alpha)
    return np.asarray(share * (1 - probability(samples)) ** gamma)


def focal(samples: Samples, gamma: float, alpha: float) -> Floats:
    """Return the focal loss: float64 of shape (n,)."""
    return focal_weight(samples, gamma, alpha) * cross_entropy(samples)
