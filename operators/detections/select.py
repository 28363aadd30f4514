"""Choose the hard samples of a batch, and say what each box and each image weighs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.boxes import Floats, Ints, Mask
from operators.detections.config import SelectConfig
from operators.detections.cut import Codes, Cuts, codes_of
from operators.detections.losses import focal_weight
from operators.detections.tables import HARD, IMAGES, Samples
from operators.errors import InputError
from operators.plugins import calling
from operators.schemas import to_numpy
from operators.segments import first_index, rank_within

BOX_WEIGHTS = pa.schema([HARD.field(name) for name in ("image_id", "type", "prediction_id", "truth_id")]).append(
    HARD.field("weight")
)
BOX_WEIGHTS = BOX_WEIGHTS.append(HARD.field("focal_weight"))
IMAGE_WEIGHTS = pa.schema(
    [
        IMAGES.field("image_id"),
        pa.field("weight", pa.float64()),
        *(pa.field(n, pa.int64()) for n in ("samples", "hard")),
    ]
)
# Of all samples, where they are chosen together.
ALL = 0


@dataclass(frozen=True)
class Ranked:
    """How hard the samples of a batch are.

    Attributes:
        samples: of the batch.
        hardness: the largest that a strategy gives, minus infinity where none does: float32 of shape (n,).
        named: which strategy calls which sample hard: bool of shape (strategies, n).
        group: the samples are chosen within: int64 of shape (n,).
    """

    samples: Samples
    hardness: npt.NDArray[np.float32]
    named: Mask
    group: Ints

    @property
    def hard(self) -> Ints:
        """The rows that some strategy calls hard."""
        return np.flatnonzero(self.named.any(0))

    @property
    def codes(self) -> Codes:
        """The codes of the hard rows: uint64 of shape (hard,)."""
        return codes_of(self.hardness[self.hard], self.samples["sample_key"][self.hard])


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        hard: of the schema HARD.
        boxes: of the schema BOX_WEIGHTS: every sample that counts.
        images: of the schema IMAGE_WEIGHTS: every image.
    """

    hard: pa.Table
    boxes: pa.Table
    images: pa.Table


class Select:
    """Samples -> the hard ones among them.

    Args:
        config: which are hard.
    """

    def __init__(self, config: SelectConfig) -> None:
        self.config = config

    def rank(self, table: pa.Table) -> Ranked:
        """Say how hard each sample is (SAMPLES).

        Raises:
            InputError: a strategy gave something else than a number from 0 on, or minus infinity, for each sample.
        """
        samples = Samples(table)
        hardness = np.full((len(self.config.strategies), len(samples)), -np.inf)
        for at, strategy in enumerate(self.config.strategies):
            with calling("select.strategies", strategy, "hardness"):
                given = np.asarray(strategy.hardness(samples), np.float64)
            right = given.shape == (len(samples),) and bool(
                (np.isneginf(given) | ((given >= 0) & (given < 1e30))).all()
            )
            if not right:
                raise InputError(
                    f"select.strategies: {strategy.strategy}: the hardness is to be a number from 0 to 1 for each "
                    f"sample, or minus infinity. Correct this strategy."
                )
            hardness[at] = np.where(samples.counted, given * strategy.weight, -np.inf)
        groups = {"image": "image_key", "class": "class_id"}
        group = samples[groups[self.config.per]] if self.config.per in groups else np.full(len(samples), ALL)
        return Ranked(samples, hardness.max(0).astype(np.float32), ~np.isneginf(hardness), group)

    def most(self, samples: npt.NDArray[np.integer]) -> Ints:
        """Return how many of so many samples are hard at most: int64 of the same shape."""
        return np.ceil(np.round(samples * self.config.hard_negative_ratio, 6)).astype(np.int64)

    def chosen(self, ranked: Ranked, cuts: Cuts | None) -> Ints:
        """Return the rows of the hard samples, the hardest first in each group.

        Args:
            ranked: the samples.
            cuts: of the groups; None where each group is wholly in the batch.
        """
        rows, codes = ranked.hard, ranked.codes
        if cuts is not None:
            taken = cuts.takes(ranked.group[rows], codes)
            rows, codes = rows[taken], codes[taken]
            return rows[np.lexsort((np.iinfo(np.uint64).max - codes, ranked.group[rows]))]
        order = np.lexsort((np.iinfo(np.uint64).max - codes, ranked.group[rows]))
        rows = rows[order]
        groups, counts = np.unique(ranked.group[ranked.samples.counted], return_counts=True)
        most = self.most(counts)[first_index(groups, ranked.group[rows])]
        return rows[rank_within(ranked.group[rows]) < most]

    def __call__(self, table: pa.Table, images: pa.Table, cuts: Cuts | None = None) -> Selection:
        """Choose the hard samples of some whole images.

        Args:
            table: of the schema SAMPLES.
            images: of the schema IMAGES.
            cuts: of the groups of the whole data; None where each group is wholly in the batch.
        """
        ranked = self.rank(table)
        rows = self.chosen(ranked, cuts)
        weight = np.ones(len(ranked.samples))
        weight[rows] += self.config.boost * ranked.hardness[rows]
        weighted = table.append_column("weight", pa.array(weight)).append_column(
            "focal_weight", pa.array(focal_weight(ranked.samples, self.config.gamma, self.config.alpha))
        )
        hard = weighted.take(pa.array(rows))
        hard = hard.append_column("hardness", pa.array(ranked.hardness[rows]))
        hard = hard.append_column("strategies", self._names(ranked.named[:, rows]))
        boxes = weighted.filter(pa.array(ranked.samples.counted)).select(BOX_WEIGHTS.names)
        return Selection(hard.select(HARD.names).cast(HARD), boxes, self._images(ranked, rows, weight, images))

    def _names(self, named: Mask) -> pa.ListArray:
        """Return the strategies that call each row hard."""
        names = pa.array([one.strategy for one in self.config.strategies], pa.string())
        sample, strategy = np.nonzero(named.T)
        offsets = np.searchsorted(sample, np.arange(named.shape[1] + 1)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(strategy)))

    def _images(self, ranked: Ranked, rows: Ints, weight: Floats, images: pa.Table) -> pa.Table:
        """Return what each image weighs (IMAGE_WEIGHTS)."""
        count, keys = images.num_rows, to_numpy(images, "image_key")
        at = first_index(keys, ranked.samples["image_key"])
        samples = np.bincount(at[ranked.samples.counted], minlength=count)
        more, of_hard = weight[rows] - 1, at[rows]
        if self.config.image_weight == "max":
            above = np.zeros(count)
            np.maximum.at(above, of_hard, more)
        else:
            above = np.bincount(of_hard, more, minlength=count)
            above = above / np.maximum(samples, 1) if self.config.image_weight == "mean" else above
        hard = np.bincount(of_hard, minlength=count)
        return pa.table([images.column("image_id"), 1 + above, samples, hard], schema=IMAGE_WEIGHTS)
