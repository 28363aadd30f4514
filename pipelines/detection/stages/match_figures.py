"""What the report draws of matched boxes: confidences and IoUs of right and wrong predictions."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from operators.detections.boxes import Mask
from operators.detections.kinds import FALSE_POSITIVES
from operators.detections.tables import Samples
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.stage import Figure, Histogram, Scatter

# Predictions that are drawn, those of the first partitions: images lie in partitions by a hash.
DRAWN = 20_000
POINTS = 2_000
_COLUMNS = ["type", "confidence", "iou"]
_QUANTILES = (0.1, 0.5, 0.9)


def scatter_of(matched: StageOutput) -> Scatter:
    """Return the confidence of predictions against their IoU, by type."""
    samples = _some(matched)
    points = np.stack([samples["confidence"], samples["iou"]], axis=1).astype(np.float32)
    types = ("true_positive", *FALSE_POSITIVES)
    chosen = {name: points[samples.are(name)][:POINTS] for name in types}
    return Scatter(("confidence", "IoU"), {name: one for name, one in chosen.items() if len(one)})


def histograms_of(matched: StageOutput) -> Iterator[Figure]:
    """Yield the distributions of confidences and IoUs, of right and of wrong predictions."""
    samples = _some(matched)
    sides: dict[str, Mask] = {"right": samples.are("true_positive"), "wrong": samples.are(*FALSE_POSITIVES)}
    for column, title in (("confidence", "Confidence"), ("iou", "IoU")):
        values = {name: samples[column][mask].astype(np.float32) for name, mask in sides.items()}
        there = {name: one for name, one in values.items() if len(one)}
        rows = [[name, *(f"{at:.3f}" for at in np.quantile(one, _QUANTILES))] for name, one in there.items()]
        heading = ["predictions", *(f"{share:.0%} below" for share in _QUANTILES)]
        yield Figure(title, (heading, rows), Histogram(title, there) if there else None)


def _some(matched: StageOutput) -> Samples:
    """Return columns of the predictions of the first partitions."""
    tables, rows = list[pa.Table](), 0
    for part in matched.parts("samples"):
        if rows >= DRAWN:
            break
        tables.append(matched.folder.read_table(part, _COLUMNS))
        rows += part["rows"]
    return Samples(pa.concat_tables(tables).slice(0, DRAWN))
