"""Near the threshold of the IoU: nearly right, or barely."""

from typing import Annotated

import numpy as np
from pydantic import Field

from operators.detections.boxes import Floats
from operators.detections.strategy import PerClass, Strategy
from operators.detections.tables import Samples


class IouBased(Strategy):
    """Predictions whose IoU with an object of their class is near a threshold; the nearer, the harder.

    Attributes:
        iou_threshold: a number, or one for each class.
        margin: how far the IoU may be from it, on both sides.
    """

    strategy: str = "iou_based"
    iou_threshold: PerClass = 0.5
    margin: Annotated[float, Field(gt=0, le=1)] = 0.1

    def hardness(self, samples: Samples) -> Floats:
        """Return 1 at the threshold, 0 at the margin."""
        iou = samples["iou"]
        away = np.abs(iou - samples.per_class(self.iou_threshold)) / self.margin
        near = ~np.isnan(samples["confidence"]) & samples.counted & (iou > 0) & (away <= 1)
        return np.where(near, 1 - away, -np.inf)
