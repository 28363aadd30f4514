"""Confident and wrong."""

import numpy as np

from operators.detections.boxes import Floats
from operators.detections.kinds import FALSE_POSITIVES
from operators.detections.strategy import PerClass, Strategy
from operators.detections.tables import Samples


class ConfidenceBased(Strategy):
    """Wrong predictions with a high confidence; the more confident, the harder.

    Attributes:
        confidence_threshold: the lowest confidence; a number, or one for each class.
        iou_threshold: the IoU with objects of its class is below; 1 takes duplicates, too.
    """

    strategy: str = "confidence_based"
    confidence_threshold: PerClass = 0.5
    iou_threshold: PerClass = 0.5

    def hardness(self, samples: Samples) -> Floats:
        """Return the confidence."""
        confidence = samples["confidence"]
        hard = samples.are(*FALSE_POSITIVES) & (confidence >= samples.per_class(self.confidence_threshold))
        hard &= samples["iou"] < samples.per_class(self.iou_threshold)
        return np.where(hard, confidence, -np.inf)
