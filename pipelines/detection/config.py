"""The configuration of the pipeline over detections."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from operators.detections.config import MatchConfig, SelectConfig
from operators.detections.input.config import SIDES, DataConfig
from pipelines.detection import COMMANDS
from pipelines.runtime.config import EngineConfig, RunConfig
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.stage import Stage


class DetectionConfig(RunConfig):
    """All of a run over the predictions of a detector; each section has a class of its own.

    Attributes:
        data: where the boxes are.
        match: when a prediction is right.
        select: which samples are hard, and what they weigh.
    """

    pipeline: Literal["detection"] = "detection"
    data: DataConfig
    match: MatchConfig = MatchConfig()
    select: SelectConfig = SelectConfig()
    engine: EngineConfig = EngineConfig()

    groups: ClassVar[Mapping[str, str]] = COMMANDS
    shorthands: ClassVar[Mapping[str, str]] = {"data.ground_truth": "path", "data.predictions": "path"}

    def stages(self, cluster: RayCluster | None) -> Sequence[Stage]:
        """Check the sources, and return the stages in order.

        Raises:
            InputError: a source is missing or wrong. Nothing has been written.
        """
        from pipelines.detection.pipeline import stages_of

        del cluster
        return stages_of(self)

    def sources_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the storage options of the sources."""
        return {side: getattr(self.data, side).storage_options for side in SIDES}
