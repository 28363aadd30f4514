"""How boxes are matched, and how many samples are hard."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from operators.detections import strategies as own_strategies
from operators.detections.strategy import Strategy
from operators.plugins import made
from operators.settings import AtLeastOne, Settings

Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, le=1)]


def _strategy(settings: object) -> Strategy:
    return made(settings, "strategy", Strategy, own_strategies)  # type: ignore[type-abstract]


AnyStrategy = Annotated[SerializeAsAny[Strategy], BeforeValidator(_strategy)]


class MatchConfig(Settings):
    """When a prediction is right, as COCO has it.

    Attributes:
        iou_threshold: of a prediction with the object that it has.
        background_threshold: a prediction that overlaps no object by more is of the background.
        class_agnostic: an object may be found as any class.
        max_detections: the most confident ones of an image and class that are kept; null keeps all.
    """

    iou_threshold: Threshold = 0.5
    background_threshold: Threshold = 0.1
    class_agnostic: bool = False
    max_detections: AtLeastOne | None = None

    @model_validator(mode="after")
    def _background_is_below(self) -> "MatchConfig":
        if self.background_threshold > self.iou_threshold:
            raise ValueError("background_threshold is above iou_threshold. Give a lower one")
        return self


class SelectConfig(Settings):
    """Which samples are hard, and what they weigh.

    Attributes:
        strategies: what makes a sample hard: `{strategy: name, ...}`, or `module:name` of your own.
        hard_negative_ratio: the share of the samples that is hard, at most; the hardest ones.
        per: of the samples of each `image`, of each `class`, or of all (`overall`).
        boost: the weight of a box is 1 + boost * hardness where it is hard, else 1.
        image_weight: 1 plus the `sum`, the `mean` or the `max` of what boxes weigh above 1.
        gamma: of the focal weights.
        alpha: of the focal weights.
    """

    strategies: tuple[AnyStrategy, ...] = Field(
        default=(_strategy("confidence_based"), _strategy("missed")), min_length=1
    )
    hard_negative_ratio: Share = 0.3
    per: Literal["image", "class", "overall"] = "overall"
    boost: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    image_weight: Literal["sum", "mean", "max"] = "sum"
    gamma: Annotated[float, Field(ge=0, le=100)] = 2.0
    alpha: Share = 0.25

    def code(self) -> list[str | None]:
        """Return a digest of the code of each strategy that is not ours."""
        return [one.code() for one in self.strategies]
