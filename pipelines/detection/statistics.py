"""What a validation loop has seen: counts that take as much memory however long it runs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from operators.detections.tables import Samples
from pipelines.detection.stages.match import counts_of, facts_of

BINS = 50


@dataclass
class Statistics:
    """Counts of one epoch.

    Attributes:
        images: how many were seen.
        hard: how many samples were hard.
        samples: how many counted.
        classes: class -> type -> samples.
        histogram: predictions by confidence and IoU, in BINS bins of each: int64 of shape (2, BINS, BINS), of wrong
            ones and of right ones.
    """

    images: int = 0
    hard: int = 0
    samples: int = 0
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros((2, BINS, BINS), np.int64))

    def add(self, images: int, account: pa.Table, hard: int) -> None:
        """Count a batch: its images, its samples (SAMPLES), and how many of these are hard."""
        samples = Samples(account)
        self.images, self.hard = self.images + images, self.hard + hard
        self.samples += int(samples.counted.sum())
        counted = account.group_by(["class_name", "type"], use_threads=False).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            self.classes.setdefault(row["class_name"], Counter())[row["type"]] += row["count_all"]
        predicted = samples.counted & ~np.isnan(samples["confidence"])
        right = samples.are("true_positive")[predicted].astype(np.int64)
        bins = [
            np.minimum((samples[name][predicted] * BINS).astype(np.int64), BINS - 1) for name in ("confidence", "iou")
        ]
        np.add.at(self.histogram, (right, *bins), 1)

    def report(self) -> dict[str, Any]:
        """Return totals and classes, as the report of a run has them."""
        types: Counter[str] = sum(self.classes.values(), Counter())
        return {
            "images": self.images,
            "samples": self.samples,
            "hard_samples": self.hard,
            "hard_negative_rate": self.hard / self.samples if self.samples else None,
            "totals": facts_of(counts_of(types), types),
            "types": dict(sorted(types.items())),
            "by_class": {name: facts_of(counts_of(one), one) for name, one in sorted(self.classes.items())},
        }
