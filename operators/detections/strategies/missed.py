"""Objects that no prediction has: hard positives."""

import numpy as np

from operators.detections.boxes import Floats
from operators.detections.kinds import MISSED
from operators.detections.strategy import Strategy
from operators.detections.tables import Samples


class Missed(Strategy):
    """Missed objects; the less any prediction of their class overlaps them, the harder."""

    strategy: str = "missed"

    def hardness(self, samples: Samples) -> Floats:
        """Return 1 minus the largest IoU with a prediction of the class."""
        return np.where(samples.are(MISSED), 1 - samples["iou"], -np.inf)
