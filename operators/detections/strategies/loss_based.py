"""What costs the detector most."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from operators.detections.boxes import Floats
from operators.detections.losses import cross_entropy, focal
from operators.detections.strategy import Strategy
from operators.detections.tables import Samples


class LossBased(Strategy):
    """Samples with a high loss: right ones, wrong ones and missed objects.

    Attributes:
        loss: `given` is the column `loss` of the predictions, and the focal loss where it is null; `focal` and
            `cross_entropy` come from the confidence alone.
        min_loss: the lowest loss that is hard.
        gamma: of the focal loss.
        alpha: of the focal loss.
    """

    strategy: str = "loss_based"
    loss: Literal["given", "focal", "cross_entropy"] = "given"
    min_loss: Annotated[float, Field(ge=0)] = 0.0
    gamma: Annotated[float, Field(ge=0, le=100)] = 2.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.25

    def hardness(self, samples: Samples) -> Floats:
        """Return loss / (1 + loss), which grows with the loss and stays below 1."""
        loss = cross_entropy(samples) if self.loss == "cross_entropy" else focal(samples, self.gamma, self.alpha)
        if self.loss == "given":
            loss = np.where(np.isnan(samples["loss"]), loss, samples["loss"])
        return np.where(samples.counted & (loss >= self.min_loss), loss / (1 + loss), -np.inf)
