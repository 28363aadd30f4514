"""The stages of the pipeline over detections, made from its configuration."""

from operators.detections.input.config import SIDES
from operators.detections.input.sources import check_sides, class_names, list_files
from operators.errors import InputError
from pipelines.detection.config import DetectionConfig
from pipelines.detection.stages.export import ExportSamples
from pipelines.detection.stages.match import MatchBoxes
from pipelines.detection.stages.precision import MeasurePrecision
from pipelines.detection.stages.prepare import PrepareBoxes
from pipelines.detection.stages.select import SelectSamples
from pipelines.runtime.stage import Stage


def stages_of(config: DetectionConfig) -> list[Stage]:
    """Check every source, and return the stages of a configuration.

    Raises:
        InputError: a source is not there, both sides cannot be compared, or a storage cannot be used. Nothing has been
            written.
    """
    files = {side: list_files(side, getattr(config.data, side)) for side in SIDES}
    check_sides(config.data, files)
    run = config.directory()
    written = next((file.uri for side in SIDES for file in files[side] if run.has_written(file.uri)), None)
    if written is not None:
        raise InputError(
            f"data: {written} was written by a run in {run.uri}, into which this run writes too. Choose another run "
            f"directory."
        )
    everything = tuple(file for side in SIDES for file in files[side])
    return [
        PrepareBoxes(everything, class_names(config.data), config.data.partition_bytes),
        MatchBoxes(config.match),
        MeasurePrecision(config.match),
        SelectSamples(config.select),
        ExportSamples(),
    ]
