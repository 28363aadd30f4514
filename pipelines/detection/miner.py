"""Mine in a validation loop: batch after batch, with boxes of torch or numpy."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from operators.detections.account import Account
from operators.detections.boxes import BoxFormat
from operators.detections.config import MatchConfig, SelectConfig
from operators.detections.select import Select
from operators.errors import InputError
from operators.keys import keys_of
from pipelines.detection.crops import save_crops
from pipelines.detection.statistics import Statistics
from pipelines.detection.tensors import Image, images_table, predictions_table, truths_table

if TYPE_CHECKING:
    from operators.detections.boxes import Floats

SAMPLES_FILE, REPORT_FILE, CROPS = "hard_samples.jsonl", "report.json", "crops"


class HardNegativeMiner:
    """Finds the hard samples of a detector while it is validated.

    Counts are kept of each epoch, and the weight of each image that was seen: 16 bytes and an entry of a dictionary.

    Args:
        confidence_threshold: a wrong prediction is hard from this confidence on; a number, or one for each class by its
            name, and `default`.
        iou_threshold: of a prediction with the object that it has.
        hard_negative_ratio: the share of the samples that is hard, at most: of each batch, the hardest ones.
        save_samples: write crops of the hard samples, where `find_hard_negatives` gets the paths of the images.
        output_dir: where hard samples, crops and the report are written; None writes nothing.
        class_names: class -> name.
        box_format: how boxes are written: `xyxy` as torchvision has it.
        strategies: in the place of `confidence_based` and `missed`: as `select.strategies` in a configuration.
        per: the share is of each `image`, each `class` or all samples (`overall`) of a batch.
        mine_every: of so many epochs one is mined.

    Raises:
        InputError: an argument is wrong.
    """

    def __init__(  # noqa: PLR0913 - the options of a user
        self,
        confidence_threshold: float | Mapping[str, float] = 0.5,
        iou_threshold: float = 0.5,
        hard_negative_ratio: float = 0.3,
        *,
        save_samples: bool = False,
        output_dir: str | Path | None = None,
        class_names: Mapping[int, str] | None = None,
        box_format: BoxFormat = "xyxy",
        strategies: Sequence[Any] | None = None,
        per: str = "overall",
        mine_every: int = 1,
    ) -> None:
        confident = {
            "strategy": "confidence_based",
            "confidence_threshold": confidence_threshold,
            "iou_threshold": iou_threshold,
        }
        chosen = [confident, "missed"] if strategies is None else list(strategies)
        try:
            self.match = MatchConfig(iou_threshold=iou_threshold)
            self.select = SelectConfig.model_validate(
                {"strategies": chosen, "hard_negative_ratio": hard_negative_ratio, "per": per}
            )
        except ValueError as error:
            raise InputError(f"HardNegativeMiner: {error}") from None
        if save_samples and output_dir is None:
            raise InputError("HardNegativeMiner: save_samples needs output_dir. Name a folder.")
        self.box_format, self.save_samples, self.mine_every = box_format, save_samples, max(mine_every, 1)
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._account, self._select = Account(self.match, class_names or {}), Select(self.select)
        self.epoch, self.epochs = 0, dict[int, Statistics]()
        self._weights: dict[int, float] = {}
        self._seen = 0

    def start_epoch(self, epoch: int) -> bool:
        """Begin an epoch; tell whether it is one that is mined. Weights of images stay until they are seen again."""
        self.epoch = epoch
        return epoch % self.mine_every == 0

    def find_hard_negatives(
        self,
        predictions: Image | Sequence[Image],
        ground_truth: Image | Sequence[Image],
        image_path: str | Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the hard samples of a batch, the hardest first.

        Args:
            predictions: of an image, or a list of them: `boxes` of shape (n, 4), `scores` and `labels` of shape (n,);
                `loss` of shape (n,), where the strategy reads it.
            ground_truth: `boxes`, `labels`, and maybe `iscrowd`, of the same images.
            image_path: of the image, or a list of them: the ids of the images. Without it they are numbered.

        Returns:
            For each its type, ids, class, confidence, IoU, boxes (x, y, width, height), hardness and weight.

        Raises:
            InputError: predictions and ground truth are of different images, or hold no boxes.
        """
        found, truth = _several(predictions), _several(ground_truth)
        if len(found) != len(truth):
            raise InputError(f"{len(found)} images have predictions, and {len(truth)} ground truth. Give both of each.")
        ids = self._ids(image_path, len(found))
        if not ids:
            return []
        images = images_table(ids)
        account = self._account(
            images, truths_table(truth, ids, self.box_format), predictions_table(found, ids, self.box_format)
        )
        selection = self._select(account, images)
        hard = selection.hard.sort_by([("hardness", "descending"), ("sample_key", "ascending")])
        keys = keys_of(selection.images.column("image_id")).tolist()
        self._weights.update(zip(keys, selection.images.column("weight").to_pylist(), strict=True))
        self.epochs.setdefault(self.epoch, Statistics()).add(len(ids), account, hard.num_rows)
        rows: list[dict[str, Any]] = hard.to_pylist()
        self._write(rows, image_path is not None)
        return rows

    def real_time_mining(
        self,
        model: Any,  # noqa: ANN401 - a module of torch
        image: Any,  # noqa: ANN401 - a tensor of torch
        ground_truth: Image,
        path: str | None = None,
    ) -> list[dict[str, Any]]:
        """Run a detector of torchvision's form on one image, and return its hard samples.

        Args:
            model: takes a list of images and returns a list of predictions; it is left in the mode that it is in.
            image: a tensor of shape (3, height, width).
            ground_truth: of the image.
            path: of the image.
        """
        import torch

        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                (predictions,) = model([image])
        finally:
            model.train(training)
        return self.find_hard_negatives(predictions, ground_truth, path)

    def image_weights(self, image_paths: Sequence[str]) -> "Floats":
        """Return what images weigh, in the order in which they are given; 1 where one was not seen: float64 (n,)."""
        keys = keys_of(pa.array(list(map(str, image_paths)), pa.string())).tolist()
        return np.array([self._weights.get(key, 1.0) for key in keys], np.float64)

    def generate_report(self) -> dict[str, Any]:
        """Return counts of the latest epoch, and the drift over epochs; write `report.json` into `output_dir`."""
        latest = self.epochs[max(self.epochs)] if self.epochs else Statistics()
        drift = [
            {"epoch": epoch, "hard_negative_rate": report["hard_negative_rate"], **report["totals"]}
            for epoch, one in sorted(self.epochs.items())
            for report in [one.report()]
        ]
        report = {**latest.report(), "epochs": drift}
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            (self.output_dir / REPORT_FILE).write_text(json.dumps(report, indent=2), encoding="utf-8")
        return report

    def _ids(self, image_path: str | Sequence[str] | None, count: int) -> list[str]:
        if image_path is None:
            first, self._seen = self._seen, self._seen + count
            return [str(number) for number in range(first, first + count)]
        paths = [image_path] if isinstance(image_path, str | Path) else list(image_path)
        if len(paths) != count:
            raise InputError(f"image_path: {len(paths)} paths for {count} images. Give one for each.")
        return [str(path) for path in paths]

    def _write(self, rows: Sequence[Mapping[str, Any]], with_paths: bool) -> None:
        if self.output_dir is None or not rows:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with (self.output_dir / SAMPLES_FILE).open("a", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps({'epoch': self.epoch, **row})}\n" for row in rows)
        if self.save_samples and with_paths:
            save_crops(rows, self.output_dir / CROPS / f"epoch-{self.epoch}")


def _several(images: Image | Sequence[Image]) -> list[Image]:
    return [images] if isinstance(images, Mapping) else list(images)
